"""Right models of transformers raise no alarm in any type, and tensors without names find their places by value."""

from __future__ import annotations

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from oracle.ports import port, traced
from oracle.references import compared_with_reference, share_aligned
from oracle.subjects import small

pytest.importorskip("transformers")

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
QUICK = ("BertForMaskedLM", "GPT2LMHeadModel", "T5ForConditionalGeneration", "MarianMTModel")
FIRST = {twin.name: twin for twin in reversed(TWINS)}
ONE_EACH = [FIRST[name] for name in sorted(FIRST) if FIRST[name].head not in ("", "ForTextEncoding")]


@pytest.mark.parametrize("name", QUICK)
def test_right_twins_raise_no_alarm(name, tmp_path):
    for dtype, found in compared_with_reference(FIRST[name], tmp_path, DTYPES).items():
        assert found.same and len(found.rows) > 25, (dtype, found)


@pytest.mark.slow
@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_all_right_twins_raise_no_alarm(twin, tmp_path):
    for dtype, found in compared_with_reference(twin, tmp_path, DTYPES).items():
        assert found.same, (dtype, found)


def aligned(twin, folder) -> tuple[int, int]:
    model = small(twin)
    trace = traced(model, inputs_for(twin, [7, 4], "right")[0], folder)
    right, count, wrong = share_aligned(trace, model, port(trace, model))
    print(f"{twin}: {right} of {count} aligned by value{'; not ' if wrong else ''}{', '.join(wrong)}")
    return right, count


@pytest.mark.parametrize("name", QUICK)
def test_tensors_without_names_find_their_places(name, tmp_path):
    right, count = aligned(FIRST[name], tmp_path)
    assert right >= 0.95 * count


@pytest.mark.slow
@pytest.mark.parametrize("twin", ONE_EACH, ids=str)
def test_tensors_of_each_class_find_their_places(twin, tmp_path):
    right, count = aligned(twin, tmp_path)
    assert right >= 0.95 * count
