"""What is handed to ``generate``, under the names that transformers has: caches, processors, criteria.

``generate`` takes any function of (ids, scores) in a list; these classes are for code that subclasses or collects
them. Reference: transformers 4.57 ``generation/logits_process.py``, ``generation/stopping_criteria.py``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import ArgumentError
from minitransformer.generation.caches import as_cache
from minitransformer.generation.stopping import StopStrings
from minitransformer.layers.cache import DecoderCache

__all__ = [
    "DynamicCache",
    "EosTokenCriteria",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MaxLengthCriteria",
    "MaxTimeCriteria",
    "StopStringCriteria",
    "StoppingCriteria",
    "StoppingCriteriaList",
]


class DynamicCache(DecoderCache):
    """The cache of a decoder, which grows with the text: ``model(ids, past_key_values=DynamicCache())``.

    Args:
        ddp_cache_data: keys and values of each layer to begin with.
        config: not used: a cache learns from what is put into it.
        offloading: not offered: a cache stays where the model is.
        offload_only_non_sliding: the same.

    Raises:
        ArgumentError: offloading is asked for.
    """

    def __init__(
        self,
        ddp_cache_data: Iterable[Any] | None = None,
        config: Any = None,
        offloading: bool = False,
        offload_only_non_sliding: bool = False,
    ) -> None:
        super().__init__()
        if offloading:
            raise ArgumentError("offloading=True: a cache stays where the model is")
        self._blocks = list(as_cache(tuple(ddp_cache_data or ())))

    @classmethod
    def from_legacy_cache(cls, past_key_values: Iterable[Any] | None) -> DynamicCache:
        """A cache of tuples of keys and values, (batch, heads, token, head_size), of each layer."""
        return cls(past_key_values)

    def to_legacy_cache(self) -> tuple[tuple[Tensor, ...], ...]:
        """Tuples of keys and values of each layer."""
        return tuple(tuple(block) for block in self)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, cache_kwargs: Any = None) -> Any:
        """Add keys and values of new tokens to a layer; gives those of all tokens."""
        return self[layer_idx].self_attn.append(key_states, value_states)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let row ``i`` go on from row ``beam_idx[i]``."""
        self.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        self.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Have every row so many times."""
        rows = next((len(tensor) for block in self for tensor in block), 0)
        self.select(torch.arange(rows).repeat_interleave(repeats))


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


class MaxTimeCriteria(StoppingCriteria):
    """Ends all rows after a number of seconds.

    Args:
        max_time: seconds.
        initial_timestamp: when they began, as ``time.time()`` tells it; now by default.
    """

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        self.deadline = (time.time() if initial_timestamp is None else initial_timestamp) + max_time

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether the time is over, (rows,)."""
        return torch.full((len(input_ids),), time.time() > self.deadline, device=input_ids.device)


class StopStringCriteria(StoppingCriteria):
    """Ends a row whose last token completes one of these texts."""

    def __init__(self, tokenizer: Any, stop_strings: str | Sequence[str]) -> None:
        self.found = StopStrings(tokenizer, [stop_strings] if isinstance(stop_strings, str) else list(stop_strings))

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether the text is complete, (rows,)."""
        return self.found(input_ids, scores)
