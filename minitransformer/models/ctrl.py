"""CTRL: a causal decoder that a control code in front of the text steers (https://arxiv.org/abs/1909.05858).

    embeddings = word * sqrt(hidden_size) + sinusoid of the position
    decoder    = pre-norm blocks: self-attention to the past, feed-forward with relu; one more norm at the end
    head       = compare with the embedding table (shared weights), plus a bias

Reference: transformers 4.57 ``models/ctrl/modeling_ctrl.py``.

Traps:
    * Token types are looked up among the words and scaled like them. CTRL's tokenizer in transformers gives zeros for
      them, so that calling the model with all of its output adds word 0 to every position.
    * The sinusoids have all sines before all cosines, and are computed in float32 throughout.
    * Norms in the blocks have an eps of 1e-6, whatever the config says; the config's is the last norm's.
    * The head's weight is shared with the embeddings, its bias is not there.
    * Positions follow the attention mask, so that padding on the left changes nothing. transformers counts padding, in
      ``generate`` too: its answer to a prompt changes with the length of the others in the batch. To get those
      numbers, pass ``position_ids`` that count padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.layers import (
    DecoderCache,
    Embeddings,
    FeedForward,
    MultiHeadAttention,
    PreNormBlock,
    SinusoidalPositions,
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
from minitransformer.weights import Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]


@dataclass(frozen=True, kw_only=True)
class CTRLConfig(ModelConfig):
    """config.json of CTRL."""

    model_type: ClassVar[str] = "ctrl"
    IGNORES = {
        "n_ctx": "the same number as n_positions",
        "attn_pdrop": "attention weights are not dropped",
        "from_tf": "says where the file came from",
        "summary_type": "a head that is not offered",
        "summary_use_proj": "a head that is not offered",
        "summary_activation": "a head that is not offered",
        "summary_first_dropout": "a head that is not offered",
        "summary_proj_to_labels": "a head that is not offered",
    }

    vocab_size: Width = 246534
    hidden_size: Width = key("n_embd", 1280, aliases=("hidden_size",))
    num_layers: Layers = key("n_layer", 48, aliases=("num_hidden_layers",))
    num_heads: Count = key("n_head", 16, aliases=("num_attention_heads",))
    inner_size: Width = key("dff", 8192)
    embedding_dropout: Rate = key("embd_pdrop", 0.1)
    dropout: Rate = key("resid_pdrop", 0.1)
    num_positions: Positions = key("n_positions", 256, aliases=("max_position_embeddings",))
    final_norm_eps: Rate = key("layer_norm_epsilon", 1e-6)


WEIGHTS = WeightMap(
    prefix="transformer",
    backbone=[
        embedding("w", "embeddings.word"),
        norm("h.{i}.layernorm1", "decoder.blocks.{i}.attn_norm"),
        linear("h.{i}.multi_head_attention.Wq", "decoder.blocks.{i}.attn.query"),
        linear("h.{i}.multi_head_attention.Wk", "decoder.blocks.{i}.attn.key"),
        linear("h.{i}.multi_head_attention.Wv", "decoder.blocks.{i}.attn.value"),
        linear("h.{i}.multi_head_attention.dense", "decoder.blocks.{i}.attn.output"),
        norm("h.{i}.layernorm2", "decoder.blocks.{i}.ffn_norm"),
        linear("h.{i}.ffn.0", "decoder.blocks.{i}.ffn.up"),
        linear("h.{i}.ffn.2", "decoder.blocks.{i}.ffn.down"),
        norm("layernorm", "decoder.final_norm"),
    ],
    heads={
        "ForCausalLM": linear("lm_head", "head.output"),
        "ForSequenceClassification": [Row("classifier.weight", "head.output.weight")],
    },
    tied=[Tied("transformer.w.weight", "lm_head.weight")],
)


class SinglePrecisionPositions(SinusoidalPositions):
    """Sinusoids as the reference computes them: each step rounded to float32, in its order.

    Far from the start this differs from the exact table in the fifth digit.
    """

    def __init__(self, num_positions: int, hidden_size: int) -> None:
        super().__init__(num_positions, hidden_size, interleaved=False)
        columns = torch.arange(hidden_size, dtype=torch.float32, device="cpu")
        rows = torch.arange(num_positions, dtype=torch.float32, device="cpu")
        angles = rows[:, None] * (1 / torch.pow(10000, 2 * (columns // 2) / hidden_size))
        self.table = torch.cat([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=1)


class CTRLPretrained(PretrainedModel):
    """What CTRL's models share."""

    CONFIG = CTRLConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("decoder")
    SCALED_VECTORS = ("",)
    config: CTRLConfig


def ctrl_block(
    config: CTRLConfig, *, attention: type[nn.Module] = MultiHeadAttention, ffn: type[nn.Module] = FeedForward
) -> PreNormBlock:
    """A block, of parts that are called as the usual ones are."""
    D = config.hidden_size
    return PreNormBlock(
        attention(D, config.num_heads),
        ffn(D, config.inner_size, activation("relu")),
        norm=partial(nn.LayerNorm, D, eps=1e-6),
        dropout=config.dropout,
    )


class CTRLModel(CTRLPretrained):
    """The decoder."""

    def __init__(self, config: CTRLConfig, *, block: MakeBlock = ctrl_block) -> None:
        super().__init__(config)
        D = config.hidden_size

        word = nn.Embedding(config.vocab_size, D)
        self.embeddings = Embeddings(
            word=word,
            token_type=tied(word),  # token types, if any, are looked up among the words
            position=SinglePrecisionPositions(config.num_positions, D),
            scale=D**0.5,
            dropout=config.embedding_dropout,
        )
        self.decoder = Stack(
            (block(config) for _ in range(config.num_layers)), nn.LayerNorm(D, eps=config.final_norm_eps)
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


class CTRLLMHeadModel(heads.CausalLM, CTRLPretrained):
    """Predict the next token."""

    COUNTED_PADDING = True

    def __init__(self, config: CTRLConfig) -> None:
        super().__init__(config)
        self.backbone = CTRLModel(config)
        self.head = Logits(config.hidden_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.embeddings.word.weight


class CTRLForSequenceClassification(heads.LastTokenClassification, CTRLPretrained):
    """One prediction for a text, read from its last token."""

    def __init__(self, config: CTRLConfig) -> None:
        super().__init__(config)
        self.backbone = CTRLModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, bias=False)


ARCHITECTURE = Architecture(
    CTRLConfig,
    {
        "Model": CTRLModel,
        "ForCausalLM": CTRLLMHeadModel,
        "ForSequenceClassification": CTRLForSequenceClassification,
    },
)
