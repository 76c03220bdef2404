"""Which source word is each target word made from? Read off cross-attention, and compared with people's answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import StudyError
from minitransformer.study.attribution import attention_norms
from minitransformer.study.detectors import to_words
from minitransformer.study.runs import has_taps, run

Link = tuple[int, int]
"""Number of a source token (or word), number of a target one."""


@dataclass(frozen=True)
class Alignment:
    """How much each target token took from each source token, and the links that follow."""

    weights: Tensor  # (target, source)

    @property
    def links(self) -> set[Link]:
        """For each target token the source token it took most from."""
        return {(int(source), target) for target, source in enumerate(self.weights.argmax(-1))}

    def words(self, source: Sequence[int | None], target: Sequence[int | None]) -> Alignment:
        """Of words instead of tokens.

        Args:
            source: for each source token the number of its word, None for special tokens.
            target: the same for the target tokens.
        """
        return Alignment(to_words(self.weights, target, source))


def align(
    model: Any,
    source: Tensor,
    target: Tensor,
    *,
    layer: int | None = None,
    head: int | None = None,
    by: str = "weight",
    at: str = "output",
    attention_mask: Tensor | None = None,
) -> list[Alignment]:
    """Alignments of texts with their translations, from cross-attention.

    Args:
        model: an encoder-decoder with a language model head.
        source: ids, (batch, source).
        target: ids as the tokenizer gives them for a target, (batch, target); -100 or padding at the end.
        layer: of the decoder; by default the mean of all.
        head: of that layer; by default all together.
        by: "weight", the attention; or "norm", the length of what it brings (Kobayashi et al. 2020).
        at: "output": a word belongs to the row that predicts it; "input": to the row that reads it, one later
            (Chen et al. 2020, https://arxiv.org/abs/2004.14837).
        attention_mask: 0 at the source's padding.

    Returns:
        One for each text, without padding.

    Raises:
        StudyError: the model has no cross-attention, no such layer or head, or an option has no such value.
    """
    if not has_taps(model, "*.cross_attn.pattern"):
        raise StudyError(f"{type(model).__name__} has no cross-attention: alignments need an encoder-decoder")
    if by not in ("weight", "norm") or at not in ("output", "input"):
        raise StudyError(f"by is 'weight' or 'norm', at is 'output' or 'input': not {by!r} and {at!r}")
    mask = torch.ones_like(source) if attention_mask is None else attention_mask
    pad = model.config.pad_token_id
    inputs = {"input_ids": source, "attention_mask": mask, "decoder_input_ids": model.shift_right(target)}
    if at == "input":  # one row more, that reads the last word
        inputs["decoder_input_ids"] = torch.cat(
            [inputs["decoder_input_ids"], target[:, -1:].masked_fill(target[:, -1:] == -100, pad)], dim=1
        )
    if by == "norm":
        found = [x for name, x in attention_norms(model, inputs, by_head=True).items() if "cross_attn" in name]
    else:
        watched = run(model, inputs, "*.cross_attn.pattern")
        found = [watched.calls[name][call] for name, call in watched.order]
    if layer is not None and not -len(found) <= layer < len(found):
        raise StudyError(f"layer {layer} does not exist: the decoder has {len(found)}")
    chosen = torch.stack(found if layer is None else [found[layer]])  # (layers, B, H, T, S)
    if head is not None and not -chosen.shape[2] <= head < chosen.shape[2]:
        raise StudyError(f"head {head} does not exist: there are {chosen.shape[2]}")
    weights = (chosen if head is None else chosen[:, :, [head]]).mean((0, 2))  # (B, T, S)
    weights = weights[:, 1:] if at == "input" else weights
    written = (target != -100) & (target != pad)
    return [Alignment(w[rows][:, keys.bool()]) for w, rows, keys in zip(weights, written, mask, strict=True)]


def alignment_error_rate(
    found: Collection[Link], sure: Collection[Link], possible: Collection[Link] | None = None
) -> float:
    """1 - (|A & S| + |A & P|) / (|A| + |S|): 0 is perfect (Och & Ney 2003, section 5.1).

    Args:
        found: A.
        sure: S.
        possible: P, which holds S whether it says so or not; by default S itself.
    """
    a, s = set(found), set(sure)
    p = s | set(possible or ())
    if not a and not s:
        raise StudyError("there is nothing to compare: no link found, none sure")
    return 1 - (len(a & s) + len(a & p)) / (len(a) + len(s))
