"""T5: every task is a text turned into another (https://arxiv.org/abs/1910.10683); v1.1 and FLAN-T5 with gates.

mT5 is v1.1's model in 101 languages; umT5's blocks have positions of their own. Both stand at the end of this file.

    embeddings = word, shared by encoder and decoder; no positions
    encoder    = pre-norm blocks without biases: self-attention over the whole source, feed-forward; a norm at the end
    decoder    = pre-norm blocks without biases: self-attention to the past, cross-attention to the source; a norm
    positions  = in each stack, a learned bias on the scores for each bucket of distances, the same for all blocks
    heads      = next token; or a prediction from the decoder's vector at the end of the text, or the encoder's vectors

Reference: transformers 4.57 ``models/t5/modeling_t5.py``.

Traps:
    * Scores are not divided by anything, and heads x head size need not be the hidden size.
    * Norms divide by the root mean square: no mean, no bias. The reference computes them and the softmax in float32
      even in a float64 model.
    * v1.0 compares with the embedding table, scaled by 1 / sqrt(hidden size); v1.1 has a table of its own, unscaled.
      Files hold the embedding under any of three names, v1.0's under ``lm_head`` too.
    * "gated-gelu" means gelu_new, "gated-silu" means silu.
    * Only the first block of a file's stack has the positions' bias; cross-attention has none.
    * Files name the backbone without prefix, but those of two classifiers with ``transformer.``.
    * In float16 the feed-forward's last projection overflows: it stays in float32, and so does what it is added to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.errors import ConfigError
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    GatedFeedForward,
    MultiHeadAttention,
    PreNormBlock,
    PreNormCrossBlock,
    RelativePositions,
    RMSNorm,
    Stack,
    View,
    activation,
    tied,
)
from minitransformer.layers import linear as linear_layer
from minitransformer.models.common import heads, seq2seq
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, encoder_decoder, single_stack
from minitransformer.models.common.heads import DenseClassifier, Logits
from minitransformer.models.common.outputs import BaseOutput, LogitsOutput, Seq2SeqOutput
from minitransformer.models.common.seq2seq import need_source
from minitransformer.ranges import Count, Layers, Rate, Spread, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class T5Config(ModelConfig):
    """config.json of T5."""

    model_type: ClassVar[str] = "t5"
    IGNORES = {
        "is_gated_act": "feed_forward_proj says it",
        "dense_act_fn": "feed_forward_proj says it",
        "n_positions": "positions are distances, and have no end",
        "max_position_embeddings": "the same, under another name",
    }

    vocab_size: Width = 32128
    hidden_size: Width = key("d_model", 512)
    num_layers: Layers = 6
    decoder_layers: Layers | None = key("num_decoder_layers", None)
    num_heads: Count = 8
    head_size: Width = key("d_kv", 64)
    intermediate_size: Width = key("d_ff", 2048)
    feed_forward: str = key("feed_forward_proj", "relu")
    num_buckets: Count = key("relative_attention_num_buckets", 32)
    max_distance: Count = key("relative_attention_max_distance", 128)
    dropout: Rate = key("dropout_rate", 0.1)
    classifier_dropout: Rate = 0.0
    norm_eps: Rate = key("layer_norm_epsilon", 1e-6)
    initializer_range: Spread = key("initializer_factor", 1.0)
    pad_token_id: TokenId | None = 0
    eos_token_id: TokenId | list[TokenId] | None = 1
    is_encoder_decoder: bool = True

    @property
    def gated(self) -> bool:
        """Whether the feed-forward network has a gate."""
        return self.feed_forward.startswith("gated-")

    @property
    def activation(self) -> str:
        """Name of the feed-forward's function; "gated-gelu" is an old way to say "gated-gelu_new"."""
        return "gelu_new" if self.feed_forward == "gated-gelu" else self.feed_forward.removeprefix("gated-")

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        activation(self.activation)
        if self.num_buckets < 4 or self.max_distance <= self.num_buckets // 2:
            raise ConfigError(
                f"relative_attention_num_buckets={self.num_buckets} must be at least 4, and "
                f"relative_attention_max_distance={self.max_distance} more than half of it"
            )


