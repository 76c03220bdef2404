"""Names, ranges and sources of options."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from minitransformer.errors import GenerationError
from minitransformer.generation import GenerationConfig, UnknownOptionError
from minitransformer.generation.config import DEFAULTS, NOT_OFFERED, OPTIONS, WITHOUT_EFFECT, resolve


def test_defaults_are_those_of_the_reference():
    reference = pytest.importorskip("transformers").GenerationConfig()
    ours = GenerationConfig()
    for name in DEFAULTS:
        if name != "transformers_version":
            assert getattr(ours, name) == getattr(reference, name), name
    known = {*DEFAULTS, *NOT_OFFERED, *WITHOUT_EFFECT}
    assert {name for name in vars(reference) if not name.startswith("_")} == known
    assert set(OPTIONS) == known
    assert all(option.doc for name, option in OPTIONS.items() if name != "transformers_version")


def test_holds_only_what_was_said():
    config = GenerationConfig(top_k=50, max_new_tokens=None)
    assert config.said == {"top_k": 50, "max_new_tokens": None}
    config.num_beams = 4
    assert config.said["num_beams"] == 4
    assert "num_beams=4" in repr(config)
    assert config == GenerationConfig(top_k=50, max_new_tokens=None, num_beams=4) != GenerationConfig()
    assert dataclasses.replace(config, top_k=3).top_k == 3


@pytest.mark.parametrize("name, nearest", [("topk", "top_k"), ("max_new_token", "max_new_tokens")])
def test_unknown_names(name, nearest):
    with pytest.raises(UnknownOptionError, match=nearest) as caught:
        GenerationConfig(**{name: 3})
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    with pytest.raises(TypeError, match=nearest):
        setattr(GenerationConfig(), name, 3)
    with pytest.raises(TypeError, match="argument of generate"):
        GenerationConfig(streamer=None)


def test_files_round_trip():
    raw = {"eos_token_id": [2, 5], "num_beams": 4, "transformers_version": "4.27.0", "_from_model_config": True}
    config = GenerationConfig.from_hf(raw)
    assert config.to_hf() == raw and config.num_beams == 4
    with pytest.warns(UserWarning, match="lang_to_id"):
        config = GenerationConfig.from_hf({**raw, "lang_to_id": {"de": 1}})
    assert config.to_hf() == {**raw, "lang_to_id": {"de": 1}}


def test_options_in_a_model_config():
    tokens = dict(pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=None)
    config = SimpleNamespace(generation={"num_beams": 4, "max_length": None, "output_scores": True}, **tokens)
    lifted = GenerationConfig.from_model_config(config)
    assert lifted.said == {
        "num_beams": 4, "output_scores": True, "return_dict_in_generate": True,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip


WRONG = [
    ("max_length", 0),
    ("max_new_tokens", -1),
    ("max_new_tokens", 2.5),
    ("min_length", -1),
    ("max_time", 0),
    ("stop_strings", [""]),
    ("stop_strings", []),
    ("num_beams", 0),
    ("num_beams", True),
    ("early_stopping", "always"),
    ("length_penalty", "long"),
    ("repetition_penalty", 0),
    ("no_repeat_ngram_size", -1),
    ("bad_words_ids", [1, 2]),
    ("bad_words_ids", [[]]),
    ("sequence_bias", {(): 1.0}),
    ("sequence_bias", {(1,): "x"}),
    ("exponential_decay_length_penalty", (1,)),
    ("suppress_tokens", 5),
    ("eos_token_id", []),
    ("do_sample", 1),
    ("num_assistant_tokens_schedule", "sometimes"),
]
WRONG_WHEN_SAMPLING = [
    ("temperature", 0.0),
    ("temperature", -1),
    ("top_k", -1),
    ("top_p", 1.5),
    ("min_p", -0.1),
    ("typical_p", 0.0),
    ("epsilon_cutoff", 1.0),
    ("eta_cutoff", -0.1),
]


@pytest.mark.parametrize("name, value", WRONG)
def test_ranges(name, value):
    with pytest.raises(GenerationError, match=name):
        GenerationConfig(**{name: value}).validate()


@pytest.mark.parametrize("name, value", WRONG_WHEN_SAMPLING)
def test_ranges_of_sampling(name, value):
    with pytest.raises(GenerationError, match=name):
        GenerationConfig(**{name: value}, do_sample=True).validate()
    GenerationConfig(**{name: value}).validate()  # old files are full of them
    GenerationConfig(**{name: None}, do_sample=True).validate()


def test_contradictions():
    with pytest.raises(GenerationError, match="do_sample=True or num_beams"):
        GenerationConfig(num_return_sequences=2).validate()
    with pytest.raises(GenerationError, match="must not exceed num_beams=2"):
        GenerationConfig(num_return_sequences=3, num_beams=2).validate()
    GenerationConfig(num_return_sequences=3, do_sample=True).validate()


@pytest.mark.parametrize(
    "option, mode",
    [
        ({"num_beam_groups": 2}, "group"),
        ({"diversity_penalty": 0.5}, "group"),
        ({"penalty_alpha": 0.6}, "contrastive"),
        ({"dola_layers": "low"}, "DoLa"),
        ({"force_words_ids": [[1]]}, "constrained"),
        ({"constraints": [object()]}, "constrained"),
        ({"guidance_scale": 1.5}, "guidance"),
        ({"prompt_lookup_num_tokens": 3}, "prompt lookup"),
    ],
)
def test_modes_that_are_not_offered(option, mode):
    with pytest.raises(GenerationError, match=f"(?=.*{next(iter(option))})(?=.*{mode})"):
        GenerationConfig(**option).validate()
    GenerationConfig(num_beam_groups=1, diversity_penalty=0.0, penalty_alpha=None).validate()


def test_the_strongest_source_wins():
    model = GenerationConfig(num_beams=4, do_sample=True, eos_token_id=2)
    assert resolve(model, None, {}).said == {"num_beams": 4, "do_sample": True, "eos_token_id": 2}
    given = GenerationConfig(do_sample=False, eos_token_id=None)  # a default, but it was said
    config = resolve(model, given, {"num_beams": 1})
    assert (config.do_sample, config.num_beams, config.eos_token_id) == (False, 1, 2)
    assert resolve(model, None, {"eos_token_id": None}).eos_token_id is None
    assert resolve(model, given, {}, use_model_defaults=False).num_beams == 1
    assert resolve(GenerationConfig(num_beams=4, transformers_version="4.27.0.dev0"), given, {}).num_beams == 1
    assert resolve(GenerationConfig(num_beams=4, transformers_version="4.50.0"), given, {}).num_beams == 4
    assert model.said == {"num_beams": 4, "do_sample": True, "eos_token_id": 2}  # nothing was changed


def test_a_length_that_was_said_later_wins():
    model = GenerationConfig(max_new_tokens=50, min_new_tokens=5)
    config = resolve(model, None, {"max_length": 9, "min_length": 0})
    assert (config.max_length, config.max_new_tokens, config.min_new_tokens) == (9, None, None)
    assert resolve(model, GenerationConfig(max_length=9), {}).max_new_tokens is None
    assert resolve(model, None, {}).max_new_tokens == 50
    assert resolve(GenerationConfig(), None, {"max_length": None}).max_length == 20


def test_options_without_effect_are_named():
    with pytest.warns(UserWarning, match="temperature, top_p"):
        resolve(GenerationConfig(), None, {"temperature": 0.5, "top_p": 0.5})
