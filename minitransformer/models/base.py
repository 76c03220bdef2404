"""What every model can do: be loaded, saved, counted, and give out its intermediates."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.config import ModelConfig
from minitransformer.errors import ConfigError
from minitransformer.generation import GenerationConfig, generate
from minitransformer.hub import read_json, resolve_file
from minitransformer.layers import token_positions, trace
from minitransformer.weights import (
    BACKBONE,
    WeightMap,
    export_weights,
    load_weights,
    open_checkpoint,
    save_checkpoint,
    without_memory,
)

MakeBlock = Callable[..., nn.Module]
DTypeArgument = torch.dtype | str | None

NEW_HEAD = "the head is drawn anew"
MASKS = ("attention_mask", "decoder_attention_mask")


@dataclass(frozen=True)
class Architecture:
    """One line of the registry: a config class, and the model class for each ``AutoModel...`` suffix."""

    config: type[ModelConfig]
    heads: Mapping[str, type[PretrainedModel]]


class PretrainedModel(nn.Module):
    """Base of all models.

    An architecture sets three things on a common base of its models: ``CONFIG``, ``WEIGHTS``, and ``INTERMEDIATES``,
    which says from which taps an output field is served (see ``single_stack`` and ``encoder_decoder``).
    """

    CONFIG: ClassVar[type[ModelConfig]]
    WEIGHTS: ClassVar[WeightMap]
    INTERMEDIATES: ClassVar[Mapping[str, tuple[str, ...]]]
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """Parameters (shell patterns) that old files may lack; they start as in a new model."""
    OPTIONAL_PARTS: ClassVar[tuple[str, ...]] = ()
    """Parts of the model without a head that many files lack (poolers); it then goes without."""
    FLOAT32: ClassVar[tuple[str, ...]] = ()
    """Parameters (shell patterns) that stay in float32 when the model is loaded in float16: layers that overflow."""

    HEAD: ClassVar[str | None] = None
    """The task, less "AutoModel", of a model with a head: its rows in the weight map."""

    _arguments: ClassVar[tuple[str, ...]]

    config: ModelConfig
    backbone: Any
    """The model below the head, in a model that has one; what the task adds is ``head``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._arguments = tuple(inspect.signature(cls.forward).parameters)[1:]

    def __call__(
        self,
        *args: Any,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Look at the inputs (see ``prepare``), and run ``forward``.

        Args:
            *args: as ``forward`` takes them.
            output_hidden_states: fill the output's fields of hidden states, from the taps.
            output_attentions: fill the output's fields of attention patterns, from the taps.
            return_dict: False for a tuple in place of an object with names.
            **kwargs: as ``forward`` takes them; others are ignored, if they are None.
        """
        kwargs = {name: x for name, x in kwargs.items() if x is not None or name in self._arguments}
        if can_be_read((*args, *kwargs.values())):
            inputs = self.prepare({**dict(zip(self._arguments, args, strict=False)), **kwargs})
            args = (*(inputs.pop(name) for name in self._arguments[: len(args)]), *args[len(self._arguments) :])
            kwargs = inputs
        output = self._run(args, kwargs, bool(output_hidden_states), bool(output_attentions))
        return output.to_tuple() if return_dict is False else output

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The boundary, where values are looked at; not while a model is traced, compiled, exported or transformed.

        Args:
            inputs: what ``forward`` is to get, by name.

        Returns:
            The same, less masks that hide nothing, which lets attention take its quickest path.

        Raises:
            ValueError: an id, a token type or a position lies outside of its table.
        """
        for side, name in (("", "input_ids"), ("encoder_", "input_ids"), ("decoder_", "decoder_input_ids")):
            embeddings, ids = self._modules.get(f"{side}embeddings"), inputs.get(name)
            check: Any = getattr(embeddings, "check", None)
            if check is not None and ids is not None:
                mask, positions = inputs.get(name.replace("input_ids", "attention_mask")), inputs.get("position_ids")
                if positions is None:
                    positions = self.positions(ids, mask, None if side == "encoder_" else inputs.get("past_key_values"))
                check(ids, positions, inputs.get("token_type_ids"))
        if any(name.endswith("embeddings") for name in self._modules):
            inputs.update({name: None for name, x in inputs.items() if name in MASKS and x is not None and x.all()})
        return inputs

    def positions(self, ids: Tensor, attention_mask: Tensor | None = None, cache: Any = None) -> Tensor:
        """Where tokens stand that follow those in the cache: counted from the left, padding included."""
        return token_positions(ids.shape[1], offset=0 if cache is None else cache.length, device=ids.device)

    def _run(self, args: Any, kwargs: Any, output_hidden_states: bool, output_attentions: bool) -> Any:
        """``forward``; with the two flags, the output's fields of intermediates are filled from the taps."""
        asked = {"hidden_states": output_hidden_states, "attentions": output_attentions}
        wanted = {
            field: patterns
            for field, patterns in self.INTERMEDIATES.items()
            if any(on and field.endswith(kind) for kind, on in asked.items())
        }
        if not wanted:
            return super().__call__(*args, **kwargs)
        with trace(self, *(pattern for patterns in wanted.values() for pattern in patterns)) as t:
            output = super().__call__(*args, **kwargs)
        for field, patterns in wanted.items():
            tensors = tuple(tensor for pattern in patterns for tensor in t.matching(pattern))
            setattr(output, field, tensors or None)
        return output

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """A new model with random weights, drawn as for pretraining (normal, ``config.initializer_range``)."""
        model = cls(config)
        model.initialise()
        return model

    @classmethod
    def from_pretrained(
        cls,
        id_or_folder: str | Path,
        *,
        config: ModelConfig | None = None,
        dtype: DTypeArgument = torch.float32,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        token: str | None = None,
        allow_missing_head: bool = False,
        new_head: bool = False,
    ) -> Self:
        """Load a checkpoint in the Hub's format, in evaluation mode.

        Args:
            id_or_folder: a folder (never touches the network) or a model id on the Hub.
            config: instead of the checkpoint's config.json.
            dtype: of the weights in memory; "auto" takes what config.json names.
            device: where the weights go.
            revision: branch, tag or commit on the Hub.
            token: access token for the Hub; by default the one that huggingface_hub finds.
            allow_missing_head: give a head that the checkpoint lacks random weights, for fine-tuning.
            new_head: give the head random weights even if the checkpoint has one, for other labels (``config`` then
                says which); the backbone, its pooler included, comes from the checkpoint all the same.

        Raises:
            ConfigError: the config asks for something unsupported.
            CheckpointError: files or tensors are missing, damaged, or do not fit.
            HubError: the Hub could not be reached, or refused.
        """
        if config is None:
            config = cls.CONFIG.from_hf(read_config(id_or_folder, revision=revision, token=token))
        source = open_checkpoint(id_or_folder, revision=revision, token=token)
        with without_memory():  # no memory and no random numbers for weights that the file will bring
            model = cls(config)
        fine_tuning = allow_missing_head or new_head
        allowed = [*cls.OPTIONAL, *(model.head_parameters() if fine_tuning else model.optional_parameters())]
        dtype = as_dtype(dtype, config)
        report = load_weights(
            model,
            source,
            cls.WEIGHTS,
            dtype=dtype,
            device=device,
            allow_missing=allowed,
            leave_out=dict.fromkeys(model.own_head_parameters(), NEW_HEAD) if new_head else None,
            keep_float32=cls.FLOAT32 if dtype == torch.float16 else (),
        )
        if not fine_tuning:
            model.drop_parts(report.missing)
        model.initialise(only=set(report.missing))
        for buffer_owner in model.modules():  # fixed tables that are not in the file
            for name, buffer in buffer_owner._buffers.items():
                if buffer is not None:
                    floating = buffer.is_floating_point()
                    buffer_owner._buffers[name] = buffer.to(device, dtype if floating else None)
        model.load_generation_config(id_or_folder, revision=revision, token=token)
        return model.eval()

    def save_pretrained(self, folder: str | Path, *, max_shard_size: int | None = None) -> None:
        """Write config.json and the weights, in a form that transformers opens too.

        Args:
            folder: made if it does not exist.
            max_shard_size: bytes; more weights than this are split into several files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(export_weights(self, self.WEIGHTS), folder, max_shard_size=max_shard_size)
        dtype = str(self.dtype).removeprefix("torch.")
        config = self.config.replace(architectures=(type(self).__name__,), torch_dtype=dtype)
        write_json(folder / "config.json", config.to_hf())

    def load_generation_config(self, id_or_folder: str | Path, *, revision: str | None, token: str | None) -> None:
        """Nothing to load: only ``GenerativeModel`` generates."""

    def head_parameters(self) -> list[str]:
        """Names of the parameters that a task adds: the head's, and those of the backbone's optional parts."""
        names = [name for name, _ in self.named_parameters()]
        if not any(name.startswith(BACKBONE) for name in names):
            return self.optional_parameters()
        parts = tuple(f"{BACKBONE}{part}." for part in self.OPTIONAL_PARTS)
        return [*self.own_head_parameters(), *(name for name in names if name.startswith(parts))]

    def own_head_parameters(self) -> list[str]:
        """Names of the head's parameters, but for those that it shares with the backbone."""
        names = [name for name, _ in self.named_parameters()]
        has_head = any(name.startswith(BACKBONE) for name in names)
        return [name for name in names if has_head and not name.startswith(BACKBONE)]

    def optional_parameters(self) -> list[str]:
        """Names of the parameters that this model can go without: none, if it has a head that needs them."""
        parts = tuple(f"{part}." for part in self.OPTIONAL_PARTS)
        return [name for name, _ in self.named_parameters() if name.startswith(parts)]

    def drop_parts(self, missing: list[str]) -> None:
        """Go without the optional parts whose parameters are ``missing``."""
        for part in self.OPTIONAL_PARTS:
            if any(name.startswith(f"{part}.") for name in missing):
                setattr(self, part, None)

    @torch.no_grad()
    def initialise(self, only: set[str] | None = None) -> None:
        """Draw weights anew: normal for tables and projections, zero for biases, one for norms.

        Args:
            only: names of the parameters to draw, which may still be without memory; all if None.
        """
        for module_name, module in self.named_modules():
            for name, parameter in list(module._parameters.items()):
                full_name = f"{module_name}.{name}".lstrip(".")
                if parameter is None or (only is not None and full_name not in only):
                    continue
                if parameter.is_meta:
                    empty = torch.empty_like(parameter, device=self.device, dtype=self.dtype)
                    parameter = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                    module._parameters[name] = parameter
                if isinstance(module, nn.Linear | nn.Embedding) and name == "weight":
                    parameter.normal_(std=self.initial_std(full_name))
                else:
                    parameter.fill_(1.0 if name == "weight" else 0.0)
                if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                    parameter[module.padding_idx].zero_()

    def initial_std(self, name: str) -> float:
        """Spread of the random weights that a new model has in the parameter ``name``."""
        return self.config.initializer_range

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters() if not p.is_meta), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next((p.dtype for p in self.parameters() if not p.is_meta), torch.get_default_dtype())

    def num_parameters(self) -> int:
        """How many numbers the model has learnt, shared ones counted once."""
        return sum(p.numel() for p in self.parameters())

    def forward_parameters(self) -> set[str]:
        """Names of the arguments that ``forward`` takes."""
        return set(self._arguments)


