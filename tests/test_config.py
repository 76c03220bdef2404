"""config.json: every key is a field, required, ignored for a reason, or named."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings

import pytest

from minitransformer.config import GENERATION_KEYS
from minitransformer.errors import ConfigError
from minitransformer.generation import GenerationConfig
from minitransformer.models.auto import ARCHITECTURES, AutoConfig, architecture
from minitransformer.models.bart import BartConfig
from minitransformer.models.bert import BertConfig
from minitransformer.models.gpt2 import GPT2Config

IN_TRANSFORMERS = sorted(set(ARCHITECTURES) - {"transformer"})  # the paper's own was never there
FROM_OTHERS = (
    "decoder_vocab_size",
    "head_dim",
    "layer_types",
    "num_decoder_layers",
    "num_key_value_heads",
    "tie_projs",
)
"""Keys whose default follows from another key; None says so here."""


@pytest.mark.parametrize("model_type", IN_TRANSFORMERS)
def test_defaults_are_those_of_transformers(model_type):
    """A config.json that is silent means the reference's own default."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoConfig.for_model(model_type).to_dict()
    ours = architecture(model_type).config.from_hf({})
    for field in dataclasses.fields(ours):
        name = field.metadata.get("key", field.name)
        if getattr(ours, field.name) is None and name in FROM_OTHERS:
            continue
        if name == "sliding_window" and theirs.get("use_sliding_window") is False:
            assert theirs[name] is None  # they forget a window that is not used; ours keeps it, and uses none
            assert not any(ours.window(layer) for layer in range(ours.num_layers))
            continue
        if name in theirs and name not in ("architectures", "id2label", "torch_dtype"):
            assert getattr(ours, field.name) == theirs[name], name
    assert ours.id2label == theirs["id2label"]


@pytest.mark.parametrize("model_type", IN_TRANSFORMERS)
def test_a_config_written_by_transformers_is_known_key_by_key(model_type):
    transformers = pytest.importorskip("transformers")
    raw = transformers.AutoConfig.for_model(model_type).to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an unknown key would warn
        config = AutoConfig.from_dict(raw)
    written = config.to_hf()
    again = transformers.AutoConfig.for_model(**written).to_dict()
    assert {key: value for key, value in again.items() if raw.get(key) != value} == {}


def test_fields_answer_to_their_key():
    config = GPT2Config.from_hf({"n_embd": 32, "n_head": 4})
    assert config.hidden_size == config.n_embd == 32
    assert config.num_heads == config.n_head == 4
    with pytest.raises(AttributeError, match="no field 'n_emb'. Did you mean 'n_embd'"):
        _ = config.n_emb


def test_labels():
    config = BertConfig.from_hf({"id2label": {"1": "NO", "0": "YES"}})
    assert config.id2label == {0: "YES", 1: "NO"} and config.label2id == {"YES": 0, "NO": 1} and config.num_labels == 2
    assert BertConfig.from_hf({"label2id": {"a": "0", "b": "1", "c": "2"}}).id2label == {0: "a", 1: "b", 2: "c"}
    assert BertConfig.from_hf({"num_labels": 3}).id2label[2] == "LABEL_2"
    assert BartConfig.from_hf({}).num_labels == 3
    with pytest.raises(ConfigError, match="number its labels 0 to 1, not"):
        BertConfig.from_hf({"id2label": {"0": "a", "2": "b"}})
    with pytest.raises(ConfigError, match="id2label must map"):
        BertConfig.from_hf({"id2label": ["a", "b"]})


def test_unknown_keys_are_named_and_kept():
    with pytest.warns(UserWarning, match=r"BertConfig does not know: hiden_size Did you mean 'hidden_size'\?; custom"):
        config = BertConfig.from_hf({"hiden_size": 3, "custom": {"a": 1}})
    assert config.to_hf()["custom"] == {"a": 1}


@pytest.mark.parametrize(
    ("config_class", "raw", "message"),
    [
        (BertConfig, {"position_embedding_type": "relative_key"}, "bert with position_embedding_type='relative_key'"),
        (BertConfig, {"is_decoder": True}, "bert with is_decoder=True is not supported; supported: False"),
        (BertConfig, {"pruned_heads": {"1": [2]}}, "pruned_heads"),
        (GPT2Config, {"add_cross_attention": True}, "gpt2 with add_cross_attention=True"),
        (BertConfig, {"hidden_size": "768"}, "hidden_size in config.json must be int, not '768'"),
        (BertConfig, {"hidden_size": True}, "hidden_size in config.json must be int, not True"),
        (BertConfig, {"layer_norm_eps": None}, "layer_norm_eps in config.json must be float, not None"),
        (BertConfig, {"layer_norm_eps": float("nan")}, "layer_norm_eps"),
        (BertConfig, {"num_hidden_layers": 0}, "num_hidden_layers must be from 1 to 1000"),
        (BertConfig, {"model_type": "gpt2"}, "model_type 'bert' only"),
    ],
)
def test_what_is_not_supported_is_an_error_that_names_it(config_class, raw, message):
    with pytest.raises(ConfigError) as error:
        config_class.from_hf(raw)
    assert message in str(error.value)


def test_unknown_model_type_lists_the_known():
    with pytest.raises(ConfigError, match="unknown model_type 'brt'. Did you mean 'bert'.*bart, bert"):
        AutoConfig.from_dict({"model_type": "brt"})
    with pytest.raises(ConfigError, match="no model_type"):
        AutoConfig.from_dict({})


def test_legacy_generation_keys_are_lifted():
    config = BartConfig.from_hf({"num_beams": 4, "length_penalty": 2.0, "force_bos_token_to_be_generated": True})
    assert config.generation["num_beams"] == 4 and config.generation["forced_bos_token_id"] == 0
    assert GenerationConfig.from_model_config(config).num_beams == 4
    assert config.to_hf()["num_beams"] == 4


def test_generation_keys_are_options_of_generate():
    known = {field.name for field in dataclasses.fields(GenerationConfig)}
    # modes of the reference that we do not offer are still recognised in old files, and named there
    assert {"max_length", "num_beams", "bad_words_ids", "forced_bos_token_id"} <= GENERATION_KEYS & known


def test_null_is_not_the_default():
    assert BertConfig.from_hf({"pad_token_id": None}).to_hf()["pad_token_id"] is None
    assert "problem_type" not in BertConfig.from_hf({}).to_hf()


def test_aliases_and_dtype():
    assert BertConfig.from_hf({"dtype": "float16"}).torch_dtype == "float16"
    assert BertConfig.from_hf({"torch_dtype": "torch.bfloat16", "dtype": "float16"}).torch_dtype == "bfloat16"
    with pytest.raises(dataclasses.FrozenInstanceError):
        BertConfig.from_hf({}).hidden_size = 3


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_a_value_of_any_type_is_taken_or_named(model_type):
    values = [0, -1, 2.5, True, "x", [], [1], ["x"], [[1]], {}, {"a": 1}, {"a": {}}, None, float("nan"), (1,), 10**400]
    cls = architecture(model_type).config
    for field in dataclasses.fields(cls):
        for value in values:
            for make in (lambda **raw: cls.from_dict({"model_type": model_type, **raw}), cls):
                with contextlib.suppress(ConfigError), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    make(**{field.name: value})
