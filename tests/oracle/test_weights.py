"""Two models' weights under the checkpoint's names: the same through any layout, and what differs is named."""

from __future__ import annotations

import pytest
import torch
from models.twins import TWINS

import minitransformer
from minitransformer.parity import compare_weights
from minitransformer.testing import reference_twin

pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "BertForMaskedLM", "T5ForConditionalGeneration", "MarianMTModel"])
def test_weights_are_compared_through_the_map(name, tmp_path):
    twin = next(twin for twin in TWINS if twin.name == name)
    reference = reference_twin(twin.name, **twin.config)
    reference.save_pretrained(tmp_path)
    ours = getattr(minitransformer, twin.auto).from_pretrained(tmp_path, dtype=torch.float64)
    rows = compare_weights(ours, reference)
    assert len(rows) > 20 and {row.state for row in rows} == {"same"}, [r for r in rows if r.state != "same"]
    assert {row.state for row in compare_weights(ours, ours)} == {"same"}
    changed = next(row.name for row in rows if row.name.endswith("weight") and "1." in row.name)
    with torch.no_grad():
        reference.state_dict()[changed][0] += 0.25
    assert [(row.name, row.state) for row in compare_weights(ours, reference) if row.state != "same"] == [
        (changed, "differs")
    ]
    few = {name: x for name, x in reference.state_dict().items() if name != changed} | {"odd": torch.ones(2)}
    told = {row.name: row.state for row in compare_weights(ours, few) if row.state != "same"}
    assert told == {changed: "missing", "odd": "unknown"}
