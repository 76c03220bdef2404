"""Transformer-XL: a decoder that reads segment after segment, and remembers (https://arxiv.org/abs/1901.02860).

    embeddings = adaptive: rare words have shorter vectors, widened by a projection; times sqrt(hidden_size)
    memory     = what went into each block for the last ``mem_len`` tokens; queries of this segment attend to it too
    attention  = softmax(((q + u) . key + (q + v) . distance) / sqrt(head_size)): by content, and by how far back
    decoder    = blocks with post-norm, or pre-norm, around that attention and a feed-forward with relu
    head       = adaptive softmax: log p(word) = log p(its cluster) + log p(word within the cluster)

Reference: transformers 4.57 ``models/deprecated/transfo_xl`` (whose forward needs the repair in ``parity/twins.py``).

Traps:
    * A text begins with a full memory of zeros, which is attended to like any other.
    * The memory holds the *inputs* of the blocks, before a pre-norm; no gradient flows into it.
    * ``same_length`` lets every token look back equally far (``mem_len``), itself included.
    * The "logits" are log probabilities already.
    * The loss leaves out tokens whose loss is exactly zero. With labels there is a loss and no logits: not to score
      the whole vocabulary is the point of an adaptive softmax.
    * The first projection of the softmax is its own matrix, the others are those of the embeddings (``tie_projs``).
    * ``mems`` has the reference's axes, (memory, batch, hidden_size); everything else has the batch first.

Here and not in the reference: ``generate``, and padding, on either side. What is hidden by ``attention_mask`` is not
attended to, not counted in distances and not remembered, so that a batch of unequal texts equals the texts one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig, key
from minitransformer.errors import ConfigError
from minitransformer.generation import GenerationConfig, RecurrentStepper
from minitransformer.layers import (
    AdaptiveEmbedding,
    AdaptiveLogSoftmax,
    FeedForward,
    PostNormBlock,
    PreNormBlock,
    Tap,
    View,
    activation,
    attend,
    token_positions,
)
from minitransformer.layers import linear as linear_layer
from minitransformer.layers.kernels import attention
from minitransformer.models.common.base import Architecture, GenerativeModel, PretrainedModel, single_stack
from minitransformer.models.common.heads import Logits, last_token, need_ends
from minitransformer.models.common.losses import classification_loss
from minitransformer.models.common.outputs import RecurrentLogitsOutput, RecurrentOutput
from minitransformer.ranges import Count, Layers, Length, Rate, Spread, TokenId, Width
from minitransformer.weights import Row, Tied, WeightMap, embedding, fused_qkv, linear, norm

Ids = Int[Tensor, "batch token"]
Memory = Sequence[Float[Tensor, "memory batch hidden_size"]]


@dataclass(frozen=True, kw_only=True)
class TransfoXLConfig(ModelConfig):
    """config.json of Transformer-XL."""

    model_type: ClassVar[str] = "transfo-xl"
    REQUIRES = {"attn_type": (0,), "sample_softmax": (-1, 0)}
    IGNORES = {
        "adaptive": "the embedding and the softmax are always adaptive",
        "ext_len": "the segments are the caller's",
        "tgt_len": "the segments are the caller's",
        "init": "new weights are drawn from a normal distribution, with init_std",
        "init_range": "new weights are drawn from a normal distribution, with init_std",
        "proj_init_std": "new weights are drawn from a normal distribution, with init_std",
        "tie_weight": "an old name of tie_word_embeddings, which the reference does not read",
        "trainer_compatible": "the loss comes first in any case",
    }

    vocab_size: Width = 267735
    cutoffs: list[Width] = field(default_factory=lambda: [20000, 40000, 200000])
    """Where the clusters of words begin, after the first; words are numbered by falling frequency."""
    hidden_size: Width = key("d_model", 1024, aliases=("hidden_size",))
    embedding_size: Width = key("d_embed", 1024)
    num_layers: Layers = key("n_layer", 18, aliases=("num_hidden_layers",))
    num_heads: Count = key("n_head", 16, aliases=("num_attention_heads",))
    head_size: Width = key("d_head", 64)
    inner_size: Width = key("d_inner", 4096)
    div_val: Count = 4
    """How much shorter the vectors of each cluster are than those of the one before; 1: one table for all."""
    pre_norm: bool = key("pre_lnorm", False)
    mem_len: Length = 1600
    clamp_len: Length = 1000
    """Distances beyond this look like this one; none do, if it is not positive."""
    same_length: bool = True
    proj_share_all_but_first: bool = True
    tie_projs: list[bool] | None = None
    """For each cluster, whether embedding and softmax share its projection; by default all but the first do."""
    untie_r: bool = True
    """Whether each block has its own biases u and v."""
    dropout: Rate = 0.1
    attention_dropout: Rate = key("dropatt", 0.0)
    norm_eps: Rate = key("layer_norm_epsilon", 1e-5)
    initializer_range: Spread = key("init_std", 0.02)
    eos_token_id: TokenId | list[TokenId] | None = 0

    @property
    def clusters(self) -> list[tuple[int, int]]:
        """First word and end of each cluster."""
        return list(pairwise([0, *self.cutoffs, self.vocab_size]))

    @property
    def widths(self) -> list[int]:
        """Length of the vectors of each table: one for each cluster, or one for all."""
        if self.div_val == 1:
            return [self.embedding_size]
        return [self.embedding_size // self.div_val**i for i in range(len(self.clusters))]

    @property
    def has_projections(self) -> bool:
        """Whether the vectors must be brought to the length of the hidden ones."""
        return self.div_val != 1 or self.embedding_size != self.hidden_size

    @property
    def projection_is_tied(self) -> list[bool]:
        """For each cluster, whether embedding and softmax share its projection."""
        if self.tie_projs is None:
            return [self.proj_share_all_but_first and i > 0 for i in range(len(self.clusters))]
        return self.tie_projs or [False] * len(self.clusters)

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other."""
        super().check()
        if len(self.cutoffs) > 100 or any(first >= end for first, end in self.clusters):
            raise ConfigError(
                f"cutoffs must rise from above 0 to below vocab_size {self.vocab_size}: {self.cutoffs!r:.200}"
            )
        if min(self.widths) < 1:
            raise ConfigError(f"div_val={self.div_val} leaves no width to the vectors of some cluster: {self.widths}")
        if len(self.projection_is_tied) != len(self.clusters):
            raise ConfigError(f"tie_projs has {len(self.projection_is_tied)} entries for {len(self.clusters)} clusters")
        if self.hidden_size % 2:
            raise ConfigError(
                f"d_model must be even, half of it for sines and half for cosines, not {self.hidden_size}"
            )
        if self.mem_len < 0 or (self.same_length and self.mem_len == 0):
            raise ConfigError(f"with same_length={self.same_length} and mem_len={self.mem_len} no token sees anything")


