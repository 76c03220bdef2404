"""Models of transformers in any type, beside ours: their modules' outputs as a dump."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from models.twins.twin import Twin, inputs_for
from oracle.ports import traced
from torch import Tensor

from minitransformer.parity.comparison import compare
from minitransformer.parity.findings import Comparison
from minitransformer.parity.sides import as_ours, modules_outputs, names_of_attentions
from minitransformer.parity.traces import Trace
from minitransformer.testing import reference_twin


def compared_with_reference(twin: Twin, folder: Path, dtypes: list[torch.dtype]) -> dict[torch.dtype, Comparison]:
    """The trace of ours in float64, compared with the reference's modules in each type."""
    reference = reference_twin(twin.name, **twin.config)
    ours = as_ours(reference)
    inputs = inputs_for(twin, [7, 4], "right")[0]
    trace = traced(ours, inputs, folder)
    found = {}
    for dtype in dtypes:
        if dtype == torch.bfloat16 and reference.config.model_type == "ctrl":
            continue  # transformers cannot run it: its sinusoids stay in float32
        with torch.no_grad():
            dump = modules_outputs(reference.to(dtype), inputs)
        found[dtype] = compare(trace, dump, ours, names=names_of_attentions(trace, dump), dtype=str(dtype))
    return found


def shuffled(tensors: dict[str, Tensor], seed: int = 0) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors without their names and in any order of axes, and who is who."""
    generator = torch.Generator().manual_seed(seed)
    names = list(tensors)
    result, who = {}, {}
    for i in torch.randperm(len(names), generator=generator).tolist():
        x = tensors[names[i]]
        result[f"t{i}"] = x.permute(torch.randperm(x.dim(), generator=generator).tolist()).contiguous()
        who[f"t{i}"] = names[i]
    return result, who


def share_aligned(trace: Trace, model: Any, tensors: dict[str, Tensor]) -> tuple[int, int, list[str]]:
    """How many of so many tensors find their places by their numbers alone, and what was not found."""
    from minitransformer.parity.alignment import align

    dump, who = shuffled(tensors)
    found = align(trace, dump).found
    right = 0
    places = {aligned.theirs: name for name, aligned in found.items()}
    wrong = []
    for theirs, true in who.items():
        place = places.get(theirs)
        same = place is not None and (place == true or torch.equal(trace.tensors[place], trace.tensors[true]))
        right += same
        if not same:
            wrong.append(f"{true} -> {place}")
    return right, len(who), wrong
