"""Activations of many texts, streamed to disk as safetensors with a manifest, for other tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.files import write_whole
from minitransformer.study.runs import Inputs, find_taps, run, token_mask

MANIFEST = "manifest.json"


def record(
    model: nn.Module,
    texts: Iterable[Any],
    taps: str | Sequence[str],
    folder: str | Path,
    *,
    tokenizer: Any = None,
    batch_size: int = 16,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write what passes the taps for each text, without its padding.

    A file ``00000.safetensors`` for each batch holds, for each text i of it and each tap, a tensor ``i/TAP`` (axes as
    the tap's, less the batch), and ``i/input_ids``; ``manifest.json`` says which text lies where. Memory is that of
    one batch. Nothing is in the folder's manifest that is not whole on disk: it is written after each batch.

    Args:
        model: in evaluation mode.
        texts: strings, or with ``tokenizer=None`` batches of inputs.
        taps: patterns.
        folder: made if it does not exist; must not hold a manifest.
        tokenizer: turns texts into inputs.
        batch_size: texts at once.
        dtype: to store floating-point numbers in; by default as they are.

    Returns:
        The manifest.

    Raises:
        StudyError: a pattern matches nothing, or the folder holds a recording.
    """
    folder = Path(folder)
    axes = find_taps(model, taps)
    manifest = folder / MANIFEST
    if manifest.exists():
        raise StudyError(f"{folder} holds a recording already: name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"model": type(model).__name__, "taps": {n: list(a) for n, a in axes.items()}, "texts": []}
    for number, (words, inputs) in enumerate(_batches(texts, tokenizer, batch_size)):
        tensors = _tensors(model, inputs, axes, dtype)
        file = f"{number:05}.safetensors"
        write_whole(folder / file, save(tensors))
        for i, text in enumerate(words):
            told["texts"].append({"file": file, "key": str(i), "text": text})
        write_whole(manifest, json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    if not told["texts"]:
        raise StudyError("there are no texts to record")
    return manifest


def _batches(texts: Iterable[Any], tokenizer: Any, size: int) -> Iterable[tuple[list[str | None], Inputs]]:
    if isinstance(texts, str):
        raise StudyError("texts must be several, such as a list of strings")
    waiting: list[str] = []
    for text in texts:
        if isinstance(text, Mapping):
            yield [None] * max(len(x) for x in text.values()), text
            continue
        if tokenizer is None:
            raise StudyError("texts are strings: pass tokenizer= to turn them into inputs")
        waiting.append(text)
        if len(waiting) == size:
            yield list(waiting), _encoded(tokenizer, waiting)
            waiting = []
    if waiting:
        yield list(waiting), _encoded(tokenizer, waiting)


def _encoded(tokenizer: Any, texts: list[str]) -> Inputs:
    padding = tokenizer.pad_token is not None
    if not padding and len({len(ids) for ids in tokenizer(texts)["input_ids"]}) > 1:
        raise StudyError("the tokenizer has no padding token: set tokenizer.pad_token, or batch_size=1")
    encoded: Inputs = dict(tokenizer(texts, padding=padding, return_tensors="pt"))
    return encoded


def _tensors(
    model: nn.Module, inputs: Inputs, axes: Mapping[str, tuple[str, ...]], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """``i/TAP`` -> the tensor of text i, without padding."""
    watched = run(model, inputs, list(axes))
    tensors = {}
    rows = max(len(x) for x in inputs.values())
    for name, call in watched.order:
        x = watched.calls[name][call]
        if len(x) != rows:
            raise StudyError(f"{name} is the same for all rows, its axes are ({' '.join(axes[name])})")
        key = name if len(watched.calls[name]) == 1 else f"{name}[{call}]"
        own, source = token_mask(inputs, name).bool(), token_mask(inputs, "encoder").bool()
        for i in range(rows):
            kept = x[i]
            for axis, label in enumerate(axes[name][1:]):
                mask = source if label == "key" and "cross_attn" in name else own
                if label in ("token", "query", "key") and kept.shape[axis] == mask.shape[1]:
                    kept = kept.index_select(axis, mask[i].nonzero()[:, 0])
            kept = kept.to(dtype) if dtype is not None and kept.is_floating_point() else kept
            tensors[f"{i}/{key}"] = kept.contiguous().clone()
    for name in ("input_ids", "decoder_input_ids"):
        if name in inputs:
            mask = token_mask(inputs, "decoder" if name.startswith("decoder") else "encoder").bool()
            for i in range(rows):
                tensors[f"{i}/{name}"] = inputs[name][i][mask[i]].contiguous()
    return tensors
