"""Traces as files: every tensor of a forward pass in a safetensors file, and a manifest that says how each came about.

``DIR/trace.safetensors`` holds the tensors by name, ``DIR/manifest.json`` inputs, operations and outputs. Both are
written tensor by tensor: a long pass needs no more memory than its largest tensor and the model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from minitransformer import __version__
from minitransformer.errors import MinitransformerError, did_you_mean
from minitransformer.files import draft_of, write_whole
from minitransformer.hub import Repository
from minitransformer.jsons import read_json
from minitransformer.layers import tap_names
from minitransformer.models.auto import AutoConfig, architecture
from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.noise import measure
from minitransformer.parity.operations import Operation, model_tensors, operations
from minitransformer.parity.recording import record

FORMAT = "minitransformer-trace/1"
MANIFEST, TENSORS, MODEL = "manifest.json", "trace.safetensors", "model"
_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"} | {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.bool: "BOOL",
    torch.uint8: "U8",
}


class ParityError(MinitransformerError, ValueError):
    """A trace or a dump that cannot be used; says which and what to do."""


class TensorWriter:
    """Writes a safetensors file one tensor at a time; larger types come first, so that all are aligned."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._files = {size: stack.enter_context((folder / str(size)).open("w+b")) for size in (8, 4, 2, 1)}
        self._heads: dict[int, list[tuple[str, str, list[int], int]]] = {size: [] for size in self._files}

    def add(self, name: str, x: Tensor) -> None:
        """Append a tensor."""
        x = x.detach().to("cpu").contiguous()
        size = x.element_size()
        if x.numel():
            self._files[size].write(x.flatten().view(torch.uint8).numpy().data)
        self._heads[size].append((name, _NAMES[x.dtype], list(x.shape), x.numel() * size))

    def finish(self, path: Path) -> None:
        """Write the file."""
        head: dict[str, Any] = {"__metadata__": {"format": FORMAT}}
        place = 0
        for heads in self._heads.values():
            for name, dtype, shape, length in heads:
                head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + length]}
                place += length
        text = json.dumps(head, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with draft_of(path) as draft, draft.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for part in self._files.values():
                part.seek(0)
                shutil.copyfileobj(part, file, 2**22)


def write_trace(
    model: PretrainedModel,
    inputs: Mapping[str, Tensor],
    folder: str | Path,
    *,
    taps: Sequence[str] = ("*",),
    source: str | None = None,
    text: Sequence[str] = (),
    tokens: Sequence[Sequence[str]] = (),
    with_model: bool = False,
    gradients: bool = False,
) -> Path:
    """Run a model once and write everything that happened.

    Args:
        model: in evaluation mode; the trace has its type.
        inputs: what it is called with.
        folder: made if it does not exist; a trace in it is replaced.
        taps: patterns of the tensors to keep; the manifest tells of all operations.
        source: where the model came from, for those who compare; its folder or id.
        text: what the inputs stand for.
        tokens: of each text.
        with_model: write the model beside the trace, so that the folder needs nothing else.
        gradients: write the derivative of the loss by each kept tensor, too, and by each parameter.

    Returns:
        The manifest.

    Raises:
        ParityError: a pattern matches no tap.
        InputError: the model is in training mode.
        SavingError: a file cannot be written.
    """
    folder = Path(folder)
    kept = chosen(model, taps)
    folder.mkdir(parents=True, exist_ok=True)
    parameters = model_tensors(model)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=folder, prefix=".trace-")))
        writer = TensorWriter(scratch, stack)
        slopes: dict[str, Tensor] = {}

        def sink(name: str, x: Tensor) -> None:
            writer.add(name, x)
            if gradients and x.requires_grad and name.partition("#")[0] in kept:
                keep = partial(_keep, slopes, f"gradients/{name}")
                x.register_hook(keep)  # type: ignore[no-untyped-call]

        with torch.set_grad_enabled(gradients):
            recording = record(model, inputs, sink)
        told_outputs = {}
        for name, x in outputs(recording.output):
            writer.add(f"outputs/{name}", x)
            told_outputs[name] = f"outputs/{name}"
        told_gradients: dict[str, str] = {}
        if gradients:
            loss = sum(x.double().pow(2).mean() for _, x in outputs(recording.output) if x.requires_grad) / 2
            named = {n: p for n, p in model.named_parameters() if p.requires_grad}
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)  # type: ignore[arg-type]
            slopes |= {f"gradients/{n}": g for n, g in zip(named, found, strict=True) if g is not None}
            for name, slope in slopes.items():
                writer.add(name, slope)
                told_gradients[name.removeprefix("gradients/")] = name
        for name, x in inputs.items():
            writer.add(f"inputs/{name}", x)
        whole = folder / TENSORS
        table = operations(model, recording)
        everything = scratch / "everything"
        writer.finish(everything)
        with torch.no_grad(), open_tensors(everything) as tensors:
            table = [dataclasses.replace(op, noise=measure(op, tensors, parameters)) for op in table]
            if len(kept) == len(tap_names(model)):
                tensors.close()
                everything.replace(whole)
            else:
                fewer = stack.enter_context(TemporaryDirectory(dir=folder, prefix=".trace-"))
                second = TensorWriter(Path(fewer), stack)
                for name in tensors:
                    if name.partition("#")[0] in kept or name not in recording.order:
                        second.add(name, tensors[name])
                second.finish(whole)
    if with_model:
        model.save_pretrained(folder / MODEL)
    manifest = {
        "format": FORMAT,
        "producer": {"minitransformer": __version__, "torch": torch.__version__},
        "model": {
            "source": MODEL if with_model else source,
            "class": type(model).__name__,
            "model_type": model.config.model_type,
            "config": json.loads(json.dumps(model.config.to_hf(), default=str)),
            "weights_sha256": weights_digest(model),
        },
        "dtype": str(model.dtype).removeprefix("torch."),
        "inputs": {name: x.tolist() for name, x in inputs.items()} | {"text": list(text), "tokens": list(tokens)},
        "given": recording.extras,
        "operations": [described(operation) for operation in table],
        "outputs": told_outputs,
    }
    if gradients:
        manifest["gradients"] = {"of": "half the mean square of each output, summed", "tensors": told_gradients}
    write_whole(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
    return folder / MANIFEST


def _keep(slopes: dict[str, Tensor], name: str, slope: Tensor) -> None:
    slopes[name] = slope.detach().clone()


def described(operation: Operation) -> dict[str, Any]:
    """An operation as the manifest has it."""
    fields = {f.name: getattr(operation, f.name) for f in dataclasses.fields(operation)}
    return {"index": fields.pop("index"), "name": fields.pop("name"), "kind": fields.pop("kind")} | {
        "formula": operation.formula,
        **fields,
    }


def chosen(model: nn.Module, patterns: Sequence[str]) -> set[str]:
    """The taps that match.

    Raises:
        ParityError: a pattern matches none.
    """
    known = tap_names(model)
    result: set[str] = set()
    for pattern in patterns:
        found = {name for name in known if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")}
        if not found:
            hint = did_you_mean(pattern, known)
            raise ParityError(f"no tap of {type(model).__name__} matches {pattern!r}.{hint} docs/taps.md lists them.")
        result |= found
    return result


def outputs(output: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model's output."""
    for name in ("logits", "prediction_logits", "sop_logits", "seq_relationship_logits", "start_logits", "end_logits"):
        if isinstance(getattr(output, name, None), Tensor):
            yield name, getattr(output, name)
    for name in ("last_hidden_state", "pooler_output"):
        if isinstance(getattr(output, name, None), Tensor):
            yield name, getattr(output, name)


def weights_digest(model: nn.Module) -> str:
    """A fingerprint of all parameters as float32, whatever their type and file."""
    digest = hashlib.sha256()
    for name, x in sorted(model.named_parameters(), key=lambda item: item[0]):
        digest.update(name.encode())
        digest.update(x.detach().to("cpu", torch.float32).contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


LARGE = 2**26
"""Bytes of a file whose tensors are not all kept mapped."""


class Tensors(Mapping[str, Tensor]):
    """The tensors of a safetensors file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: Any = cast(Any, safe_open)(path, framework="pt")
            self._names: list[str] = list(self._file.keys())
            self._large = path.stat().st_size > LARGE
        except (SafetensorError, OSError) as error:
            raise ParityError(
                f"{path} is no whole safetensors file ({error}): write it again, or copy it anew"
            ) from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        # A large file is mapped anew for each tensor: pages of a mapping count as memory for as long as it lives.
        file = cast(Any, safe_open)(self.path, framework="pt") if self._large else self._file
        x: Tensor = file.get_tensor(name)
        return x

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def close(self) -> None:
        """Let go of the file."""
        self._file = None


@contextmanager
def open_tensors(path: Path) -> Iterator[Tensors]:
    """The tensors of a file, while a block runs."""
    tensors = Tensors(path)
    try:
        yield tensors
    finally:
        tensors.close()


@dataclasses.dataclass
class Trace:
    """A trace that was read."""

    folder: Path
    manifest: dict[str, Any]
    tensors: Mapping[str, Tensor]
    operations: list[Operation]

    @property
    def dtype(self) -> torch.dtype:
        """The type it was computed in.

        Raises:
            ParityError: the manifest names none.
        """
        kinds = {str(kind).removeprefix("torch."): kind for kind in _NAMES if kind.is_floating_point}
        said = self.manifest.get("dtype")
        if not isinstance(said, str) or said not in kinds:
            raise ParityError(f"{self.folder / MANIFEST} is damaged: its dtype is {said!r}. Trace the model again")
        return kinds[said]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the model was called with."""
        told = self.manifest["inputs"]
        return {name: torch.tensor(x) for name, x in told.items() if name not in ("text", "tokens")}

    def load_model(self, source: str | Path | None = None) -> PretrainedModel:
        """The model that was traced, in float64.

        Args:
            source: where it is now, if not where the manifest says.

        Raises:
            ParityError: it is not there, or has other weights.
        """
        told = self.manifest["model"]
        if source is None:
            if told["source"] is None:
                raise ParityError(f"{self.folder} does not say where its model is: pass it (--model)")
            source = (self.folder / MODEL).absolute() if told["source"] == MODEL else told["source"]
            if Path(source).is_absolute() and not Path(source).exists():
                raise ParityError(f"the model of {self.folder} is no longer in {source}: say where it is (--model)")
        model = load_model(source, told["class"])
        if weights_digest(model) != told["weights_sha256"]:
            raise ParityError(f"{source} has other weights than the model of {self.folder}: trace it again")
        return model


def load_model(
    source: str | Path | Repository, class_name: str | None = None, dtype: str = "float64"
) -> PretrainedModel:
    """A checkpoint's model, of the class that its config names, in evaluation mode.

    Raises:
        ParityError: no such class.
    """
    config = AutoConfig.from_pretrained(source)
    heads = architecture(config.model_type).heads
    wanted = [class_name] if class_name is not None else list(config.architectures)
    kind = next((model for model in heads.values() if model.__name__ in wanted), None)
    if kind is None and class_name is not None:
        raise ParityError(f"{config.model_type} has no class {class_name}")
    return (kind or heads["Model"]).from_pretrained(source, dtype=dtype).eval()


def read_trace(folder: str | Path) -> Trace:
    """What ``write_trace`` wrote.

    Raises:
        ParityError: there is none, or one of another version, or a damaged one.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not os.path.isfile(path):
        raise ParityError(f"{folder} holds no trace, it has no {MANIFEST}: make one with minitransformer trace")
    manifest = read_json(path, error=ParityError)
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ParityError(f"{path} is of format {found!r}, this version reads {FORMAT!r}: trace the model again")
    try:
        names = {f.name for f in dataclasses.fields(Operation)}
        table = [
            cast(Any, Operation)(**{k: tuple(v) if k == "shape" else v for k, v in told.items() if k in names})
            for told in manifest["operations"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ParityError(f"{path} is damaged ({error}): trace the model again") from error
    return Trace(folder, manifest, Tensors(folder / TENSORS), table)
