"""Models called by hand, as scripts for transformers do: vectors for ids, caches, choices, state dicts."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from typing import Any

import pytest
import torch
import transformers
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for, padded, random_ids
from torch import nn

import minitransformer
from minitransformer import DynamicCache, GenerationError, InputError
from minitransformer.layers.part import Part
from minitransformer.testing import reference_twin

PLAIN = [twin for twin in TWINS if not twin.variant]
KNOWN = [twin for twin in PLAIN if hasattr(transformers, twin.name) and twin.kind != "recurrent"]
"""Without Transformer-XL, and the paper's model, which transformers has not."""
DECODERS = [twin for twin in KNOWN if twin.decodes and not twin.name.startswith(("OpenAIGPT", "FSMT"))]
"""Without GPT, which has no cache there, and FSMT, whose cache is at fault there (docs/differences.md)."""
NEEDS_IDS = "ModernBertForQuestionAnswering"
"""4.57's forward requires input_ids here, so it takes no vectors in their place."""
EXACT: dict[str, Any] = {"atol": 1e-10, "rtol": 0}


def make_pair(twin: Twin, folder: Any, **config: Any) -> tuple[Any, Any]:
    theirs = reference_twin(twin.name, **{**twin.config, **config}).double().eval()
    theirs.save_pretrained(folder)
    return getattr(minitransformer, twin.auto).from_pretrained(folder, dtype="float64"), theirs


@pytest.fixture(scope="module", params=KNOWN, ids=str)
def pair(request, tmp_path_factory):
    return (request.param, *make_pair(request.param, tmp_path_factory.mktemp("calls")))


def vectors(model: Any, ids: torch.Tensor, seed: int = 7) -> torch.Tensor:
    size = model.get_input_embeddings().weight.shape[1]
    return torch.randn(*ids.shape, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(ours: Any, theirs: Any) -> None:
    for name, x in theirs.items():
        if isinstance(x, torch.Tensor):
            torch.testing.assert_close(ours[name], x, **EXACT)


# Vectors ------------------------------------------------------------------------------------------------------


def test_vectors_take_the_place_of_ids(pair):
    twin, ours, theirs = pair
    inputs, _ = inputs_for(twin, [6, 6] if twin.kind == "decoder" else [4, 6], "right")
    if "FSMT" in twin.name:  # 4.57 decodes something else after vectors than after ids
        words = ours.get_input_embeddings()(inputs["input_ids"][1:])
        rest = {"decoder_input_ids": inputs["decoder_input_ids"][1:]}
        same(ours(inputs_embeds=words, **rest), ours(input_ids=inputs["input_ids"][1:], **rest))
        return
    if twin.name == NEEDS_IDS:
        return
    inputs["inputs_embeds"] = vectors(ours, inputs.pop("input_ids"))
    if twin.kind == "encoder-decoder" and twin.head == "ForSequenceClassification":
        with pytest.raises(InputError, match="pass input_ids"):
            ours(**inputs)
        return
    if twin.kind == "encoder-decoder" and "decoder_input_ids" in ours.forward_parameters():
        inputs.setdefault("decoder_input_ids", random_ids(2, 5, seed=2))
    with torch.no_grad():
        same(ours(**inputs), theirs(**copy.deepcopy(inputs)))  # 4.57's CTRL changes its argument
    if "decoder_input_ids" in inputs:
        inputs["decoder_inputs_embeds"] = vectors(ours, inputs.pop("decoder_input_ids"))
        with torch.no_grad():
            same(ours(**inputs), theirs(**inputs))


def test_gradients_and_hidden_states_reach_vectors(pair):
    twin, ours, theirs = pair
    if twin.kind == "encoder-decoder" or twin.name == NEEDS_IDS:
        return
    inputs, _ = inputs_for(twin, [6, 6], "right")
    given = vectors(ours, inputs.pop("input_ids")).requires_grad_()
    gradients = []
    for model in (ours, theirs):
        output = model(inputs_embeds=given * 1.0, **inputs, output_hidden_states=True)
        (gradient,) = torch.autograd.grad(output.hidden_states[-1].square().sum(), given)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, atol=1e-8, rtol=1e-9)


