"""What a weight map says about a model, and that a map with a mistake is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from weights.toys import TOY, Base, Classifier, D, LanguageModel, on_meta

from minitransformer.weights import Row, Split, TableError, Tied, WeightMap, embedding, explain, linear


def test_rows_show_names_operations_and_shapes_as_in_the_file() -> None:
    lines = {line.hf: line for line in explain(on_meta(LanguageModel), TOY)}
    fused = lines["base.h.3.c_attn.weight"]
    assert fused.ours == tuple(f"backbone.blocks.3.attn.{part}.weight" for part in ("query", "key", "value"))
    assert fused.shape == (D, 3 * D)
    assert lines["lm_bias"].shape == (1, 7)
    note = lines["base.wte.weight"].note.removeprefix("or ")
    assert sorted(note.split(", ")) == ["base.encoder.wte.weight", "lm_head.weight"]
    assert "lm_head.weight" not in lines  # written once, under its first name
    assert not any(name.startswith(("classifier", "base.pooler")) for name in lines)


def test_a_model_without_head_has_no_prefix_in_its_files() -> None:
    names = [line.hf for line in explain(on_meta(Base), TOY)]
    assert "wte.weight" in names and "pooler.dense.weight" in names
    assert not any(name.startswith("base.") for name in names)


def test_untied_head_is_a_row_of_its_own() -> None:
    lines = {line.hf: line for line in explain(on_meta(LanguageModel, tied=False), TOY)}
    assert lines["lm_head.weight"].ours == ("head.weight",)
    assert lines["base.wte.weight"].note == "or base.encoder.wte.weight"


def test_layers_beyond_nine() -> None:
    assert "base.h.11.mlp.weight" in [line.hf for line in explain(on_meta(Classifier), TOY)]


def test_the_same_row_twice() -> None:
    with pytest.raises(TableError, match=r"base\.a\.weight stands twice"):
        WeightMap("base", backbone=[embedding("a", "word"), embedding("a", "word")])


def test_two_rows_that_read_one_tensor() -> None:
    table = WeightMap("base", backbone=[Row("w", "weight"), Row("w", "bias")])
    with pytest.raises(TableError, match=r"two rows in force for LayerNorm read base\.w"):
        table.bind(nn.LayerNorm(3))


def test_two_rows_that_fill_one_parameter_without_being_tied() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    rows = [linear("x", "a", bias=False), linear("y", "b", bias=False)]
    with pytest.raises(TableError, match=r"x\.weight and base\.y\.weight fill one parameter"):
        WeightMap("base", backbone=rows).bind(model)
    tied = WeightMap("base", backbone=rows, tied=[Tied("base.x.weight", "base.y.weight")])
    assert [row.hf for row in tied.bind(model).rows] == ["base.x.weight"]


def test_a_parameter_that_no_row_gives() -> None:
    with pytest.raises(TableError, match="no row of the weight map gives bias"):
        WeightMap("base", backbone=[Row("w", "weight")]).bind(nn.LayerNorm(3))


def test_fused_parameters_of_which_one_is_absent() -> None:
    with pytest.raises(TableError, match="wants k, which the model lacks"):
        WeightMap("base", backbone=[Row("qk", ("weight", "k"), Split(2))]).bind(nn.LayerNorm(3))


def test_parts_that_an_operation_cannot_give() -> None:
    model = nn.ParameterDict({"a": torch.ones(4, 2), "b": torch.ones(2, 2)})  # Split makes equal parts
    with pytest.raises(TableError, match="cannot give a, b"):
        WeightMap("base", backbone=[Row("ab", ("a", "b"), Split(2))]).bind(model)
