"""What the arguments of ``from_pretrained`` mean for a model: types, devices, and which class a file is for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from minitransformer.arguments import HUB
from minitransformer.config import ModelConfig, config_names
from minitransformer.errors import ArgumentError, ConfigError, MinitransformerError
from minitransformer.options import plain, shown

DTypeArgument = torch.dtype | str | None

DTYPES = {
    "float64": torch.float64,
    "double": torch.float64,
    "float32": torch.float32,
    "float": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "half": torch.float16,
}
"""What a model can compute in, by name."""


def as_dtype(dtype: DTypeArgument, config: ModelConfig) -> torch.dtype:
    """The torch type that is meant by a type, a name, or "auto" (what config.json says).

    Raises:
        ConfigError: no floating-point type has that name.
    """
    name = config.torch_dtype if isinstance(dtype, str) and dtype == "auto" else dtype
    name = "float32" if name is None else name
    found = DTYPES.get(name.removeprefix("torch.")) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or found not in DTYPES.values():
        raise ConfigError(f"dtype {shown(name)} is not a floating-point type such as float32, bfloat16 or float16")
    return found


def one_device(device_map: Any) -> torch.device | str | int:
    """The device that a ``device_map`` names: "auto" is an accelerator, if there is one.

    Raises:
        ArgumentError: it names several, or none.
    """
    if isinstance(device_map, Mapping):
        several = list(dict.fromkeys(device_map.values()))
        if len(several) != 1:
            raise ArgumentError(
                f"device_map={device_map!r} names {len(several)} devices, but a model is on one: device="
            )
        (device_map,) = several
    if device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        return torch.accelerator.current_accelerator(check_available=True) or "cpu"
    if not isinstance(device_map, str | int | torch.device) or isinstance(device_map, bool) or device_map == "disk":
        raise ArgumentError(f"device_map={device_map!r} is no device: pass device_map='auto', or device='cpu'")
    return device_map


def find_device(device: int | str | torch.device, error: type[MinitransformerError] = ArgumentError) -> torch.device:
    """The device of that name or number; -1 is the CPU.

    Raises:
        MinitransformerError: of the class ``error``: there is no such device here.
    """
    try:
        device = plain(device)
        if isinstance(device, bool):
            raise TypeError("it is neither a number nor a name")
        if isinstance(device, int):
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            if device >= 0 and accelerator is None:
                raise RuntimeError("there is no GPU")
            found = torch.device("cpu") if device < 0 or accelerator is None else torch.device(accelerator.type, device)
        else:
            found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, ValueError, OverflowError) as cause:
        why = (str(cause).splitlines() or [type(cause).__name__])[0].rstrip(".")
        raise error(f"device={shown(device)} cannot be used here: {why}. Pass device='cpu'") from cause
    return found


MODEL_ARGUMENTS = (
    "config dtype torch_dtype device device_map allow_missing_head new_head allow_unused strip_prefix "
    "ignore_mismatched_sizes output_loading_info use_safetensors variant state_dict key_mapping generation_config "
    "parts new_parameters"
).split()
"""Keyword arguments of ``from_pretrained`` that have a meaning here, beside fields of the config and ``HUB``."""
SAVE_ARGUMENTS = ("max_shard_size", "variant", "state_dict", "is_main_process", "save_function")


def known_names(kind: type[ModelConfig]) -> list[str]:
    """What else ``from_pretrained`` takes by name."""
    return [*HUB, "num_labels", "id2label", "label2id", *config_names(kind)]


def init_arguments(cls: type[nn.Module]) -> list[str]:
    """Names of the arguments that a class takes beside the config."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return [name for name in named if name not in ("self", "config")]


def strange_classes(cls: type[nn.Module], config: ModelConfig) -> str:
    """The classes that config.json names, if this family has none of that kind, in transformers or here."""
    stem = re.escape(type(config).__name__.removesuffix("Config"))
    usual = re.compile(
        rf"(TF|Flax)?(OpenAI)?{stem}(PreTrained|Encoder|LMHead|DoubleHeads|MT|WithLMHead)?(Model|For\w+)"
    )
    ours = {parent.__name__ for parent in cls.__mro__}
    strange = [name for name in config.architectures if not (usual.fullmatch(name) or name in ours)]
    return ", ".join(strange) if len(strange) == len(config.architectures) else ""
