"""GPT: the first causal decoder of its line ("Improving Language Understanding by Generative Pre-Training", 2018).

    embeddings = word + position
    decoder    = post-norm blocks: self-attention to the past, feed-forward with gelu_new; no norm at the end
    head       = compare with the embedding table (shared weights)

Reference: transformers 4.57 ``models/openai/modeling_openai.py``.

Traps:
    * Its "gelu" is the tanh approximation, which everybody else calls "gelu_new".
    * The wiring is BERT's: the norm comes after the sum. GPT-2 moved it.
    * Files hold query, key and value as one matrix, stored (in, out) like all of its projections.
    * Files may lack the prefix and ``lm_head.weight`` (it is the embedding table), and may hold causal masks.
    * Token types, if given, are looked up among the words.
    * Positions follow the attention mask, so that padding on the left changes nothing, and decoding keeps a cache.
      transformers has no cache for it and counts padding, in ``generate`` too: its answer to a prompt changes with
      the length of the others in the batch. To get those numbers, pass ``position_ids`` that count padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.errors import ConfigError, did_you_mean
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    LearnedPositions,
    MultiHeadAttention,
    PostNormBlock,
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
from minitransformer.ranges import Count, Layers, Positions, Rate, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, fused_qkv, linear, norm

Ids = Int[Tensor, "batch token"]

MEANT = {"gelu": "gelu_new", "gelu_new": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}
"""What this architecture's configs call an activation -> what it is called elsewhere."""


@dataclass(frozen=True, kw_only=True)
class OpenAIGPTConfig(ModelConfig):
    """config.json of GPT."""

    model_type: ClassVar[str] = "openai-gpt"
    IGNORES = {
        "n_ctx": "the same number as n_positions",
        "n_special": "counted in vocab_size",
        "predict_special_tokens": "special tokens are predicted like others",
        "summary_type": "a head that is not offered",
        "summary_use_proj": "a head that is not offered",
        "summary_activation": "a head that is not offered",
        "summary_first_dropout": "a head that is not offered",
        "summary_proj_to_labels": "a head that is not offered",
    }

    vocab_size: Width = 40478
    hidden_size: Width = key("n_embd", 768, aliases=("hidden_size",))
    num_layers: Layers = key("n_layer", 12, aliases=("num_hidden_layers",))
    num_heads: Count = key("n_head", 12, aliases=("num_attention_heads",))
    activation: str = key("afn", "gelu")
    embedding_dropout: Rate = key("embd_pdrop", 0.1)
    dropout: Rate = key("resid_pdrop", 0.1)
    attention_dropout: Rate = key("attn_pdrop", 0.1)
    num_positions: Positions = key("n_positions", 512, aliases=("max_position_embeddings",))
    norm_eps: Rate = key("layer_norm_epsilon", 1e-5)

    def check(self) -> None:
        """Raise a ConfigError for an activation that this architecture does not have."""
        super().check()
        if self.activation not in MEANT:
            hint = did_you_mean(self.activation, MEANT)
            raise ConfigError(f"openai-gpt has no activation afn={self.activation!r}.{hint} Known: {', '.join(MEANT)}.")


WEIGHTS = WeightMap(
    prefix="transformer",
    backbone=[
        embedding("tokens_embed", "embeddings.word"),
        embedding("positions_embed", "embeddings.position"),
        fused_qkv("h.{i}.attn.c_attn", "decoder.blocks.{i}.attn", conv1d=True),
        linear("h.{i}.attn.c_proj", "decoder.blocks.{i}.attn.output", conv1d=True),
        norm("h.{i}.ln_1", "decoder.blocks.{i}.attn_norm"),
        linear("h.{i}.mlp.c_fc", "decoder.blocks.{i}.ffn.up", conv1d=True),
        linear("h.{i}.mlp.c_proj", "decoder.blocks.{i}.ffn.down", conv1d=True),
        norm("h.{i}.ln_2", "decoder.blocks.{i}.ffn_norm"),
    ],
    heads={
        "ForCausalLM": [Row("lm_head.weight", "head.output.weight")],
        "ForSequenceClassification": [Row("score.weight", "head.output.weight")],
    },
    tied=[Tied("transformer.tokens_embed.weight", "lm_head.weight")],
    ignore=[
        Ignore("transformer.position_ids", why="the numbers from 0, as a buffer"),
        Ignore("transformer.h.{i}.attn.bias", why="the causal mask, as a buffer"),
    ],
)


class OpenAIGPTPretrained(PretrainedModel):
    """What GPT's models share."""

    CONFIG = OpenAIGPTConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("decoder")
    config: OpenAIGPTConfig


def gpt_block(
    config: OpenAIGPTConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PostNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PostNormBlock(
        attention(D, config.num_heads, dropout=config.attention_dropout),
        ffn(D, 4 * D, activation(MEANT[config.activation])),
        norm=partial(nn.LayerNorm, D, eps=config.norm_eps),
        dropout=config.dropout,
    )


class OpenAIGPTModel(OpenAIGPTPretrained):
    """The decoder."""

    def __init__(self, config: OpenAIGPTConfig, *, block: MakeBlock = gpt_block) -> None:
        super().__init__(config)
        D = config.hidden_size

        word = nn.Embedding(config.vocab_size, D)
        self.embeddings = Embeddings(
            word=word,
            token_type=tied(word),  # token types, if any, are looked up among the words
            position=LearnedPositions(config.num_positions, D),
            dropout=config.embedding_dropout,
        )
        self.decoder = Stack(block(config) for _ in range(config.num_layers))

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


class OpenAIGPTLMHeadModel(heads.CausalLM, OpenAIGPTPretrained):
    """Predict the next token."""

    COUNTED_PADDING = True

    def __init__(self, config: OpenAIGPTConfig) -> None:
        super().__init__(config)
        self.backbone = OpenAIGPTModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.embeddings.word.weight


class OpenAIGPTForSequenceClassification(heads.LastTokenClassification, OpenAIGPTPretrained):
    """One prediction for a text, read from its last token."""

    def __init__(self, config: OpenAIGPTConfig) -> None:
        super().__init__(config)
        self.backbone = OpenAIGPTModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, bias=False)


ARCHITECTURE = Architecture(
    OpenAIGPTConfig,
    {
        "Model": OpenAIGPTModel,
        "ForCausalLM": OpenAIGPTLMHeadModel,
        "ForSequenceClassification": OpenAIGPTForSequenceClassification,
    },
)
