"""Any two sides are run beside each other; faults planted into models of transformers are found and named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from oracle.planted import PLANTED, Planted
from oracle.subjects import small

from minitransformer.errors import InputError
from minitransformer.parity import ParityError, compare_weights, divergence, write_trace
from minitransformer.parity.sides import as_ours
from minitransformer.testing import reference_twin

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def pairs() -> Any:
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            twin = next(twin for twin in TWINS if twin.name == name)
            reference = reference_twin(twin.name, **twin.config)
            made[name] = (as_ours(reference), reference, inputs_for(twin, [7, 4], "right")[0])
        return made[name]

    return make


def unwrapped(reference: Any) -> Any:
    """A copy whose forward is its own again: a copied wrapper would call the original's."""
    result = copy.deepcopy(reference)
    result.__dict__.pop("forward", None)
    return result


@pytest.mark.parametrize("fault", PLANTED, ids=lambda f: f"{f.model}-{f.operation}")
def test_a_fault_planted_into_transformers_is_found_and_named(pairs, fault: Planted):
    ours, reference, inputs = pairs(fault.model)
    wrong = unwrapped(reference)
    fault.plant(wrong)
    found = divergence(ours, wrong, inputs, level="operation")
    assert found.first is not None and found.first.endswith(fault.operation), found
    assert fault.cause in str(found.cause), found.cause
    assert " or " not in str(found.cause)
    modules = divergence(ours, wrong, inputs, level="module")
    assert not modules.same and [row.state for row in modules].count("wrong") == 1
    if fault.module:
        assert str(modules.first).endswith(fault.module), modules


@pytest.mark.parametrize("name", sorted({fault.model for fault in PLANTED}))
def test_right_models_part_nowhere(pairs, name):
    ours, reference, inputs = pairs(name)
    for level, at_least in (("operation", 25), ("module", 20)):
        found = divergence(ours, reference, inputs, level=level)
        assert found.same and len(found) >= at_least, found
    order = [row.name for row in divergence(ours, reference, inputs, level="operation")]
    blocks = [n for n in order if ".blocks.0." in n]
    assert blocks.index(next(n for n in blocks if n.endswith("attn.q"))) < blocks.index(
        next(n for n in blocks if n.endswith("ffn.out"))
    )


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2LMHeadModel", "BartForConditionalGeneration"])
def test_a_model_with_another_attention_is_given_the_readable_one(pairs, name):
    ours, reference, inputs = pairs(name)
    twin = next(twin for twin in TWINS if twin.name == name)
    config = type(reference).config_class(**twin.config, attn_implementation="sdpa")
    fused = type(reference)(config).double().eval()
    fused.load_state_dict(reference.state_dict())
    found = divergence(ours, fused, inputs, level="operation")
    assert found.same and any(row.kind == "attention.pattern" for row in found), found
    assert fused.config._attn_implementation == "sdpa"


def test_traces_functions_and_two_of_one_library_are_sides_too(pairs, tmp_path):
    ours, reference, inputs = pairs("GPT2LMHeadModel")
    write_trace(ours, inputs, tmp_path, with_model=True)
    assert divergence(tmp_path, reference).same  # the inputs are the trace's
    assert divergence(ours, tmp_path, inputs).same and divergence(tmp_path, tmp_path).same
    assert divergence(tmp_path, lambda **given: reference(**given)).same
    assert divergence(reference, reference, inputs, level="operation").same
    assert divergence(reference, reference, inputs, level="module").same

    def port(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {"logits": ours(input_ids, attention_mask).logits * 1.5}

    assert divergence(ours, port, inputs).first == divergence(port, ours, inputs).first == "head.logits"
    wrong = copy.deepcopy(ours)
    with torch.no_grad():
        wrong.backbone.decoder.blocks[1].ffn.up.bias[3] += 1
    found = divergence(ours, wrong, inputs, level="operation")
    assert found.first == "backbone.decoder.blocks.1.ffn.pre"
    assert found.cause == "transformer.h.1.mlp.c_fc.bias has other numbers than ours"
    assert [row.name for row in compare_weights(ours, wrong) if row.state != "same"] == [
        "transformer.h.1.mlp.c_fc.bias"
    ]
    assert divergence(ours, wrong, inputs, level="module").first == "backbone.decoder.blocks.1.ffn.up"


def test_what_cannot_be_compared_is_told(pairs, tmp_path):
    ours, reference, inputs = pairs("GPT2LMHeadModel")
    with pytest.raises(InputError, match="pass them, as in"):
        divergence(ours, reference)
    with pytest.raises(InputError, match="level must be"):
        divergence(ours, reference, inputs, level="layers")
    with pytest.raises(InputError, match="ours is in float32, the reference in float64"):
        divergence(copy.deepcopy(ours).float(), reference, inputs, level="operation")
    with pytest.raises(ParityError, match="a function does not say"):
        divergence(lambda **x: x, lambda **x: x, inputs)
    with pytest.raises(ParityError, match="a function has no modules"):
        divergence(ours, lambda **x: x, inputs, level="module")
    with pytest.raises(ParityError, match="a int cannot be compared"):
        divergence(ours, 3, inputs)
    with pytest.raises(ParityError, match="holds no trace"):
        divergence(ours, tmp_path, inputs)
    with pytest.raises(ParityError, match="Sequential is no model of an architecture that is known"):
        divergence(torch.nn.Sequential().eval(), lambda **x: x, inputs, level="operation")
    write_trace(ours, inputs, tmp_path)
    with pytest.raises(InputError, match="is of other input_ids"):
        divergence(tmp_path, reference, {**inputs, "input_ids": inputs["input_ids"] + 1})
    bert = small(next(twin for twin in TWINS if twin.name == "BertForMaskedLM"))
    with pytest.raises(ParityError):
        divergence(ours, bert, inputs, level="module")
