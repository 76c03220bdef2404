"""Loading and exporting along a weight map, on models small enough to see through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from weights.toys import (
    LAYERS,
    TOY,
    Base,
    Classifier,
    D,
    F,
    LanguageModel,
    Memory,
    V,
    on_meta,
    redraw,
    same_parameters,
    saved,
)

from minitransformer.errors import CheckpointError
from minitransformer.weights import Row, Same, Tied, Transpose, WeightMap, export_weights, load_weights


def load(model: nn.Module, tensors: dict[str, Tensor], **options: object) -> object:
    return load_weights(model, Memory(tensors), TOY, **options)  # type: ignore[arg-type]


@pytest.fixture
def language_model() -> nn.Module:
    return redraw(LanguageModel())


# ------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("make", [Base, Classifier, LanguageModel])
def test_round_trip(make: type[nn.Module]) -> None:
    """save(load(x)) is x: the same names, the same bits; and load(save(m)) is m."""
    model = redraw(make())
    tensors = saved(model)
    loaded = on_meta(make)
    report = load_weights(loaded, Memory(tensors), TOY)
    assert same_parameters(loaded, model)
    again = export_weights(loaded, TOY)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) and again[name].is_contiguous() for name in tensors)
    assert report.used.keys() == tensors.keys() and not report.ignored and not report.missing


def test_what_the_file_says_of_a_fused_layer(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    attn = language_model.backbone.blocks[2].attn
    weight = torch.cat([attn[part].weight for part in ("query", "key", "value")]).t()
    assert torch.equal(tensors["base.h.2.c_attn.weight"], weight)
    assert tensors["base.h.2.mlp.weight"].shape == (D, F)


def test_parameters_are_contiguous_whatever_happened_on_the_way(language_model: nn.Module) -> None:
    model = on_meta(LanguageModel)
    tensors = saved(language_model)
    tensors["base.wte.weight"] = tensors["base.wte.weight"].t().contiguous().t()
    load(model, tensors)
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    assert same_parameters(model, language_model)


@pytest.mark.parametrize(("row", "other"), [("query", "key"), ("key", "value")])
def test_swapped_rows_of_one_shape_show_in_the_values(row: str, other: str, language_model: nn.Module) -> None:
    """Nothing but values can tell two projections of one shape apart; this is how the maps' tests do it."""
    swap = {f"blocks.{{i}}.attn.{row}.weight": other, f"blocks.{{i}}.attn.{other}.weight": row}
    rows = [
        Row(
            r.hf,
            tuple(f"blocks.{{i}}.attn.{swap[name]}.weight" if name in swap else name for name in r.our_names),
            r.op,
        )
        for r in TOY.backbone
    ]
    wrong = WeightMap("base", backbone=rows, heads=TOY.heads, tied=TOY.tied)
    model = on_meta(LanguageModel)
    load_weights(model, Memory(saved(language_model)), wrong)
    assert not same_parameters(model, language_model)


# ------------------------------------------------------------------------------------------------------------ ties


@pytest.mark.parametrize("name", ["base.wte.weight", "base.encoder.wte.weight", "lm_head.weight"])
def test_any_one_of_tied_names_fills_all(name: str, language_model: nn.Module) -> None:
    tensors = saved(language_model)
    tensors[name] = tensors.pop("base.wte.weight")
    model = on_meta(LanguageModel)
    load(model, tensors)
    assert model.head.weight is model.backbone.word.weight
    assert same_parameters(model, language_model)


