"""What the course borrows from ``datasets`` and ``evaluate``, as far as its cells ask: small, in memory, without a Hub.

Rows come from the tables below; metrics from the packages that ``evaluate`` itself calls.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch


class ClassLabel:
    """Names of classes."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.num_classes = names, len(names)

    def int2str(self, number: int) -> str:
        return self.names[number]


class Sequence:
    """A list of such values."""

    def __init__(self, feature: Any) -> None:
        self.feature = feature


class Dataset:
    """A table: rows by number, columns by name."""

    def __init__(self, columns: Mapping[str, list[Any]], features: Mapping[str, Any] | None = None) -> None:
        self.columns = {name: list(values) for name, values in columns.items()}
        self.features = {name: (features or {}).get(name) for name in self.columns}
        self.format: str | None = None

    @classmethod
    def from_dict(cls, columns: Mapping[str, list[Any]]) -> Dataset:
        return cls(columns)

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    @property
    def num_rows(self) -> int:
        return len(self)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._formatted(self.columns[key])
        if isinstance(key, slice):
            return {name: self._formatted(values[key]) for name, values in self.columns.items()}
        if isinstance(key, list):
            return {name: self._formatted([values[i] for i in key]) for name, values in self.columns.items()}
        return {name: self._formatted(values[int(key)]) for name, values in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def _formatted(self, value: Any) -> Any:
        return torch.tensor(value) if self.format == "torch" and not _has_text(value) else value

    def map(
        self,
        function: Callable[..., Mapping[str, Any]],
        batched: bool = False,
        batch_size: int = 1000,
        remove_columns: list[str] | str | None = None,
        **options: Any,
    ) -> Dataset:
        kept = {n: v for n, v in self.columns.items() if n not in _list(remove_columns)}
        made: dict[str, list[Any]] = {}
        for start in range(0, len(self), batch_size if batched else 1):
            part = self[start : start + batch_size] if batched else self[start]
            found = function(part, **options.get("fn_kwargs", {}))
            for name in found.keys():  # noqa: SIM118  (an Encoding counts its texts)
                made.setdefault(name, []).extend(found[name] if batched else [found[name]])
        return Dataset({**kept, **made}, self.features)

    def filter(self, function: Callable[[dict[str, Any]], bool]) -> Dataset:
        return self.select([i for i in range(len(self)) if function(self[i])])

    def select(self, rows: Any) -> Dataset:
        return Dataset({name: [values[i] for i in rows] for name, values in self.columns.items()}, self.features)

    def shuffle(self, seed: int = 0) -> Dataset:
        rows = list(range(len(self)))
        random.Random(seed).shuffle(rows)
        return self.select(rows)

    def train_test_split(self, train_size: float | int | None = None, test_size: Any = None, seed: int = 0) -> Any:
        size = train_size if train_size is not None else len(self) - int(test_size)
        cut = int(size * len(self)) if isinstance(size, float) else size
        mixed = self.shuffle(seed)
        parts = {"train": range(cut), "test": range(cut, len(self))}
        return DatasetDict({name: mixed.select(rows) for name, rows in parts.items()})

    def remove_columns(self, names: list[str] | str) -> Dataset:
        return Dataset({n: v for n, v in self.columns.items() if n not in _list(names)}, self.features)

    def rename_column(self, old: str, new: str) -> Dataset:
        names = {old: new}
        features = {names.get(n, n): f for n, f in self.features.items()}
        return Dataset({names.get(n, n): v for n, v in self.columns.items()}, features)

    def set_format(self, kind: str) -> None:
        self.format = kind


class DatasetDict(dict[str, Any]):
    """Several tables by name; what is asked of all is done to each."""

    def __getattr__(self, name: str) -> Any:
        if name == "column_names":
            return {split: table.column_names for split, table in self.items()}

        def every(*args: Any, **options: Any) -> DatasetDict:
            return DatasetDict({split: getattr(table, name)(*args, **options) for split, table in self.items()})

        return every


def _list(names: list[str] | str | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])


