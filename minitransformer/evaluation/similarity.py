"""Likeness of sentences: do the cosines of their vectors rank pairs as people do?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from minitransformer.data import Record
from minitransformer.errors import DataError
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import Answerer, Evaluation, Records, Scores

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer


@dataclass(kw_only=True)
class Similarity(Evaluation):
    """{"text", "text_pair", "score"}: how alike two sentences are, on any scale.

    Options:
        pooling: a sentence's vector: the mean of its tokens' vectors ("mean", special tokens included), the
            first of them ("cls"), or the greatest value in each place ("max").
    """

    pooling: Literal["mean", "cls", "max"] = "mean"

    task = "feature-extraction"
    needs = ("text", "text_pair", "score")
    prediction_type = (float, int)
    default_options = {"truncation": True}

    def prepare_record(self, record: Record) -> Record:
        """With the score as a number."""
        record = super().prepare_record(record)
        try:
            record["score"] = float(record["score"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{record.where()}: the score {record['score']!r} is no number") from error
        return record

    def predict(self, pipe: Pipeline, records: Records) -> list[float]:
        """The cosine of the two sentences of each pair."""
        texts = list(dict.fromkeys(record[name] for record in records for name in ("text", "text_pair")))
        vectors = {}
        for text, features in zip(texts, self.answers(pipe, texts, len(texts), return_tensors=True), strict=True):
            vector = pool(np.asarray(features[0].double()), self.pooling)  # (D,)
            vectors[text] = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return [float(vectors[record["text"]] @ vectors[record["text_pair"]]) for record in records]

    def score(self, predictions: Sequence[float], records: Records) -> Scores:
        """Spearman's rank correlation; 0 for predictions that are all the same.

        Raises:
            DataError: people's scores are all the same, so that there is nothing to predict.
        """
        scores = [record["score"] for record in records]
        if len(set(scores)) < 2:
            raise DataError("a correlation needs at least two pairs that people score differently: pass more data")
        return {"spearman": 100 * spearman(predictions, scores)}

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """The cosine of word counts."""
        return baselines.shared_words

    def reference(self, record: Record) -> Any:
        """What people said."""
        return record["score"]


def pool(vectors: np.ndarray[Any, Any], pooling: str) -> np.ndarray[Any, Any]:
    """One vector (hidden_size) of those of the tokens (tokens, hidden_size)."""
    if pooling == "cls":
        return np.asarray(vectors[0])
    return np.asarray(vectors.mean(axis=0) if pooling == "mean" else vectors.max(axis=0))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """The correlation of ranks; equal values share the mean of their ranks (Spearman 1904).

    NaN if a value is no number; 0 if all values of one side are equal, so that they say nothing about the other.
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if np.isnan(x).any() or np.isnan(y).any():
        return math.nan
    a, b = mean_ranks(x), mean_ranks(y)
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def mean_ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rank of each value, from 1."""
    _, place_of, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place_of])
