"""What the descendants of Llama share: the keys of config.json, the names of tensors, the way through a decoder, heads.

What each is made of its own file shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from jaxtyping import Int
from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.config import ModelConfig, key
from minitransformer.errors import ConfigError
from minitransformer.layers import DecoderCache, Embeddings, Stack, View, activation, token_positions
from minitransformer.layers.rotary import SCALINGS, Rotary
from minitransformer.models.common import heads
from minitransformer.models.common.base import PretrainedModel, single_stack
from minitransformer.models.common.heads import Logits
from minitransformer.models.common.outputs import BaseOutput
from minitransformer.ranges import Count, Layers, Positions, Range, Rate, Theta, TokenId, Width
from minitransformer.weights import Ignore, Row, Tied, WeightMap, embedding, linear, norm

Ids = Int[Tensor, "batch token"]
Part = type[nn.Module]


@dataclass(frozen=True, kw_only=True)
class LlamaFamilyConfig(ModelConfig):
    """The keys that their config.json share, with Llama's defaults."""

    REQUIRES = {"partial_rotary_factor": (1.0,)}
    IGNORES = {"pretraining_tp": "sums a product in parts, as it was computed in training"}

    vocab_size: Width = 32000
    hidden_size: Width = 4096
    num_layers: Layers = key("num_hidden_layers", 32)
    num_heads: Count = key("num_attention_heads", 32)
    num_kv_heads: Count | None = key("num_key_value_heads", None)
    head_size: Width | None = key("head_dim", None)
    intermediate_size: Width = 11008
    activation: str = key("hidden_act", "silu")
    attention_dropout: Rate = 0.0
    classifier_dropout: Rate | None = None
    hidden_dropout: Rate | None = None
    num_positions: Positions = key("max_position_embeddings", 2048)
    theta: Theta = key("rope_theta", 10000.0)
    rope_scaling: dict[str, Any] | None = None
    norm_eps: Rate = key("rms_norm_eps", 1e-6)
    tie_word_embeddings: bool = False
    bos_token_id: TokenId | None = 1
    eos_token_id: TokenId | list[TokenId] | None = 2

    @property
    def max_positions(self) -> None:
        """Rotary positions have no end; ``num_positions`` says how many were seen in training."""

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def head_dropout(self) -> float:
        """Dropout before the labels of tokens."""
        rates = (self.classifier_dropout, self.hidden_dropout, 0.1)
        return next(rate for rate in rates if rate is not None)

    @property
    def scaling(self) -> dict[str, Any]:
        """How frequencies are stretched, with its kind as ``rope_type``; old files say ``type``."""
        given = self.rope_scaling or {}
        return {**given, "rope_type": given.get("rope_type", given.get("type", "default"))}

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any]) -> Self:
        """Read the contents of a config.json; newer ones hold all about rotary positions in ``rope_parameters``."""
        raw = dict(raw)
        if isinstance(newer := raw.pop("rope_parameters", None), Mapping):
            scaling = {name: value for name, value in newer.items() if name != "rope_theta"}
            raw.setdefault("rope_theta", newer.get("rope_theta", cls.theta))
            raw.setdefault("rope_scaling", None if scaling.get("rope_type", "default") == "default" else scaling)
        return super().from_hf(raw)

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        activation(self.activation)
        if self.head_size is None and self.hidden_size % self.num_heads:
            raise ConfigError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_heads}"
            )
        if self.num_heads % (self.num_kv_heads or 1):
            raise ConfigError(
                f"num_attention_heads={self.num_heads} is not a multiple of num_key_value_heads={self.num_kv_heads}"
            )
        if self.head_width % 2:
            raise ConfigError(f"rotary positions turn pairs of numbers, but a head is {self.head_width} wide")
        check_scaling(self.model_type, self.scaling)


