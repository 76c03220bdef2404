"""The parity tools: in which order they compare, and what they do not compare."""

from __future__ import annotations

import pytest
import torch
from models.twins import bart, bert, gpt2
from models.twins.twin import inputs_for

import minitransformer
from minitransformer.errors import InputError
from minitransformer.testing import OUTPUT_FIELDS, divergence, redraw, reference_twin

transformers = pytest.importorskip("transformers")


@pytest.fixture(params=[bert, gpt2, bart], ids=lambda m: m.__name__.rpartition(".")[2])
def pair(request, tmp_path):
    twin = request.param.TWINS[0]
    reference = reference_twin(twin.name, **twin.config)
    reference.save_pretrained(tmp_path)
    return twin, getattr(minitransformer, twin.auto).from_pretrained(tmp_path, dtype=torch.float64), reference


def test_the_first_difference_is_where_the_models_part(pair):
    """A weight in the middle is changed: all before it is equal, all that follows is not."""
    twin, ours, reference = pair
    inputs, keep = inputs_for(twin, [5, 5], "right")
    if twin.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = inputs["input_ids"]
    stack = ours.decoder if twin.kind != "encoder" else ours.encoder
    with torch.no_grad():
        stack.blocks[1].attn.query.weight.mul_(1.5)
    rows = [(row.name, row.largest > 1e-9) for row in divergence(ours, reference, inputs, keep=keep)]
    where = [differs for _, differs in rows]
    first = where.index(True)
    side = "decoder_" if twin.kind == "encoder-decoder" else ""
    assert rows[first][0] == f"{side}attentions[1]"
    assert all(where[first:]) and not any(where[:first])
    names = [name for name, _ in rows]
    assert names.index(f"{side}hidden_states[1]") < first < names.index(f"{side}hidden_states[2]")
    assert set(name.partition("[")[0] for name in names) <= set(OUTPUT_FIELDS)


def test_a_reference_with_its_default_attention(pair):
    twin, ours, eager = pair
    reference = type(eager)(type(eager).config_class(**twin.config, attn_implementation="sdpa")).double().eval()
    redraw(reference)
    inputs, keep = inputs_for(twin, [5, 3], "right")
    assert reference.config._attn_implementation == "sdpa"
    assert max(row.largest for row in divergence(ours, reference, inputs, keep=keep)) < 1e-10
    assert reference.config._attn_implementation == "sdpa"


def test_training_mode_and_unequal_types_are_refused(pair):
    twin, ours, reference = pair
    inputs, _ = inputs_for(twin, [5, 3], "right")
    with pytest.raises(InputError, match=r"ours is in training mode.*call .eval\(\)"):
        list(divergence(ours.train(), reference, inputs))
    with pytest.raises(InputError, match="the reference is in training mode"):
        list(divergence(ours.eval(), reference.train(), inputs))
    with pytest.raises(InputError, match="ours is in float32, the reference in float64: load both with the same dtype"):
        list(divergence(ours.float(), reference.eval(), inputs))