def _layers(side: str, *, cross: bool = False) -> list[Row]:
    """Rows of all layers of one side, "encoder" or "decoder"; ``cross`` adds the attention to the source."""
    layer, block, last = f"{side}.block.{{i}}.layer", f"{side}.blocks.{{i}}", 2 if cross else 1
    rows = [
        *embedding(f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias", f"{side}_positions.bias"),
        *embedding(f"{layer}.0.SelfAttention.relative_attention_bias", f"{block}.attn.positions.bias"),  # umT5
        *_attention(f"{layer}.0.SelfAttention", f"{block}.attn"),
        *norm(f"{layer}.0.layer_norm", f"{block}.attn_norm", bias=False),
    ]
    if cross:
        rows += _attention(f"{layer}.1.EncDecAttention", f"{block}.cross_attn")
        rows += norm(f"{layer}.1.layer_norm", f"{block}.cross_attn_norm", bias=False)
    return [
        *rows,
        *linear(f"{layer}.{last}.DenseReluDense.wi", f"{block}.ffn.up", bias=False),
        *linear(f"{layer}.{last}.DenseReluDense.wi_0", f"{block}.ffn.gate", bias=False),
        *linear(f"{layer}.{last}.DenseReluDense.wi_1", f"{block}.ffn.linear", bias=False),
        *linear(f"{layer}.{last}.DenseReluDense.wo", f"{block}.ffn.down", bias=False),
        *norm(f"{layer}.{last}.layer_norm", f"{block}.ffn_norm", bias=False),
        *norm(f"{side}.final_layer_norm", f"{side}.final_norm", bias=False),
    ]


def _attention(hf: str, ours: str) -> list[Row]:
    names = {"q": "query", "k": "key", "v": "value", "o": "output"}
    return [row for theirs, own in names.items() for row in linear(f"{hf}.{theirs}", f"{ours}.{own}", bias=False)]


def _weights(p: str) -> WeightMap:
    """The weight map of files in which the backbone's names begin with ``p``."""
    return WeightMap(
        prefix="transformer",
        file_prefix=p,
        backbone=[embedding("shared", "encoder_embeddings.word"), _layers("encoder"), _layers("decoder", cross=True)],
        heads={
            "ForSeq2SeqLM": [Row("lm_head.weight", "head.output.weight")],
            "ForSequenceClassification": [
                linear("classification_head.dense", "head.dense"),
                linear("classification_head.out_proj", "head.output"),
            ],
            "ForTokenClassification": linear("classifier", "head.output"),
            "ForQuestionAnswering": linear("qa_outputs", "head.output"),
        },
        tied=[
            Tied(
                f"{p}shared.weight",
                f"{p}encoder.embed_tokens.weight",
                f"{p}decoder.embed_tokens.weight",
                "lm_head.weight",
            )
        ],
        ignore=[
            Ignore(
                f"{p}decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
                why="cross-attention has no positions; the first files held a table that nothing used",
            )
        ],
    )


WEIGHTS = _weights("")


class T5Pretrained(PretrainedModel):
    """What T5's models share."""

    CONFIG = T5Config
    WEIGHTS = WEIGHTS
    INTERMEDIATES = encoder_decoder()
    FLOAT32 = ("*.ffn.down.weight",)
    config: T5Config

    def initial_std(self, name: str) -> float:
        """As in Mesh TensorFlow: vectors keep their size, and small queries stand in for the scale of the scores."""
        D, K, c = self.config.hidden_size, self.config.head_size, self.config
        fan_in = {"query": D * K, "attn.output": c.num_heads * K, "ffn.down": c.intermediate_size}
        if name.endswith("word.weight") or (self.HEAD == "ForSeq2SeqLM" and name == "head.output.weight"):
            return c.initializer_range
        return c.initializer_range * next((n for part, n in fan_in.items() if f"{part}.weight" in name), D) ** -0.5


class Widened(nn.Module):
    """What T5's feed-forward networks do in float16: the last projection, which would overflow, stays in float32."""

    down: nn.Linear

    def narrow(self, hidden: Tensor) -> Tensor:
        """The last projection, in the type of its weights."""
        return linear_layer(self.down, hidden.to(getattr(self.down.weight, "dtype", hidden.dtype)))


class T5FeedForward(Widened, FeedForward):
    """That of v1.0."""


class T5GatedFeedForward(Widened, GatedFeedForward):
    """That of v1.1."""


def t5_ffn(config: T5Config) -> nn.Module:
    """The feed-forward network, with or without gate."""
    kind = T5GatedFeedForward if config.gated else T5FeedForward
    act, dropout = activation(config.activation), config.dropout
    return kind(config.hidden_size, config.intermediate_size, act, dropout=dropout, bias=False)


def t5_attention(config: T5Config, kind: Callable[..., nn.Module] = MultiHeadAttention) -> nn.Module:
    """Attention without biases and temperature."""
    D, H, K = config.hidden_size, config.num_heads, config.head_size
    return kind(D, H, head_size=K, bias=False, dropout=config.dropout, temperature=1.0)


def t5_encoder_block(
    config: T5Config,
    *,
    attention: Callable[..., nn.Module] = MultiHeadAttention,
    ffn: Callable[[T5Config], nn.Module] = t5_ffn,
) -> PreNormBlock:
    """A block of the encoder, of parts that are called as the usual ones are."""
    norm = partial(RMSNorm, config.hidden_size, eps=config.norm_eps)
    return PreNormBlock(t5_attention(config, attention), ffn(config), norm, dropout=config.dropout)


def t5_decoder_block(
    config: T5Config,
    *,
    attention: Callable[..., nn.Module] = MultiHeadAttention,
    ffn: Callable[[T5Config], nn.Module] = t5_ffn,
) -> PreNormCrossBlock:
    """A block of the decoder, of parts that are called as the usual ones are."""
    norm = partial(RMSNorm, config.hidden_size, eps=config.norm_eps)
    attn, cross_attn = t5_attention(config, attention), t5_attention(config, attention)
    return PreNormCrossBlock(attn, cross_attn, ffn(config), norm, dropout=config.dropout)


def t5_stack(config: T5Config, num_layers: int, block: MakeBlock) -> Stack:
    """So many blocks, and the norm at the end."""
    final_norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
    return Stack([block(config) for _ in range(num_layers)], final_norm, dropout=config.dropout)


def t5_positions(config: T5Config, *, bidirectional: bool) -> RelativePositions:
    """The bias on the scores, the same for all blocks of a stack."""
    max_distance = config.max_distance
    return RelativePositions(
        config.num_buckets, config.num_heads, max_distance=max_distance, bidirectional=bidirectional
    )


class T5Model(seq2seq.EncoderDecoder, T5Pretrained):
    """Encoder and decoder."""

    def __init__(
        self,
        config: T5Config,
        *,
        encoder_block: MakeBlock = t5_encoder_block,
        decoder_block: MakeBlock = t5_decoder_block,
    ) -> None:
        super().__init__(config)
        word = nn.Embedding(config.vocab_size, config.hidden_size)
        decoder_layers = config.num_layers if config.decoder_layers is None else config.decoder_layers
        self.encoder_embeddings = Embeddings(word, dropout=config.dropout)
        self.encoder = t5_stack(config, config.num_layers, encoder_block)
        self.encoder_positions: nn.Module = t5_positions(config, bidirectional=True)
        self.decoder_embeddings = Embeddings(tied(word), dropout=config.dropout)
        self.decoder = t5_stack(config, decoder_layers, decoder_block)
        self.decoder_positions: nn.Module = t5_positions(config, bidirectional=False)

    def encode(self, input_ids: Ids, attention_mask: Ids | None = None) -> Tensor:
        """The encoder's output for these texts; the attention mask is 0 at padding."""
        S = input_ids.shape[1]
        return self.encoder(self.encoder_embeddings(input_ids), View(attention_mask, bias=self.encoder_positions(S, S)))

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
        T, seen = decoder_input_ids.shape[1], 0 if past_key_values is None else past_key_values.length
        bias, source = self.decoder_positions(T, seen + T), View(attention_mask, memory=encoder_outputs)
        view = View(decoder_attention_mask, causal=True, bias=bias, cache=past_key_values, source=source)
        x = self.decoder(self.decoder_embeddings(decoder_input_ids), view)  # (B, T, D)
        return Seq2SeqOutput(x, past_key_values=past_key_values, encoder_last_hidden_state=encoder_outputs)


class T5EncoderModel(T5Pretrained):
    """The encoder alone."""

    INTERMEDIATES = single_stack("encoder")

    def __init__(self, config: T5Config, *, encoder_block: MakeBlock = t5_encoder_block) -> None:
        super().__init__(config)
        word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.encoder_embeddings = Embeddings(word, dropout=config.dropout)
        self.encoder = t5_stack(config, config.num_layers, encoder_block)
        self.encoder_positions: nn.Module = t5_positions(config, bidirectional=True)

    def forward(self, input_ids: Ids, attention_mask: Ids | None = None) -> BaseOutput:
        """Encode texts; the attention mask is 0 at padding."""
        S = input_ids.shape[1]
        x = self.encoder(self.encoder_embeddings(input_ids), View(attention_mask, bias=self.encoder_positions(S, S)))
        return BaseOutput(last_hidden_state=x)


class ScaledLogits(Logits):
    """Logits of vectors divided by the root of their size: the embedding table, when tied, has large entries."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x * self.output.in_features**-0.5)


class T5ForConditionalGeneration(seq2seq.ConditionalGeneration, T5Pretrained):
    """Turn a text into another: translate, summarise, answer."""

    BACKBONE: ClassVar[type[T5Model]] = T5Model

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.backbone = self.BACKBONE(config)
        tied = config.tie_word_embeddings
        self.head = (ScaledLogits if tied else Logits)(config.hidden_size, config.vocab_size, bias=False)
        if tied:
            self.head.output.weight = self.backbone.encoder_embeddings.word.weight


class T5ForSequenceClassification(seq2seq.SequenceClassification, T5Pretrained):
    """One prediction for a text or a pair of texts, read where the decoder has seen the end."""

    WEIGHTS = _weights("transformer.")
    BACKBONE: ClassVar[type[T5Model]] = T5Model

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.backbone = self.BACKBONE(config)
        self.head = DenseClassifier(config.hidden_size, config.num_labels, dropout=config.classifier_dropout)


class T5ForTokenClassification(heads.TokenClassification, T5Pretrained):
    """A label for every token, from the encoder alone."""

    WEIGHTS = _weights("transformer.")
    INTERMEDIATES = single_stack("encoder")
    BACKBONE: ClassVar[type[T5EncoderModel]] = T5EncoderModel

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.backbone = self.BACKBONE(config)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.classifier_dropout)

    def forward(  # type: ignore[override]
        self, input_ids: Ids, attention_mask: Ids | None = None, labels: Ids | None = None
    ) -> LogitsOutput:
        """Score the labels for each token; a label of -100 is not counted."""
        return self.answer(self.backbone(input_ids, attention_mask), labels)


class T5ForQuestionAnswering(seq2seq.QuestionAnswering, T5Pretrained):
    """Where in the second text the answer to the first one starts and ends."""

    BACKBONE: ClassVar[type[T5Model]] = T5Model

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.backbone = self.BACKBONE(config)
        self.head = Logits(config.hidden_size, 2)


ARCHITECTURE = Architecture(
    T5Config,
    {
        "Model": T5Model,
        "ForTextEncoding": T5EncoderModel,
        "ForSeq2SeqLM": T5ForConditionalGeneration,
        "ForSequenceClassification": T5ForSequenceClassification,
        "ForTokenClassification": T5ForTokenClassification,
        "ForQuestionAnswering": T5ForQuestionAnswering,
    },
)


# ----------------------------------------------------------------------------------------- mT5: T5 v1.1, 101 languages


@dataclass(frozen=True, kw_only=True)
class MT5Config(T5Config):
    """config.json of mT5 (https://arxiv.org/abs/2010.11934): T5 v1.1's model, with a vocabulary for 101 languages."""

    model_type: ClassVar[str] = "mt5"

    vocab_size: Width = 250112
    num_layers: Layers = 8
    num_heads: Count = 6
    intermediate_size: Width = key("d_ff", 1024)
    feed_forward: str = key("feed_forward_proj", "gated-gelu")
    tie_word_embeddings: bool = False
    decoder_start_token_id: TokenId | None = 0


class MT5Model(T5Model):
    """Encoder and decoder."""

    CONFIG = MT5Config


class MT5EncoderModel(T5EncoderModel):
    """The encoder alone."""

    CONFIG = MT5Config


class MT5ForConditionalGeneration(T5ForConditionalGeneration):
    """Turn a text into another."""

    CONFIG = MT5Config
    BACKBONE = MT5Model


class MT5ForSequenceClassification(T5ForSequenceClassification):
    """One prediction for a text or a pair of texts."""

    CONFIG = MT5Config
    BACKBONE = MT5Model


class MT5ForTokenClassification(T5ForTokenClassification):
    """A label for every token."""

    CONFIG = MT5Config
    BACKBONE = MT5EncoderModel


class MT5ForQuestionAnswering(T5ForQuestionAnswering):
    """Where in the second text the answer to the first one starts and ends."""

    CONFIG = MT5Config
    BACKBONE = MT5Model


MT5 = Architecture(
    MT5Config,
    {
        "Model": MT5Model,
        "ForTextEncoding": MT5EncoderModel,
        "ForSeq2SeqLM": MT5ForConditionalGeneration,
        "ForSequenceClassification": MT5ForSequenceClassification,
        "ForTokenClassification": MT5ForTokenClassification,
        "ForQuestionAnswering": MT5ForQuestionAnswering,
    },
)


# ------------------------------------------------------------------------------ umT5: mT5, with positions in all blocks


@dataclass(frozen=True, kw_only=True)
class UMT5Config(MT5Config):
    """config.json of umT5 (https://arxiv.org/abs/2304.09151): mT5, but each block has positions of its own."""

    model_type: ClassVar[str] = "umt5"

    tie_word_embeddings: bool = True


class UMT5Attention(MultiHeadAttention):
    """Self-attention with a learned bias of its own for the distances; further arguments as for all attention."""

    def __init__(self, *sizes: int, positions: RelativePositions, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.positions = positions

    def forward(self, x: Float[Tensor, "batch query hidden_size"], view: View | None = None) -> Tensor:
        """Let every token of ``x`` gather from the tokens that it may see."""
        view = view or View()
        T, seen = x.shape[1], 0 if view.cache is None else view.cache.length
        return super().forward(x, replace(view, bias=self.positions(T, seen + T), _made={}))


class NoPositions(nn.Module):
    """No bias on the scores that all blocks share."""

    def forward(self, num_queries: int, num_keys: int) -> None:
        """None."""


def umt5_encoder_block(config: UMT5Config) -> PreNormBlock:
    """A block of the encoder."""
    positions = t5_positions(config, bidirectional=True)
    return t5_encoder_block(config, attention=partial(UMT5Attention, positions=positions))


def umt5_decoder_block(config: UMT5Config) -> PreNormCrossBlock:
    """A block of the decoder; its attention to the source has no positions."""
    block, positions = t5_decoder_block(config), t5_positions(config, bidirectional=False)
    block.attn = t5_attention(config, partial(UMT5Attention, positions=positions))
    return block


class UMT5Model(T5Model):
    """Encoder and decoder."""

    CONFIG = UMT5Config

    def __init__(
        self,
        config: UMT5Config,
        *,
        encoder_block: MakeBlock = umt5_encoder_block,
        decoder_block: MakeBlock = umt5_decoder_block,
    ) -> None:
        super().__init__(config, encoder_block=encoder_block, decoder_block=decoder_block)
        self.encoder_positions, self.decoder_positions = NoPositions(), NoPositions()


class UMT5EncoderModel(T5EncoderModel):
    """The encoder alone."""

    CONFIG = UMT5Config

    def __init__(self, config: UMT5Config, *, encoder_block: MakeBlock = umt5_encoder_block) -> None:
        super().__init__(config, encoder_block=encoder_block)
        self.encoder_positions = NoPositions()


class UMT5ForConditionalGeneration(T5ForConditionalGeneration):
    """Turn a text into another."""

    CONFIG = UMT5Config
    BACKBONE = UMT5Model


class UMT5ForSequenceClassification(T5ForSequenceClassification):
    """One prediction for a text or a pair of texts."""

    CONFIG = UMT5Config
    BACKBONE = UMT5Model


class UMT5ForTokenClassification(T5ForTokenClassification):
    """A label for every token."""

    CONFIG = UMT5Config
    BACKBONE = UMT5EncoderModel


class UMT5ForQuestionAnswering(T5ForQuestionAnswering):
    """Where in the second text the answer to the first one starts and ends."""

    CONFIG = UMT5Config
    BACKBONE = UMT5Model


UMT5 = Architecture(
    UMT5Config,
    {
        "Model": UMT5Model,
        "ForTextEncoding": UMT5EncoderModel,
        "ForSeq2SeqLM": UMT5ForConditionalGeneration,
        "ForSequenceClassification": UMT5ForSequenceClassification,
        "ForTokenClassification": UMT5ForTokenClassification,
        "ForQuestionAnswering": UMT5ForQuestionAnswering,
    },
)