@dataclass(frozen=True, kw_only=True)
class QwenConfig(LlamaFamilyConfig):
    """The keys that Qwen2 and Qwen3 share, with their defaults: some of their blocks may see a window only."""

    vocab_size: Width = 151936
    intermediate_size: Width = 22016
    num_kv_heads: Count | None = key("num_key_value_heads", 32)
    num_positions: Positions = key("max_position_embeddings", 32768)
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | list[TokenId] | None = None
    use_sliding_window: bool = False
    sliding_window: Positions | None = 4096
    max_window_layers: Annotated[int, Range(0, 1000)] = 28
    layer_types: list[str] | None = None

    def window(self, layer: int) -> int | None:
        """How many tokens a token of block ``layer`` sees, or None for all."""
        kinds = self.layer_types
        slides = layer >= self.max_window_layers if kinds is None else kinds[layer] == "sliding_attention"
        return self.sliding_window if slides and self.use_sliding_window else None

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        check_layer_types(self.layer_types, self.num_layers)
        windowed = "sliding_attention" in (self.layer_types or ())
        if windowed and not (self.use_sliding_window and self.sliding_window):
            raise ConfigError(
                "layer_types has sliding_attention, but no window: set use_sliding_window, sliding_window"
            )


def check_layer_types(kinds: list[str] | None, num_layers: int) -> None:
    """Raise a ConfigError for a list of layers' kinds that has another length, or a kind that is not there."""
    if kinds is not None and len(kinds) != num_layers:
        raise ConfigError(f"layer_types names {len(kinds)} layers, but num_hidden_layers is {num_layers}")
    for kind in kinds or ():
        if kind not in ("full_attention", "sliding_attention"):
            raise ConfigError(
                f"layer_types with {kind!r:.100} is not supported; supported: 'full_attention', 'sliding_attention'"
            )


def check_scaling(model_type: str, scaling: Mapping[str, Any]) -> None:
    """Raise a ConfigError for a way of stretching rotary positions that is not there, or that lacks a number."""
    kind = scaling["rope_type"]
    if kind not in SCALINGS:
        known = " or ".join(map(repr, SCALINGS))
        raise ConfigError(f"{model_type} with rope_scaling of type {kind!r:.100} is not supported; supported: {known}")
    for name in SCALINGS[kind]:
        value = scaling.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**60:
            raise ConfigError(f"rope_scaling of type {kind!r} needs {name}, a positive number, not {value!r:.100}")
    if kind == "llama3" and not scaling["low_freq_factor"] < scaling["high_freq_factor"]:
        raise ConfigError("rope_scaling of type 'llama3' needs a low_freq_factor below its high_freq_factor")


def rotary(config: LlamaFamilyConfig, kind: Callable[..., Rotary] = Rotary) -> Rotary:
    """The positions of a config."""
    return kind(config.head_width, theta=config.theta, scaling=config.scaling)


def attention_sizes(config: LlamaFamilyConfig) -> dict[str, Any]:
    """What all of their attentions are made with."""
    dropout = config.attention_dropout
    return {"head_size": config.head_width, "num_kv_heads": config.num_kv_heads, "dropout": dropout}


def llama_weights(prefix: str = "model", *, also: str = "transformer") -> WeightMap:
    """The weight map of files in which the backbone's names begin with ``prefix``, or in some with ``also``."""
    layer, block = "layers.{i}", "decoder.blocks.{i}"
    projections = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output"}
    return WeightMap(
        prefix=prefix,
        also=also,
        backbone=[
            embedding("embed_tokens", "embeddings.word"),
            *(linear(f"{layer}.self_attn.{theirs}", f"{block}.attn.{ours}") for theirs, ours in projections.items()),
            norm(f"{layer}.self_attn.q_norm", f"{block}.attn.rotary.q_norm", bias=False),
            norm(f"{layer}.self_attn.k_norm", f"{block}.attn.rotary.k_norm", bias=False),
            norm(f"{layer}.input_layernorm", f"{block}.attn_norm", bias=False),
            norm(f"{layer}.post_attention_layernorm", f"{block}.ffn_norm", bias=False),
            linear(f"{layer}.mlp.gate_proj", f"{block}.ffn.gate"),
            linear(f"{layer}.mlp.up_proj", f"{block}.ffn.linear"),
            linear(f"{layer}.mlp.down_proj", f"{block}.ffn.down"),
            norm("norm", "decoder.final_norm", bias=False),
        ],
        heads={
            "ForCausalLM": [Row("lm_head.weight", "head.output.weight")],
            "ForSequenceClassification": [Row("score.weight", "head.output.weight")],
            "ForTokenClassification": linear("score", "head.output"),
            "ForQuestionAnswering": linear("qa_outputs", "head.output"),
        },
        tied=[Tied(f"{prefix}.embed_tokens.weight", "lm_head.weight")],
        ignore=[
            Ignore(f"{prefix}.{place}rotary_emb.inv_freq", why="how fast positions turn, which the config says")
            for place in ("", "layers.{i}.self_attn.")
        ],
    )


