"""What a model is traced on: a text, or ids from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.jsons import read_json
from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.traces import ParityError


def inputs_of_texts(
    model: PretrainedModel, tokenizer: Any, texts: Sequence[str], targets: Sequence[str] = ()
) -> tuple[dict[str, Tensor], list[list[str]]]:
    """What the model is called with, and the tokens.

    Args:
        model: says which inputs it takes.
        tokenizer: its own.
        texts: one row each, padded.
        targets: what an encoder-decoder writes for each; by default the text itself.

    Raises:
        ParityError: there is no text, or another number of targets.
    """
    if not texts or not all(text.strip() for text in texts):
        raise ParityError("there is no text to trace the model on: pass one that is not empty")
    known = _inputs_of(model)
    encoded = dict(tokenizer(list(texts), return_tensors="pt", padding=len(texts) > 1))
    inputs = {name: x for name, x in encoded.items() if name in known}
    if "decoder_input_ids" in known and model.config.is_encoder_decoder:
        if targets and len(targets) != len(texts):
            raise ParityError(f"{len(targets)} targets for {len(texts)} texts: pass one for each")
        labels = tokenizer(list(targets or texts), return_tensors="pt", padding=len(texts) > 1)["input_ids"]
        shift = getattr(model, "shift_right", None)
        inputs["decoder_input_ids"] = labels if shift is None else shift(labels)
    return inputs, [tokenizer.convert_ids_to_tokens(row) for row in inputs["input_ids"].tolist()]


def inputs_of_file(model: PretrainedModel, path: str | Path) -> dict[str, Tensor]:
    """Ids from a file: JSON (rows of ids, or an object of named inputs) or .npy.

    Raises:
        ParityError: it is no such file, or names an input that the model does not take.
    """
    path = Path(path)
    if path.suffix == ".npy":
        raw: Any = {"input_ids": read_npy(path).tolist()}
    else:
        raw = read_json(path, error=ParityError)
    raw = raw if isinstance(raw, Mapping) else {"input_ids": raw}
    known = _inputs_of(model)
    result = {}
    for name, rows in raw.items():
        if name not in known:
            if name in ("text", "tokens"):
                continue
            raise ParityError(f"{path} holds {name!r}, which {type(model).__name__} does not take: {', '.join(known)}")
        try:
            x = torch.tensor(rows)
        except (ValueError, TypeError) as error:
            raise ParityError(f"{name} of {path} is no table of ids with rows of one length: {error}") from error
        if x.is_floating_point() or x.dim() not in (1, 2) or not x.numel():
            raise ParityError(
                f"{name} of {path} must be rows of whole numbers, not {x.dtype} of shape {tuple(x.shape)}"
            )
        result[name] = x[None] if x.dim() == 1 else x
    if "input_ids" not in result:
        raise ParityError(f"{path} holds no input_ids")
    return result


def read_npy(path: Path) -> np.ndarray[Any, Any]:
    """An array of a .npy file; never unpickled.

    Raises:
        ParityError: it is none.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise ParityError(f"{path} is no whole .npy file of numbers ({error}): write it with numpy.save") from error


def _inputs_of(model: PretrainedModel) -> list[str]:
    return [name for name in model.forward_parameters() if name.endswith(("_ids", "_mask"))]
