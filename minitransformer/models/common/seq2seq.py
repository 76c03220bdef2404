"""Encoder-decoders: what their base models share, and their task heads.

The way from source to target is written out in each architecture's file.

An architecture's base model sets four parts in ``__init__``: ``encoder_embeddings``, ``encoder``,
``decoder_embeddings`` and ``decoder``. The task classes work like those in ``heads``.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.layers import DecoderCache, Embeddings
from minitransformer.models.common.base import GenerativeModel, PretrainedModel
from minitransformer.models.common.boundary import can_be_read
from minitransformer.models.common.losses import classification_loss, span_loss, token_loss
from minitransformer.models.common.outputs import Seq2SeqLogitsOutput, Seq2SeqOutput, Seq2SeqQuestionAnsweringOutput


class Seq2SeqModel(PretrainedModel):
    """What encoder-decoders share: teacher forcing feeds the decoder its targets, shifted by one."""

    def shift_right(self, ids: Int[Tensor, "batch token"]) -> Int[Tensor, "batch token"]:
        """Decoder inputs for these targets: the start token, then all but the last; -100 becomes padding."""
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None or pad is None:
            raise ValueError("the config needs decoder_start_token_id and pad_token_id to make decoder inputs")
        shifted = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)
        return shifted.masked_fill(shifted == -100, pad)


class WrappedShift(Seq2SeqModel):
    """Models whose targets have no fixed start: they begin with their own last token (a language code, the end)."""

    def shift_right(self, ids: Int[Tensor, "batch token"]) -> Int[Tensor, "batch token"]:
        """Decoder inputs for these targets: the last token that is not padding, then all but the last."""
        pad = self.config.pad_token_id
        if pad is None:
            raise ValueError("the config needs pad_token_id to make decoder inputs")
        ids = ids.masked_fill(ids == -100, pad)
        places = torch.arange(ids.shape[1], device=ids.device)
        last = (places * (ids != pad)).argmax(dim=1, keepdim=True)
        return torch.cat([ids.gather(1, last), ids[:, :-1]], dim=1)


class EncoderDecoder(Seq2SeqModel):
    """The base model: encode the source, decode the target with a view of it.

    ``forward`` takes:

    * ``input_ids``: the source; not needed when ``encoder_outputs`` is given.
    * ``attention_mask``: 0 at the source's padding.
    * ``decoder_input_ids``: the target's new tokens.
    * ``decoder_attention_mask``: 0 at the target's padding, for cached and new tokens together.
    * ``encoder_outputs``: what ``encode`` gave for the source.
    * ``past_key_values``: a cache to read and extend; the caller makes it with ``DecoderCache()``.
    """

    encoder_embeddings: Embeddings
    encoder: nn.Module
    decoder_embeddings: Embeddings
    decoder: nn.Module

    def encode(
        self, input_ids: Int[Tensor, "batch source"], attention_mask: Int[Tensor, "batch source"] | None = None
    ) -> Float[Tensor, "batch source hidden_size"]:
        """The encoder's output for these texts; the attention mask is 0 at padding."""
        raise NotImplementedError


def need_source(input_ids: Tensor | None) -> Tensor:
    """The source, where it is needed.

    Raises:
        ValueError: it was not given.
    """
    if input_ids is None:
        raise ValueError("pass input_ids, or what is made from them: encoder_outputs, and decoder_input_ids")
    return input_ids


