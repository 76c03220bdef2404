"""What a model takes: masks, positions and labels that belong to the ids, and masks for each query."""

from __future__ import annotations

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for, random_ids

from minitransformer import DecoderCache
from minitransformer.errors import ArgumentError, InputError
from minitransformer.models.auto import AutoConfig, architecture
from minitransformer.models.bert import BertConfig, BertModel
from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel

BASE = [t for t in TWINS if not t.variant and t.kind != "recurrent"]


def built(twin: Twin):
    transformers = pytest.importorskip("transformers")
    model_type = getattr(transformers, twin.name).config_class.model_type
    config = AutoConfig.from_dict({"model_type": model_type, **twin.config})
    torch.manual_seed(0)
    return architecture(model_type).heads[twin.head or "Model"](config).double().eval()


@pytest.mark.parametrize("length", [3, 9, 1])
@pytest.mark.parametrize("twin", BASE, ids=str)
def test_a_mask_of_another_length_names_both(twin, length):
    model = built(twin)
    inputs, _ = inputs_for(twin, [5, 5], "right")
    for make in (torch.ones, torch.zeros):
        with pytest.raises(InputError, match=f"attention_mask is for {length} tokens, but there are 5 ids"):
            model(**{**inputs, "attention_mask": make(2, length, dtype=torch.long)})
        with pytest.raises(InputError, match=f"attention_mask is for {length} tokens"):
            model(inputs.pop("input_ids"), make(2, length), **{k: v for k, v in inputs.items() if "mask" not in k})
        inputs, _ = inputs_for(twin, [5, 5], "right")
    if twin.kind == "encoder-decoder" and "decoder_input_ids" in inputs:
        count = inputs["decoder_input_ids"].shape[1]
        with pytest.raises(InputError, match=f"decoder_attention_mask is for {count + 2} tokens, but .* {count} ids"):
            model(**inputs, decoder_attention_mask=torch.ones(2, count + 2))


@pytest.mark.parametrize("twin", [t for t in BASE if t.kind == "decoder" and t.decodes], ids=str)
def test_with_a_cache_the_mask_is_for_all_tokens(twin):
    model, ids = built(twin), random_ids(2, 6)
    cache = DecoderCache()
    model(ids[:, :4], past_key_values=cache)
    with pytest.raises(InputError, match="for 2 tokens, but there are 2 ids and 4 cached ones: 6 in all"):
        model(ids[:, 4:], attention_mask=torch.ones(2, 2), past_key_values=cache)
    with pytest.raises(InputError, match="for 7 tokens"):
        model(ids[:, 4:], attention_mask=torch.ones(2, 7), past_key_values=cache)
    model(ids[:, 4:], attention_mask=torch.ones(2, 6), past_key_values=cache)


@pytest.mark.parametrize("heads", [None, 1, 2])
@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.uint8])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_mask_for_each_query_means_what_one_for_all_means(kind, dtype, heads):
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "num_positions": 20}
    torch.manual_seed(0)
    model = BertModel(BertConfig(**sizes)) if kind == "encoder" else GPT2LMHeadModel(GPT2Config(**sizes))
    model, ids = model.double().eval(), random_ids(2, 5)
    padding = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    full = padding[:, None, :].expand(2, 5, 5).to(dtype)
    full = full if heads is None else full[:, None].expand(2, heads, 5, 5)
    field = "last_hidden_state" if kind == "encoder" else "logits"
    wanted, found = model(ids, attention_mask=padding)[field], model(ids, attention_mask=full)[field]
    torch.testing.assert_close(found[padding.bool()], wanted[padding.bool()], rtol=0, atol=1e-12)

    for wrong, message in (
        (full.float(), r"by booleans, or by 0 and 1.*attention_mask == 0 instead"),
        (full.long() * -10_000, "holds other numbers than 0 and 1"),
        (full[..., :4, :], "says what 4 tokens may attend to, but there are 5"),
        (full[..., :4], "is for 4 tokens, but there are 5 ids"),
        (full[:1].expand(3, *full.shape[1:]), "is for 3 texts, but there are 2"),
    ):
        with pytest.raises(InputError, match=message):
            model(ids, attention_mask=wrong)
    with pytest.raises(InputError, match="is for 5 heads, but the model has 2"):
        model(ids, attention_mask=torch.ones(2, 5, 5, 5, dtype=torch.bool))


