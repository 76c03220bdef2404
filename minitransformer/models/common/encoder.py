"""The door to an encoder by itself: ``model.get_encoder()(input_ids, attention_mask).last_hidden_state``."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.layers import trace
from minitransformer.models.common.boundary import can_be_read, check_inputs
from minitransformer.models.common.outputs import BaseOutput
from minitransformer.models.common.vectors import take_vectors


class Encoder(nn.Module):
    """A model's encoder with its embeddings, whose parts it holds; what it gives is taken as ``encoder_outputs``.

    Args:
        model: an encoder-decoder without its head, or an encoder alone.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, part in model.named_children():
            if name.startswith("encoder"):
                self.add_module(name, part)
        object.__setattr__(self, "model", model)  # no part of this one: it is the other way round

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseOutput | tuple[Any, ...]:
        """Encode texts, or vectors in the place of ids.

        Args:
            input_ids: (batch, token).
            attention_mask: 0 at padding.
            inputs_embeds: (batch, token, size), instead of ids.
            output_attentions: whether to give the attention maps.
            output_hidden_states: whether to give the hidden states.
            return_dict: False for a tuple.

        Raises:
            InputError: neither ids nor vectors, both, or shapes that do not belong together.
        """
        model: Any = self.model
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        edits = take_vectors(model, (), inputs, encodes=True)
        if inputs["input_ids"] is None:
            raise InputError("an encoder reads input_ids, or inputs_embeds in their place: pass one of them")
        if can_be_read(inputs.values()):
            check_inputs(model, (), inputs)
            inputs = model.prepare(inputs)
        asked = {"hidden_states": output_hidden_states, "attentions": output_attentions}
        taps = {kind: model.INTERMEDIATES.get(f"encoder_{kind}") or model.INTERMEDIATES[kind] for kind in asked}
        taps = {kind: patterns for kind, patterns in taps.items() if asked[kind]}
        with trace(model, *(pattern for patterns in taps.values() for pattern in patterns), edit=edits) as t:
            encode = model.encode if hasattr(model, "encode") else model.forward
            encoded = encode(**inputs)
        x = encoded if isinstance(encoded, Tensor) else encoded[0]
        found: dict[str, Any] = {
            kind: tuple(x for pattern in patterns for x in t.matching(pattern)) for kind, patterns in taps.items()
        }
        output = BaseOutput(x, **found)
        return output.to_tuple() if return_dict is False else output
