"""Pickles become plain data, whatever they ask for."""

from __future__ import annotations

import collections
import pickle
import pickletools
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz.mutators import PROGRAMS
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.pickles import Call, Global, PickleError, RefusedNameError, read_pickle
from minitransformer.weights.pickled import NAMES, PickleFile

NUMBERS = st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False)
SCALARS = st.none() | NUMBERS | st.text() | st.binary()
KEYS = st.text() | st.integers(-(2**60), 2**60) | st.none() | st.booleans() | st.binary()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.lists(inner).map(tuple) | st.sets(KEYS),
    max_leaves=30,
)


@pytest.mark.parametrize("protocol", range(2, 6))
@given(value=PLAIN)
def test_plain_data_come_back_as_they_are(protocol: int, value: Any) -> None:
    data = pickle.dumps(value, protocol=protocol)
    names = {"_codecs.encode", "builtins.bytes"} if protocol < 3 else set()
    found, end = read_pickle(data + b"more", names)
    assert end == len(data)
    if protocol >= 3:
        assert found == value and repr(type(found)) == repr(type(value))


@pytest.mark.parametrize("protocol", range(6))
def test_containers_with_a_name_are_plain_ones(protocol: int) -> None:
    value = {
        "ordered": collections.OrderedDict(b=1, a=2),
        "counted": collections.Counter("abca"),
        "set": {1, 2},
        "negative": [-1, -(2**40), 2.5, "é\n'\\", True],
    }
    found, _ = read_pickle(pickle.dumps(value, protocol=protocol))
    assert found == value and list(found["ordered"]) == ["b", "a"]
    assert type(found["ordered"]) is dict and type(found["counted"]) is dict


def test_what_is_named_is_not_looked_up() -> None:
    data = pickle.dumps([pickletools.dis, torch.Size([2, 3])])
    with pytest.raises(RefusedNameError, match="pickletools.dis"):
        read_pickle(data)
    (function, call), _ = read_pickle(data, lambda name: True)
    assert function == Global("pickletools", "dis")
    assert isinstance(call, Call) and call.function == Global("torch", "Size") and call.arguments == ((2, 3),)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_no_program_does_any_harm(name: str, tmp_path: Path) -> None:
    before = dict(vars(collections.Counter))
    try:
        read_pickle(PROGRAMS[name], lambda name: True)
    except PickleError:
        pass
    (tmp_path / "pytorch_model.bin").write_bytes(PROGRAMS[name])
    with pytest.raises(Exception, match="damaged|holds|one machine|does not fit"):
        PickleFile(tmp_path / "pytorch_model.bin")
    assert dict(vars(collections.Counter)) == before and not Path("/tmp/ran").exists()


def test_a_checkpoint_may_name_tensors_only() -> None:
    assert {name.split(".")[0] for name in NAMES} == {"torch"} and not [name for name in NAMES if "load" in name]


def shared() -> dict[str, torch.Tensor]:
    base = torch.randn(6, 8)
    return {
        "whole": base,
        "row": base[2],
        "column": base[:, 3],
        "turned": base.t(),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(5).half(),
        "brain": torch.randn(5).bfloat16(),
        "eight": torch.randn(5).to(torch.float8_e4m3fn),
        "long": torch.arange(4),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_what_torch_reads(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    tensors = shared()
    if not zipped:
        del tensors["eight"]  # which the old format does not have
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    file, expected = PickleFile(path), torch.load(path, weights_only=True)
    assert file.names() == list(expected)
    for name, tensor in expected.items():
        found = file.read(name)
        assert found.dtype == tensor.dtype and found.shape == tensor.shape == file.shape(name)
        if name == "eight":
            found, tensor = found.view(torch.uint8), tensor.view(torch.uint8)
        assert torch.equal(found, tensor)


@pytest.mark.parametrize(
    "tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta"), torch.ones(1).expand(10**9)]
)
def test_tensors_that_weights_are_not(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"x": tensor}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin"):
        PickleFile(tmp_path / "pytorch_model.bin").read("x")


@pytest.mark.parametrize(
    "damaged", [b"Np1.", b"Np" + b"1" * 50 + b"\n.", b"g5", b"I5", b"Ix\n.", b"g5\n.", b"p1\n.", b"I", b"Np"]
)
def test_numbers_in_letters_that_are_none(damaged: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(PickleError):
        read_pickle(damaged)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_every_protocol(protocol: int) -> None:
    values = [0, 1, -1, True, False, None, 255, 256, -(2**31), 2**31, 2**62, -(10**30), 0.5, "a\nb", b"\0"]
    if protocol < 3:
        values.pop()  # bytes are calls there
    found, _ = read_pickle(pickle.dumps([values, values, {1: values}], protocol))
    assert found == [values, values, {1: values}]
    assert list(map(type, found[0])) == list(map(type, values))
