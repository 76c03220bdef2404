"""The Transformer of 2017, "Attention Is All You Need" (https://arxiv.org/abs/1706.03762). Start reading here.

    source -> embeddings -> encoder: N x [ self-attention -> feed-forward ] -> memory
                                                                                 |
    target -> embeddings -> decoder: N x [ self-attention -> cross-attention -> feed-forward ] -> logits
    so far                                 to the past        to the memory                       of the next token

    section of the paper                                                    where it is written out
    3.1    x = norm(x + sublayer(x)), N times                               layers/blocks.py: PostNormBlock, Stack
    3.1    the decoder must not see the future                              layers/view.py: causal_mask
    3.2.1  softmax(q k / sqrt(size of a head)) v                            layers/attention.py: attend
    3.2.2  several heads side by side                                       layers/attention.py: MultiHeadAttention
    3.3    relu(x W1 + b1) W2 + b2                                          layers/feedforward.py: FeedForward
    3.4    word vectors x sqrt(hidden size); one table for                  TransformerModel below,
           source, target and the logits                                    TransformerForConditionalGeneration below
    3.5    sines and cosines of the position                                layers/positions.py: sinusoids
    5.4    dropout on sublayers and embeddings; label smoothing             here; models/common/losses.py: token_loss
    6.1    beam search                                                      generation/generate.py

Every other file in this folder changes some line of that table, and says which. The way from source to target through
a model's parts is written out in each one's ``forward``.

Checked against ``torch.nn.Transformer``, which has one norm more at the end of each side, and for checkpoints against
FSMT, transformers 4.57 ``models/fsmt/modeling_fsmt.py``: fairseq's winners of WMT 2019, at the end of this file.

Traps:
    * Files of FSMT call it ``output_projection``, inside the decoder, and tie it to the target's table in any case.
    * FSMT's positions: sines before cosines, slightly other wavelengths, the first token at ``pad_token_id + 1``, and
      padding, told by its id, at a place without a vector.
    * FSMT shifts as mBART does: a target begins with its own last token, the end of the sentence. transformers' own
      ``forward(labels=...)`` feeds the *source* to the decoder; we feed the labels, as its data collator does.
    * transformers 4.57's ``generate`` puts every new token of FSMT in the first place or, with ``use_cache=False``,
      shows the decoder its future. Ours does neither, so that its texts differ, and are more probable.
    * The output of transformers' ``FSMTModel`` are logits; ours are vectors, as all other models' without a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from jaxtyping import Int
from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.config import key
from minitransformer.errors import ConfigError
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FairseqPositions,
    FeedForward,
    MultiHeadAttention,
    PostNormBlock,
    PostNormCrossBlock,
    SinusoidalPositions,
    Stack,
    View,
    activation,
    positions_from_padding,
    tied,
)
from minitransformer.models.common import seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, encoder_decoder
from minitransformer.models.common.fairseq import FairseqConfig, fairseq_layers
from minitransformer.models.common.heads import Logits
from minitransformer.models.common.outputs import Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import Count, Layers, TokenId, Width
from minitransformer.weights import Ignore, Tied, WeightMap, embedding

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(FairseqConfig):
    """The base model of the paper's table 3, under the keys that FSMT's config.json has."""

    model_type: ClassVar[str] = "transformer"
    IGNORES = {
        **FairseqConfig.IGNORES,
        "langs": "read by the tokenizer",
        "decoder": "a copy of other keys",
    }

    vocab_size: Width = key("src_vocab_size", 37000)
    target_vocab_size: Width = key("tgt_vocab_size", 37000)
    hidden_size: Width = key("d_model", 512)
    num_layers: Layers = key("encoder_layers", 6)
    num_heads: Count = key("encoder_attention_heads", 8)
    encoder_ffn_dim: Width = 2048
    decoder_layers: Layers = 6
    decoder_attention_heads: Count = 8
    decoder_ffn_dim: Width = 2048
    activation: str = key("activation_function", "relu")
    scale_embedding: bool = True
    decoder_start_token_id: TokenId | None = 2

    def resized(self, vocab_size: int) -> Self:
        """A copy for a vocabulary of another size; where there are two, the source's."""
        target = vocab_size if self.tie_word_embeddings else self.target_vocab_size
        return self.replace(vocab_size=vocab_size, target_vocab_size=target)

    def resized_target(self, vocab_size: int) -> Self:
        """A copy whose target's vocabulary has another size."""
        return (
            super().resized_target(vocab_size)
            if self.tie_word_embeddings
            else self.replace(target_vocab_size=vocab_size)
        )

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        if self.tie_word_embeddings and self.vocab_size != self.target_vocab_size:
            raise ConfigError(
                f"tie_word_embeddings needs one vocabulary, but src_vocab_size is {self.vocab_size} and "
                f"tgt_vocab_size {self.target_vocab_size}"
            )


WEIGHTS = WeightMap(
    prefix="model",
    backbone=[
        embedding("encoder.embed_tokens", "encoder_embeddings.word"),
        embedding("decoder.embed_tokens", "decoder_embeddings.word"),
        embedding("decoder.output_projection", "decoder_embeddings.word"),
        fairseq_layers("encoder"),
        fairseq_layers("decoder", cross=True),
    ],
    tied=[
        Tied("model.decoder.output_projection.weight", "model.decoder.embed_tokens.weight"),
        Tied("model.encoder.embed_tokens.weight", "model.decoder.output_projection.weight"),
    ],
    ignore=[
        Ignore("model.encoder.embed_positions.weight", why="sinusoids, which are computed"),
        Ignore("model.decoder.embed_positions.weight", why="sinusoids, which are computed"),
    ],
)


