"""A large vocabulary for less: words in clusters by falling frequency, the rare ones with shorter vectors.

Words are numbered by falling frequency, and a cluster is a range of numbers. Input and output may share their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.layers.embeddings import check_ids
from minitransformer.layers.taps import Tap


class AdaptiveEmbedding(nn.Module):
    """Word vectors that are shorter for rare words (https://arxiv.org/abs/1809.10853, section 3).

    Args:
        clusters: first word and end of each cluster.
        widths: length of the vectors of each cluster; one for all, if they share a table.
        hidden_size: length that the vectors are brought to.
        project: whether there are projections that do so.
    """

    def __init__(
        self, clusters: Sequence[tuple[int, int]], widths: Sequence[int], hidden_size: int, *, project: bool
    ) -> None:
        super().__init__()
        self.clusters = clusters if len(widths) > 1 else [(0, clusters[-1][1])]
        sizes = [end - first for first, end in self.clusters]
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size, width in zip(sizes, widths, strict=True))
        self.projections = nn.ModuleList(nn.Linear(width, hidden_size, bias=False) for width in widths if project)
        self.scale = hidden_size**0.5
        self.words = Tap("batch token hidden_size")
        self.output = Tap("batch token hidden_size")

    def forward(self, ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token hidden_size"]:
        """Look every word up in the table of its cluster."""
        x: Tensor | None = None
        for i, (first, end) in enumerate(self.clusters):
            found = self.tables[i]((ids - first).clamp(0, end - first - 1))  # of other clusters' words: any vector
            found = self.projections[i](found) if self.projections else found
            x = found if x is None else torch.where((ids >= first)[..., None], found, x)
        assert x is not None  # there is a cluster
        return self.output(self.words(x) * self.scale)

    def check(self, input_ids: Tensor, *_: Tensor | None) -> None:
        """Raise a ValueError that names the id, if one lies outside the vocabulary."""
        check_ids("input_ids", input_ids, self.clusters[-1][1])


class AdaptiveLogSoftmax(nn.Module):
    """Log probabilities of words, by way of clusters (https://arxiv.org/abs/1609.04309).

    One softmax over the frequent words and the clusters of the rare ones; within each of these, another.

    Args:
        clusters: first word and end of each cluster; the first is that of the frequent words.
        widths: length of the vectors of each cluster; one for all, if they share a table.
        hidden_size: length of the input.
        project: whether it must be brought to the length of the vectors.
    """

    def __init__(
        self, clusters: Sequence[tuple[int, int]], widths: Sequence[int], hidden_size: int, *, project: bool
    ) -> None:
        super().__init__()
        self.clusters_of_words = clusters
        tables = clusters if len(widths) > 1 else [(0, clusters[-1][1])]
        self.words = nn.ModuleList(nn.Linear(w, end - first) for w, (first, end) in zip(widths, tables, strict=True))
        # From the vectors' length to the input's, like the embedding's, whose weights they may share: used backwards.
        each = widths if len(widths) > 1 else [widths[0]] * len(clusters)
        self.projections = nn.ModuleList(nn.Linear(width, hidden_size, bias=False) for width in each if project)
        self.clusters = nn.Linear(widths[0], len(clusters) - 1) if len(clusters) > 1 else None
        self.frequent = Tap("batch ... frequent")
        self.logits = Tap("batch ... classes")

    def forward(self, x: Float[Tensor, "*batch hidden_size"]) -> Float[Tensor, "*batch vocab_size"]:
        """Log probabilities of all words."""
        head = self.frequent(self._frequent(x))
        shortlist = self.clusters_of_words[0][1]
        parts = [head[..., :shortlist]]
        for i in range(1, len(self.clusters_of_words)):
            parts.append(head[..., shortlist + i - 1, None] + self._scores(x, i).log_softmax(dim=-1))
        return self.logits(torch.cat(parts, dim=-1))

    def loss(self, x: Float[Tensor, "token hidden_size"], labels: Int[Tensor, " token"]) -> Float[Tensor, ""]:
        """Mean negative log probability of the labels. A cluster's words are scored only for labels among them.

        A label of -100 is not counted; nor, as in the reference, a token whose loss is zero.
        """
        check_ids("labels", labels[labels != -100], self.clusters_of_words[-1][1])
        head = self._frequent(x)
        losses = x.new_zeros(len(x))
        for i, (first, end) in enumerate(self.clusters_of_words):
            inside = (labels >= first) & (labels < end)
            place = (labels[inside] - first)[:, None]
            if i == 0:
                found = head[inside].gather(1, place)
            else:
                cluster = head[inside, self.clusters_of_words[0][1] + i - 1, None]
                found = cluster + self._scores(x[inside], i).log_softmax(dim=-1).gather(1, place)
            losses[inside] = -found[:, 0]
        return losses[losses != 0].mean()

    def _frequent(self, x: Tensor) -> Tensor:
        """Log probabilities of the frequent words and of the clusters."""
        return self._scores(x, 0).log_softmax(dim=-1)

    def _scores(self, x: Tensor, i: int) -> Tensor:
        if self.projections:
            x = x @ cast(nn.Linear, self.projections[i]).weight
        if len(self.words) > 1:
            scores = self.words[i](x)
        else:
            words, part = cast(nn.Linear, self.words[0]), slice(*self.clusters_of_words[i])
            scores = F.linear(x, words.weight[part], words.bias[part])
        if i == 0 and self.clusters is not None:
            scores = torch.cat([scores, self.clusters(x)], dim=-1)
        return scores
