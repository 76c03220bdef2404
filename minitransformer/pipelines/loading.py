"""What a pipeline is made of: the model with the right head, on a device, in a type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from minitransformer.errors import PipelineError, warn_caller

if TYPE_CHECKING:
    import torch

    from minitransformer.hub import Repository
    from minitransformer.models.common.base import PretrainedModel
    from minitransformer.tokenization import Tokenizer


def load_model(
    model: str | Path | Repository,
    auto_class: str,
    device: int | str | torch.device | None,
    dtype: torch.dtype | str | None,
    compat: str | None = None,
) -> PretrainedModel:
    """Load a model by the Auto class that has the head which a task needs, onto the device."""
    import torch

    import minitransformer.models.auto as auto

    if dtype is None:
        dtype = "auto" if compat == "transformers" else torch.float32
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    loaded: PretrainedModel = getattr(auto, auto_class).from_pretrained(
        model, dtype=dtype, device=find_device(device), allow_missing_head=False
    )
    return loaded


def check_head(model: PretrainedModel, auto_class: str, task: str) -> PretrainedModel:
    """A loaded model, if it has the head that the task needs (any model will do for features).

    Raises:
        PipelineError: it has another one.
    """
    import minitransformer.models.auto as auto
    from minitransformer.models.common.base import PretrainedModel as Base

    if isinstance(model, Base) and auto_class != "AutoModel":
        wanted = getattr(auto, auto_class).class_for(model.config)
        if not isinstance(model, wanted):
            raise PipelineError(
                f"{task} needs a {wanted.__name__}, and the model is a {type(model).__name__}: load it with "
                f"{auto_class}.from_pretrained(...)"
            )
    return model


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
