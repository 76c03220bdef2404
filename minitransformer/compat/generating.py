"""What is handed to ``generate``, under the names that transformers has: caches, processors, criteria.

``generate`` takes any function of (ids, scores) in a list; these classes are for code that subclasses or collects
them. Reference: transformers 4.57 ``generation/logits_process.py``, ``generation/stopping_criteria.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from minitransformer.layers.cache import DecoderCache

__all__ = [
    "DynamicCache",
    "EosTokenCriteria",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MaxLengthCriteria",
    "StoppingCriteria",
    "StoppingCriteriaList",
]


class DynamicCache(DecoderCache):
    """The cache of a decoder, which grows with the text: ``model(ids, past_key_values=DynamicCache())``.

    Args:
        config: not used: a cache learns from what is put into it.
    """

    def __init__(self, config: Any = None) -> None:
        super().__init__()

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens in the cache."""
        return self.length


class LogitsProcessor(ABC):
    """Changes the scores of the next token; subclass it and define ``__call__``."""

    @abstractmethod
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Ids so far (rows, length) and scores (rows, words) -> scores."""


class StoppingCriteria(ABC):
    """Ends texts; subclass it and define ``__call__``."""

    @abstractmethod
    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor | bool:
        """Ids so far (rows, length) and scores -> whether each row ends, or all."""


class LogitsProcessorList(list[Any]):
    """Processors, one after another; also callable as one."""

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        """The scores after all of them."""
        for processor in self:
            scores = processor(input_ids, scores, **kwargs)
        return scores


class StoppingCriteriaList(list[Any]):
    """Criteria; a row ends when one of them says so."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether each row ends, (rows,)."""
        done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        for criterion in self:
            done = done | criterion(input_ids, scores, **kwargs)
        return done


class MaxLengthCriteria(StoppingCriteria):
    """Ends all rows at a length.

    Args:
        max_length: tokens, the prompt included.
        max_position_embeddings: not used: the model itself says when its positions end.
    """

    def __init__(self, max_length: int, max_position_embeddings: int | None = None) -> None:
        self.max_length = max_length

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether the length is reached, (rows,)."""
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.max_length, device=input_ids.device)


class EosTokenCriteria(StoppingCriteria):
    """Ends a row at one of these tokens."""

    def __init__(self, eos_token_id: int | Iterable[int] | Tensor) -> None:
        ids = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        self.eos_token_id = torch.tensor([int(i) for i in ids])

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether the last token is one of them, (rows,)."""
        return torch.isin(input_ids[:, -1], self.eos_token_id.to(input_ids.device))
