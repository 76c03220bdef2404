"""GPT-2: a causal decoder that predicts the next token ("Language Models are Unsupervised Multitask Learners", 2019).

    embeddings = word + position
    decoder    = pre-norm blocks: self-attention to the past, feed-forward with gelu_new; one more norm at the end
    head       = compare with the embedding table (shared weights)

Reference: transformers 4.57 ``models/gpt2/modeling_gpt2.py``.

Traps:
    * Its "gelu" is the tanh approximation, ``gelu_new``.
    * Files hold query, key and value as one matrix, stored (in, out) like all of its projections.
    * Files may lack ``lm_head.weight`` (it is the embedding table) and may hold causal masks as buffers.
    * Positions follow the attention mask here, so that padding on the left changes nothing. The bare forward of
      transformers counts padding; its ``generate`` does not.
    * A text's class is read from the last token that is not padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PreNormBlock,
    Stack,
    View,
    activation,
    tied,
    token_positions,
)
from minitransformer.models.common import heads
from minitransformer.models.common.base import Architecture, MakeBlock, PretrainedModel, single_stack
from minitransformer.models.common.heads import Logits
from minitransformer.models.common.outputs import BaseOutput
from minitransformer.ranges import Count, Layers, Positions, Rate, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, fused_qkv, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class GPT2Config(ModelConfig):
    """config.json of GPT-2."""

    model_type: ClassVar[str] = "gpt2"
    IGNORES = {
        "n_ctx": "the same number as n_positions",
        "reorder_and_upcast_attn": "changes only the rounding of half precision",
        "summary_type": "a head that is not offered",
        "summary_use_proj": "a head that is not offered",
        "summary_activation": "a head that is not offered",
        "summary_first_dropout": "a head that is not offered",
        "summary_proj_to_labels": "a head that is not offered",
    }

    vocab_size: Width = 50257
    hidden_size: Width = key("n_embd", 768)
    num_layers: Layers = key("n_layer", 12)
    num_heads: Count = key("n_head", 12)
    inner_size: Width | None = key("n_inner", None)
    activation: str = key("activation_function", "gelu_new")
    embedding_dropout: Rate = key("embd_pdrop", 0.1)
    dropout: Rate = key("resid_pdrop", 0.1)
    attention_dropout: Rate = key("attn_pdrop", 0.1)
    classifier_dropout: Rate | None = None
    hidden_dropout: Rate | None = None
    num_positions: Positions = key("n_positions", 1024)
    norm_eps: Rate = key("layer_norm_epsilon", 1e-5)
    scale_attention: bool = key("scale_attn_weights", True)
    scale_attention_by_layer: bool = key("scale_attn_by_inverse_layer_idx", False)
    bos_token_id: TokenId | None = 50256
    eos_token_id: TokenId | list[TokenId] | None = 50256

    def temperature(self, layer: int) -> float:
        """What divides the scores of layer ``layer``: sqrt(head size), and optionally layer + 1."""
        temperature = (self.hidden_size / self.num_heads) ** 0.5 if self.scale_attention else 1.0
        return temperature * (layer + 1) if self.scale_attention_by_layer else temperature


WEIGHTS = WeightMap(
    prefix="transformer",
    backbone=[
        embedding("wte", "embeddings.word"),
        embedding("wpe", "embeddings.position"),
        norm("h.{i}.ln_1", "decoder.blocks.{i}.attn_norm"),
        fused_qkv("h.{i}.attn.c_attn", "decoder.blocks.{i}.attn", conv1d=True),
        linear("h.{i}.attn.c_proj", "decoder.blocks.{i}.attn.output", conv1d=True),
        norm("h.{i}.ln_2", "decoder.blocks.{i}.ffn_norm"),
        linear("h.{i}.mlp.c_fc", "decoder.blocks.{i}.ffn.up", conv1d=True),
        linear("h.{i}.mlp.c_proj", "decoder.blocks.{i}.ffn.down", conv1d=True),
        norm("ln_f", "decoder.final_norm"),
    ],
    heads={
        "ForCausalLM": [Row("lm_head.weight", "head.output.weight")],
        "ForSequenceClassification": [Row("score.weight", "head.output.weight")],
        "ForTokenClassification": linear("classifier", "head.output"),
    },
    tied=[Tied("transformer.wte.weight", "lm_head.weight")],
    ignore=[
        Ignore("transformer.h.{i}.attn.bias", why="the causal mask, as a buffer"),
        Ignore("transformer.h.{i}.attn.masked_bias", why="the value of masked scores, as a buffer"),
    ],
)


class GPT2Pretrained(PretrainedModel):
    """What GPT-2's models share."""

    CONFIG = GPT2Config
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("decoder")
    config: GPT2Config


