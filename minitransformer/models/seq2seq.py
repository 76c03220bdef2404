"""Encoder-decoders: the way from source to target that they share, and their task heads.

An architecture's base model sets four parts in ``__init__``: ``encoder_embeddings``, ``encoder``,
``decoder_embeddings`` and ``decoder``. The task classes work like those in ``heads``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.layers import DecoderCache, Embeddings, causal_mask, combine, padding_mask, token_positions
from minitransformer.models.base import GenerativeModel, PretrainedModel
from minitransformer.models.losses import classification_loss, span_loss, token_loss
from minitransformer.models.outputs import Seq2SeqLogitsOutput, Seq2SeqOutput, Seq2SeqQuestionAnsweringOutput


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
    """The base model: encode the source, decode the target with a view of it."""

    encoder_embeddings: Embeddings
    encoder: nn.Module
    decoder_embeddings: Embeddings
    decoder: nn.Module

    def encode(
        self, input_ids: Int[Tensor, "batch source"], attention_mask: Int[Tensor, "batch source"] | None = None
    ) -> Float[Tensor, "batch source hidden_size"]:
        """The encoder's output for these texts; the attention mask is 0 at padding."""
        x = self.encoder_embeddings(input_ids, self.positions(input_ids))
        return self.encoder(x, mask=padding_mask(attention_mask))

    def forward(
        self,
        input_ids: Int[Tensor, "batch source"] | None = None,
        attention_mask: Int[Tensor, "batch source"] | None = None,
        decoder_input_ids: Int[Tensor, "batch target"] | None = None,
        decoder_attention_mask: Int[Tensor, "batch total"] | None = None,
        encoder_outputs: Float[Tensor, "batch source hidden_size"] | None = None,
        past_key_values: DecoderCache | None = None,
    ) -> Seq2SeqOutput:
        """Encode the source, and decode the target or continue it.

        Args:
            input_ids: the source; not needed when ``encoder_outputs`` is given.
            attention_mask: 0 at the source's padding.
            decoder_input_ids: the target's new tokens; by default made from the source by ``default_target``.
            decoder_attention_mask: 0 at the target's padding, for cached and new tokens together.
            encoder_outputs: what ``encode`` gave for the source.
            past_key_values: a cache to read and extend; the caller makes it with ``DecoderCache()``.

        Raises:
            ValueError: neither source nor encoder output, or nothing to decode.
        """
        if encoder_outputs is None:
            if input_ids is None:
                raise ValueError("pass input_ids, or encoder_outputs from an earlier encode()")
            encoder_outputs = self.encode(input_ids, attention_mask)
        if decoder_input_ids is None:
            decoder_input_ids = self.default_target(input_ids)

        T, offset = decoder_input_ids.shape[1], 0 if past_key_values is None else past_key_values.length
        device = decoder_input_ids.device
        x = self.decoder_embeddings(decoder_input_ids, self.positions(decoder_input_ids, offset))  # (B, T, D)
        x = self.decoder(
            x,
            mask=combine(causal_mask(T, offset + T, device), padding_mask(decoder_attention_mask)),
            memory=encoder_outputs,
            memory_mask=padding_mask(attention_mask),
            cache=past_key_values,
        )
        return Seq2SeqOutput(x, past_key_values=past_key_values, encoder_last_hidden_state=encoder_outputs)

    def positions(self, ids: Int[Tensor, "batch token"], offset: int = 0) -> Int[Tensor, "#batch token"]:
        """Positions of these tokens, ``offset`` others having come before: counted from the left, padding included."""
        return token_positions(ids.shape[1], offset=offset, device=ids.device)

    def default_target(self, input_ids: Int[Tensor, "batch source"] | None) -> Int[Tensor, "batch target"]:
        """What to decode when nobody says; most architectures refuse to guess."""
        raise ValueError("pass decoder_input_ids: the target's tokens so far")


class ConditionalGeneration(Seq2SeqModel, GenerativeModel):
    """Turn a text into another."""

    HEAD = "ForSeq2SeqLM"
    head: nn.Module

    def encode(
        self, input_ids: Int[Tensor, "batch source"], attention_mask: Int[Tensor, "batch source"] | None = None
    ) -> Float[Tensor, "batch source hidden_size"]:
        """The encoder's output, to be passed as ``encoder_outputs`` at each decoding step."""
        return self.backbone.encode(input_ids, attention_mask)

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
        """Score the labels for each text; the decoder reads the text itself, shifted right.

        Raises:
            ValueError: the texts have unequal numbers of end tokens, or none.
        """
        if decoder_input_ids is None:
            decoder_input_ids = self.shift_right(input_ids)
        output: Seq2SeqOutput = self.backbone(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs
        )
        ends = input_ids.eq(torch.as_tensor(self.config.eos_token_id, device=input_ids.device))
        counts = ends.sum(dim=1)
        if int(counts.min()) == 0 or int(counts.min()) != int(counts.max()):
            raise ValueError(
                f"all texts need the same number of end tokens (id {self.config.eos_token_id}), at least 1"
            )
        last = output.last_hidden_state[ends].view(len(input_ids), -1, output.last_hidden_state.shape[-1])[:, -1]
        logits = self.head(last)
        return Seq2SeqLogitsOutput(
            classification_loss(logits, labels, self.config.problem_type),
            logits,
            encoder_last_hidden_state=output.encoder_last_hidden_state,
        )


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
