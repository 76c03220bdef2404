"""OPT, as a package of its own has it (transformers 4.57 ``models/opt``): positions begin in row 2 of their table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import nn

from minitransformer import layers, register_tokenizer
from minitransformer.config import ModelConfig, key
from minitransformer.models.common import heads
from minitransformer.models.common.base import Architecture, PretrainedModel, single_stack
from minitransformer.models.common.outputs import BaseOutput
from minitransformer.tokenization.gpt2 import GPT2Tokenizer
from minitransformer.weights import Row, Tied, WeightMap, embedding, linear, norm


@dataclass(frozen=True, kw_only=True)
class OPTConfig(ModelConfig):
    model_type: ClassVar[str] = "opt"
    REQUIRES = {"do_layer_norm_before": (True,), "_remove_final_layer_norm": (False,), "enable_bias": (True,)}
    IGNORES = {
        "layerdrop": "for training",
        "word_embed_proj_dim": "hidden_size",
        "layer_norm_elementwise_affine": "true",
    }
    vocab_size: int = 50272
    hidden_size: int = 768
    num_layers: int = key("num_hidden_layers", 12)
    num_heads: int = key("num_attention_heads", 12)
    ffn_dim: int = 3072
    activation: str = key("activation_function", "relu")
    dropout: float = 0.1
    attention_dropout: float = 0.0
    num_positions: int = key("max_position_embeddings", 2048)
    initializer_range: float = key("init_std", 0.02)
    pad_token_id: int | None = 1


LAYER, BLOCK = "decoder.layers.{i}", "decoder.blocks.{i}"
NAMES = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}


class OPTPretrained(PretrainedModel):
    CONFIG = OPTConfig
    INTERMEDIATES = single_stack("decoder")
    WEIGHTS = WeightMap(
        prefix="model",
        backbone=[
            embedding("decoder.embed_tokens", "embeddings.word"),
            embedding("decoder.embed_positions", "embeddings.position"),
            *(linear(f"{LAYER}.self_attn.{theirs}", f"{BLOCK}.attn.{ours}") for theirs, ours in NAMES.items()),
            norm(f"{LAYER}.self_attn_layer_norm", f"{BLOCK}.attn_norm"),
            linear(f"{LAYER}.fc1", f"{BLOCK}.ffn.up"),
            linear(f"{LAYER}.fc2", f"{BLOCK}.ffn.down"),
            norm(f"{LAYER}.final_layer_norm", f"{BLOCK}.ffn_norm"),
            norm("decoder.final_layer_norm", "decoder.final_norm"),
        ],
        heads={"ForCausalLM": [Row("lm_head.weight", "head.output.weight")]},
        tied=[Tied("model.decoder.embed_tokens.weight", "lm_head.weight")],
    )


class OPTModel(OPTPretrained):
    def __init__(self, config: OPTConfig) -> None:
        super().__init__(config)
        D, make_norm = config.hidden_size, partial(nn.LayerNorm, config.hidden_size)
        word, position = nn.Embedding(config.vocab_size, D), layers.LearnedPositions(config.num_positions, D, offset=2)
        self.embeddings = layers.Embeddings(word=word, position=position)
        attn = partial(layers.MultiHeadAttention, D, config.num_heads, dropout=config.attention_dropout)
        ffn = partial(layers.FeedForward, D, config.ffn_dim)
        make = partial(layers.PreNormBlock, norm=make_norm, dropout=config.dropout)
        blocks = (make(attn(), ffn(config.activation)) for _ in range(config.num_layers))
        self.decoder = layers.Stack(blocks, make_norm())

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, position_ids=None, past_key_values=None):
        if position_ids is None:
            position_ids = self.positions(input_ids, attention_mask, past_key_values)
        x = self.embeddings(input_ids, position_ids)
        x = self.decoder(x, layers.View(attention_mask, causal=True, cache=past_key_values))
        return BaseOutput(last_hidden_state=x, past_key_values=past_key_values)

    def positions(self, ids, attention_mask=None, cache=None):
        return layers.token_positions(ids.shape[1], attention_mask, offset=0 if cache is None else cache.length)


class OPTForCausalLM(heads.CausalLM, OPTPretrained):
    def __init__(self, config: OPTConfig) -> None:
        super().__init__(config)
        self.backbone = OPTModel(config)
        self.head = heads.Logits(config.hidden_size, config.vocab_size, bias=False)
        self.head.output.weight = self.backbone.embeddings.word.weight


ARCHITECTURE = Architecture(OPTConfig, {"Model": OPTModel, "ForCausalLM": OPTForCausalLM})
register_tokenizer("opt", GPT2Tokenizer)
