"""The real checkpoint on the STS benchmark: Spearman's rank correlation of its cosines with people's judgements.

    python benchmarks/stsb.py FOLDER

FOLDER holds sts-test.tsv (genre, file, year, id, score, sentence, sentence; tab-separated), as distributed with the
benchmark (http://ixa2.si.ehu.eus/stswiki). The published number of all-MiniLM-L6-v2 is 82.03 (sbert.net).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

PUBLISHED = 82.03
COLUMNS = {"score": 4, "text": 5, "text_pair": 6}


def spearman(folder: Path) -> tuple[float, int]:
    """100 times the correlation on the test set, and its number of pairs."""
    from minitransformer.demo import checkpoint_folder
    from minitransformer.evaluation import evaluate

    scores = evaluate("feature-extraction", checkpoint_folder(), folder / "sts-test.tsv", columns=COLUMNS)
    return scores["spearman"], scores["records"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where sts-test.tsv is")
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    begin = time.perf_counter()
    measured, pairs = spearman(arguments.folder)
    print(f"STS-B test, {pairs} pairs: Spearman {measured:.2f}, published {PUBLISHED:.2f}")
    print(f"{time.perf_counter() - begin:.1f} s")