def gpt2_block(
    config: GPT2Config,
    layer: int,
    *,
    attention: type[nn.Module] = MultiHeadAttention,
    ffn: type[nn.Module] = FeedForward,
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PreNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout, temperature=config.temperature(layer)),
        ffn(D, config.inner_size or 4 * D, activation(config.activation)),
        norm=partial(nn.LayerNorm, D, eps=config.norm_eps),
        dropout=config.dropout,
    )


class GPT2Model(GPT2Pretrained):
    """The decoder."""

    def __init__(self, config: GPT2Config, *, block: MakeBlock = gpt2_block) -> None:
        super().__init__(config)
        D = config.hidden_size

        word = nn.Embedding(config.vocab_size, D)
        self.embeddings = Embeddings(
            word=word,
            token_type=tied(word),  # token types, if any, are looked up among the words
            position=LearnedPositions(config.num_positions, D),
            dropout=config.embedding_dropout,
        )
        self.decoder = Stack(
            (block(config, layer) for layer in range(config.num_layers)), nn.LayerNorm(D, eps=config.norm_eps)
        )

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
        past_key_values: DecoderCache | None = None,
    ) -> BaseOutput:
        """Decode texts, or continue them.

        Args:
            input_ids: the new tokens.
            attention_mask: 0 at padding, for cached and new tokens together.
            token_type_ids: optional further ids, whose word vectors are added.
            position_ids: of the new tokens; counted along the attention mask by default.
            past_key_values: a cache to read and extend; the caller makes it with ``DecoderCache()``.
        """
        if position_ids is None:
            position_ids = self.positions(input_ids, attention_mask, past_key_values)
        x = self.embeddings(input_ids, position_ids, token_type_ids)  # (B, T, D)
        x = self.decoder(x, View(attention_mask, causal=True, cache=past_key_values))
        return BaseOutput(last_hidden_state=x, past_key_values=past_key_values)

    def positions(self, ids: Ids, attention_mask: Ids | None = None, cache: DecoderCache | None = None) -> Ids:
        """Where tokens stand that follow those in the cache: counted along the attention mask."""
        offset = 0 if cache is None else cache.length
        return token_positions(ids.shape[1], attention_mask, offset=offset, device=ids.device)


class GPT2LMHeadModel(heads.CausalLM, GPT2Pretrained):
    """Predict the next token."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.backbone = GPT2Model(config)
        self.head = Logits(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.embeddings.word.weight


class GPT2ForSequenceClassification(heads.LastTokenClassification, GPT2Pretrained):
    """One prediction for a text, read from its last token."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.backbone = GPT2Model(config)
        self.head = Logits(config.hidden_size, config.num_labels, bias=False)


class GPT2ForTokenClassification(heads.TokenClassification, GPT2Pretrained):
    """A label for every token."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.backbone = GPT2Model(config)
        rates = (config.classifier_dropout, config.hidden_dropout, 0.1)
        dropout = next(rate for rate in rates if rate is not None)
        self.head = Logits(config.hidden_size, config.num_labels, dropout=dropout)


ARCHITECTURE = Architecture(
    GPT2Config,
    {
        "Model": GPT2Model,
        "ForCausalLM": GPT2LMHeadModel,
        "ForSequenceClassification": GPT2ForSequenceClassification,
        "ForTokenClassification": GPT2ForTokenClassification,
    },
)
