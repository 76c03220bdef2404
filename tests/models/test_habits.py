"""What PEFT, accelerate and scripts ask every model: tables, parts, sizes."""

from __future__ import annotations

import copy

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from torch import nn

import minitransformer
from minitransformer import ConfigError, MinitransformerError
from minitransformer.testing import reference_twin

PLAIN = [twin for twin in TWINS if not twin.variant]


@pytest.fixture(scope="module", params=PLAIN, ids=str)
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("habits")
    theirs = reference_twin(request.param.name, **request.param.config).double().eval()
    theirs.save_pretrained(folder)
    auto = getattr(minitransformer, request.param.auto)
    return request.param, auto.from_pretrained(folder, dtype="float64"), theirs


def test_tables_and_parts_are_those_that_transformers_tells(pair):
    twin, ours, theirs = pair
    if twin.kind == "recurrent":
        with pytest.raises(ConfigError, match="table of all words"):
            ours.get_input_embeddings()
        return
    table = ours.get_input_embeddings()
    assert torch.equal(table.weight, theirs.get_input_embeddings().weight)
    if twin.head in ("ForMaskedLM", "ForCausalLM", "ForSeq2SeqLM"):
        assert torch.equal(ours.get_output_embeddings().weight, theirs.get_output_embeddings().weight)
    assert ours.base_model is getattr(ours, "backbone", ours)
    if twin.kind == "encoder-decoder" and hasattr(ours.base_model, "decoder"):
        assert ours.get_encoder().encoder is ours.base_model.encoder
        assert ours.get_decoder() is ours.base_model.decoder


def test_another_table_of_words_takes_the_place_of_the_old_one(pair):
    twin, ours, _ = pair
    if twin.kind == "recurrent":
        return
    model = copy.deepcopy(ours)
    old = model.get_input_embeddings()
    new = nn.Embedding(*old.weight.shape, dtype=torch.float64)
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    assert not any(module is old for module in model.modules())
    inputs, _ = inputs_for(twin, [4, 6], "right")
    changed, before = model(**inputs), ours(**inputs)
    assert not torch.equal(changed.to_tuple()[0], before.to_tuple()[0])


def test_blocks_are_computed_again_with_the_same_gradients(pair):
    twin, ours, _ = pair
    model, (inputs, _) = copy.deepcopy(ours).eval(), inputs_for(twin, [4, 6], "right")
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(**inputs).to_tuple()[0].square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.gradient_checkpointing_enable()
        assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-12, rtol=1e-12)


def test_numbers_are_counted_as_in_transformers(pair):
    twin, ours, theirs = pair
    if twin.kind not in ("recurrent", "encoder-decoder"):  # there fixed tables and final_logits_bias count otherwise
        assert ours.num_parameters() == theirs.num_parameters() == ours.num_parameters(only_trainable=True)
    model = copy.deepcopy(ours)
    for parameter in model.base_model.parameters():
        parameter.requires_grad_(False)
    assert model.num_parameters(only_trainable=True) < model.num_parameters()
    assert model.num_parameters(exclude_embeddings=True) < model.num_parameters()


def test_decoders_read_labels_as_in_transformers(pair):
    twin, ours, theirs = pair
    labels = torch.tensor([[5, 6, 7, -100], [8, 9, 10, 11]])
    if not hasattr(theirs, "prepare_decoder_input_ids_from_labels"):
        return
    if twin.kind != "encoder-decoder":
        with pytest.raises(ConfigError, match="decoder"):
            ours.prepare_decoder_input_ids_from_labels(labels)
        return
    if "MBart" in twin.name:
        labels = labels.clamp(min=0)  # docs/differences.md: the shift of mBART
    expected = theirs.prepare_decoder_input_ids_from_labels(labels=labels)
    assert torch.equal(ours.prepare_decoder_input_ids_from_labels(labels=labels), expected)


def test_parts_that_have_another_name_here_are_named():
    twin = next(twin for twin in PLAIN if twin.name == "BertForMaskedLM")
    model = minitransformer.BertForMaskedLM(minitransformer.BertConfig(**twin.config))
    with pytest.raises(AttributeError, match=r"\.backbone"):
        model.bert  # noqa: B018
    with pytest.raises(AttributeError, match=r"\.head"):
        model.cls  # noqa: B018
    with pytest.raises(AttributeError) as error:
        model.strange  # noqa: B018
    assert "Here it is" not in str(error.value)
    with pytest.raises(MinitransformerError, match="repository"):
        model.push_to_hub("")