class Pretrained(PretrainedModel):
    """What all models of the family share."""

    WEIGHTS = llama_weights()
    INTERMEDIATES = single_stack("decoder")
    config: LlamaFamilyConfig

    def make_backbone(self) -> Decoder:
        """The model below a head, which an architecture names once for all of its heads."""
        raise NotImplementedError


class Decoder(Pretrained):
    """The model without a head. An architecture's own class makes its two parts."""

    embeddings: Embeddings
    decoder: Stack

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
            token_type_ids: there are none.
            position_ids: of the new tokens; counted along the attention mask by default.
            past_key_values: a cache to read and extend; the caller makes it with ``DecoderCache()``.
        """
        if position_ids is None:
            position_ids = self.positions(input_ids, attention_mask, past_key_values)
        x = self.embeddings(input_ids, token_type_ids=token_type_ids)  # (B, T, D)
        x = self.decoder(x, View(attention_mask, causal=True, positions=position_ids, cache=past_key_values))
        return BaseOutput(last_hidden_state=x, past_key_values=past_key_values)

    def positions(self, ids: Ids, attention_mask: Tensor | None = None, cache: DecoderCache | None = None) -> Ids:
        """Where tokens stand that follow those in the cache: counted along the attention mask, and on behind a text.

        So what padding on the right gives is as in transformers, which the loss of question answering takes in.
        """
        offset = 0 if cache is None else cache.length
        counted = token_positions(ids.shape[1], attention_mask, offset=offset, device=ids.device)
        if attention_mask is None or attention_mask.dim() != 2:
            return counted
        is_behind = attention_mask.long().flip(-1).cumsum(-1).flip(-1) == 0
        return counted + is_behind.cumsum(-1)[:, -ids.shape[1] :]


class CausalLM(heads.CausalLM, Pretrained):
    """Predict the next token."""

    def __init__(self, config: LlamaFamilyConfig) -> None:
        super().__init__(config)
        self.backbone = self.make_backbone()
        self.head = Logits(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.output.weight = self.backbone.embeddings.word.weight


class SequenceClassification(heads.LastTokenClassification, Pretrained):
    """One prediction for a text, read from its last token."""

    def __init__(self, config: LlamaFamilyConfig) -> None:
        super().__init__(config)
        self.backbone = self.make_backbone()
        self.head = Logits(config.hidden_size, config.num_labels, bias=False)


class TokenClassification(heads.TokenClassification, Pretrained):
    """A label for every token."""

    def __init__(self, config: LlamaFamilyConfig) -> None:
        super().__init__(config)
        self.backbone = self.make_backbone()
        self.head = Logits(config.hidden_size, config.num_labels, dropout=config.head_dropout)


class QuestionAnswering(heads.QuestionAnswering, Pretrained):
    """Where in a text the answer starts and ends."""

    def __init__(self, config: LlamaFamilyConfig) -> None:
        super().__init__(config)
        self.backbone = self.make_backbone()
        self.head = Logits(config.hidden_size, 2)
