"""What a pipeline is made of: the model with the right head, on a device, in a type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from minitransformer.errors import ConfigError, PipelineError, RegistrationError, did_you_mean, warn_caller

if TYPE_CHECKING:
    import torch

    from minitransformer.hub import Repository
    from minitransformer.models.common.base import PretrainedModel
    from minitransformer.tokenization import Tokenizer


def load_model(
    model: str | Path | Repository,
    auto_class: str | type[Any],
    device: int | str | torch.device | None,
    dtype: torch.dtype | str | None,
    compat: str | None = None,
) -> PretrainedModel:
    """Load a model by the Auto class that has the head which a task needs, onto the device."""
    import torch

    if dtype is None:
        dtype = "auto" if compat == "transformers" else torch.float32
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    loaded: PretrainedModel = loading_class(auto_class).from_pretrained(
        model, dtype=dtype, device=find_device(device), allow_missing_head=False
    )
    return loaded


def check_head(model: PretrainedModel, auto_class: str | type[Any], task: str) -> PretrainedModel:
    """A loaded model, if it has the head that the task needs (any model will do for features).

    Raises:
        PipelineError: it has another one.
    """
    from minitransformer.models.auto import AutoModel
    from minitransformer.models.common.base import PretrainedModel as Base

    loads = loading_class(auto_class)
    if not isinstance(model, Base) or loads is AutoModel:
        return model
    if issubclass(loads, AutoModel):
        try:
            wanted, fits = loads.class_for(model.config).__name__, isinstance(model, loads.class_for(model.config))
        except ConfigError:  # a class of an architecture that nobody has registered
            wanted, fits = f"model with the head {loads.HEAD}", model.HEAD == loads.HEAD
    else:
        wanted, fits = loads.__name__, isinstance(model, loads)
    if not fits:
        raise PipelineError(
            f"{task} needs a {wanted}, and the model is a {type(model).__name__}: load it with "
            f"{loads.__name__}.from_pretrained(...)"
        )
    return model


def loading_class(auto_class: str | type[Any]) -> Any:
    """The class that loads a task's model: the Auto class of that name, or a model class of a user's own.

    Raises:
        RegistrationError: there is no Auto class of that name.
    """
    import minitransformer.models.auto as auto

    found = getattr(auto, auto_class, None) if isinstance(auto_class, str) else auto_class
    if not hasattr(found, "from_pretrained"):
        known = [name for name in vars(auto) if name.startswith("AutoModel")]
        raise RegistrationError(
            f"auto_class of a pipeline must be a model class, or one of {', '.join(known)}, not {auto_class!r:.60}."
            f"{did_you_mean(auto_class, known)}"
        )
    return found


def check_vocabularies(model: PretrainedModel, tokenizer: Tokenizer) -> None:
    """Warn if the tokenizer has words for which the model has no vectors."""
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    if size is not None and hasattr(tokenizer, "__len__") and len(tokenizer) > size:
        warn_caller(
            f"the tokenizer has {len(tokenizer)} tokens, the model only {size}: a text with one of the others cannot "
            "be answered. model.resize_token_embeddings(len(tokenizer)) gives them vectors, which must then be trained"
        )


def as_torch_dtype(dtype: torch.dtype | str | None, model: PretrainedModel) -> torch.dtype | None:
    """The type to convert a loaded model to; None for none."""
    if dtype is None:
        return None
    from minitransformer.models.common.loading import as_dtype

    return as_dtype(dtype, model.config)


def find_device(device: int | str | torch.device) -> torch.device:
    """The device of that name or number; -1 is the CPU.

    Raises:
        PipelineError: there is no such device here, or it holds no values.
    """
    from minitransformer.models.common.loading import find_device as find

    found = find(device, PipelineError)
    if found.type == "meta":
        raise PipelineError("device='meta' cannot be used here: tensors there have no values. Pass device='cpu'")
    return found