def test_vectors_that_do_not_fit_are_refused(pair):
    twin, ours, _ = pair
    ids = random_ids(2, 4)
    given = vectors(ours, ids)
    rest = {"decoder_input_ids": ids} if "decoder_input_ids" in ours.forward_parameters() else {}
    for wrong, match in (
        ({"input_ids": ids, "inputs_embeds": given}, "both input_ids and inputs_embeds"),
        ({"inputs_embeds": given[0]}, r"\(batch, token, size\)"),
        ({"inputs_embeds": ids}, "must be vectors"),
        ({"inputs_embeds": given[..., :-1]}, "the model's words have"),
        ({"inputs_embeds": given.float()}, "float64"),
        ({"inputs_embeds": given, "attention_mask": torch.ones(2, 3)}, "4 ids|pass input_ids"),
    ):
        if twin.head == "ForSequenceClassification" and twin.kind == "encoder-decoder" and "attention_mask" in wrong:
            continue
        with pytest.raises(InputError, match=match):
            ours(**wrong, **rest)


def test_vectors_of_a_source_make_no_target(tmp_path):
    twin = next(twin for twin in KNOWN if twin.name == "BartModel")
    ours, _ = make_pair(twin, tmp_path)
    with pytest.raises(InputError, match="decoder_input_ids"):
        ours(inputs_embeds=vectors(ours, random_ids(2, 4)))


# Caches -------------------------------------------------------------------------------------------------------


def loop(model: Any, ids: torch.Tensor, source: dict[str, Any], past: Any = None, **more: Any) -> list[torch.Tensor]:
    """Greedy decoding as people write it; the scores of each step."""
    name = "decoder_input_ids" if source else "input_ids"
    scores = []
    for _ in range(5):
        output = model(**source, **{name: ids}, past_key_values=past, **more)
        past = output.past_key_values
        scores.append(output[0][:, -1])
        ids = (
            scores[-1].argmax(dim=-1, keepdim=True) % 50
            if scores[-1].shape[-1] < 50
            else scores[-1].argmax(-1)[:, None]
        )
    return scores


@pytest.fixture(scope="module", params=DECODERS, ids=str)
def decoders(request, tmp_path_factory):
    ours, theirs = make_pair(request.param, tmp_path_factory.mktemp("caches"))
    source = {"input_ids": random_ids(2, 6, seed=5)} if request.param.kind == "encoder-decoder" else {}
    return ours, theirs, source


@torch.no_grad()
def test_a_loop_by_hand_goes_on_from_what_a_call_gave(decoders):
    ours, theirs, source = decoders
    start = random_ids(2, 3, seed=6)
    expected = loop(theirs, start, source, use_cache=True)
    for past, more in (
        (None, {}),
        (None, {"use_cache": True}),
        (DynamicCache(), {}),
        (DynamicCache(config=ours.config), {"use_cache": True}),
    ):
        for a, b in zip(loop(ours, start, source, past, **more), expected, strict=True):
            torch.testing.assert_close(a, b, **EXACT)


@torch.no_grad()
def test_caches_of_transformers_own_and_tuples_are_taken_and_grow(decoders):
    ours, theirs, source = decoders
    name = "decoder_input_ids" if source else "input_ids"
    start, new = random_ids(2, 3, seed=6), random_ids(2, 2, seed=8)
    past = theirs(**source, **{name: start}, use_cache=True).past_key_values
    legacy = tuple(tuple(x for x in layer if x is not None)[:4] for layer in past.to_legacy_cache())
    expected = theirs(**source, **{name: new}, past_key_values=copy.deepcopy(past))
    for given in (legacy, past):
        found = ours(**source, **{name: new}, past_key_values=given)
        torch.testing.assert_close(found[0], expected[0], **EXACT)
    assert found.past_key_values is past and past.get_seq_length() == 5
    both = zip(past.to_legacy_cache(), expected.past_key_values.to_legacy_cache(), strict=True)
    for a, b in ((a, b) for layers in both for a, b in zip(*layers, strict=True)):
        torch.testing.assert_close(a, b, **EXACT)
    empty = (
        type(past)(transformers.DynamicCache(), transformers.DynamicCache()) if source else transformers.DynamicCache()
    )
    first = ours(**source, **{name: start}, past_key_values=empty)
    torch.testing.assert_close(first[0], theirs(**source, **{name: start})[0], **EXACT)
    assert empty.get_seq_length() == 3
    assert ours(**source, **{name: start}).past_key_values[0][0].shape == past.to_legacy_cache()[0][0][:, :, :3].shape


