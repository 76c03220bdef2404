"""M2M100: translation between a hundred languages, and as NLLB between two hundred.

    embeddings = word x sqrt(hidden size) + sinusoid(position), without a norm
    encoder    = pre-norm blocks: self-attention over the whole source, feed-forward with relu; a norm at the end
    decoder    = pre-norm blocks: self-attention to the past, cross-attention to the source; a norm at the end
    head       = next token, without a bias

Papers: https://arxiv.org/abs/2010.11125, https://arxiv.org/abs/2207.04672 (NLLB).
Reference: transformers 4.57 ``models/m2m_100/modeling_m2m_100.py``.

Traps:
    * Positions are fairseq's: only tokens count, the first one stands at ``pad_token_id + 1``, and padding nowhere.
    * Their sinusoids have all sines before all cosines, other wavelengths than the paper's, and float32's precision.
    * A target begins with </s>, and then the code of its language: ``generate`` needs ``forced_bos_token_id``.
    * M2M100 puts a language's code before the source; NLLB's first files put it behind (see the tokenizers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.config import key
from minitransformer.errors import ConfigError
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FairseqPositions,
    Stack,
    View,
    positions_from_padding,
    tied,
)
from minitransformer.models.common import seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, encoder_decoder
from minitransformer.models.common.fairseq import (
    FAIRSEQ_VERSIONS,
    SHARED_WORDS,
    FairseqConfig,
    fairseq_layers,
    pre_norm_decoder_block,
    pre_norm_encoder_block,
)
from minitransformer.models.common.heads import Logits
from minitransformer.models.common.outputs import Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, WeightMap, embedding, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class M2M100Config(FairseqConfig):
    """config.json of M2M100 and NLLB."""

    model_type: ClassVar[str] = "m2m_100"

    vocab_size: Width = 128112
    activation: str = key("activation_function", "relu")
    attention_dropout: Rate = 0.1
    scale_embedding: bool = True
    decoder_start_token_id: TokenId | None = 2

    def check(self) -> None:
        """Raise a ConfigError if there is no padding id, from which positions are counted."""
        super().check()
        if self.pad_token_id is None:
            raise ConfigError("m2m_100 needs pad_token_id: its positions are counted from there")


WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("shared", "encoder_embeddings.word"),
        fairseq_layers("encoder"),
        norm("encoder.layer_norm", "encoder.final_norm"),
        fairseq_layers("decoder", cross=True),
        norm("decoder.layer_norm", "decoder.final_norm"),
    ],
    heads={"ForSeq2SeqLM": [Row("lm_head.weight", "head.output.weight")]},
    tied=[SHARED_WORDS],
    ignore=[
        *FAIRSEQ_VERSIONS,
        Ignore("model.encoder.embed_positions.weights", why="sinusoids, which are computed"),
        Ignore("model.decoder.embed_positions.weights", why="sinusoids, which are computed"),
    ],
)


class M2M100Pretrained(PretrainedModel):
    """What M2M100's models share."""

    CONFIG = M2M100Config
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    config: M2M100Config


class M2M100Model(seq2seq.EncoderDecoder, M2M100Pretrained):
    """Encoder and decoder."""

    def __init__(
        self,
        config: M2M100Config,
        *,
        encoder_block: MakeBlock = pre_norm_encoder_block,
        decoder_block: MakeBlock = pre_norm_decoder_block,
    ) -> None:
        super().__init__(config)
        D, pad = config.hidden_size, config.pad_token_id
        assert pad is not None  # see the config's ``check``

        def make_embeddings(word: nn.Embedding) -> Embeddings:
            position = FairseqPositions(config.num_positions, D, padding=pad)
            return Embeddings(word, position, scale=config.embedding_scale, dropout=config.dropout)

        word = nn.Embedding(config.vocab_size, D, padding_idx=pad)
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

    def positions(self, ids: Ids, attention_mask: Ids | None = None, cache: DecoderCache | None = None) -> Ids:
        """Only tokens count, and begin just behind the padding's place."""
        pad = self.config.pad_token_id
        assert pad is not None  # see the config's ``check``
        return positions_from_padding(ids, pad, offset=0 if cache is None else cache.length)


class M2M100ForConditionalGeneration(seq2seq.ConditionalGeneration, M2M100Pretrained):
    """Translate."""

    def __init__(self, config: M2M100Config) -> None:
        super().__init__(config)
        self.backbone = M2M100Model(config)
        self.head = Logits(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.encoder_embeddings.word.weight


ARCHITECTURE = Architecture(M2M100Config, {"Model": M2M100Model, "ForSeq2SeqLM": M2M100ForConditionalGeneration})
