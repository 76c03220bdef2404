"""What the descendants of fairseq share: the keys of config.json, the names of tensors, and a kind of block.

They are wired differently, which their own files show, but their checkpoints speak alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn

from minitransformer.config import ModelConfig, key
from minitransformer.layers import FeedForward, MultiHeadAttention, PreNormBlock, PreNormCrossBlock, activation
from minitransformer.ranges import Count, Layers, Positions, Rate, Spread, TokenId, Width
from minitransformer.weights import AddAxis, Ignore, Row, Tied, linear, norm


@dataclass(frozen=True, kw_only=True)
class FairseqConfig(ModelConfig):
    """The keys that their config.json share, with BART's defaults."""

    IGNORES = {
        "num_hidden_layers": "the same number as encoder_layers",
        "encoder_layerdrop": "layers dropped in training",
        "decoder_layerdrop": "layers dropped in training",
        "add_bias_logits": "transformers ignores it",
        "add_final_layer_norm": "transformers ignores it",
        "classif_dropout": "an old name that transformers ignores",
        "classifier_dropout": "where it is no field, there is no classifier",
        "extra_pos_embeddings": "transformers ignores it",
        "normalize_before": "transformers ignores it",
        "normalize_embedding": "transformers ignores it",
        "static_position_embeddings": "transformers ignores it",
    }

    hidden_size: Width = key("d_model", 1024)
    num_layers: Layers = key("encoder_layers", 12)
    num_heads: Count = key("encoder_attention_heads", 16)
    encoder_ffn_dim: Width = 4096
    decoder_layers: Layers = 12
    decoder_attention_heads: Count = 16
    decoder_ffn_dim: Width = 4096
    activation: str = key("activation_function", "gelu")
    dropout: Rate = 0.1
    attention_dropout: Rate = 0.0
    activation_dropout: Rate = 0.0
    num_positions: Positions = key("max_position_embeddings", 1024)
    scale_embedding: bool = False
    initializer_range: Spread = key("init_std", 0.02)
    pad_token_id: TokenId | None = 1
    bos_token_id: TokenId | None = 0
    eos_token_id: TokenId | list[TokenId] | None = 2
    is_encoder_decoder: bool = True

    @property
    def embedding_scale(self) -> float:
        """The factor on the word vectors."""
        return self.hidden_size**0.5 if self.scale_embedding else 1.0


def pre_norm_encoder_block(
    config: FairseqConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PreNormBlock:
    """A block of the encoder of mBART, M2M100 and Pegasus, of parts that are called as the usual ones are."""
    D, act = config.hidden_size, activation(config.activation)
    return PreNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, config.encoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


def pre_norm_decoder_block(
    config: FairseqConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PreNormCrossBlock:
    """A block of their decoder, of parts that are called as the usual ones are."""
    D, H, act = config.hidden_size, config.decoder_attention_heads, activation(config.activation)
    return PreNormCrossBlock(
        attention(D, H, dropout=config.attention_dropout),
        attention(D, H, dropout=config.attention_dropout),
        ffn(D, config.decoder_ffn_dim, act, dropout=config.activation_dropout),
        norm=partial(nn.LayerNorm, D),
        dropout=config.dropout,
    )


def fairseq_layers(side: str, *, cross: bool = False) -> list[Row]:
    """Rows of all layers of one side, "encoder" or "decoder"; ``cross`` adds the attention to the source."""
    layer, block = f"{side}.layers.{{i}}", f"{side}.blocks.{{i}}"
    rows = [
        *_attention(f"{layer}.self_attn", f"{block}.attn"),
        *norm(f"{layer}.self_attn_layer_norm", f"{block}.attn_norm"),
    ]
    if cross:
        rows += _attention(f"{layer}.encoder_attn", f"{block}.cross_attn")
        rows += norm(f"{layer}.encoder_attn_layer_norm", f"{block}.cross_attn_norm")
    return [
        *rows,
        *linear(f"{layer}.fc1", f"{block}.ffn.up"),
        *linear(f"{layer}.fc2", f"{block}.ffn.down"),
        *norm(f"{layer}.final_layer_norm", f"{block}.ffn_norm"),
    ]


def _attention(hf: str, ours: str) -> list[Row]:
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}
    return [row for theirs, own in names.items() for row in linear(f"{hf}.{theirs}", f"{ours}.{own}")]


FAIRSEQ_HEADS = {
    "ForSeq2SeqLM": [
        Row("lm_head.weight", "head.output.weight"),
        Row("final_logits_bias", "head.output.bias", AddAxis(0)),
    ],
    "ForSequenceClassification": [
        *linear("classification_head.dense", "head.dense"),
        *linear("classification_head.out_proj", "head.output"),
    ],
    "ForQuestionAnswering": linear("qa_outputs", "head.output"),
}

SHARED_WORDS = Tied(
    "model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"
)

FAIRSEQ_VERSIONS = [
    Ignore(f"model.{side}.version", why="a number of the format that the model was first published in")
    for side in ("encoder", "decoder")
]