class GenerativeModel(PretrainedModel):
    """A model with a language model head: it can ``generate``."""

    COUNTED_PADDING: ClassVar[bool] = False
    """Whether ``generate`` of transformers 4.57 gives padding positions; ``compat="transformers"`` does so too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.generation_config = GenerationConfig.from_model_config(config)

    def generate(self, input_ids: Tensor | None = None, **options: Any) -> Any:
        """Continue the prompts ``input_ids``; options and result as in ``minitransformer.generation.generate``."""
        return generate(self, input_ids, **options)

    def load_generation_config(self, id_or_folder: str | Path, *, revision: str | None, token: str | None) -> None:
        """Read generation_config.json, if there is one."""
        path = resolve_file(id_or_folder, "generation_config.json", revision=revision, token=token, required=False)
        if path is not None:
            self.generation_config = GenerationConfig.from_hf(read_json(path))

    def save_pretrained(self, folder: str | Path, *, max_shard_size: int | None = None) -> None:
        """Write config.json, generation_config.json and the weights, in a form that transformers opens too."""
        super().save_pretrained(folder, max_shard_size=max_shard_size)
        write_json(Path(folder) / "generation_config.json", self.generation_config.to_hf())


def single_stack(name: str) -> dict[str, tuple[str, ...]]:
    """The taps behind hidden_states and attentions of a model with one stack of blocks.

    As in transformers there is one more hidden state than blocks, and the last one has passed the final norm.
    """
    return {
        "hidden_states": (f"{name}.blocks.*.input", f"{name}.output"),
        "attentions": (f"{name}.blocks.*.attn.pattern",),
    }


def encoder_decoder(encoder: str = "encoder", decoder: str = "decoder") -> dict[str, tuple[str, ...]]:
    """The taps behind the intermediates of an encoder-decoder."""
    sides = {"encoder": single_stack(encoder), "decoder": single_stack(decoder)}
    taps = {f"{side}_{field}": patterns for side, fields in sides.items() for field, patterns in fields.items()}
    return taps | {"cross_attentions": (f"{decoder}.blocks.*.cross_attn.pattern",)}


def can_be_read(inputs: Iterable[Any]) -> bool:
    """Whether these are plain tensors, whose numbers Python may look at and branch on.

    They are not while a model is traced, compiled, exported, transformed by ``torch.func`` or captured as a CUDA graph.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if any(x.is_cuda for x in tensors) and torch.cuda.is_current_stream_capturing():
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return all(type(x) in (Tensor, nn.Parameter) and not x.is_meta and not wrapped(x) for x in tensors)


def read_config(id_or_folder: str | Path, *, revision: str | None = None, token: str | None = None) -> dict[str, Any]:
    """The contents of a checkpoint's config.json.

    Raises:
        MissingFileError: there is none.
    """
    path = resolve_file(id_or_folder, "config.json", revision=revision, token=token)
    assert path is not None  # a required file
    return read_json(path)


def as_dtype(dtype: DTypeArgument, config: ModelConfig) -> torch.dtype:
    """The torch type that is meant by a type, a name, or "auto" (what config.json says).

    Raises:
        ConfigError: no floating-point type has that name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    name = (config.torch_dtype if dtype == "auto" else dtype) or "float32"
    found = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ConfigError(f"dtype {name!r} is not a floating-point type such as float32, bfloat16 or float16")
    return found


def write_json(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(contents, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)
