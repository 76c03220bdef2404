"""When a sequence is finished: one small criterion for each option of ``generate``.

A criterion maps the ids so far (rows, length) and the recorded scores (or None) to booleans (rows,), or to one boolean
for all rows. The caller's own criteria have the same form.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from minitransformer.errors import GenerationError
from minitransformer.generation.config import GenerationConfig
from minitransformer.options import plain, shown

Scores = tuple[Tensor, ...] | None
Criterion = Callable[[Tensor, Any], Tensor | bool]


class TextOfTokens(Protocol):
    """What stop strings and text streams need of a tokenizer."""

    def __call__(self, text: Any, *, add_special_tokens: bool = True) -> Any: ...
    def convert_ids_to_tokens(self, ids: Any) -> Any: ...
    def convert_tokens_to_string(self, tokens: list[str]) -> str: ...
    def decode(self, ids: Any, **options: Any) -> str: ...


def build_criteria(
    config: GenerationConfig, *, eos: Tensor | None, tokenizer: TextOfTokens | None, extra: Sequence[Criterion] = ()
) -> list[Criterion]:
    """The criteria that ``config`` asks for, and the caller's own.

    Raises:
        GenerationError: stop strings without a tokenizer.
    """
    criteria: list[Criterion] = []
    if config.max_length is not None:
        criteria.append(MaxLength(config.max_length))
    if config.max_time is not None:
        criteria.append(MaxTime(config.max_time))
    if config.stop_strings is not None:
        if tokenizer is None:
            raise GenerationError("stop_strings needs the model's tokenizer: generate(..., tokenizer=tokenizer)")
        texts = [config.stop_strings] if isinstance(config.stop_strings, str) else config.stop_strings
        criteria.append(StopStrings(tokenizer, texts))
    if eos is not None:
        criteria.append(EndToken(eos))
    return [*criteria, *map(OfCaller, extra)]


def finished(criteria: Sequence[Criterion], ids: Tensor, scores: Scores = None) -> Tensor:
    """Which rows any criterion ends, (rows,)."""
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for criterion in criteria:
        done = done | criterion(ids, scores)
    return done


class MaxLength:
    """Ends all rows at a number of tokens, prompt included."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def __call__(self, ids: Tensor, scores: Scores) -> bool:
        return ids.shape[1] >= self.max_length


class MaxTime:
    """Ends all rows after a number of seconds, counted from now."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def __call__(self, ids: Tensor, scores: Scores) -> bool:
        return time.monotonic() > self.deadline


class OfCaller:
    """One of ``stopping_criteria``, which must say for each row, or for all of them, whether it ends."""

    def __init__(self, function: Criterion) -> None:
        self.function = function

    def __call__(self, ids: Tensor, scores: Scores) -> Tensor | bool:
        says = plain(self.function(ids, scores))
        if isinstance(says, bool):
            return says
        if isinstance(says, Tensor) and says.shape in ((1,), (len(ids),)) and not says.is_floating_point():
            return says.bool().to(ids.device)
        raise GenerationError(
            f"a function of stopping_criteria must return True, False or a tensor of ({len(ids)},) booleans, "
            f"not {shown(says)}"
        )


class EndToken:
    """Ends a row at one of the end tokens."""

    def __init__(self, eos: Tensor) -> None:
        self.eos = eos

    def __call__(self, ids: Tensor, scores: Scores) -> Tensor:
        return torch.isin(ids[:, -1], self.eos)


class StopStrings:
    """Ends a row whose last token completes one of the texts, wherever in the token the text ends.

    The text of a token is what it adds behind other text, so that a word piece comes without its marker and a token
    that begins a word with its space.
    """

    def __init__(self, tokenizer: TextOfTokens, texts: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.texts = tuple(texts)
        self._longest = max(len(text) for text in texts)
        ids = tokenizer("abcdef", add_special_tokens=False)["input_ids"]
        self._before: list[str] = tokenizer.convert_ids_to_tokens(ids)
        self._before_length = len(tokenizer.convert_tokens_to_string(self._before))
        self._token_texts: dict[int, str] = {}

    def __call__(self, ids: Tensor, scores: Scores) -> Tensor:
        # A text of n characters spans n tokens at most.
        return torch.tensor([self._ends(row) for row in ids[:, -self._longest :].tolist()], device=ids.device)

    def _ends(self, ids: list[int]) -> bool:
        pieces = [self._text(token) for token in ids]
        before, last = "".join(pieces[:-1]), pieces[-1]
        return any(text in before[max(0, len(before) - len(text) + 1) :] + last for text in self.texts)

    def _text(self, token: int) -> str:
        if token not in self._token_texts:
            piece = self.tokenizer.convert_ids_to_tokens([token])[0]
            text = "\0" if piece is None else self.tokenizer.convert_tokens_to_string([*self._before, piece])
            self._token_texts[token] = text[self._before_length :] if piece is not None else text
        return self._token_texts[token]