WEIGHTS = WeightMap(
    prefix="transformer",
    backbone=[
        embedding("word_emb.emb_layers.{i}", "embeddings.tables.{i}"),
        Row("word_emb.emb_projs.{i}", "embeddings.projections.{i}.weight"),
        Row("pos_emb.inv_freq", "decoder.distances.frequencies"),
        Row("r_w_bias", "decoder.content_bias"),
        Row("r_r_bias", "decoder.distance_bias"),
        fused_qkv("layers.{i}.dec_attn.qkv_net", "decoder.blocks.{i}.attn", bias=False),
        linear("layers.{i}.dec_attn.r_net", "decoder.blocks.{i}.attn.distance", bias=False),
        Row("layers.{i}.dec_attn.r_w_bias", "decoder.blocks.{i}.attn.content_bias"),
        Row("layers.{i}.dec_attn.r_r_bias", "decoder.blocks.{i}.attn.distance_bias"),
        linear("layers.{i}.dec_attn.o_net", "decoder.blocks.{i}.attn.output", bias=False),
        norm("layers.{i}.dec_attn.layer_norm", "decoder.blocks.{i}.attn_norm"),
        linear("layers.{i}.pos_ff.CoreNet.0", "decoder.blocks.{i}.ffn.up"),
        linear("layers.{i}.pos_ff.CoreNet.3", "decoder.blocks.{i}.ffn.down"),
        norm("layers.{i}.pos_ff.layer_norm", "decoder.blocks.{i}.ffn_norm"),
    ],
    heads={
        "ForCausalLM": [
            linear("crit.out_layers.{i}", "head.words.{i}"),
            Row("crit.out_projs.{i}", "head.projections.{i}.weight"),
            Row("crit.cluster_weight", "head.clusters.weight"),
            Row("crit.cluster_bias", "head.clusters.bias"),
        ],
        "ForSequenceClassification": [Row("score.weight", "head.output.weight")],
    },
    tied=[
        Tied("transformer.word_emb.emb_layers.{i}.weight", "crit.out_layers.{i}.weight"),
        Tied("transformer.word_emb.emb_projs.{i}", "crit.out_projs.{i}"),
        Tied("transformer.word_emb.emb_projs.0", "crit.out_projs.{i}"),  # div_val 1: one projection for all clusters
        Tied("transformer.r_w_bias", "transformer.layers.{i}.dec_attn.r_w_bias", everywhere=True),
        Tied("transformer.r_r_bias", "transformer.layers.{i}.dec_attn.r_r_bias", everywhere=True),
    ],
)


