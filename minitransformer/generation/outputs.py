"""What ``generate`` returns beside the tokens, when asked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from minitransformer.generation.config import GenerationConfig
from minitransformer.generation.stepper import Stepper

Tensors = tuple[Tensor, ...]


@dataclass
class GenerateOutput:
    """The result of ``generate(..., return_dict_in_generate=True)``; what was not asked for is None.

    Attributes:
        sequences: (rows, length) ids, prompt included for a decoder-only model.
        sequences_scores: (rows,) of a beam search: sum of log probabilities / length ** length_penalty.
        scores: for each step, (rows, vocabulary): the scores after all processors.
        logits: for each step, (rows, vocabulary): the model's own.
        beam_indices: (rows, new tokens) of a beam search: in which row of that step's scores a token was chosen; -1
            after the end.
        past_key_values: the cache.
        attentions, hidden_states: decoder-only; for each step, for each layer.
        decoder_attentions, cross_attentions, decoder_hidden_states: encoder-decoder; for each step, for each layer.
        encoder_attentions, encoder_hidden_states: encoder-decoder; for each layer.
    """

    sequences: Tensor
    sequences_scores: Tensor | None = None
    scores: Tensors | None = None
    logits: Tensors | None = None
    beam_indices: Tensor | None = None
    encoder_attentions: Tensors | None = None
    encoder_hidden_states: Tensors | None = None
    attentions: tuple[Tensors, ...] | None = None
    hidden_states: tuple[Tensors, ...] | None = None
    decoder_attentions: tuple[Tensors, ...] | None = None
    cross_attentions: tuple[Tensors, ...] | None = None
    decoder_hidden_states: tuple[Tensors, ...] | None = None
    past_key_values: Any = None

    def keys(self) -> list[str]:
        """Names of the fields that are not None, in order."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]

    def __getitem__(self, key: str | int) -> Any:
        name = key if isinstance(key, str) else self.keys()[key]
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()


@dataclass
class Record:
    """Collects, step by step, what ``config`` asks for."""

    config: GenerationConfig
    _lists: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, logits: Tensor, scores: Tensor, output: Any) -> None:
        """Note one step: the model's logits, the processed scores, and the model's output with its intermediates."""
        if not self.config.return_dict_in_generate:
            return
        if self.config.output_logits:
            self._list("logits").append(logits)
        if self.config.output_scores:
            self._list("scores").append(scores)
        for option, names in _INTERMEDIATES.items():
            for name in names if getattr(self.config, option) else ():
                if getattr(output, name, None) is not None:
                    self._list(name).append(getattr(output, name))

    @property
    def scores(self) -> Tensors | None:
        """The scores so far, for stopping criteria."""
        if not (self.config.return_dict_in_generate and self.config.output_scores):
            return None
        return tuple(self._list("scores"))

    def result(self, sequences: Tensor, stepper: Stepper, **more: Any) -> Tensor | GenerateOutput:
        """What ``generate`` returns."""
        if not self.config.return_dict_in_generate:
            return sequences
        fields: dict[str, Any] = {name: tuple(values) for name, values in self._lists.items()}
        for name in ("encoder_attentions", "encoder_hidden_states"):
            fields[name] = getattr(stepper.encoder_output, name, None)
        return GenerateOutput(sequences, **fields, **more, past_key_values=stepper.cache)

    def _list(self, name: str) -> list[Any]:
        return self._lists.setdefault(name, [])


_INTERMEDIATES = {
    "output_attentions": ("attentions", "decoder_attentions", "cross_attentions"),
    "output_hidden_states": ("hidden_states", "decoder_hidden_states"),
}


def transition_scores(
    sequences: Tensor, scores: Tensors, beam_indices: Tensor | None = None, *, normalize_logits: bool = False
) -> Tensor:
    """The score of every generated token (``compute_transition_scores`` of transformers).

    Args:
        sequences: (rows, length) as ``generate`` returned them.
        scores: as ``generate`` returned them.
        beam_indices: those too, of a beam search.
        normalize_logits: make log probabilities of the scores first.

    Returns:
        (rows, new tokens); 0 after the end of a beam.
    """
    stacked = torch.stack(scores)  # (steps, rows, V)
    if normalize_logits:
        stacked = stacked.log_softmax(dim=-1)
    if beam_indices is None:
        beam_indices = torch.arange(stacked.shape[1], device=sequences.device)[:, None].expand(-1, len(scores))
    length = int((beam_indices >= 0).sum(dim=-1).max())
    beam_indices = beam_indices[:, :length].long()
    tokens = sequences[:, sequences.shape[1] - length :]
    steps = torch.arange(length, device=sequences.device)
    chosen = stacked[steps, beam_indices.clamp(min=0), tokens]
    return chosen.masked_fill(beam_indices < 0, 0.0)
