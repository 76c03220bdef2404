"""Architectures of other packages: which there are, and what one must have.

A package calls ``register_architecture(ARCHITECTURE)`` when it is imported, or says in its pyproject.toml, so that
nobody has to import it::

    [project.entry-points."minitransformer.architectures"]
    my-model = "my_package.my_model:ARCHITECTURE"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minitransformer.config import ModelConfig
from minitransformer.errors import RegistrationError
from minitransformer.models.common.base import Architecture, PretrainedModel
from minitransformer.weights import WeightMap

GROUP = "minitransformer.architectures"
"""Entry points that offer architectures, under their model_type."""

REGISTERED: dict[str, Architecture] = {}
"""model_type -> architecture."""

WITHOUT_HEAD = ("Model", "ForTextEncoding")


def check_architecture(architecture: Any) -> None:
    """Raise a RegistrationError that says what an architecture lacks."""
    if not isinstance(architecture, Architecture):
        raise RegistrationError(
            f"register_architecture takes an Architecture(config class, model classes), not {architecture!r:.100}"
        )
    config, heads = architecture.config, architecture.heads
    if not (isinstance(config, type) and issubclass(config, ModelConfig)):
        raise RegistrationError(f"the config of an architecture must be a subclass of ModelConfig, not {config!r:.100}")
    if not isinstance(getattr(config, "model_type", None), str) or not config.model_type:
        raise RegistrationError(f"{config.__name__} lacks model_type, the name that config.json has for it")
    if "__dataclass_fields__" not in vars(config) and vars(config).get("__annotations__"):
        raise RegistrationError(f"{config.__name__} lacks its decorator @dataclass(frozen=True, kw_only=True)")
    name = f"the architecture {config.model_type!r}"
    if not isinstance(heads, Mapping) or "Model" not in heads:
        raise RegistrationError(
            f'{name} lacks a model without a head: heads must be {{"Model": ..., "ForCausalLM": ...}}'
        )
    for task, model in heads.items():
        if not (isinstance(model, type) and issubclass(model, PretrainedModel)):
            raise RegistrationError(f"the {task!r} of {name} must be a subclass of PretrainedModel, not {model!r:.100}")
        for attribute, kind, what in (
            ("CONFIG", type, "its config class"),
            ("WEIGHTS", WeightMap, "a WeightMap, from the names in files to its parameters"),
            ("INTERMEDIATES", Mapping, "from which taps outputs are filled, such as single_stack('encoder')"),
        ):
            if not isinstance(getattr(model, attribute, None), kind):
                raise RegistrationError(f"{model.__name__} of {name} lacks {attribute}: {what}")
        if not issubclass(config, model.CONFIG):
            raise RegistrationError(
                f"{model.__name__} of {name} has the CONFIG {model.CONFIG.__name__}, not {config.__name__}"
            )
        if "forward" not in {
            key for parent in model.__mro__[: model.__mro__.index(PretrainedModel)] for key in vars(parent)
        }:
            raise RegistrationError(f"{model.__name__} of {name} lacks forward")
        if task not in WITHOUT_HEAD and model.HEAD != task:
            raise RegistrationError(
                f"{model.__name__} of {name} lacks HEAD = {task!r}, which says which rows of the weight map are its own"
            )
