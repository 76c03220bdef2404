"""The table of operations of a forward pass: how each tensor that passed a tap came from those before it.

It is read off a recording: the order in which taps were passed tells the wiring (a norm before its sublayer or after
it, which stack feeds which), the names tell the kind, the model gives constants and parameters, and the weight map the
names that parameters have in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn

from minitransformer.layers import ACTIVATIONS, tap_names
from minitransformer.models.common.heads import MeanPooler
from minitransformer.parity.kinds import KINDS, compute
from minitransformer.parity.recording import Recording
from minitransformer.weights.ops import Interleave, Op, Same, Split, Then, Transpose


@dataclass(frozen=True)
class Operation:
    """How one tensor of a forward pass came about."""

    index: int
    name: str
    """Of the tap; a tap that is passed several times has ``#1``, ``#2`` ... behind the name from the second time on."""
    kind: str
    inputs: dict[str, str]
    """Role in the formula -> name of a tensor of the trace."""
    axes: str
    shape: tuple[int, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    """Role -> our name of the parameter."""
    file_parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    """Role -> its name in the checkpoint, and what is done to that tensor."""
    noise: dict[str, float] = field(default_factory=dict)
    """Type -> error that rounding alone makes, as a share of the result's root mean square."""

    @property
    def formula(self) -> str:
        """What is computed, in the names of the roles."""
        return KINDS[self.kind].formula

    def run(
        self,
        tensors: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
    ) -> Tensor:
        """Compute it again.

        Args:
            tensors: by name, at least its inputs.
            parameters: by our name.
        """
        return compute(self.kind, self.roles(tensors, parameters), self.constants)

    def roles(self, tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inputs and parameters by role."""
        return {role: tensors[name] for role, name in self.inputs.items()} | {
            role: parameters[name] for role, name in self.parameters.items()
        }


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by all of their names."""
    return {n: p.detach() for n, p in model.named_parameters(remove_duplicate=False)} | {
        n: b for n, b in model.named_buffers(remove_duplicate=False)
    }


def operations(model: nn.Module, recording: Recording) -> list[Operation]:
    """The operations of a recorded forward pass, in its order."""
    walk = _Walk(model, recording)
    for name in recording.order:
        walk.step(name)
    return walk.done


class _Walk:
    """Follows a forward pass from tap to tap."""

    def __init__(self, model: nn.Module, recording: Recording) -> None:
        self.model, self.recording = model, recording
        self.axes = tap_names(model)
        self.known = set(model_tensors(model))
        self.files = file_names(model)
        self.done: list[Operation] = []
        self.last: dict[str, str] = {}  # tap -> its latest tensor: a shared block is passed several times
        self.stream = ""  # the residual stream
        self.sub = ""  # what a sublayer reads
        self.embedded = ""  # the embeddings' output, until it has been read
        self.encoded = ""  # the encoder's output
        self.bias = ""  # T5's, of the stack that is running
        self.finished: set[str] = set()  # sublayers of the block that is running
        self.pooled = ""

    def step(self, name: str) -> None:
        """Add the operation that gave the tensor ``name``."""
        tap = name.partition("#")[0]
        parent, _, leaf = tap.rpartition(".")
        owner = self.model.get_submodule(parent)
        readers = {
            "logits": self._head,
            "dense": self._pooler,
            "blocks": self._stack,
            "groups": self._stack,
            "query": self._attention,
            "theta": self._rotary,
            "down": self._feed_forward,
            "attn_norm": self._block,
            "tables": self._embeddings,
            "word": self._embeddings,
        }
        read = next((reader for part, reader in readers.items() if hasattr(owner, part)), self._relative_positions)
        if isinstance(owner, MeanPooler):
            read = self._mean
        self.last[tap] = name
        kind, inputs, constants, parameters = read(name, parent, leaf, cast(Any, owner))
        parameters = {role: own for role, own in parameters.items() if own in self.known}
        self.done.append(
            Operation(
                len(self.done),
                name,
                kind,
                {role: source for role, source in inputs.items() if source},
                self.axes[tap],
                self.recording.shapes[name],
                constants,
                parameters,
                {role: self.files[own] for role, own in parameters.items() if own in self.files},
            )
        )

    def _extra(self, name: str, part: str) -> str:
        """The name of what was recorded beside a tap, or nothing."""
        tap, hash_, call = name.partition("#")
        extra = f"{tap.rpartition('.')[0]}.{part}{hash_}{call}"
        return self.recording.alias.get(extra, extra if extra in self.recording.extras else "")

    def _embeddings(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        if hasattr(owner, "tables"):
            if leaf == "output":
                self.stream = self.embedded = name
                return "scale", {"x": self.last[f"{parent}.words"]}, {"scale": owner.scale}, {}
            tables = {f"table.{i}": f"{parent}.tables.{i}.weight" for i in range(len(owner.tables))}
            tables |= {f"projection.{i}": f"{parent}.projections.{i}.weight" for i in range(len(owner.projections))}
            clusters = [list(cluster) for cluster in owner.clusters]
            return "embedding.adaptive", {"ids": self._extra(name, "input_ids")}, {"clusters": clusters}, tables
        if leaf in ("words", "token_types", "positions"):
            module = {"words": "word", "token_types": "token_type", "positions": "position"}[leaf]
            ids = {"words": "input_ids", "token_types": "token_type_ids", "positions": "position_ids"}[leaf]
            table = f"{parent}.{module}.weight"
            table = table if table in self.known else f"{parent}.{module}.table"
            constants = {"offset": int(getattr(getattr(owner, module), "offset", 0))}
            return "embedding", {"ids": self._extra(name, ids)}, constants, {"table": table}
        if leaf == "sum":
            parts = {part: self.last.get(f"{parent}.{part}", "") for part in ("words", "token_types", "positions")}
            return "embedding.sum", parts, {"scale": float(owner.scale)}, {}
        if leaf == "normed":
            return self._norm(f"{parent}.norm", owner.norm, self.last[f"{parent}.sum"])
        self.stream = self.embedded = name
        return "identity", {"x": self.last[f"{parent}.normed"]}, {}, {}

    def _block(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        if leaf == "input":
            source, self.stream, self.sub, self.finished = self.stream, name, name, set()
            project = f"{source.rpartition('.')[0]}_project"  # narrow embeddings, widened
            if source == self.embedded and f"{project}.weight" in self.known:
                return "linear", {"x": source}, {}, _parameters(project)
            return "identity", {"x": source}, {}, {}
        if leaf == "output":
            source, self.stream = self.stream, name
            return "identity", {"x": source}, {}, {}
        sublayer = leaf.removeprefix("after_").removesuffix("_normed")
        if leaf.startswith("after_"):
            source, self.stream, self.sub = self.stream, name, name
            return "residual", {"x": source, "sublayer": self.last[f"{parent}.{sublayer}.out"]}, {}, {}
        found = self._norm(f"{parent}.{sublayer}_norm", getattr(owner, f"{sublayer}_norm"), self.stream)
        if sublayer in self.finished:  # post-norm
            self.stream = name
        self.sub = name
        return found

    def _attention(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        cross = parent.endswith("cross_attn")
        own = {tap: self.last.get(f"{parent}.{tap}", "") for tap in "q k v r raw_scores scores pattern mixed".split()}
        if leaf in ("q", "k") and getattr(owner, "rotary", None) is not None:
            turn, place = owner.rotary, f"{parent}.rotary.q{name.removeprefix(f'{parent}.{leaf}')}"
            inputs = {"x": self.last[f"{parent}.rotary.{leaf}"], "positions": self._extra(place, "positions")}
            return "attention.rotated", inputs, {"theta": turn.theta, "scaling": turn.scaling}, {}
        if leaf in ("q", "k", "v"):
            part = {"q": "query", "k": "key", "v": "value"}[leaf]
            source = self.encoded if cross and leaf != "q" else self.sub
            heads = owner.num_heads if leaf == "q" else getattr(owner, "num_kv_heads", owner.num_heads)
            constants, parameters = {"heads": heads}, _parameters(f"{parent}.{part}")
            remembered = "" if leaf == "q" else self._extra(name, "remembered")
            if remembered:
                return "attention.heads.remembered", {"x": source, "remembered": remembered}, constants, parameters
            return "attention.heads", {"x": source}, constants, parameters
        if leaf == "r":
            inputs = {"x": self._extra(name, "sinusoids")}
            return "attention.heads.distances", inputs, {"heads": owner.num_heads}, _parameters(f"{parent}.distance")
        temperature = {"temperature": float(owner.temperature)} if hasattr(owner, "temperature") else {}
        if leaf == "raw_scores":
            inputs = {"q": own["q"], "k": own["k"]}
            return "attention.raw_scores", inputs, temperature, {"content_bias": f"{parent}.content_bias"}
        if leaf == "scores":
            inputs = {"raw_scores": own["raw_scores"], "mask": self._extra(name, "mask")}
            if own["r"]:
                inputs |= {"q": own["q"], "r": own["r"], "distance": self._extra(name, "distance")}
                bias = {"distance_bias": f"{parent}.distance_bias"}
                return "attention.scores.relative", inputs, temperature, bias
            return "attention.scores", {**inputs, "bias": "" if cross else self.bias}, {}, {}
        if leaf == "pattern":
            return "attention.pattern", {"scores": own["scores"]}, {}, {}
        if leaf == "mixed":
            return "attention.mixed", {"pattern": own["pattern"], "v": own["v"]}, {}, {}
        self.finished.add(parent.rpartition(".")[2])
        return "attention.out", {"mixed": own["mixed"]}, {}, _parameters(f"{parent}.output")

    def _rotary(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        attention = parent.rpartition(".")[0]
        heads = self.recording.shapes[name][1]
        parameters = _parameters(f"{attention}.{'query' if leaf == 'q' else 'key'}")
        normed = getattr(owner, f"{leaf}_norm", None)
        if normed is None:
            return "attention.heads", {"x": self.sub}, {"heads": heads}, parameters
        parameters["norm"] = f"{parent}.{leaf}_norm.weight"
        return "attention.heads.normed", {"x": self.sub}, {"heads": heads, "eps": float(normed.eps)}, parameters

    def _feed_forward(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        if leaf == "pre":
            return "linear", {"x": self.sub}, {}, _parameters(f"{parent}.{'up' if hasattr(owner, 'up') else 'gate'}")
        if leaf == "gated":
            return "linear", {"x": self.sub}, {}, _parameters(f"{parent}.linear")
        if leaf == "hidden":
            inputs = {"x": self.last[f"{parent}.pre"], "gated": self.last.get(f"{parent}.gated", "")}
            return "activation", inputs, {"activation": _activation(owner)}, {}
        self.finished.add(parent.rpartition(".")[2])
        return "linear", {"x": self.last[f"{parent}.hidden"]}, {}, _parameters(f"{parent}.down")

    def _stack(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        source, self.stream = self.stream, name
        if leaf == "final_normed":
            return self._norm(f"{parent}.final_norm", getattr(owner, "final_norm", None), source)
        self.bias = ""
        if parent.rpartition(".")[2] == "encoder":
            self.encoded = name
        return "identity", {"x": source}, {}, {}

    def _relative_positions(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        self.bias = name
        _, _, queries, keys = self.recording.shapes[name]
        table = owner.bias
        constants = {
            "queries": queries,
            "keys": keys,
            "num_buckets": table.num_embeddings,
            "max_distance": owner.max_distance,
            "bidirectional": owner.bidirectional,
        }
        return "positions.relative", {}, constants, {"table": f"{parent}.bias.weight"}

    def _mean(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        self.pooled = name
        return "mean", {"x": self.stream, "counted": self._extra(name, "counted")}, {}, {}

    def _pooler(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        if leaf == "out":
            self.pooled = name
            return "activation", {"x": self.last[f"{parent}.pre"]}, {"activation": "tanh"}, {}
        batch = self.recording.shapes[name][0]
        return "linear", {"x": self.stream}, {"tokens": [0] * batch}, _parameters(f"{parent}.dense")

    def _head(self, name: str, parent: str, leaf: str, owner: Any) -> _Found:
        read = self.recording.read_by_heads[parent]  # "pooled", "stream", or a token of each text
        source, constants = (self.pooled, {}) if read == "pooled" else (self.stream, {})
        if isinstance(read, list):
            constants = {"tokens": read}
        if leaf == "pre":
            return "linear", {"x": source}, constants, _parameters(f"{parent}.dense")
        if leaf == "hidden":
            return "activation", {"x": self.last[f"{parent}.pre"]}, {"activation": _activation(owner)}, {}
        if leaf == "normed":
            return self._norm(f"{parent}.norm", owner.norm, self.last[f"{parent}.hidden"])
        if hasattr(owner, "frequent"):
            return self._adaptive(name, parent, leaf, owner, source)
        for part in ("normed", "hidden"):
            if f"{parent}.{part}" in self.last:
                return "linear", {"x": self.last[f"{parent}.{part}"]}, {}, _parameters(f"{parent}.output")
        if type(owner).__name__ == "ScaledLogits":
            constants["scale"] = owner.output.in_features**-0.5
        return "linear", {"x": source}, constants, _parameters(f"{parent}.output")

    def _adaptive(self, name: str, parent: str, leaf: str, owner: Any, source: str) -> _Found:
        clusters = [list(cluster) for cluster in owner.clusters_of_words]
        tables = {f"words.{i}": f"{parent}.words.{i}.weight" for i in range(len(owner.words))}
        tables |= {f"bias.{i}": f"{parent}.words.{i}.bias" for i in range(len(owner.words))}
        tables |= {f"projection.{i}": f"{parent}.projections.{i}.weight" for i in range(len(owner.projections))}
        if leaf == "logits":
            return (
                "head.adaptive",
                {"x": source, "frequent": self.last[f"{parent}.frequent"]},
                {"clusters": clusters},
                {role: own for role, own in tables.items() if len(owner.words) == 1 or not role.endswith(".0")},
            )
        tables = {role: own for role, own in tables.items() if role.endswith(".0")}
        tables |= {"clusters": f"{parent}.clusters.weight", "clusters_bias": f"{parent}.clusters.bias"}
        return "head.frequent", {"x": source}, {"shortlist": clusters[0][1]}, tables

    def _norm(self, name: str, module: Any, source: str) -> _Found:
        if module is None or isinstance(module, nn.Identity):
            return "identity", {"x": source}, {}, {}
        kind = "norm.layer" if isinstance(module, nn.LayerNorm) else "norm.rms"
        return kind, {"x": source}, {"eps": float(module.eps)}, _parameters(name)


_Found = tuple[str, dict[str, str], dict[str, Any], dict[str, str]]
"""Kind, inputs, constants and parameters of an operation."""


def _parameters(module: str) -> dict[str, str]:
    return {"weight": f"{module}.weight", "bias": f"{module}.bias"}


def _activation(owner: Any) -> str:
    return next(name for name, function in ACTIVATIONS.items() if function is owner.activation)


def file_names(model: nn.Module) -> dict[str, dict[str, str]]:
    """Our name of a parameter -> the checkpoint's, and what is done to the tensor there to get ours."""
    bound = cast(Any, model).WEIGHTS.bind(model)
    names: dict[int, dict[str, str]] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for row in bound.rows:
        for i, own in enumerate(row.ours):
            names[id(parameters[own])] = {"name": bound.file_name(row.hf), "how": describe(row.op, i)}
    return {own: names[id(parameter)] for own, parameter in parameters.items() if id(parameter) in names}


def describe(op: Op, part: int = 0) -> str:
    """What gives our tensor from the file's, in words."""
    if isinstance(op, Then):
        return f"{describe(op.first)}, then {describe(op.second, part)}"
    if isinstance(op, Transpose):
        return "transposed"
    if isinstance(op, Split):
        return f"part {part + 1} of {op.parts} along axis {op.dim}"
    if isinstance(op, Interleave):
        return f"rows of pairs, side by side in each {op.head_size}, to halves"
    return "as it is" if isinstance(op, Same) else str(op)