@torch.no_grad()
def test_a_cache_costs_nothing_until_it_is_used(decoders):
    ours, _, source = decoders
    name = "decoder_input_ids" if source else "input_ids"
    start = random_ids(2, 3, seed=6)
    output = ours(**source, **{name: start})
    assert output.past_key_values.get_seq_length() == 3
    assert ours(**source, **{name: start}, use_cache=False).past_key_values is None
    assert torch.equal(output[0], ours(**source, **{name: start}, use_cache=False)[0])
    config = ours.config
    try:
        ours.config = config.replace(use_cache=False)
        assert ours(**source, **{name: start}).past_key_values is None
    finally:
        ours.config = config
    ours.train()
    assert ours(**source, **{name: start}).past_key_values is None
    ours.eval()


@torch.no_grad()
def test_caches_that_are_none_are_refused(decoders):
    ours, _, source = decoders
    name = "decoder_input_ids" if source else "input_ids"
    ids = {name: random_ids(2, 3)}
    with pytest.raises(InputError, match="no cache"):
        ours(**source, **ids, past_key_values="mine")
    with pytest.raises(InputError, match="layer 0"):
        ours(**source, **ids, past_key_values=((torch.zeros(2),),))
    assert ours(**source, **ids, cache_position=torch.arange(3)) is not None
    with pytest.raises(InputError, match="cache_position"):
        ours(**source, **ids, cache_position=torch.arange(3) + 1)