class TransformerPretrained(PretrainedModel):
    """What the Transformer's models share."""

    CONFIG = TransformerConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    SCALED_VECTORS = ("encoder_", "decoder_")
    config: TransformerConfig


def transformer_encoder_block(
    config: TransformerConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block of the encoder, of parts that are called as the usual ones are."""
    D, act = config.hidden_size, activation(config.activation)
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.encoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


def transformer_decoder_block(
    config: TransformerConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormCrossBlock:
    """A block of the decoder, of parts that are called as the usual ones are."""
    D, H, act = config.hidden_size, config.decoder_attention_heads, activation(config.activation)
    return PostNormCrossBlock(
        attention(D, H, dropout=config.attention_dropout),
        attention(D, H, dropout=config.attention_dropout),
        ffn(D, config.decoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


class TransformerModel(seq2seq.EncoderDecoder, TransformerPretrained):
    """Encoder and decoder (figure 1, without its top)."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        encoder_block: MakeBlock = transformer_encoder_block,
        decoder_block: MakeBlock = transformer_decoder_block,
    ) -> None:
        super().__init__(config)
        D = config.hidden_size

        def make_embeddings(word: nn.Embedding) -> Embeddings:  # sections 3.4 and 3.5
            position = self.make_positions(config)
            return Embeddings(word, position, scale=config.embedding_scale, dropout=config.dropout)

        source = nn.Embedding(config.vocab_size, D, padding_idx=config.pad_token_id)
        target = nn.Embedding(config.target_vocab_size, D, padding_idx=config.pad_token_id)
        self.encoder_embeddings = make_embeddings(source)
        self.encoder = Stack(encoder_block(config) for _ in range(config.num_layers))
        self.decoder_embeddings = make_embeddings(tied(source) if config.tie_word_embeddings else target)
        self.decoder = Stack(decoder_block(config) for _ in range(config.decoder_layers))

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

    def make_positions(self, config: TransformerConfig) -> nn.Module:
        """The table of section 3.5: sine and cosine alternate."""
        return SinusoidalPositions(config.num_positions, config.hidden_size, interleaved=True)


class TransformerForConditionalGeneration(seq2seq.ConditionalGeneration, TransformerPretrained):
    """Translate (figure 1). For training as in section 5.4 pass ``label_smoothing=0.1`` beside the labels."""

    BACKBONE: ClassVar[type[TransformerModel]] = TransformerModel

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.backbone = self.BACKBONE(config)
        self.head = Logits(config.hidden_size, config.target_vocab_size, bias=False)
        self.head.output.weight = self.backbone.decoder_embeddings.word.weight  # section 3.4


ARCHITECTURE = Architecture(
    TransformerConfig, {"Model": TransformerModel, "ForSeq2SeqLM": TransformerForConditionalGeneration}
)


# -------------------------------------------------------------------------------------- FSMT: as fairseq trained it


@dataclass(frozen=True, kw_only=True)
class FSMTConfig(TransformerConfig):
    """config.json of FSMT: the paper's big model, with a vocabulary for each language."""

    model_type: ClassVar[str] = "fsmt"

    vocab_size: Width = key("src_vocab_size", 42024)
    target_vocab_size: Width = key("tgt_vocab_size", 42024)
    hidden_size: Width = key("d_model", 1024)
    num_layers: Layers = key("encoder_layers", 12)
    num_heads: Count = key("encoder_attention_heads", 16)
    encoder_ffn_dim: Width = 4096
    decoder_layers: Layers = 12
    decoder_attention_heads: Count = 16
    decoder_ffn_dim: Width = 4096
    tie_word_embeddings: bool = False
    generation: dict[str, Any] = field(
        default_factory=lambda: {"max_length": 200, "num_beams": 5, "forced_eos_token_id": 2}, metadata={"key": None}
    )

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        if self.pad_token_id is None:
            raise ConfigError("fsmt needs pad_token_id: its positions are counted from there")


class FSMTModel(TransformerModel):
    """Encoder and decoder."""

    CONFIG = FSMTConfig
    config: FSMTConfig

    def make_positions(self, config: TransformerConfig) -> nn.Module:
        """The table that fairseq's models were trained with."""
        return FairseqPositions(config.num_positions, config.hidden_size, padding=self.padding)

    @property
    def padding(self) -> int:
        """Id of the padding token."""
        assert self.config.pad_token_id is not None  # checked with the config
        return self.config.pad_token_id

    def positions(self, ids: Ids, attention_mask: Ids | None = None, cache: DecoderCache | None = None) -> Ids:
        """Only tokens count, and begin just behind the padding's place."""
        return positions_from_padding(ids, self.padding, offset=0 if cache is None else cache.length)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As all models, but a target's mask that hides nothing is not the same as none."""
        mask = inputs.get("decoder_attention_mask")
        inputs = super().prepare(inputs)
        return inputs if mask is None else {**inputs, "decoder_attention_mask": mask}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Tensor | None = None,
        past_key_values: DecoderCache | None = None,
    ) -> Seq2SeqOutput:
        """As the paper's; a target given as a whole hides its padding without being told where it is."""
        if decoder_input_ids is not None and decoder_attention_mask is None and past_key_values is None:
            decoder_attention_mask = decoder_input_ids.ne(self.padding)
        return super().forward(
            input_ids, attention_mask, decoder_input_ids, decoder_attention_mask, encoder_outputs, past_key_values
        )


class FSMTForConditionalGeneration(seq2seq.WrappedShift, TransformerForConditionalGeneration):
    """Translate."""

    CONFIG = FSMTConfig
    BACKBONE = FSMTModel


FSMT = Architecture(FSMTConfig, {"Model": FSMTModel, "ForSeq2SeqLM": FSMTForConditionalGeneration})
