"""A small architecture with everything that a weight map can say, and a checkpoint that lives in memory."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from minitransformer.weights import (
    AddAxis,
    Ignore,
    Legacy,
    Row,
    Tied,
    WeightMap,
    embedding,
    export_weights,
    fused_qkv,
    linear,
    norm,
)

V, D, F, LAYERS = 7, 4, 6, 12

TOY = WeightMap(
    prefix="base",
    backbone=[
        embedding("wte", "word"),
        fused_qkv("h.{i}.c_attn", "blocks.{i}.attn", conv1d=True),
        linear("h.{i}.mlp", "blocks.{i}.up", conv1d=True),
        norm("h.{i}.LayerNorm", "blocks.{i}.norm"),
        linear("pooler.dense", "pooler"),
    ],
    heads={
        "ForCausalLM": [Row("lm_head.weight", "head.weight"), Row("lm_bias", "head.bias", AddAxis(0))],
        "ForSequenceClassification": linear("classifier", "head"),
    },
    tied=[
        Tied("base.wte.weight", "base.encoder.wte.weight", "lm_head.weight"),
        Tied("lm_bias", "lm_head.bias"),
    ],
    ignore=[
        Ignore("base.position_ids", why="the numbers 0, 1, 2, ..."),
        Ignore("base.h.{i}.mask", why="the causal mask"),
    ],
    legacy=[Legacy("LayerNorm.gamma", "LayerNorm.weight"), Legacy("LayerNorm.beta", "LayerNorm.bias")],
)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({name: nn.Linear(D, D) for name in ("query", "key", "value")})
        self.up = nn.Linear(D, F)
        self.norm = nn.LayerNorm(D)


class Base(nn.Module):
    def __init__(self, *, pooler: bool = True, layers: int = LAYERS) -> None:
        super().__init__()
        self.word = nn.Embedding(V, D)
        self.blocks = nn.ModuleList(Block() for _ in range(layers))
        self.pooler = nn.Linear(D, D) if pooler else None


class LanguageModel(nn.Module):
    HEAD = "ForCausalLM"

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.backbone = Base(pooler=False)
        self.head = nn.Linear(D, V)
        if tied:
            self.head.weight = self.backbone.word.weight


class Classifier(nn.Module):
    HEAD = "ForSequenceClassification"

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Base()
        self.head = nn.Linear(D, 3)


def redraw(model: nn.Module) -> nn.Module:
    """All parameters drawn anew: norms too, so that swapped rows show."""
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def on_meta(make: type[nn.Module], **options: bool) -> nn.Module:
    with torch.device("meta"):
        return make(**options)


def same_parameters(a: nn.Module, b: nn.Module) -> bool:
    """Whether all parameters have equal bits."""
    ours, theirs = dict(a.named_parameters()), dict(b.named_parameters())
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Memory:
    """A checkpoint in memory, which counts how many of its tensors are alive at once."""

    where = "memory"

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)
        self.reads = 0
        self.most_alive = 0
        self._alive: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> torch.Size:
        return self.tensors[name].shape

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        self.reads += 1
        tensor = self.tensors[name].clone()
        if transient:
            self._alive.add(tensor)
            self.most_alive = max(self.most_alive, len(self._alive))
        return tensor


def saved(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors as in a file."""
    return {name: tensor.clone() for name, tensor in export_weights(model, TOY).items()}