class ConditionalGeneration(Seq2SeqModel, GenerativeModel):
    """Turn a text into another."""

    HEAD = "ForSeq2SeqLM"
    head: nn.Module

    def encode(
        self, input_ids: Int[Tensor, "batch source"], attention_mask: Int[Tensor, "batch source"] | None = None
    ) -> Float[Tensor, "batch source hidden_size"]:
        """The encoder's output, to be passed as ``encoder_outputs`` at each decoding step."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.backbone.encode(**self.backbone.prepare(inputs) if can_be_read(inputs.values()) else inputs)

    def forward(
        self,
        input_ids: Int[Tensor, "batch source"] | None = None,
        attention_mask: Int[Tensor, "batch source"] | None = None,
        decoder_input_ids: Int[Tensor, "batch target"] | None = None,
        decoder_attention_mask: Int[Tensor, "batch total"] | None = None,
        encoder_outputs: Float[Tensor, "batch source hidden_size"] | None = None,
        past_key_values: DecoderCache | None = None,
        labels: Int[Tensor, "batch target"] | None = None,
        label_smoothing: float = 0.0,
    ) -> Seq2SeqLogitsOutput:
        """Score every token as the next one of the target.

        Args:
            input_ids: the source; not needed when ``encoder_outputs`` is given.
            attention_mask: 0 at the source's padding.
            decoder_input_ids: the target's tokens so far; by default made from ``labels``, shifted right.
            decoder_attention_mask: 0 at the target's padding, for cached and new tokens together.
            encoder_outputs: what ``encode`` gave for the source.
            past_key_values: a cache to read and extend; the caller makes it with ``DecoderCache()``.
            labels: the target; -100 where there is nothing to learn.
            label_smoothing: see ``token_loss``.
        """
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = self.shift_right(labels)
        output: Seq2SeqOutput = self.backbone(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs, past_key_values
        )
        logits = self.head(output.last_hidden_state)
        return Seq2SeqLogitsOutput(
            token_loss(logits, labels, label_smoothing=label_smoothing),
            logits,
            past_key_values=output.past_key_values,
            encoder_last_hidden_state=output.encoder_last_hidden_state,
        )


class SequenceClassification(Seq2SeqModel):
    """One prediction for a text, read where the decoder has seen the end."""

    HEAD = "ForSequenceClassification"
    head: nn.Module

    def forward(
        self,
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"] | None = None,
        decoder_input_ids: Int[Tensor, "batch token"] | None = None,
        decoder_attention_mask: Int[Tensor, "batch token"] | None = None,
        encoder_outputs: Float[Tensor, "batch token hidden_size"] | None = None,
        labels: Tensor | None = None,
    ) -> Seq2SeqLogitsOutput:
        """Score the labels for each text; the decoder reads the text itself, shifted right."""
        if decoder_input_ids is None:
            decoder_input_ids = self.shift_right(input_ids)
        output: Seq2SeqOutput = self.backbone(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs
        )
        ends = input_ids.eq(cast(int, self.config.eos_token_id))
        last = (torch.arange(ends.shape[1], device=ends.device) * ends).argmax(dim=-1)
        logits = self.head(output.last_hidden_state.take_along_dim(last[:, None, None], dim=1)[:, 0])
        return Seq2SeqLogitsOutput(
            classification_loss(logits, labels, self.config.problem_type),
            logits,
            encoder_last_hidden_state=output.encoder_last_hidden_state,
        )

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Raise a ValueError, if the texts have unequal numbers of end tokens, or none."""
        counts = inputs["input_ids"].eq(self.config.eos_token_id).sum(dim=1)
        if int(counts.min()) == 0 or int(counts.min()) != int(counts.max()):
            raise ValueError(
                f"all texts need the same number of end tokens (id {self.config.eos_token_id}), at least 1"
            )
        return inputs


class QuestionAnswering(Seq2SeqModel):
    """Where in a text the answer starts and ends, read by the decoder. The head has two outputs."""

    HEAD = "ForQuestionAnswering"
    head: nn.Module

    def forward(
        self,
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"] | None = None,
        decoder_input_ids: Int[Tensor, "batch token"] | None = None,
        decoder_attention_mask: Int[Tensor, "batch token"] | None = None,
        encoder_outputs: Float[Tensor, "batch token hidden_size"] | None = None,
        start_positions: Int[Tensor, " batch"] | None = None,
        end_positions: Int[Tensor, " batch"] | None = None,
    ) -> Seq2SeqQuestionAnsweringOutput:
        """Score each token as the answer's first and as its last; the decoder reads the text itself, shifted right."""
        if decoder_input_ids is None:
            decoder_input_ids = self.shift_right(input_ids)
        output: Seq2SeqOutput = self.backbone(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs
        )
        scores = self.head(output.last_hidden_state)  # (B, T, 2)
        start, end = scores[..., 0].contiguous(), scores[..., 1].contiguous()  # each its own, to be written to
        return Seq2SeqQuestionAnsweringOutput(
            span_loss(start, end, start_positions, end_positions),
            start,
            end,
            encoder_last_hidden_state=output.encoder_last_hidden_state,
        )
