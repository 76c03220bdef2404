"""The table of operations: what it says of each tensor of a pass, computed again, gives that tensor."""

from __future__ import annotations

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from oracle.subjects import small
from torch import Tensor

from minitransformer.layers import Tap
from minitransformer.parity.kinds import KINDS
from minitransformer.parity.operations import model_tensors, operations
from minitransformer.parity.recording import record


@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_every_operation_computed_again_from_its_inputs_gives_what_was_recorded(twin):
    model = small(twin)
    inputs, _ = inputs_for(twin, [3, 9, 1], "right")
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        recording = record(model, inputs, tensors.__setitem__)
        parameters = model_tensors(model)
        table = operations(model, recording)
        assert [operation.name for operation in table] == recording.order
        for operation in table:
            again, recorded = operation.run(tensors, parameters), tensors[operation.name]
            assert again.shape == recorded.shape == operation.shape, operation
            assert float(((again - recorded).abs() / recorded.abs().clamp(min=1.0)).max()) <= 1e-12, operation
    used = {name for operation in table for name in operation.parameters.values()}
    shared = {id(parameter): name for name, parameter in model.named_parameters(remove_duplicate=False)}
    names = {shared[id(p)] for n, p in model.named_parameters(remove_duplicate=False) if n in used}
    unused = [n for n in set(shared.values()) - names if not n.endswith("frequencies")]
    assert not unused or twin.config.get("untie_r") is False, "a parameter that no operation reads"


def test_each_operation_reads_what_came_before_it_and_no_kind_is_idle():
    kinds = set()
    for twin in TWINS:
        model = small(twin)
        recording = record(model, inputs_for(twin, [4, 6], "left")[0], lambda name, x: None)
        known = set(recording.extras)
        for operation in operations(model, recording):
            assert set(operation.inputs.values()) <= known, operation
            assert set(operation.inputs) | set(operation.parameters) or operation.kind == "positions.relative"
            known.add(operation.name)
            kinds.add(operation.kind)
        passed = {name.partition("#")[0] for name in recording.order}
        idle = {n for n, m in model.named_modules() if isinstance(m, Tap)} - passed
        assert all(name.endswith(("token_types", "positions")) for name in idle), idle
    assert kinds == set(KINDS)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2LMHeadModel", "T5ForConditionalGeneration"])
def test_parameters_carry_the_names_of_the_checkpoint(name, tmp_path):
    from safetensors.torch import load_file

    twin = next(twin for twin in TWINS if twin.name == name)
    model = small(twin)
    model.save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    recording = record(model, inputs_for(twin, [5], "right")[0], lambda name, x: None)
    parameters = model_tensors(model)
    said = 0
    for operation in operations(model, recording):
        for role, own in operation.parameters.items():
            if role not in operation.file_parameters:
                assert own.endswith(".table")  # sinusoids, in no file
                continue
            told = operation.file_parameters[role]
            tensor = file[told["name"]]
            for step in told["how"].split(", then "):
                if step == "transposed":
                    tensor = tensor.t()
                elif step.startswith("part "):
                    _, part, _, parts, *_, axis = step.split()
                    tensor = tensor.chunk(int(parts), int(axis))[int(part) - 1]
                else:
                    assert step == "as it is"
            assert torch.equal(tensor, parameters[own]), (operation, role)
            said += 1
    assert said > 20