def test_equal_tied_tensors_may_all_be_there(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    tensors["lm_head.weight"] = tensors["base.wte.weight"].clone()
    tensors["lm_head.bias"] = tensors["lm_bias"].clone()
    model = on_meta(LanguageModel)
    report = load_weights(model, Memory(tensors), TOY)
    assert report.used["lm_head.weight"] == report.used["base.wte.weight"] == ("backbone.word.weight",)


def test_tied_tensors_that_differ(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    tensors["lm_head.weight"] = tensors["base.wte.weight"] + 1
    model = on_meta(LanguageModel)
    with pytest.raises(CheckpointError, match=r"base.wte.weight and lm_head.weight .* differ.*tie_word_embeddings"):
        load(model, tensors)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_untied_model_keeps_two_tensors() -> None:
    model, loaded = redraw(LanguageModel(tied=False)), on_meta(LanguageModel, tied=False)
    tensors = saved(model)
    assert not torch.equal(tensors["lm_head.weight"], tensors["base.wte.weight"])
    load(loaded, tensors)
    assert loaded.head.weight is not loaded.backbone.word.weight
    assert same_parameters(loaded, model)


def test_untied_model_wants_both() -> None:
    tensors = saved(redraw(LanguageModel(tied=False)))
    del tensors["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing:\n    lm_head.weight  \(7, 4\)"):
        load(on_meta(LanguageModel, tied=False), tensors)


def test_the_head_of_an_untied_file_is_not_the_embedding_of_a_model_without_it() -> None:
    file = redraw(LanguageModel(tied=False))
    base = on_meta(Base, pooler=False)
    report = load_weights(base, Memory(saved(file)), TOY)
    assert torch.equal(base.word.weight, file.backbone.word.weight)
    assert report.ignored == {"lm_head.weight": "the head of another task", "lm_bias": "the head of another task"}


def test_the_head_of_a_tied_file_is_the_embedding_if_the_file_holds_no_other(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    tensors["lm_head.weight"] = tensors.pop("base.wte.weight")
    base = on_meta(Base, pooler=False)
    load(base, tensors)
    assert torch.equal(base.word.weight, language_model.backbone.word.weight)


# ------------------------------------------------------------------------------------------- prefixes, other heads


def test_file_of_a_base_model_into_a_model_with_a_head() -> None:
    base = redraw(Base(pooler=False))
    tensors = saved(base) | {"lm_bias": torch.ones(1, V)}
    model = on_meta(LanguageModel)
    load(model, tensors)
    assert same_parameters(model.backbone, base)


def test_file_of_a_model_with_a_head_into_a_base_model() -> None:
    classifier = redraw(Classifier())
    tensors = saved(classifier) | {"a_head_that_no_table_knows.weight": torch.ones(2)}
    base = on_meta(Base)
    report = load_weights(base, Memory(tensors), TOY)
    assert same_parameters(base, classifier.backbone)
    assert report.ignored == dict.fromkeys(
        ["classifier.weight", "classifier.bias", "a_head_that_no_table_knows.weight"], "the head of another task"
    )


def test_parts_of_other_tasks_are_ignored_with_the_reason(language_model: nn.Module) -> None:
    tensors = saved(redraw(Classifier())) | saved(language_model)
    tensors["lm_head.bias"] = tensors["lm_bias"]
    report = load_weights(on_meta(LanguageModel), Memory(tensors), TOY)
    assert report.ignored == {
        "base.pooler.dense.weight": "this model has no such part",
        "base.pooler.dense.bias": "this model has no such part",
        "classifier.weight": "the head of another task",
        "classifier.bias": "the head of another task",
    }
    report = load_weights(on_meta(Classifier), Memory(tensors), TOY)
    assert report.ignored == dict.fromkeys(["lm_bias", "lm_head.bias"], "the head of another task")


@pytest.mark.parametrize("prefix", ["", "base."])
def test_ignored_with_the_reason_of_the_table(prefix: str) -> None:
    tensors = {prefix + name: tensor for name, tensor in saved(redraw(Base())).items()}
    extra = {f"{prefix}position_ids": torch.arange(3), f"{prefix}h.11.mask": torch.ones(1, 1)}
    report = load_weights(on_meta(Base), Memory(tensors | extra), TOY)
    assert report.ignored == {
        f"{prefix}position_ids": "the numbers 0, 1, 2, ...",
        f"{prefix}h.11.mask": "the causal mask",
    }


def test_prefixes_are_decided_once_for_the_file(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    tensors["h.0.mlp.bias"] = tensors.pop("base.h.0.mlp.bias")
    with pytest.raises(CheckpointError) as caught:
        load(on_meta(LanguageModel), tensors)
    assert "base.h.0.mlp.bias  (6,)  (near: h.0.mlp.bias  (6,))" in str(caught.value)


def test_legacy_names(language_model: nn.Module) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = saved(language_model)
    for name in list(tensors):
        for today, legacy in old.items():
            if name.endswith(today):
                tensors[name.removesuffix(today) + legacy] = tensors.pop(name)
    model = on_meta(LanguageModel)
    report = load_weights(model, Memory(tensors), TOY)
    assert same_parameters(model, language_model)
    assert report.used["base.h.0.LayerNorm.gamma"] == ("backbone.blocks.0.norm.weight",)


def test_a_name_and_its_legacy_name_that_differ(language_model: nn.Module) -> None:
    tensors = saved(language_model) | {"base.h.0.LayerNorm.gamma": torch.zeros(D)}
    with pytest.raises(CheckpointError, match=r"base.h.0.LayerNorm.weight and base.h.0.LayerNorm.gamma .* differ"):
        load(on_meta(LanguageModel), tensors)


# ------------------------------------------------------------------------------------------- files that do not fit


def test_one_report_of_all_that_does_not_fit(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    for i in range(LAYERS):  # a name of another library
        tensors[f"base.h.{i}.fused.weight"] = tensors.pop(f"base.h.{i}.c_attn.weight")
    tensors["base.h.3.mlp.weight"] = torch.ones(F, D)
    del tensors["base.h.5.mlp.bias"], tensors["base.h.7.mlp.bias"]
    tensors["rotary.inv_freq"] = torch.ones(2)
    model = on_meta(LanguageModel)
    with pytest.raises(CheckpointError) as caught:
        load(model, tensors)
    assert str(caught.value) == (
        "the weights in memory do not fit the model.\n"
        "  14 missing:\n"
        "    base.h.{0-11}.c_attn.weight  (4, 12)  (near: base.h.0.fused.weight  (4, 12))\n"
        "    base.h.{5,7}.mlp.bias  (6,)\n"
        "  13 unexpected:\n"
        "    base.h.{0-11}.fused.weight  (4, 12)  (near: base.h.0.c_attn.weight  (4, 12))\n"
        "    rotary.inv_freq  (2,)\n"
        "  1 of another shape than the config asks for:\n"
        "    base.h.3.mlp.weight  is (6, 4), should be (4, 6)\n"
        "Is this the config.json that came with these weights? Compare its sizes and numbers of layers."
    )
    assert all(parameter.is_meta for parameter in model.parameters())


def test_nothing_is_read_when_the_names_do_not_fit(language_model: nn.Module) -> None:
    tensors = saved(language_model)
    del tensors["base.h.0.mlp.bias"]
    source = Memory(tensors)
    with pytest.raises(CheckpointError):
        load_weights(on_meta(LanguageModel), source, TOY)
    assert source.reads == 0


def test_a_model_in_use_is_left_as_it_was(language_model: nn.Module) -> None:
    before = saved(language_model)
    tensors = saved(redraw(LanguageModel()))
    tensors["base.h.11.mlp.bias"] = torch.ones(F, dtype=torch.int8)  # found out last, when all others are read
    with pytest.raises(CheckpointError, match=r"base.h.11.mlp.bias in memory .* type int8.*Quantised"):
        load(language_model, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in saved(language_model).items())


def test_missing_layers_and_surplus_layers(language_model: nn.Module) -> None:
    tensors = {
        name: tensor for name, tensor in saved(language_model).items() if ".10." not in name and ".11." not in name
    }
    with pytest.raises(CheckpointError, match=r"12 missing:\n    base.h.\{10-11\}.c_attn.weight  \(4, 12\)\n"):
        load(on_meta(LanguageModel), tensors)
    with pytest.raises(CheckpointError, match=r"18 unexpected:(\n.*)*    h.\{9-11\}.mlp.weight  \(4, 6\)"):
        load(on_meta(Base, layers=9), saved(redraw(Base())))


def test_a_missing_head_is_named_with_the_remedy() -> None:
    tensors = saved(redraw(LanguageModel()))
    tensors |= {f"base.pooler.dense.{kind}": torch.ones(shape) for kind, shape in (("weight", (D, D)), ("bias", (D,)))}
    with pytest.raises(CheckpointError, match=r"2 missing:\n    classifier.weight.*(\n.*)*allow_missing_head=True"):
        load(on_meta(Classifier), tensors)
    model = on_meta(Classifier)
    report = load_weights(model, Memory(tensors), TOY, allow_missing=["head.*"])
    assert report.missing == ["head.weight", "head.bias"]
    assert model.head.weight.is_meta and not model.backbone.word.weight.is_meta


def test_a_head_is_left_out() -> None:
    tensors = saved(redraw(Classifier()))
    why = dict.fromkeys(["head.weight", "head.bias"], "drawn anew")
    tensors["classifier.weight"] = torch.ones(5, D)  # for other labels: its shape does not matter then
    model = on_meta(Classifier)
    report = load_weights(model, Memory(tensors), TOY, leave_out=why)
    assert report.ignored == dict.fromkeys(["classifier.weight", "classifier.bias"], "drawn anew")
    assert report.missing == list(why)
    assert model.head.weight.is_meta and not any(p.is_meta for p in model.backbone.parameters())
    with pytest.raises(CheckpointError, match=r"classifier.weight  is \(5, 4\)(.*\n)*.*new_head=True"):
        load(on_meta(Classifier), tensors)
    tensors["base.wte.weight"] = torch.ones(3, D)
    with pytest.raises(CheckpointError) as caught:
        load(on_meta(Classifier), tensors)
    assert "new_head" not in str(caught.value)


def test_more_than_the_head_is_missing() -> None:
    tensors = saved(redraw(LanguageModel()))  # no pooler either
    with pytest.raises(CheckpointError, match="4 missing") as caught:
        load(on_meta(Classifier), tensors)
    assert "allow_missing_head" not in str(caught.value)


def test_a_file_of_another_architecture() -> None:
    tensors = {f"model.layers.{i}.self_attn.q_proj.weight": torch.ones(2, 2) for i in range(3)}
    with pytest.raises(CheckpointError, match="another architecture"):
        load(on_meta(LanguageModel), tensors)


def test_a_long_list_is_cut(language_model: nn.Module) -> None:
    tensors = saved(language_model) | {f"surplus_{chr(97 + i)}": torch.ones(1) for i in range(20)}
    with pytest.raises(
        CheckpointError, match=r"20 unexpected:\n    surplus_a  \(1,\)(\n    .*)*\n    \.\.\. and 8 more"
    ):
        load(on_meta(LanguageModel), tensors)


# -------------------------------------------------------------------------------------------- types, places, memory


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_cast_while_moving(dtype: torch.dtype, language_model: nn.Module) -> None:
    model = on_meta(LanguageModel)
    load(model, saved(language_model), dtype=dtype)
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    assert same_parameters(model, language_model.to(dtype))


def test_frozen_parameters_stay_frozen(language_model: nn.Module) -> None:
    model = on_meta(LanguageModel)
    model.backbone.word.weight.requires_grad_(False)
    load(model, saved(language_model))
    assert not model.backbone.word.weight.requires_grad and model.head.bias.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_tensor_of_the_file_is_alive_at_a_time(dtype: torch.dtype, language_model: nn.Module) -> None:
    source = Memory(saved(language_model))
    load_weights(on_meta(LanguageModel), source, TOY, dtype=dtype)
    assert source.most_alive == 1


def test_what_needs_no_copy_gets_none() -> None:
    weight = torch.randn(3, 3)

    class Lent(Memory):
        def read(self, name: str, *, transient: bool = False) -> Tensor:
            return self.tensors[name]

    for op, shared in ((Same(), True), (Transpose(), False)):
        model = nn.Linear(3, 3, bias=False, device="meta")
        load_weights(model, Lent({"w": weight}), WeightMap("base", backbone=[Row("w", "weight", op)]))
        assert (model.weight.data_ptr() == weight.data_ptr()) == shared


# ---------------------------------------------------------------------------------------- ties that speak of layers


def layered(*, shared: bool) -> nn.Module:
    model = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(3))
    if shared:
        for layer in model:
            layer.weight = model[0].weight
    return redraw(nn.ModuleDict({"layers": model}))


@pytest.mark.parametrize("everywhere", [False, True])
def test_one_tensor_in_all_layers(everywhere: bool) -> None:
    rows = [Row("shared", "layers.0.weight"), Row("layer.{i}.w", "layers.{i}.weight")]
    tied = Tied("base.shared", "base.layer.{i}.w", everywhere=everywhere)
    table = WeightMap("base", backbone=rows, tied=[tied])
    model, loaded = layered(shared=True), layered(shared=True)
    tensors = export_weights(model, table)
    assert set(tensors) == {"shared", *(f"layer.{i}.w" for i in range(3 if everywhere else 0))}
    assert all(torch.equal(tensor, model["layers"][0].weight) for tensor in tensors.values())
    load_weights(loaded, Memory({"layer.1.w": tensors["shared"]}), table)
    assert loaded["layers"][0].weight is loaded["layers"][2].weight
    assert same_parameters(loaded, model)
    with pytest.raises(CheckpointError, match="shared and layer.2.w .* differ"):
        load_weights(loaded, Memory({"shared": tensors["shared"], "layer.2.w": torch.ones(2, 2)}), table)


def test_one_tie_for_each_layer() -> None:
    rows = [Row("a.{i}", "layers.{i}.weight")]
    table = WeightMap("base", backbone=rows, tied=[Tied("base.a.{i}", "base.b.{i}")])
    model, loaded = layered(shared=False), layered(shared=False)
    tensors = export_weights(model, table)
    tensors["b.1"] = tensors.pop("a.1")
    load_weights(loaded, Memory(tensors), table)
    assert same_parameters(loaded, model)
