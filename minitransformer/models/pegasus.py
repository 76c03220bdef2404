"""Pegasus: an encoder-decoder pretrained to write the sentences that sum up a text (https://arxiv.org/abs/1912.08777).

    embeddings = word x sqrt(hidden size), if scaled + sinusoid(position), without a norm
    encoder    = pre-norm blocks: self-attention over the whole source, feed-forward; a norm at the end
    decoder    = pre-norm blocks: self-attention to the past, cross-attention to the source; a norm at the end
    head       = next token, with a bias for each

Reference: transformers 4.57 ``models/pegasus/modeling_pegasus.py``.

Traps:
    * Sinusoids have all sines before all cosines; files hold them, and they are always computed.
    * Positions count padding.
    * A target begins with the padding token, id 0; the end is id 1, and a text has no beginning.
    * Wired as mBART, but its embeddings are Marian's: no norm on them, no table of positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.layers import DecoderCache, Embeddings, SinusoidalPositions, Stack, View, tied
from minitransformer.models.common import seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, encoder_decoder
from minitransformer.models.common.fairseq import (
    FAIRSEQ_HEADS,
    SHARED_WORDS,
    FairseqConfig,
    fairseq_layers,
    pre_norm_decoder_block,
    pre_norm_encoder_block,
)
from minitransformer.models.common.heads import Logits
from minitransformer.models.common.outputs import Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import TokenId, Width
from minitransformer.weights import Ignore, WeightMap, embedding, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class PegasusConfig(FairseqConfig):
    """config.json of Pegasus."""

    model_type: ClassVar[str] = "pegasus"
    IGNORES = {**FairseqConfig.IGNORES, "force_bos_token_to_be_generated": "transformers ignores it"}

    vocab_size: Width = 50265
    pad_token_id: TokenId | None = 0
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | list[TokenId] | None = 1
    decoder_start_token_id: TokenId | None = 0
    generation: dict[str, Any] = field(default_factory=lambda: {"forced_eos_token_id": 1}, metadata={"key": None})


WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("shared", "encoder_embeddings.word"),
        fairseq_layers("encoder"),
        norm("encoder.layer_norm", "encoder.final_norm"),
        fairseq_layers("decoder", cross=True),
        norm("decoder.layer_norm", "decoder.final_norm"),
    ],
    heads={"ForSeq2SeqLM": FAIRSEQ_HEADS["ForSeq2SeqLM"]},
    tied=[SHARED_WORDS],
    ignore=[
        Ignore("model.encoder.embed_positions.weight", why="sinusoids, which are computed"),
        Ignore("model.decoder.embed_positions.weight", why="sinusoids, which are computed"),
    ],
)


class PegasusPretrained(PretrainedModel):
    """What Pegasus' models share."""

    CONFIG = PegasusConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    SCALED_VECTORS = ("decoder_",)
    config: PegasusConfig


class PegasusModel(seq2seq.EncoderDecoder, PegasusPretrained):
    """Encoder and decoder."""

    def __init__(
        self,
        config: PegasusConfig,
        *,
        encoder_block: MakeBlock = pre_norm_encoder_block,
        decoder_block: MakeBlock = pre_norm_decoder_block,
    ) -> None:
        super().__init__(config)
        D = config.hidden_size

        def make_embeddings(word: nn.Embedding) -> Embeddings:
            position = SinusoidalPositions(config.num_positions, D, interleaved=False)
            return Embeddings(word, position, scale=config.embedding_scale, dropout=config.dropout)

        word = nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id)
        self.encoder_embeddings = make_embeddings(word)
        self.encoder = Stack((encoder_block(config) for _ in range(config.num_layers)), nn.LayerNorm(D))
        self.decoder_embeddings = make_embeddings(tied(word))
        self.decoder = Stack((decoder_block(config) for _ in range(config.decoder_layers)), nn.LayerNorm(D))

    def encode(self, input_ids: Ids, attention_mask: Ids | None = None) -> Tensor:
        """The encoder's output for these texts; the attention mask is 0 at padding."""
        x = self.encoder_embeddings(input_ids, self.positions(input_ids))  # (B, S, D)
        return self.encoder(x, View(attention_mask))

    def forward(
        self,
        input_ids: Ids | None = None,
        attention_mask: Ids | None = None,
        decoder_input_ids: Ids | None = None,
        decoder_attention_mask: Ids | None = None,
        encoder_outputs: Tensor | None = None,
        past_key_values: DecoderCache | None = None,
    ) -> Seq2SeqOutput:
        """Encode the source, and decode the target or continue it; arguments as ``EncoderDecoder`` tells."""
        if encoder_outputs is None:
            encoder_outputs = self.encode(need_source(input_ids), attention_mask)
        if decoder_input_ids is None:
            raise ValueError("pass decoder_input_ids: the target's tokens so far")
        source = View(attention_mask, memory=encoder_outputs)
        view = View(decoder_attention_mask, causal=True, cache=past_key_values, source=source)
        x = self.decoder_embeddings(decoder_input_ids, self.positions(decoder_input_ids, cache=past_key_values))
        x = self.decoder(x, view)  # (B, T, D)
        return Seq2SeqOutput(x, past_key_values=past_key_values, encoder_last_hidden_state=encoder_outputs)


class PegasusForConditionalGeneration(seq2seq.ConditionalGeneration, PegasusPretrained):
    """Sum up."""

    OPTIONAL = ("head.output.bias",)

    def __init__(self, config: PegasusConfig) -> None:
        super().__init__(config)
        self.backbone = PegasusModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size)
        self.head.output.bias.requires_grad_(False)  # a constant of the file, final_logits_bias
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.encoder_embeddings.word.weight


ARCHITECTURE = Architecture(PegasusConfig, {"Model": PegasusModel, "ForSeq2SeqLM": PegasusForConditionalGeneration})
