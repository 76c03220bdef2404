"""Writes reference_scores.json: what seqeval 1.2.2 and rouge-score 0.1.2 say of drawn labels and texts.

Both exist as source packages only, so that the tests read what they said: ``pip install seqeval rouge-score``, then
``python tests/evaluation/reference_scores.py``.
"""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")
WORDS = "the cat cats sleeping sleeps slept relational hopefulness Paris 3.50 dollars café it's re-run a".split()


def labels(draw: random.Random, marks: str, kinds: list[str], length: int) -> list[str]:
    """O as often as each mark."""
    return [mark if (mark := draw.choice(marks)) == "O" else f"{mark}-{draw.choice(kinds)}" for _ in range(length)]


def main() -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from seqeval.metrics import f1_score, precision_score, recall_score

    warnings.simplefilter("ignore")  # labels without marks
    draw, entities, texts = random.Random(0), [], []
    for i in range(240):
        marks = ("OBI", "OI", "OBIES", "OOOBIES")[i % 4]
        lengths = [draw.randint(1, 9) for _ in range(3)]
        wanted = [labels(draw, marks, ["PER", "LOC", "B-x"], n) for n in lengths]
        found = [[draw.choice([a, a, *labels(draw, marks, ["PER", "LOC"], 1)]) for a in row] for row in wanted]
        if i % 8 == 0:
            found[0][0] = "plain"
        scores = [100 * float(f(wanted, found, zero_division=0)) for f in (precision_score, recall_score, f1_score)]
        entities.append({"wanted": wanted, "found": found, "scores": scores})
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, use_stemmer=True)
    for _ in range(60):
        found, *wanted = (" ".join(draw.choices(WORDS, k=draw.randint(0, 14))) for _ in range(1 + draw.randint(1, 3)))
        scores = scorer.score_multi(wanted, found)
        texts.append({"wanted": wanted, "found": found, "scores": [100 * scores[name].fmeasure for name in names]})
    rows = {"entities": entities, "texts": texts}
    body = ",\n".join(f'"{k}": [\n' + ",\n".join(map(json.dumps, v)) + "\n]" for k, v in rows.items())
    FILE.write_text(f"{{{body}}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
