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


def spearman(folder: Path, batch_size: int = 64) -> tuple[float, int]:
    """100 times the correlation on the test set, and its number of pairs."""
    import torch
    from scipy.stats import spearmanr

    from minitransformer import AutoModel, AutoTokenizer
    from minitransformer.demo import checkpoint_folder, embed

    rows = [line.split("\t") for line in (folder / "sts-test.tsv").read_text(encoding="utf-8").splitlines()]
    judged = [float(row[4]) for row in rows]
    sentences = sorted({sentence for row in rows for sentence in row[5:7]}, key=len)  # alike lengths: little padding
    model = AutoModel.from_pretrained(checkpoint_folder())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_folder())
    vectors = {}
    with torch.inference_mode():
        for start in range(0, len(sentences), batch_size):
            batch = sentences[start : start + batch_size]
            vectors.update(zip(batch, embed(model, tokenizer, batch), strict=True))
    cosines = [float(vectors[row[5]] @ vectors[row[6]]) for row in rows]
    return 100 * float(spearmanr(cosines, judged).statistic), len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where sts-test.tsv is")
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    begin = time.perf_counter()
    measured, pairs = spearman(arguments.folder)
    print(f"STS-B test, {pairs} pairs: Spearman {measured:.2f}, published {PUBLISHED:.2f}")
    print(f"{time.perf_counter() - begin:.1f} s")