def test_a_mask_for_each_query_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    reference = transformers.BertModel(transformers.BertConfig(**sizes, attn_implementation="eager")).double().eval()
    ours = BertModel.from_pretrained(
        None, config=BertConfig(**sizes), state_dict=reference.state_dict(), dtype="float64"
    )
    ids, mask = random_ids(2, 5), torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0)) > 0.4
    mask |= torch.eye(5, dtype=torch.bool)
    with torch.no_grad():
        wanted = reference(ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(ours(ids, attention_mask=mask).last_hidden_state, wanted, rtol=0, atol=1e-10)


def test_what_is_no_batch_of_ids_is_named():
    model = BertModel(BertConfig(vocab_size=60, hidden_size=16, num_layers=1, num_heads=2))
    ids = random_ids(2, 5)
    for wrong, message in (
        (ids[0], r"must have the shape \(batch, token\), not \(5,\): pass input_ids\[None\]"),
        ([[1, 2]], "must be a tensor of token ids, not list"),
        ("a text", "must be a tensor of token ids, not str: call the tokenizer"),
    ):
        with pytest.raises(InputError, match=message):
            model(wrong)
    with pytest.raises(InputError, match="must be a tensor of zeros and ones, not list"):
        model(ids, attention_mask=[[1] * 5] * 2)
    with pytest.raises(InputError, match=r"must have the shape \(batch, token\).*not \(5,\)"):
        model(ids, attention_mask=torch.ones(5))
    for name in ("token_type_ids", "position_ids"):
        with pytest.raises(InputError, match=rf"{name} has the shape \(2, 1\), but there are 5 ids"):
            model(ids, **{name: torch.zeros(2, 1, dtype=torch.long)})


@pytest.mark.parametrize("field", ["hidden_states", "attentions"])
def test_the_config_asks_for_intermediates(field):
    config = BertConfig(vocab_size=60, hidden_size=16, num_layers=2, num_heads=2, **{f"output_{field}": True})
    model, ids = BertModel(config).eval(), random_ids(1, 3)
    assert len(model(ids)[field]) == 2 + (field == "hidden_states")
    assert field not in model(ids, **{f"output_{field}": False})
    assert config.to_hf()[f"output_{field}"] is True


@pytest.mark.parametrize("twin", BASE, ids=str)
def test_ids_that_no_table_can_be_asked_for_are_named(twin):
    model = built(twin)
    inputs, _ = inputs_for(twin, [5, 5], "right")
    ids = inputs.pop("input_ids")
    plain = {name: x for name, x in inputs.items() if name.startswith("decoder")}
    for spoil in (torch.Tensor.float, torch.Tensor.bool, lambda x: x.to(torch.int8)):
        with pytest.raises(InputError, match="input_ids must be of torch.long"):
            model(spoil(ids), **plain)
    for empty in (ids[:, :0], ids[:0]):
        with pytest.raises(InputError, match=r"input_ids has the shape .*: there is no token in it"):
            model(empty, **plain)
    for other in plain:
        with pytest.raises(InputError, match=f"{other} must be of torch.long"):
            model(ids, **{other: plain[other].double()})


@pytest.mark.parametrize("twin", [t for t in BASE if t.head and t.head != "ForTextEncoding"], ids=str)
def test_labels_that_no_loss_can_be_made_of_are_named(twin):
    model = built(twin)
    inputs, _ = inputs_for(twin, [5, 5], "right")
    with torch.no_grad():
        scores = model(**inputs)
    if twin.head == "ForQuestionAnswering":
        with pytest.raises(InputError, match="start_positions must be a tensor, not list"):
            model(**inputs, start_positions=[1, 1], end_positions=[2, 2])
        return
    with pytest.raises(InputError, match="labels must be a tensor, not list"):
        model(**inputs, labels=[0, 1])
    if twin.head == "ForPreTraining":
        return
    classes = scores.logits.shape[-1]
    right = torch.zeros(scores.logits.shape[:-1], dtype=torch.long)
    assert torch.isfinite(model(**inputs, labels=right).loss)
    with pytest.raises(InputError, match="labels has the shape"):
        model(**inputs, labels=right.new_zeros(2, 17))
    if classes == 1:
        return
    for wrong in (classes, -1):
        with pytest.raises(InputError, match=f"labels holds {wrong}, but the classes are 0 to {classes - 1}"):
            model(**inputs, labels=right + wrong)
    if right.dim() == 2:
        with pytest.raises(InputError, match="pass labels.long"):
            model(**inputs, labels=right.float())
        assert torch.isfinite(model(**inputs, labels=right.index_fill(1, torch.tensor([2]), -100)).loss)
    else:
        with pytest.raises(InputError, match="labels has the shape"):
            model(**inputs, labels=torch.zeros(2, classes + 1))
        if twin.head == "ForSequenceClassification":
            assert torch.isfinite(model(**inputs, labels=torch.zeros(2, classes)).loss)


def test_a_device_that_is_not_here_is_named():
    for device in ("cuda:99", "nonsense", 99, True):
        for given in ({"device": device}, {"device_map": device}):
            with pytest.raises(ArgumentError, match="device"):
                BertModel.from_pretrained("minitransformer/bert-books", **given)
