"""The page: what is computed, in one file with what draws it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from minitransformer.errors import StudyError
from minitransformer.files import write_whole
from minitransformer.models.auto import AutoConfig, architecture
from minitransformer.study.page.facts import Facts, compare, gather
from minitransformer.study.page.sources import explanations
from minitransformer.tokenization import AutoTokenizer

MAX_TOKENS = 256
"""Of a text; a page of more would take longer to open than to read."""


def page(
    model: Any,
    tokenizer: Any,
    text: str,
    text2: str | None = None,
    *,
    target: str | None = None,
    path: str | Path | None = None,
) -> str:
    """A page about a model at work: attention of every head, residual stream, what wrote each word, two texts compared.

    Everything is in the file: open it anywhere, no network is used. Weights of attention are rounded to 1/255.

    Args:
        model: in evaluation mode; with a head for more than attention and stream.
        tokenizer: its own.
        text: what the model reads.
        text2: another text; with as many tokens, the effect of patching one's values into the other is shown, too.
        target: what a model of two stacks writes; by default what it writes by itself.
        path: a file to write.

    Returns:
        The page, as HTML.

    Raises:
        StudyError: an empty or very long text, or a model whose parts do not follow the names.
    """
    for one in (text, text2):
        if one is not None and not one.strip():
            raise StudyError("the text is empty: there is nothing to look at")
    first = gather(model, tokenizer, text, target=target, max_tokens=MAX_TOKENS)
    told = [first]
    if text2 is not None:
        told.append(gather(model, tokenizer, text2, target=target, max_tokens=MAX_TOKENS))
    blob = bytearray()
    about = describe(model)
    data = {
        "model": about,
        "texts": [_plain(facts, blob) for facts in told],
        "comparison": compare(model, tokenizer, *told) if text2 is not None else None,
        "explained": explanations(model),
    }
    html = _fill(
        {
            "TITLE": f"{about['class']}: {text[:60]}",
            "STYLE": _asset("page.css"),
            "SCRIPT": _asset("page.js"),
            "DATA": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
            "WEIGHTS": base64.b64encode(zlib.compress(bytes(blob), 9)).decode("ascii"),
        }
    )
    if path is not None:
        write_whole(path, html)
    return html


def load(id_or_folder: str | Path, *, revision: str | None = None) -> tuple[Any, Any]:
    """A checkpoint's model, with the head that config.json names if we know it, and its tokenizer."""
    config = AutoConfig.from_pretrained(id_or_folder, revision=revision)
    heads = architecture(config.model_type).heads
    kind = next((model for model in heads.values() if model.__name__ in config.architectures), heads["Model"])
    model = kind.from_pretrained(id_or_folder, revision=revision)
    return model, AutoTokenizer.from_pretrained(id_or_folder, revision=revision)


def describe(model: Any) -> dict[str, Any]:
    """Name and sizes."""
    config = getattr(model, "config", None)
    sizes = {
        name: getattr(config, name)
        for name in ("num_layers", "decoder_layers", "num_heads", "hidden_size")
        if getattr(config, name, None) is not None
    }
    count = sum(p.numel() for p in model.parameters())
    kind = getattr(config, "model_type", "")
    return {"class": type(model).__name__, "type": kind, "parameters": f"{count:,}", "sizes": sizes}


def _plain(facts: Facts, blob: bytearray) -> dict[str, Any]:
    """As JSON; weights go into the blob, a byte each."""
    maps = []
    for one in facts.maps:
        maps.append({**one.told, "at": len(blob), "shape": list(one.weights.shape)})
        blob += quantised(one.weights)
    return {**facts.told, "maps": maps}


def quantised(weights: Tensor) -> bytes:
    """A byte for each number from 0 to 1: the nearest 255th."""
    return (weights.detach().cpu().double().clamp(0, 1) * 255).round().numpy().astype(np.uint8).tobytes()


def _asset(name: str) -> str:
    return (files("minitransformer.study.page") / name).read_text(encoding="utf-8")


def _fill(parts: Mapping[str, str]) -> str:
    import html as escape

    template = _asset("page.html")
    for name, value in parts.items():
        template = template.replace(f"@@{name}@@", escape.escape(value) if name == "TITLE" else value)
    return template