class Distances(nn.Module):
    """A sinusoid for each distance: all sines, then all cosines.

    Args:
        hidden_size: length of the vectors.
        clamp_len: distances beyond this look like this one; none do, if it is not positive.
    """

    def __init__(self, hidden_size: int, clamp_len: int) -> None:
        super().__init__()
        self.hidden_size, self.clamp_len = hidden_size, clamp_len
        self.frequencies = nn.Parameter(torch.empty(hidden_size // 2), requires_grad=False)  # files hold them
        self.reset()

    def reset(self) -> None:
        """Set the frequencies, which are not learned."""
        exponents = torch.arange(0.0, self.hidden_size, 2.0, device=self.frequencies.device) / self.hidden_size
        self.frequencies.data.copy_(1 / 10000**exponents)

    def forward(self, longest: int) -> Float[Tensor, "distance hidden_size"]:
        """The vectors of the distances from 0 to ``longest``."""
        distances = torch.arange(longest + 1, device=self.frequencies.device).to(self.frequencies.dtype)
        if self.clamp_len > 0:
            distances = distances.clamp(max=self.clamp_len)
        angles = torch.outer(distances, self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


@dataclass(slots=True)
class RecurrentView(View):
    """A view of what is remembered too, and of how far back it lies.

    Args:
        remembered: what went into the block before this segment, (batch, memory, hidden_size).
        distance: how far each key lies behind each query, (batch or 1, query, key).
        sinusoids: the vector of each distance.
    """

    remembered: Tensor = field(default_factory=lambda: torch.empty(0))
    distance: Tensor = field(default_factory=lambda: torch.empty(0))
    sinusoids: Tensor = field(default_factory=lambda: torch.empty(0))


class RelativeAttention(nn.Module):
    """Attention by content and distance (section 3.3).

    Args:
        hidden_size: width of input and output.
        num_heads: number of heads.
        head_size: width of one head.
        biases: u and v of the paper, (heads, head_size), to share them; None for its own.
        dropout: probability on the attention weights, in training.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        head_size: int,
        *,
        biases: tuple[nn.Parameter, nn.Parameter] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads, self.temperature, self.dropout = num_heads, head_size**0.5, dropout
        self.query = nn.Linear(hidden_size, num_heads * head_size, bias=False)
        self.key = nn.Linear(hidden_size, num_heads * head_size, bias=False)
        self.value = nn.Linear(hidden_size, num_heads * head_size, bias=False)
        self.distance = nn.Linear(hidden_size, num_heads * head_size, bias=False)
        self.output = nn.Linear(num_heads * head_size, hidden_size, bias=False)
        self.content_bias, self.distance_bias = biases or make_biases(num_heads, head_size)

        self.q = Tap("batch heads query head_size")
        self.k = Tap("batch heads key head_size")
        self.v = Tap("batch heads key head_size")
        self.r = Tap("heads distance head_size")
        self.raw_scores = Tap("batch heads query key")
        self.scores = Tap("batch heads query key")
        self.pattern = Tap("batch heads query key")
        self.mixed = Tap("batch heads query head_size")
        self.out = Tap("batch query hidden_size")

    def forward(
        self, x: Float[Tensor, "batch query hidden_size"], view: RecurrentView
    ) -> Float[Tensor, "batch query hidden_size"]:
        """Let every token of ``x`` gather from what is remembered, and from ``x`` itself."""
        keys = torch.cat([view.remembered, x], dim=1)
        q = self.q(self._heads(self.query, x))  # (B, H, T, K)
        k = self.k(self._heads(self.key, keys))  # (B, H, S, K)
        v = self.v(self._heads(self.value, keys))  # (B, H, S, K)
        r = self.r(self._heads(self.distance, view.sinusoids[None])[0])  # (H, distance, K)

        # How well each query fits each distance; then, for each key, the entry of the distance at which it lies.
        by_distance = torch.einsum("bhtk, hdk -> bhtd", q + self.distance_bias[:, None], r)
        index = view.distance.clamp(min=0)[:, None].expand(*by_distance.shape[:3], -1)
        bias = by_distance.gather(-1, index) / self.temperature  # (B, H, T, S)

        dropout, taps = self.dropout if self.training else 0.0, (self.raw_scores, self.scores, self.pattern)
        seen, asking = View(mask=view.mask, bias=bias), q + self.content_bias[:, None]
        mixed = self.mixed(
            attention(attend, asking, k, v, seen, temperature=self.temperature, dropout=dropout, taps=taps)
        )
        return self.out(linear_layer(self.output, mixed.transpose(1, 2).flatten(2)))

    def _heads(self, layer: nn.Module, x: Tensor) -> Tensor:
        return linear_layer(layer, x).view(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2)


def make_biases(num_heads: int, head_size: int) -> tuple[nn.Parameter, nn.Parameter]:
    """The biases u (on content) and v (on distance) of section 3.3, which stand for a query wherever it is."""
    return nn.Parameter(torch.zeros(num_heads, head_size)), nn.Parameter(torch.zeros(num_heads, head_size))


class RecurrentStack(nn.Module):
    """Blocks one after another, each with its own memory.

    Args:
        config: sizes and variants.
    """

    def __init__(self, config: TransfoXLConfig) -> None:
        super().__init__()
        D, H, K = config.hidden_size, config.num_heads, config.head_size
        self.mem_len, self.same_length = config.mem_len, config.same_length
        self.distances = Distances(D, config.clamp_len)
        shared = None
        if not config.untie_r:
            shared = self.content_bias, self.distance_bias = make_biases(H, K)
        self.pre_norm = config.pre_norm

        def make_block() -> nn.Module:
            attn = RelativeAttention(D, H, K, biases=shared, dropout=config.attention_dropout)
            ffn = FeedForward(D, config.inner_size, activation("relu"), dropout=config.dropout)
            kind = PreNormBlock if config.pre_norm else PostNormBlock
            return kind(attn, ffn, partial(nn.LayerNorm, D, eps=config.norm_eps), dropout=config.dropout)

        self.blocks = nn.ModuleList(make_block() for _ in range(config.num_layers))
        self.final_normed = Tap("batch token hidden_size")
        self.dropout = nn.Dropout(config.dropout)
        self.output = Tap("batch token hidden_size")

    def forward(
        self,
        x: Float[Tensor, "batch token hidden_size"],
        memories: Sequence[Tensor],
        attention_mask: Tensor | None = None,
    ) -> tuple[Float[Tensor, "batch token hidden_size"], list[Tensor]]:
        """Run the blocks.

        Args:
            x: the tokens of this segment.
            memories: for each block, what it remembers, (batch, memory, hidden_size).
            attention_mask: 0 at the segment's padding.

        Returns:
            The last block's output, and what each block remembers now.
        """
        T, M = x.shape[1], memories[0].shape[1]
        seen = None if attention_mask is None else F.pad(attention_mask.long(), (M, 0), value=1)
        positions = token_positions(M + T, seen, device=x.device)  # padding does not count
        distance = positions[:, -T:, None] - positions[:, None, :]  # (B or 1, T, S)
        visible = (distance >= 0)[:, None]
        if self.same_length:
            visible = visible & (distance < self.mem_len)[:, None]
        if seen is not None:
            visible = visible & (seen != 0)[:, None, None]
        sinusoids = self.dropout(self.distances(M + T - 1))

        x, remembered = self.dropout(x), []
        for block, memory in zip(self.blocks, memories, strict=True):
            remembered.append(self._remember(torch.cat([memory, x], dim=1), seen))
            memory = cast(PreNormBlock, block).attn_norm(memory) if self.pre_norm else memory
            x = block(x, RecurrentView(mask=visible, remembered=memory, distance=distance, sinusoids=sinusoids))
        return self.output(self.dropout(self.final_normed(x))), remembered

    def _remember(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """The last ``mem_len`` vectors that are no padding; zeros before them, where a row has fewer."""
        if seen is not None:
            order = seen.argsort(dim=1, stable=True)  # padding first
            x = (x * seen[..., None]).take_along_dim(order[..., None], dim=1)
        return x[:, max(0, x.shape[1] - self.mem_len) :].detach()


class TransfoXLPretrained(PretrainedModel):
    """What Transformer-XL's models share."""

    CONFIG = TransfoXLConfig
    WEIGHTS = WEIGHTS
    INTERMEDIATES = single_stack("decoder")
    OPTIONAL = ("*decoder.distances.frequencies",)
    config: TransfoXLConfig

    def initialise(self, only: set[str] | None = None) -> None:
        """As for all models; and the frequencies, which are no random numbers."""
        super().initialise(only)
        for name, module in self.named_modules():
            if isinstance(module, Distances) and (only is None or f"{name}.frequencies" in only):
                module.reset()


class TransfoXLModel(TransfoXLPretrained):
    """The decoder."""

    def __init__(self, config: TransfoXLConfig) -> None:
        super().__init__(config)
        self.embeddings = AdaptiveEmbedding(
            config.clusters, config.widths, config.hidden_size, project=config.has_projections
        )
        self.decoder = RecurrentStack(config)

    def forward(self, input_ids: Ids, attention_mask: Ids | None = None, mems: Memory | None = None) -> RecurrentOutput:
        """Read a segment of texts.

        Args:
            input_ids: the tokens of this segment.
            attention_mask: 0 at padding, for this segment.
            mems: what came out as ``mems`` for the segment before; None at the beginning of texts.

        Raises:
            ValueError: the memory has the wrong shape.
        """
        memories = self._batch_first(mems, batch=input_ids.shape[0])
        x, memories = self.decoder(self.embeddings(input_ids), memories, attention_mask)  # (B, T, D)
        has_memory = self.config.mem_len > 0 or mems is not None
        return RecurrentOutput(x, tuple(memory.transpose(0, 1) for memory in memories) if has_memory else None)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As all models; and a mask is for this segment.

        Raises:
            ValueError: an id lies outside the vocabulary, or the mask has the wrong shape.
        """
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        if mask is not None and mask.shape != ids.shape:
            raise ValueError(
                f"attention_mask is for this segment and must have the shape {tuple(ids.shape)} of input_ids, "
                f"not {tuple(mask.shape)}: what is remembered needs no mask"
            )
        return super().prepare(inputs)

    def _batch_first(self, mems: Memory | None, batch: int) -> list[Tensor]:
        """The memory with the batch first: checked, or a new one of zeros."""
        L, D = self.config.num_layers, self.config.hidden_size
        if mems is None:
            return [torch.zeros(batch, self.config.mem_len, D, dtype=self.dtype, device=self.device)] * L
        shapes = [tuple(memory.shape) for memory in mems]
        if len(shapes) != L or any(shape != (*shapes[0][:1], batch, D) for shape in shapes):
            found = shapes[0] if len(set(shapes)) == 1 else shapes
            raise ValueError(
                f"mems must be {L} tensors (one for each layer) of shape (memory, batch={batch}, hidden_size={D}), not "
                f"{len(shapes)} of shape {found}: pass on the mems of the segment before, of the same texts"
            )
        return [memory.transpose(0, 1) for memory in mems]


class TransfoXLLMHeadModel(GenerativeModel, TransfoXLPretrained):
    """Predict the next token."""

    HEAD = "ForCausalLM"

    def __init__(self, config: TransfoXLConfig) -> None:
        super().__init__(config)
        self.backbone = TransfoXLModel(config)
        self.head = AdaptiveLogSoftmax(
            config.clusters, config.widths, config.hidden_size, project=config.has_projections
        )
        embeddings = self.backbone.embeddings
        if config.tie_word_embeddings:
            for words, table in zip(self.head.words, embeddings.tables, strict=True):
                words.weight = table.weight
        for i, tied in enumerate(config.projection_is_tied):
            if tied and config.has_projections:
                self.head.projections[i].weight = embeddings.projections[i if config.div_val > 1 else 0].weight

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        mems: Memory | None = None,
        labels: Int[Tensor, "batch token"] | None = None,
        logits_to_keep: int = 0,
    ) -> RecurrentLogitsOutput:
        """Score every token as the next one, or compute the loss.

        Args:
            input_ids: the tokens of this segment.
            attention_mask: 0 at padding, for this segment.
            mems: what came out as ``mems`` for the segment before.
            labels: the input ids themselves, -100 where nothing is to be counted; the shift by one happens inside.
                There are no logits then.
            logits_to_keep: score only the last so many positions (0: all).
        """
        output = self.backbone(input_ids, attention_mask, mems)
        x = output.last_hidden_state
        if labels is not None:
            loss = self.head.loss(x[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            return RecurrentLogitsOutput(loss=loss, mems=output.mems)
        return RecurrentLogitsOutput(logits=self.head(x[:, -logits_to_keep:]), mems=output.mems)

    def new_stepper(
        self, ids: Tensor, inputs: Mapping[str, Any], config: GenerationConfig, copies: int = 1
    ) -> RecurrentStepper:
        """How ``generate`` runs this model."""
        return RecurrentStepper(self, ids, inputs, config, copies)


class TransfoXLForSequenceClassification(TransfoXLPretrained):
    """One prediction for a text, read from its last token."""

    HEAD = "ForSequenceClassification"

    def __init__(self, config: TransfoXLConfig) -> None:
        super().__init__(config)
        if config.embedding_size != config.hidden_size:
            raise ConfigError(
                f"TransfoXLForSequenceClassification needs d_embed {config.embedding_size} to equal d_model "
                f"{config.hidden_size}: its files hold a score of width d_embed, which reads vectors of width d_model"
            )
        self.backbone = TransfoXLModel(config)
        self.head = Logits(config.hidden_size, config.num_labels, bias=False)

    def forward(
        self,
        input_ids: Ids,
        attention_mask: Ids | None = None,
        mems: Memory | None = None,
        labels: Tensor | None = None,
    ) -> RecurrentLogitsOutput:
        """Score the labels for each text; see ``classification_loss`` for the form of ``labels``."""
        output = self.backbone(input_ids, attention_mask, mems)
        logits = self.head(last_token(output.last_hidden_state, input_ids, self.config.pad_token_id, attention_mask))
        loss = classification_loss(logits, labels, self.config.problem_type)
        return RecurrentLogitsOutput(loss=loss, logits=logits, mems=output.mems)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As all models; and each text's end must be known."""
        need_ends(inputs, self.config.pad_token_id)
        return inputs


ARCHITECTURE = Architecture(
    TransfoXLConfig,
    {
        "Model": TransfoXLModel,
        "ForCausalLM": TransfoXLLMHeadModel,
        "ForSequenceClassification": TransfoXLForSequenceClassification,
    },
)
