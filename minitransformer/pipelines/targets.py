"""The words that fill-mask is to consider: what pieces they have, and how their scores compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minitransformer.errors import PipelineError

if TYPE_CHECKING:
    from minitransformer.tokenization import Tokenizer


def pieces_in_text(
    word: str, text: str, ids: Sequence[int], number: int, tokenizer: Tokenizer, options: Mapping[str, Any]
) -> list[int]:
    """What a target is tokenized to in place of one mask of a text; alone, if it does not stand apart there.

    Args:
        word: the target.
        text: the text.
        ids: its tokens.
        number: which of its masks.
        tokenizer: made the tokens of the text.
        options: of that call.
    """
    place = [i for i, token in enumerate(ids) if token == tokenizer.mask_token_id][number]
    before, after = list(ids[:place]), list(ids[place + 1 :])
    mask = str(tokenizer.mask_token)
    parts = text.split(mask)
    if len(parts) - 1 == sum(token == tokenizer.mask_token_id for token in ids):  # so that they can be told apart
        filled = mask.join(parts[: number + 1]) + word + mask.join(parts[number + 1 :])
        new: list[int] = tokenizer(filled, **options)["input_ids"]
        end = len(new) - len(after)
        if new[:place] == before and new[end:] == after and end > place:
            return new[place:end]
    pieces: list[int] = tokenizer(word, add_special_tokens=False)["input_ids"]
    if not pieces:
        raise PipelineError(f"the target {word!r} has no tokens: leave it out")
    return pieces


def check_words(targets: Any) -> list[str]:
    """Targets as a list of words."""
    words = [targets] if isinstance(targets, str) else list(targets)
    for word in words:
        if not isinstance(word, str):
            raise PipelineError(f"targets must be words, not {word!r}")
    if not words:
        raise PipelineError("targets is empty: pass at least one word, or leave it out")
    return words


def widen(row: Tensor, place: int, times: int) -> Tensor:
    """One column of (1, T) repeated."""
    return torch.cat([row[:, :place], row[:, place : place + 1].repeat(1, times), row[:, place + 1 :]], dim=1)


def rescale(answers: list[dict[str, Any]], normalize: str | None) -> None:
    """Make "score" of "logprob" in another way."""
    logprobs = torch.tensor([answer["logprob"] for answer in answers], dtype=torch.float64)
    if normalize == "pieces":
        scores = (logprobs / torch.tensor([len(answer["token"]) for answer in answers])).exp()
    elif normalize == "targets":
        scores = logprobs.softmax(dim=0)
    else:
        return
    for answer, score in zip(answers, scores.tolist(), strict=True):
        answer["score"] = score