def _has_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_text(each) for each in value)
    return not isinstance(value, int | float | np.number)


PAIRS = [
    ("The king had a key.", "The queen had a key.", 0),
    ("Alice was curious about the door.", "Alice wanted to know about the door.", 1),
    ("The rabbit said it was late.", "It was late, said the rabbit.", 1),
    ("The table stood in the garden.", "The bottle was white.", 0),
    ("She drank from the bottle.", "From the bottle she drank.", 1),
    ("They had little paper.", "He had a large house.", 0),
    ("The model reads a token.", "A token is read by the model.", 1),
    ("The language of Paris is French.", "The caterpillar sat on a mushroom.", 0),
]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TAGGED = [
    (["Alice", "lives", "in", "Paris", "."], [1, 0, 0, 3, 0]),
    (["The", "White", "Rabbit", "went", "to", "London", "."], [0, 1, 2, 0, 0, 3, 0]),
    (["Moscow", "is", "a", "town", "."], [3, 0, 0, 0, 0]),
    (["The", "queen", "of", "New", "Zealand", "waited", "."], [0, 0, 0, 3, 4, 0, 0]),
]
LINES = [
    "The little rabbit went down the hole in the garden, and Alice went after it.",
    "When the queen saw the white table she asked for the key of the door.",
    "A transformer reads every token of a sequence and attends to what is of use.",
    "It was a curious house, with paper on the doors and a bottle on each table.",
]
TRANSLATED = [
    ("She wants to leave tomorrow.", "Elle veut partir demain."),
    ("He buys a car.", "Il achète une voiture."),
    ("We live in a small house.", "Nous vivons dans une petite maison."),
    ("My brother is tired.", "Mon frère est fatigué."),
]
REVIEWED = [
    ("We read the book in one day. It was a pleasure from the first page to the last.", "A pleasure to read"),
    ("The story is slow and has no end. We do not want to read it again.", "Slow and without end"),
    ("A good gift for children, who laughed about the rabbit and the queen.", "Good gift for children"),
    ("Half of the pages were white. The paper is bad as well.", "Bad paper"),
]
ASKED = [
    ("Where does Tom live?", "My name is Sarah and I work in Berlin. My brother Tom lives in France.", "France"),
    ("Who works in Berlin?", "My name is Sarah and I work in Berlin. My brother Tom lives in France.", "Sarah"),
    ("What did Alice find?", "Alice found a golden key on the table and opened the door.", "a golden key"),
    ("Where was the key?", "Alice found a golden key on the table and opened the door.", "on the table"),
]
FUNCTIONS = [
    "def add(first, second):\n    return first + second\n",
    "import pandas as pd\nframe = pd.read_csv('data.csv')\n",
    "class Model:\n    def forward(self, inputs):\n        return self.head(inputs)\n",
    "for number in range(10):\n    print(number)\n",
]


def load_dataset(name: str, part: str | None = None, split: str | None = None, **options: Any) -> Any:
    """One of the tables, as a training and a validation (or test) set."""
    features: dict[str, Any] = {}
    if name == "glue":
        columns = dict(zip(("sentence1", "sentence2", "label"), map(list, zip(*PAIRS, strict=True)), strict=True))
        columns["idx"] = list(range(len(PAIRS)))
        features = {"label": ClassLabel(["not_equivalent", "equivalent"])}
    elif name == "conll2003":
        columns = dict(zip(("tokens", "ner_tags"), map(list, zip(*TAGGED, strict=True)), strict=True))
        features = {"ner_tags": Sequence(ClassLabel(TAGS))}
    elif name == "imdb":
        columns = {"text": LINES, "label": [0, 1, 0, 1]}
    elif name == "kde4":
        columns = {"id": list(range(4)), "translation": [{"en": en, "fr": fr} for en, fr in TRANSLATED]}
    elif name == "reviews":
        columns = {"review_body": [b for b, _ in REVIEWED], "review_title": [t for _, t in REVIEWED]}
    elif name == "squad":
        answers = [{"text": [a], "answer_start": [c.index(a)]} for _, c, a in ASKED]
        columns = {"id": [str(i) for i in range(4)], "question": [q for q, _, _ in ASKED]}
        columns |= {"context": [c for _, c, _ in ASKED], "answers": answers}
    elif name == "code":
        columns = {"content": FUNCTIONS}
    else:
        raise ValueError(f"the shelf has no {name}")
    whole = Dataset(columns, features)
    parts = DatasetDict(train=whole, validation=whole, test=whole)
    return parts[split] if split else parts


