"""How near each form of ``optimized`` stays to the readable model, on weights that were trained: numbers and scores.

    python benchmarks/forms.py DATA

MiniLM and the checkpoints that come with the package; every form that this processor has. DATA holds the folders that
the checkpoints were measured with (see docs/checkpoints.md): what is not there is left out. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from minitransformer import AutoTokenizer, pipeline
from minitransformer.demo import checkpoint_folder
from minitransformer.evaluation import evaluate
from minitransformer.hub import embedded_folder
from minitransformer.optimize import forms_here, optimized

PROMPTS = ("Once upon a time", "The old man", "She opened the door", "In the morning", "It was a dark", "He said that")
LIMIT = 400


def records(path: Path) -> list[list[str]]:
    """The lines of a file of tab-separated columns."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def similarity(data: Path) -> tuple[str, str, Any, dict[str, Any]]:
    rows = [
        {"score": float(row[4]), "text": row[5], "text_pair": row[6]}
        for row in records(data / "para_stsb/sts-test.tsv")
    ]
    return "feature-extraction", "spearman", rows, {}


def answers(data: Path) -> tuple[str, str, Any, dict[str, Any]]:
    articles = json.loads((data / "qa_xquad/xquad.en.json").read_text(encoding="utf-8"))["data"]
    rows = [
        {"question": asked["question"], "context": part["context"], "answers": asked["answers"]}
        for article in articles
        for part in article["paragraphs"]
        for asked in part["qas"]
    ]
    return "question-answering", "f1", rows[:LIMIT], {}


def sentiment(data: Path) -> tuple[str, str, Any, dict[str, Any]]:
    rows = [dict(zip(("text", "label"), row, strict=False)) for row in records(data / "sent_sst2/dev.tsv")[1:]]
    names = {"0": "NEGATIVE", "1": "POSITIVE"}
    rows = [{"text": row["text"], "label": names.get(row["label"], row["label"])} for row in rows]
    return "text-classification", "accuracy", rows[:LIMIT], {}


def translation(data: Path) -> tuple[str, str, Any, dict[str, Any]]:
    rows = [{"source": row[1], "target": row[0]} for row in records(data / "mt_tatoeba_fra_eng/test.tsv")]
    return "translation", "bleu", rows[: LIMIT // 2], {"num_beams": 4}


SCORES: dict[str, Callable[[Path], tuple[str, str, Any, dict[str, Any]]]] = {
    "MiniLM": similarity,
    "bert-qa": answers,
    "bert-sentiment": sentiment,
    "marian-fr-en": translation,
}
TASKS = {
    "MiniLM": "feature-extraction",
    "bert-qa": "question-answering",
    "bert-sentiment": "text-classification",
    "marian-fr-en": "translation",
    "gpt2-stories": "text-generation",
}


def folder_of(name: str) -> Path:
    return Path(checkpoint_folder()) if name == "MiniLM" else Path(embedded_folder(f"minitransformer/{name}"))


@torch.no_grad()
def hidden(model: Any, tokenizer: Any) -> torch.Tensor:
    """The last hidden states of some sentences."""
    batch = tokenizer(list(PROMPTS), padding=True, return_tensors="pt")
    backbone = getattr(model, "backbone", model)
    encoder = {name: batch[name] for name in ("input_ids", "attention_mask")}
    decoder = {"decoder_input_ids": batch["input_ids"]} if "decoder_input_ids" in backbone.forward_parameters() else {}
    states: torch.Tensor = backbone(**encoder, **decoder).last_hidden_state
    return states[batch["attention_mask"].bool()].double()


def written(model: Any, tokenizer: Any) -> list[int]:
    """What the model writes, one prompt after another."""
    found = []
    for prompt in PROMPTS:
        ids = tokenizer([prompt], return_tensors="pt")["input_ids"]
        new = {"max_new_tokens": 40, "min_new_tokens": 40, "do_sample": False}
        found += model.generate(ids, **new)[0, ids.shape[1] :].tolist()
    return found


def measured(name: str, data: Path) -> Iterator[str]:
    """A row of the table for each form."""
    folder = folder_of(name)
    model, tokenizer = pipeline(TASKS[name], folder).model, AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    exact = hidden(model, tokenizer)
    text = written(model, tokenizer) if name in ("gpt2-stories", "marian-fr-en") else []
    for form in ("readable", *forms_here()):
        made = model if form == "readable" else optimized(model, form)
        distance = float((hidden(made, tokenizer) - exact).norm() / exact.norm())
        same = [a == b for a, b in zip(written(made, tokenizer), text, strict=True)] if text else []
        kept = f"{100 * sum(same) / len(same):.1f} %" if same else ""
        score = ""
        try:
            task, metric, rows, options = SCORES[name](data)
        except (KeyError, FileNotFoundError):
            pass
        else:
            value = evaluate(task, made, rows, tokenizer=folder, device=-1, **options)[metric]
            score = f"{metric} {value:.2f} ({len(rows)} records)"
        yield f"| {name} | {form} | {distance:.1e} | {kept} | {score} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="where the folders of data are")
    parser.add_argument("--model", choices=TASKS, nargs="*", default=list(TASKS))
    given = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print("| model | form | distance of hidden states | tokens kept | score |\n|---|---|---:|---:|---|")
    for name in given.model:
        for row in measured(name, given.data):
            print(row, flush=True)


if __name__ == "__main__":
    main()