def test_a_model_without_a_cache_says_that_use_cache_means_nothing():
    twin = next(twin for twin in KNOWN if twin.name == "BertModel")
    model = minitransformer.BertModel(minitransformer.BertConfig(**twin.config)).eval()
    with pytest.warns(UserWarning, match="use_cache=True means nothing"):
        model(random_ids(1, 3), use_cache=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(random_ids(1, 3), use_cache=False)


def test_a_dynamic_cache_has_the_methods_of_transformers():
    layers = [tuple(torch.randn(2, 3, 4, 5) for _ in range(2)) for _ in range(2)]
    ours, theirs = DynamicCache.from_legacy_cache(layers), transformers.DynamicCache.from_legacy_cache(layers)
    for cache in (ours, theirs):
        cache.update(*(torch.ones(2, 3, 1, 5) for _ in range(2)), 0)
        cache.update(*(torch.ones(2, 3, 1, 5) for _ in range(2)), 1)
        cache.batch_repeat_interleave(2)
        cache.reorder_cache(torch.tensor([1, 0, 3, 2]))
        cache.batch_select_indices(torch.tensor([0, 3]))
        cache.crop(4)
        assert cache.get_seq_length() == 4
    for a, b in zip(ours.to_legacy_cache(), theirs.to_legacy_cache(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert len(ours) == 2 and ours[1][0].shape == theirs[1][0].shape
    assert [len(layer) for layer in ours] == [2, 2]


# Encoders by themselves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "twin", [t for t in KNOWN if t.kind == "encoder-decoder" and t.head == "ForSeq2SeqLM"], ids=str
)
@torch.no_grad()
def test_an_encoder_by_itself_gives_what_the_model_takes(twin, tmp_path):
    ours, theirs = make_pair(twin, tmp_path)
    inputs, _ = inputs_for(twin, [4, 6], "right")
    target = inputs.pop("decoder_input_ids")
    flags = {"output_hidden_states": True, "output_attentions": True}
    found, expected = ours.get_encoder()(**inputs, **flags), theirs(**inputs, decoder_input_ids=target, **flags)
    torch.testing.assert_close(found.last_hidden_state, expected.encoder_last_hidden_state, **EXACT)
    for kind in ("hidden_states", "attentions"):
        for a, b in zip(found[kind], expected[f"encoder_{kind}"], strict=True):
            torch.testing.assert_close(a, b.expand_as(a), **EXACT)
    mask = inputs["attention_mask"]
    for encoded in (found, found.to_tuple(), found.last_hidden_state, theirs.get_encoder()(**inputs)):
        logits = ours(attention_mask=mask, encoder_outputs=encoded, decoder_input_ids=target).logits
        torch.testing.assert_close(logits, expected.logits, atol=1e-4, rtol=0)  # theirs.get_encoder() is in float32
    with pytest.raises(InputError, match="input_ids"):
        ours.get_encoder()()


# Choices ------------------------------------------------------------------------------------------------------

CHOOSERS = [f"{stem}ForMultipleChoice" for stem in ("Albert", "Bert", "DistilBert", "Electra", "Roberta")]


@pytest.mark.parametrize("name", CHOOSERS)
def test_the_best_of_several_texts_is_chosen_as_in_transformers(name, tmp_path):
    base = next(twin for twin in KNOWN if twin.name == name.replace("ForMultipleChoice", "Model"))
    twin = Twin(name, "ForMultipleChoice", "encoder", base.config)
    ours, theirs = make_pair(twin, tmp_path)
    ids = random_ids(6, 7).view(2, 3, 7)
    mask = torch.ones_like(ids)
    mask[0, 1, 4:] = 0
    inputs = {"input_ids": ids.masked_fill(mask == 0, twin.pad), "attention_mask": mask, "labels": torch.tensor([2, 0])}
    if base.token_types:
        inputs["token_type_ids"] = random_ids(6, 7, vocab_size=base.token_types, seed=1, first=0).view(2, 3, 7)
    same(ours(**inputs), theirs(**inputs))
    inputs["inputs_embeds"] = vectors(ours, inputs.pop("input_ids"))
    same(ours(**inputs), theirs(**inputs))
    ours.save_pretrained(tmp_path / "again")
    assert isinstance(minitransformer.AutoModelForMultipleChoice.from_pretrained(tmp_path / "again"), type(ours))
    again = getattr(transformers, name).from_pretrained(tmp_path / "again", dtype=torch.float64)
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[key].to(tensor.dtype)), key
    with pytest.raises(InputError, match=r"\(batch, choice, token\)"):
        ours(ids[:, 0])


def test_a_head_that_chooses_is_drawn_for_a_pretrained_model(tmp_path):
    base = next(twin for twin in KNOWN if twin.name == "BertModel")
    make_pair(base, tmp_path)
    with pytest.warns(UserWarning, match="start from random numbers"):
        minitransformer.AutoModelForMultipleChoice.from_pretrained(tmp_path)


# State dicts --------------------------------------------------------------------------------------------------


def test_a_state_dict_of_either_kind_is_loaded(pair):
    twin, ours, theirs = pair
    state = theirs.state_dict()
    model = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = model.load_state_dict(state)
    assert not found.missing_keys and not found.unexpected_keys
    for (name, a), (_, b) in zip(model.state_dict().items(), ours.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    model.load_state_dict(ours.state_dict())
    model.load_state_dict(ours.hf_state_dict())
    back = theirs.load_state_dict(ours.hf_state_dict(), strict=False)
    assert not back.unexpected_keys


def test_state_dicts_that_do_not_fit_are_told_as_pytorch_tells_it(pair):
    twin, ours, theirs = pair
    model, state = copy.deepcopy(ours), dict(ours.hf_state_dict())
    lost = next(iter(state))
    tensor = state.pop(lost)
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(state)
    found = model.load_state_dict({**state, "strange.weight": tensor}, strict=False)
    assert found.missing_keys and found.unexpected_keys == ["strange.weight"]
    with pytest.raises(RuntimeError, match=r"Unexpected key.*strange"):
        model.load_state_dict({**state, lost: tensor, "strange.weight": tensor})
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict({**state, lost: tensor[:1]})


# Writing after vectors -----------------------------------------------------------------------------------------

WRITERS = [twin for twin in KNOWN if twin.name in ("GPT2LMHeadModel", "BartForConditionalGeneration", "MarianMTModel")]
WRITERS += [twin for twin in KNOWN if twin.name == "T5ForConditionalGeneration"]


@pytest.mark.parametrize("twin", WRITERS, ids=str)
def test_generation_goes_on_from_vectors(twin, tmp_path):
    ours, theirs = make_pair(twin, tmp_path)
    ids, mask = padded([6, 3], "left", twin.pad, seed=4)
    given = {"inputs_embeds": vectors(ours, ids), "attention_mask": mask}
    plain = {"pad_token_id": twin.pad, "eos_token_id": None} if twin.kind == "decoder" else {}
    for options in (
        {"max_new_tokens": 5},
        {"max_length": 12, "num_beams": 3, "repetition_penalty": 1.5},
        {"max_new_tokens": 4, "num_beams": 2, "use_cache": False, "no_repeat_ngram_size": 2},
        {"min_length": 9, "max_length": 12},
        {},
    ):
        expected = theirs.generate(**copy.deepcopy(given), **plain, do_sample=False, **options)
        assert torch.equal(ours.generate(**given, **plain, do_sample=False, **options), expected), options
    if twin.kind == "decoder":
        both = {**given, "input_ids": ids, "max_new_tokens": 4, "do_sample": False, **plain}
        assert torch.equal(ours.generate(**both), theirs.generate(**copy.deepcopy(both)))
    for wrong, match in (
        ({"inputs_embeds": given["inputs_embeds"][0]}, "inputs_embeds must have the shape"),
        ({**given, "attention_mask": mask[:, 1:]}, "attention_mask must have the shape"),
        ({**given, "input_ids": ids[:1]}, "pass one of them"),
    ):
        with pytest.raises(GenerationError, match=match):
            ours.generate(**wrong, max_new_tokens=2)


# Parts and parameters by transformers' names -------------------------------------------------------------------


def test_parts_under_transformers_names_are_told_at_every_depth(pair):
    """Whatever path of a parameter of theirs is followed, each step that fails names a part of ours that is there."""
    _, ours, theirs = pair
    told = 0
    names = {name for name, _ in theirs.named_parameters()} & ours.hf_state_dict().keys()  # less computed positions
    for name in sorted(names):
        here: Any = ours
        for word in name.split(".")[:-1]:
            if word.isdigit():
                break
            try:
                here = getattr(here, word)
            except AttributeError as error:
                if here is not ours and not isinstance(here, Part):
                    break  # one of PyTorch's own layers, or a tap
                told += "In the whole model it is" in str(error)
                if "In the whole model it is" in str(error):
                    break
                found = re.search(r"Here it is \.([\w.]+)", str(error))
                assert found, f"{type(here).__name__} says nothing of {word!r} of {name}: {error}"
                told += 1
                for step in found[1].split("."):
                    here = getattr(here, step)
                if isinstance(here, nn.ModuleList):
                    here = here[0]
                    if "ModuleList" in type(here).__name__:
                        break
    assert told
    with pytest.raises(AttributeError) as error:
        ours.strange  # noqa: B018
    assert "Here it is" not in str(error.value)


NO_DECAY = ["bias", "LayerNorm.weight", "layer_norm.weight", "layernorm", "ln_"]


@pytest.mark.parametrize("no_decay", [NO_DECAY[:2], NO_DECAY], ids=["usual", "more"])
def test_the_usual_parameters_without_decay_are_those_of_transformers(pair, no_decay):
    _, ours, theirs = pair
    state = theirs.state_dict()

    def groups(model):
        named = list(model.named_parameters())
        return [
            sum(p.numel() for n, p in named if any(part in n for part in no_decay)),
            sum(p.numel() for n, p in named if n.endswith(tuple(no_decay))),
        ]

    fixed = [n for n in state if "embed_positions" in n or n.endswith("final_logits_bias")]
    if not fixed:  # tables of positions that are computed here
        assert groups(ours) == groups(theirs)
    names = dict(ours.named_parameters())
    assert names.keys() == {str(name) for name in names} and all(
        type(pickle.loads(pickle.dumps(n))) is str for n in names
    )


@pytest.mark.parametrize("twin", [twin for twin in WRITERS if twin.kind == "decoder"], ids=str)
def test_generation_goes_on_from_a_cached_beginning(twin, tmp_path):
    ours, theirs = make_pair(twin, tmp_path)
    ids = random_ids(1, 7, seed=4)
    plain = {"pad_token_id": twin.pad, "eos_token_id": None, "do_sample": False, "max_new_tokens": 5}
    expected = theirs.generate(ids, **plain)
    for more in ({}, {"num_beams": 2}):
        with torch.no_grad():
            begun = ours(ids[:, :4], past_key_values=DynamicCache()).past_key_values
            foreign = theirs(ids[:, :4]).past_key_values
        for given in (copy.deepcopy(begun), foreign, begun.to_legacy_cache()):
            found = ours.generate(ids, past_key_values=given, **plain, **more)
            assert torch.equal(found, expected if not more else theirs.generate(ids, **plain, **more))
    with pytest.raises(GenerationError, match="holds 4 tokens, but the prompt has 4"):
        ours.generate(ids[:, :4], past_key_values=begun, **plain)
    with pytest.raises(GenerationError, match="no cache"):
        ours.generate(ids, past_key_values=3, **plain)


def test_a_call_without_ids_says_what_is_missing(pair):
    _, ours, _ = pair
    with pytest.raises((InputError, ValueError), match="input_ids"):
        ours()