class Metric:
    """Gathers predictions and measures them at the end."""

    def __init__(self, measure: Callable[..., dict[str, Any]]) -> None:
        self.measure, self.seen = measure, ([], [])

    def add_batch(self, predictions: Any, references: Any) -> None:
        self.seen[0].extend(predictions)
        self.seen[1].extend(references)

    def compute(self, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, Any]:
        given = (predictions, references) if predictions is not None else self.seen
        found = self.measure(*given, **options)
        self.seen = ([], [])
        return found


def load(name: str, part: str | None = None) -> Metric:
    """A metric of ``evaluate`` by its name."""
    return Metric(MEASURES[name])


def _glue(predictions: Any, references: Any) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    a, b = [int(x) for x in references], [int(x) for x in predictions]
    return {"accuracy": float(accuracy_score(a, b)), "f1": float(f1_score(a, b, zero_division=0))}


def _seqeval(predictions: Any, references: Any) -> dict[str, float]:
    from minitransformer.evaluation.entities import entities  # seqeval itself exists as a source package only

    both = [(set(entities(p)), set(entities(r))) for p, r in zip(predictions, references, strict=True)]
    right, found, wanted = (sum(map(len, sets)) for sets in zip(*((p & r, p, r) for p, r in both), strict=True))
    words = [a == b for p, r in zip(predictions, references, strict=True) for a, b in zip(p, r, strict=True)]
    return {
        "overall_precision": right / max(found, 1),
        "overall_recall": right / max(wanted, 1),
        "overall_f1": 2 * right / max(found + wanted, 1),
        "overall_accuracy": float(np.mean(words)),
    }


def _sacrebleu(predictions: Any, references: Any) -> dict[str, float]:
    import sacrebleu

    return {"score": sacrebleu.corpus_bleu(predictions, list(zip(*references, strict=True))).score}


def _rouge(predictions: Any, references: Any, use_stemmer: bool = False) -> dict[str, float]:
    from nltk.stem.porter import PorterStemmer

    from minitransformer.evaluation.rouge import ROUGE, rouge, words_of  # rouge-score is a source package, too

    stem = PorterStemmer().stem if use_stemmer else str
    scores = [rouge(words_of(b, stem), [words_of(a, stem)]) for a, b in zip(references, predictions, strict=True)]
    return {kind: float(np.mean([score[kind] for score in scores])) for kind in ROUGE}


def _squad(predictions: Any, references: Any) -> dict[str, float]:
    def words(text: str) -> list[str]:
        return [word for word in re.findall(r"\w+", text.lower()) if word not in ("a", "an", "the")]

    exact, overlap = [], []
    texts = {each["id"]: each["prediction_text"] for each in predictions}
    for each in references:
        a, b = words(texts[each["id"]]), words(each["answers"]["text"][0])
        common = sum((Counter(a) & Counter(b)).values())
        exact.append(a == b)
        overlap.append(2 * common / (len(a) + len(b)) if common else 0.0)
    return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(overlap))}


MEASURES = {"glue": _glue, "seqeval": _seqeval, "sacrebleu": _sacrebleu, "rouge": _rouge, "squad": _squad}
