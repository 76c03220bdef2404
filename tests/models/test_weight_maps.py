"""The weight map of every architecture, over all twins: complete, exact in both directions, and no row may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for, only
from safetensors.torch import load_file
from torch import Tensor, nn

import minitransformer
from minitransformer import AutoModel
from minitransformer.errors import CheckpointError
from minitransformer.models.auto import architecture
from minitransformer.models.common.base import PretrainedModel
from minitransformer.testing import assert_same, reference_twin, repaired
from minitransformer.weights import LoadReport, export_weights, load_weights
from minitransformer.weights.table import BACKBONE, template

KEY_BIASES = ("key.bias",)
"""A key's bias adds the same to all scores of a query, which softmax does not see: the one thing no output shows."""


class Pair:
    """A twin, the reference with its folder, and ours loaded from it."""

    def __init__(self, twin: Twin, folder: Any) -> None:
        self.twin, self.folder = twin, folder
        self.reference = reference_twin(twin.name, **twin.config)
        self.reference.save_pretrained(folder)
        self.auto = getattr(minitransformer, twin.auto)
        self.ours: PretrainedModel = self.auto.from_pretrained(folder, dtype=torch.float64)
        self.table = self.ours.WEIGHTS
        self.bound = self.table.bind(self.ours)
        with torch.device("meta"):
            self.empty = type(self.ours)(self.ours.config)
        tensors = load_file(folder / "model.safetensors")
        _, report = self.load(tensors)
        self.computed = set(report.ignored)  # tables that the reference writes, though it computes them
        self.file = {name: tensor for name, tensor in tensors.items() if name not in self.computed}

    def load(self, tensors: dict[str, Tensor]) -> tuple[PretrainedModel, LoadReport]:
        """Another model like ours, filled from other tensors than the file's."""
        model = deepcopy(self.empty)
        return model, load_weights(model, Memory(tensors), self.table, dtype=torch.float64)

    def written_after(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What our model writes after it was filled from ``tensors``."""
        return export_weights(self.load(tensors)[0], self.table)


@dataclass
class Memory:
    """Tensors that pose as a file."""

    tensors: dict[str, Tensor]
    where: str = "memory"

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> torch.Size:
        return self.tensors[name].shape

    def read(self, name: str, *, transient: bool = False) -> Tensor:
        return self.tensors[name]


@pytest.fixture(scope="module", params=TWINS, ids=str)
def pair(request, tmp_path_factory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp("twin"))


def assert_equal_tensors(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


def outputs(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        out = model(**inputs)
    values = {name: getattr(out, name) for name in [*out.keys(), "logits"] if hasattr(out, name)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def test_every_tensor_has_one_row_and_every_parameter_too(pair):
    rows, copies = pair.bound.rows, pair.bound.copies
    written = [(name, row.shape) for row in rows for name in (row.hf, *copies.get(row.hf, []))]
    assert sorted((pair.bound.file_name(name), shape) for name, shape in written) == sorted(
        (name, tuple(tensor.shape)) for name, tensor in pair.file.items()
    )
    filled = [id(pair.ours.get_parameter(name)) for row in rows for name in row.ours]
    assert sorted(filled) == sorted(id(parameter) for parameter in pair.ours.parameters())


def test_there_and_back_gives_the_same_bits(pair, tmp_path):
    pair.ours.save_pretrained(tmp_path)
    assert_equal_tensors(load_file(tmp_path / "model.safetensors"), pair.file)


def test_transformers_opens_what_we_save(pair, tmp_path):
    def opened(folder: Any) -> tuple[Any, Any]:
        options = {"dtype": torch.float64, "attn_implementation": "eager", "output_loading_info": True}
        return type(pair.reference).from_pretrained(folder, **options)

    pair.ours.save_pretrained(tmp_path)
    again, report = opened(tmp_path)
    report["missing_keys"] = [name for name in report["missing_keys"] if name not in pair.computed]
    if any(report.values()):  # an untied BART misses tables in what it wrote itself
        assert report == opened(pair.folder)[1]
        pytest.skip("transformers cannot open what it saved either")
    inputs, keep = inputs_for(pair.twin, [3, 9, 1], "right")
    assert_same(pair.ours, repaired(again.double().eval()), inputs, keep=keep, atol=pair.twin.atol)


@only(lambda twin: twin.has_head)
def test_a_file_with_a_head_gives_the_model_without(pair):
    assert pair.bound.has_head
    if not isinstance(pair.ours.backbone, architecture(pair.ours.config.model_type).heads.get("Model", ())):
        pytest.skip("has another backbone than the model without a head")
    base = AutoModel.from_pretrained(pair.folder, dtype=torch.float64)
    inside = dict(pair.ours.backbone.named_parameters())
    assert inside.keys() == dict(base.named_parameters()).keys()
    for name, parameter in base.named_parameters():
        assert torch.equal(parameter, inside[name]), name


@only(lambda twin: twin.has_head)
def test_a_file_without_a_head_leaves_only_the_head_to_begin_anew(pair, tmp_path):
    assert pair.bound.has_head
    pair.ours.backbone.save_pretrained(tmp_path)
    anew = pair.auto.from_pretrained(tmp_path, dtype=torch.float64, allow_missing_head=True)
    inside = dict(pair.ours.backbone.named_parameters())
    for name, parameter in anew.backbone.named_parameters():
        assert torch.equal(parameter, inside[name]), name
    shared = {id(parameter) for parameter in pair.ours.backbone.parameters()}
    head = [name for name, parameter in pair.ours.named_parameters() if id(parameter) not in shared]
    if not all(any(fnmatchcase(name, pattern) for pattern in pair.ours.OPTIONAL) for name in head):
        with pytest.raises(CheckpointError, match="no such head"):
            pair.auto.from_pretrained(tmp_path, allow_missing_head=False)


@pytest.mark.variants_later
def test_any_name_of_a_tied_tensor_will_do(pair):
    tied = [(first, other) for first, others in pair.bound.aliases.items() for other in others]
    file = export_weights(pair.ours, pair.table)
    if not tied:
        pytest.skip("nothing is tied")
    for first, other in tied:
        name, alias = pair.bound.file_name(first), pair.bound.file_name(other)
        moved = {alias if k == name else k: v for k, v in file.items()}
        assert_equal_tensors(pair.written_after(moved), file)
        assert_equal_tensors(pair.written_after(file | {alias: file[name]}), file)
        torn = file | {alias: file[name] + 1}
        if other in pair.bound.other_heads:  # this model has no such head, and the file may be one of an untied model
            assert_equal_tensors(pair.written_after(torn), file)
        else:
            with pytest.raises(CheckpointError, match="should be one tensor, but differ"):
                pair.written_after(torn)


def test_what_is_ignored_has_a_reason(pair):
    for ignore in pair.table.ignore:
        name = pair.bound.file_name(ignore.hf.format(i=0, j=0))
        _, report = pair.load(pair.file | {name: torch.zeros(1)})
        assert report.ignored == {name: ignore.why}
    with pytest.raises(CheckpointError, match="1 unexpected"):
        pair.load(pair.file | {"something.else": torch.zeros(1)})


@pytest.mark.variants_later
def test_no_two_rows_can_be_swapped_unnoticed(pair):
    """If two places of equal shape in the table changed partners, in all layers at once, the outputs would tell."""
    inputs, keep = inputs_for(pair.twin, [3, 9, 1], "right")
    wanted = outputs(pair.reference, inputs)
    swapped = unnoticed = 0
    for first, second in swaps(pair):
        places = [(pair.ours.get_parameter(a), pair.ours.get_parameter(b)) for a, b in zip(first, second, strict=True)]
        swap(places)
        found = outputs(pair.ours, inputs)
        swap(places)
        largest = max(float(difference(found[name], wanted[name], keep)) for name in found)
        swapped += 1
        if first[0].endswith(KEY_BIASES) and second[0].endswith(KEY_BIASES):
            assert largest <= pair.twin.atol  # see KEY_BIASES
            unnoticed += 1
        else:
            assert largest > max(1e-6, 10 * pair.twin.atol), f"{first[0]} and {second[0]} could be swapped"
    assert swapped > unnoticed or not swapped  # no two places of some heads have the same shape


def difference(x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    """The largest difference, at the tokens that count."""
    if x.shape[:2] == keep.shape:
        x, y = x[keep.bool()], y[keep.bool()]
    return (x - y).abs().max()


def swap(places: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
    for a, b in places:
        a.data, b.data = b.data, a.data


def swaps(pair: Pair) -> Iterator[tuple[list[str], list[str]]]:
    """Pairs of places in the table: the parameters of both, layer by layer. In a model with a head, those of the head.

    A row that the file fuses (query, key and value) has several places.
    """
    model_type = pair.ours.config.model_type
    whole = not pair.bound.has_head or "Model" not in architecture(model_type).heads
    parameters = {name: p.shape for name, p in pair.ours.named_parameters()}
    places: dict[str, list[str]] = {}
    for row in pair.table.rows(pair.bound.task):
        for place in row.our_names:
            places.setdefault(place, [])
    for bound in pair.bound.rows:
        for name in bound.ours:
            if name in parameters:
                places[place_of(name, places)].append(name)
    filled = {place: names for place, names in places.items() if names}
    for first, second in combinations(filled, 2):
        a, b = filled[first], filled[second]
        in_head = not first.startswith(BACKBONE) or not second.startswith(BACKBONE)
        if (whole or in_head) and [parameters[name] for name in a] == [parameters[name] for name in b]:
            yield a, b


def place_of(name: str, places: dict[str, list[str]]) -> str:
    """The place of the table, with its ``{i}``, that a parameter stands for."""
    (found,) = (place for place in places if template(place).fullmatch(name))
    return found
