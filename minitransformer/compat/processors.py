"""The processors of ``generate`` as objects: ``LogitsProcessorList([TopKLogitsWarper(50), ...])``.

Each holds the options of one function of ``generation/processors.py``, and calls it. Reference: transformers 4.57
``generation/logits_process.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from minitransformer.compat.generating import LogitsProcessor
from minitransformer.errors import GenerationError
from minitransformer.generation import processors as functions
from minitransformer.options import shown

Ids = int | list[int] | Tensor


def _ids(tokens: Ids) -> Tensor:
    return torch.as_tensor([tokens] if isinstance(tokens, int) else tokens).long().flatten()


def _number(name: str, value: Any, lowest: float, highest: float = math.inf, *, whole: bool = False) -> Any:
    """``value``, if it is a number in this range.

    Raises:
        GenerationError: it is not.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value <= highest:
        kind = "a whole number" if whole else "a number"
        upper = "" if highest == math.inf else f" and at most {highest}"
        raise GenerationError(f"{name} must be {kind} of at least {lowest}{upper}, not {shown(value)}")
    return value


def _no_other_filter(filter_value: float) -> None:
    if filter_value != -math.inf:
        raise GenerationError(f"filter_value={filter_value}: what is dropped here has the score -inf")


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Makes tokens that occurred less likely; ``penalty`` is above 1 for that."""

    def __init__(self, penalty: float) -> None:
        self.penalty = _number("penalty", penalty, 1e-9)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.repetition_penalty(input_ids, scores, self.penalty)


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """Forbids a sequence of ``ngram_size`` tokens a second time."""

    def __init__(self, ngram_size: int) -> None:
        self.ngram_size = _number("ngram_size", ngram_size, 1, whole=True)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.no_repeat_ngram(input_ids, scores, self.ngram_size)


class NoBadWordsLogitsProcessor(LogitsProcessor):
    """Forbids these sequences of tokens; one that is the end token alone is left."""

    def __init__(self, bad_words_ids: Iterable[list[int]], eos_token_id: Ids | None = None) -> None:
        ends = [] if eos_token_id is None else [[i] for i in _ids(eos_token_id).tolist()]
        self.bias = {tuple(words): -math.inf for words in bad_words_ids if list(words) not in ends}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.sequence_bias(input_ids, scores, functions.bias_groups(self.bias, scores.device))


class MinLengthLogitsProcessor(LogitsProcessor):
    """Forbids the end before ``min_length`` tokens."""

    def __init__(self, min_length: int, eos_token_id: Ids, device: Any = "cpu") -> None:
        self.min_length, self.eos = _number("min_length", min_length, 0, whole=True), _ids(eos_token_id).to(device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.min_length(input_ids, scores, self.min_length, self.eos.to(scores.device))


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """Forbids the end before ``min_new_tokens`` behind a prompt."""

    def __init__(self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: Ids, device: Any = "cpu") -> None:
        prompt = _number("prompt_length_to_skip", prompt_length_to_skip, 0, whole=True)
        super().__init__(prompt + _number("min_new_tokens", min_new_tokens, 0, whole=True), eos_token_id, device)


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """Forbids tokens."""

    def __init__(self, suppress_tokens: Ids, device: Any = "cpu") -> None:
        self.tokens = _ids(suppress_tokens).to(device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.suppress_tokens(input_ids, scores, self.tokens.to(scores.device))


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """Allows one token only as the first behind the start."""

    def __init__(self, bos_token_id: int) -> None:
        self.length, self.token = 1, _ids(bos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.force_tokens_at(input_ids, scores, self.length, self.token.to(scores.device))


class ForcedEOSTokenLogitsProcessor(ForcedBOSTokenLogitsProcessor):
    """Allows the end only as the last token of ``max_length``."""

    def __init__(self, max_length: int, eos_token_id: Ids, device: Any = "cpu") -> None:
        self.length = _number("max_length", max_length, 1, whole=True) - 1
        self.token = _ids(eos_token_id).to(device)


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """Replaces what is no number."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.remove_invalid_values(input_ids, scores)


class TemperatureLogitsWarper(LogitsProcessor):
    """Flattens (above 1) or sharpens (below 1) the distribution."""

    def __init__(self, temperature: float) -> None:
        self.temperature = _number("temperature", temperature, 1e-9)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.temperature(input_ids, scores, self.temperature)


class TopKLogitsWarper(LogitsProcessor):
    """Keeps the ``top_k`` best tokens, and at least ``min_tokens_to_keep``."""

    def __init__(self, top_k: int, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        _no_other_filter(filter_value)
        self.top_k = max(_number("top_k", top_k, 1, whole=True), min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return functions.top_k(input_ids, scores, min(self.top_k, scores.shape[-1]))


class _Share(LogitsProcessor):
    """Those that keep tokens by a share: the function, and the argument's name."""

    function: Any

    def __init__(self, share: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        _no_other_filter(filter_value)
        self.share = _number("the share of probability", share, 0, 1)
        self.keep = _number("min_tokens_to_keep", min_tokens_to_keep, 1, whole=True)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        kept: Tensor = type(self).function(input_ids, scores, self.share, self.keep)
        return kept


class TopPLogitsWarper(_Share):
    """Keeps the fewest best tokens whose probabilities sum to ``top_p``."""

    function = staticmethod(functions.top_p)

    def __init__(self, top_p: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(top_p, filter_value, min_tokens_to_keep)


class MinPLogitsWarper(_Share):
    """Keeps tokens at least ``min_p`` times as likely as the best one."""

    function = staticmethod(functions.min_p)

    def __init__(self, min_p: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(min_p, filter_value, min_tokens_to_keep)


class TypicalLogitsWarper(_Share):
    """Keeps tokens whose surprise is nearest to the expected one, up to ``mass``."""

    function = staticmethod(functions.typical_p)

    def __init__(self, mass: float = 0.9, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(mass, filter_value, min_tokens_to_keep)


class EpsilonLogitsWarper(_Share):
    """Drops tokens less likely than ``epsilon``."""

    function = staticmethod(functions.epsilon_cutoff)

    def __init__(self, epsilon: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1) -> None:
        super().__init__(epsilon, filter_value, min_tokens_to_keep)


class EtaLogitsWarper(_Share):
    """Drops tokens below a threshold that falls when the distribution is flat."""

    function = staticmethod(functions.eta_cutoff)

    def __init__(
        self, epsilon: float, filter_value: float = -math.inf, min_tokens_to_keep: int = 1, device: Any = "cpu"
    ) -> None:
        super().__init__(epsilon, filter_value, min_tokens_to_keep)
