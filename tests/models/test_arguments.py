"""The keyword arguments of from_pretrained and save_pretrained that scripts bring along from transformers."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
import tiny_folders
import torch

import minitransformer
from minitransformer import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from minitransformer.arguments import HUB, READING_MODELS, READING_TOKENIZERS, WRITING, as_bytes
from minitransformer.errors import ArgumentError, CheckpointError, ConfigError, MinitransformerError, TokenizerError
from minitransformer.models.bert import BertConfig, BertModel
from minitransformer.models.common.base import MODEL_ARGUMENTS, SAVE_ARGUMENTS
from minitransformer.models.gpt2 import GPT2Config

DOCUMENTED = (Path(minitransformer.__file__).parents[1] / "docs" / "loading.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folders.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return tiny_folders.bert_pretrained(tmp_path_factory.mktemp("bert-pretrained"))


# ----------------------------------------------------------------------------------------------- with a meaning here


def test_labels(pretrained):
    for options, labels in (
        ({"num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ({"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}, {0: "no", 1: "yes"}),
        ({"id2label": {"0": "no", "1": "yes"}}, {0: "no", 1: "yes"}),
        ({"label2id": {"a": 0, "b": 1, "c": 2}}, {0: "a", 1: "b", 2: "c"}),
    ):
        with pytest.warns(UserWarning, match="start from random numbers: head.output.weight, head.output.bias"):
            model = AutoModelForSequenceClassification.from_pretrained(pretrained, **options)
        assert model.config.id2label == labels
        assert model(torch.tensor([[2, 5, 3]])).logits.shape == (1, len(labels))
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


def test_as_many_labels_as_the_file_has_keep_their_names(pretrained, tmp_path):
    config = AutoConfig.from_pretrained(pretrained, id2label={0: "no", 1: "yes"})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2).config.id2label[1] == "yes"
    with pytest.raises(CheckpointError, match="new_head=True"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=5)
    with pytest.warns(UserWarning, match="or not in this shape.*head.output.weight, head.output.bias"):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert model.config.num_labels == 5 and model.head.output.weight.std() > 0
    with pytest.warns(UserWarning):
        _, info = AutoModelForSequenceClassification.from_pretrained(
            tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert {name for name, *_ in info["mismatched_keys"]} == {"classifier.weight", "classifier.bias"}
    assert info["missing_keys"] == ["head.output.weight", "head.output.bias"] and info["error_msgs"] == []


def test_fields_of_the_config(folder):
    ids = torch.tensor([[2, 5, 3]])
    model = AutoModelForMaskedLM.from_pretrained(folder, output_attentions=True, hidden_dropout_prob=0.3)
    assert len(model(ids).attentions) == 2 and model.config.dropout == 0.3
    config = AutoConfig.from_pretrained(folder, output_hidden_states=True, num_hidden_layers=1)
    assert config.output_hidden_states and config.num_layers == 1
    with pytest.raises(CheckpointError, match="16 unexpected"):
        AutoModelForMaskedLM.from_pretrained(folder, num_hidden_layers=1)
    with pytest.raises(ConfigError, match="hidden_dropout_prob must be float, not 'much'"):
        AutoModelForMaskedLM.from_pretrained(folder, hidden_dropout_prob="much")


def test_types_and_devices(folder):
    for name in ("dtype", "torch_dtype"):
        for value in (torch.bfloat16, "bfloat16", "torch.bfloat16"):
            assert AutoModel.from_pretrained(folder, **{name: value}).dtype == torch.bfloat16
        assert AutoModel.from_pretrained(folder, **{name: "auto"}).dtype == torch.float32
        with pytest.raises(ConfigError, match="is not a floating-point type"):
            AutoModel.from_pretrained(folder, **{name: torch.int8})
    for device_map in ("auto", "cpu", {"": "cpu"}, torch.device("cpu")):
        assert AutoModel.from_pretrained(folder, device_map=device_map).device.type in ("cpu", "cuda")
    for wrong in ({"encoder": 0, "head": 1}, {"": "disk"}, {}, 1.5, "disk"):
        with pytest.raises(ArgumentError, match="device"):
            AutoModel.from_pretrained(folder, device_map=wrong)


def test_tensors_from_memory_and_arguments_of_the_class(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    again = AutoModelForMaskedLM.from_pretrained(None, config=model.config, state_dict=model.hf_state_dict())
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert again.get_parameter("head.dense.weight") is not model.get_parameter("head.dense.weight")
    assert AutoModelForMaskedLM.from_pretrained(folder, config=str(folder)).config == model.config
    assert BertModel.from_pretrained(folder, add_pooling_layer=False).pooler is None
    with pytest.raises(ArgumentError, match="pass config= and state_dict="):
        AutoModelForMaskedLM.from_pretrained(None)


def test_which_files_are_read_and_written(folder, tmp_path):
    model = AutoModelForMaskedLM.from_pretrained(folder, subfolder="", cache_dir=tmp_path, local_files_only=True)
    model.save_pretrained(tmp_path / "a" / "b", max_shard_size="20KB", variant="fp16")
    names = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert "model.safetensors.index.fp16.json" in names and "model.fp16-00001-of-00002.safetensors" in names
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "a", subfolder="b", variant="fp16", use_safetensors=True)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    with pytest.raises(CheckpointError, match="has no weights; looked for pytorch_model.bin"):
        AutoModelForMaskedLM.from_pretrained(folder, use_safetensors=False)
    with pytest.raises(CheckpointError, match="letters and digits"):
        model.save_pretrained(tmp_path / "c", variant="../x")
    model.save_pretrained(tmp_path / "d", is_main_process=False)
    assert not (tmp_path / "d").exists()
    changed = {name: torch.zeros_like(x) for name, x in model.state_dict().items()}
    model.save_pretrained(tmp_path / "e", state_dict=changed)
    assert not any(p.any() for p in AutoModelForMaskedLM.from_pretrained(tmp_path / "e").parameters())


@pytest.mark.parametrize(
    ("size", "wanted"),
    [("2GB", 2 * 10**9), ("5gb", 5 * 10**9), ("1GiB", 2**30), ("500 MB", 5 * 10**8), ("1.5KB", 1500), ("7", 7), (7, 7)],
)
def test_sizes_as_text(size, wanted):
    assert as_bytes(size) == wanted


@pytest.mark.parametrize("size", ["", "GB", "2XB", "-1GB", "0", 0, -5, True, 2.5, "1e3", "nanGB", "²GB"])
def test_what_is_no_size(size):
    with pytest.raises(ArgumentError, match="must be a number of bytes, or a size such as '2GB'"):
        as_bytes(size)


# ------------------------------------------------------------------------------------------- without a meaning here

READERS = {
    "AutoModel": (AutoModel, READING_MODELS),
    "AutoTokenizer": (AutoTokenizer, READING_TOKENIZERS),
    "AutoConfig": (
        AutoConfig,
        {k: v for k, v in READING_MODELS.items() if k in ("trust_remote_code", "mirror", "gguf_file")},
    ),
}
CASES = [(reader, name) for reader, (_, table) in READERS.items() for name in table]


@pytest.mark.parametrize(("reader", "name"), CASES)
def test_what_has_no_use_is_fine_or_warned_of_or_refused(folder, reader, name):
    auto, table = READERS[reader]
    use = table[name]
    for fine in (None, *use.fine):
        auto.from_pretrained(folder, **{name: fine})
    if use.refused:
        with pytest.raises(ArgumentError, match=rf"cannot do {name}='something': {re.escape(use.why)}"):
            auto.from_pretrained(folder, **{name: "something"})
    else:
        with pytest.warns(UserWarning, match=f"{name}='something' means nothing") as caught:
            auto.from_pretrained(folder, **{name: "something"})
        assert caught[0].filename == __file__  # the user's own line


@pytest.mark.parametrize("name", WRITING)
def test_what_has_no_use_in_saving(folder, name, tmp_path):
    use = WRITING[name]
    for thing in (AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)):
        for fine in (None, *use.fine):
            thing.save_pretrained(tmp_path, **{name: fine})
        if use.refused:
            with pytest.raises(ArgumentError, match=re.escape(use.why)):
                thing.save_pretrained(tmp_path, **{name: "something"})
        else:
            with pytest.warns(UserWarning, match="means nothing"):
                thing.save_pretrained(tmp_path, **{name: "something"})


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda f: AutoModel.from_pretrained(f, torch_dtyp="float32"), "torch_dtype"),
        (lambda f: AutoModelForSequenceClassification.from_pretrained(f, num_label=3), "num_labels"),
        (lambda f: AutoModel.from_pretrained(f, attn_implementaton="eager"), "attn_implementation"),
        (lambda f: AutoModel.from_pretrained(f, local_file_only=True), "local_files_only"),
        (lambda f: AutoModel.from_pretrained(f, hidden_dropout_probs=0.0), "hidden_dropout_prob"),
        (lambda f: AutoConfig.from_pretrained(f, revisions="main"), "revision"),
        (lambda f: AutoModel.from_pretrained(f).save_pretrained(f, max_shard_sizes="2GB"), "max_shard_size"),
        (lambda f: AutoTokenizer.from_pretrained(f).save_pretrained(f, push_to_hup=True), "push_to_hub"),
        (lambda f: AutoTokenizer.from_pretrained(f, padding_sid="left"), "padding_side"),
    ],
)
def test_typos_get_the_nearest_name(folder, call, nearest):
    with pytest.raises(MinitransformerError, match=f"Did you mean '{nearest}'") as caught:
        call(folder)
    assert isinstance(caught.value, TypeError | TokenizerError)


def test_every_argument_is_in_the_table_of_the_docs():
    signature = inspect.signature(AutoModelForMaskedLM.from_pretrained)
    assert list(signature.parameters) == ["id_or_folder", "options"]
    for name in {*READING_MODELS, *READING_TOKENIZERS, *WRITING, *HUB, *MODEL_ARGUMENTS, *SAVE_ARGUMENTS}:
        assert f"`{name}`" in DOCUMENTED or f"`{name}=" in DOCUMENTED, name


def test_transformers_knows_no_argument_that_is_not_in_the_table():
    transformers = pytest.importorskip("transformers")
    known = {*READING_MODELS, *HUB, *MODEL_ARGUMENTS}
    source = inspect.getsource(transformers.PreTrainedModel.from_pretrained)
    popped = set(re.findall(r'kwargs\.pop\("(\w+)"', source))
    popped |= {p.name for p in inspect.signature(transformers.PreTrainedModel.from_pretrained).parameters.values()}
    popped -= {"pretrained_model_name_or_path", "model_args", "kwargs", "cls", "self"}
    assert len(popped) > 20 and popped <= known, popped - known
    saved = set(inspect.signature(transformers.PreTrainedModel.save_pretrained).parameters)
    assert saved - {"self", "save_directory", "kwargs"} <= {*WRITING, *SAVE_ARGUMENTS}


# ------------------------------------------------------------------------------------------------------------ configs


def test_a_config_takes_and_gives_the_names_of_transformers():
    config = GPT2Config(n_embd=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32, num_labels=3)
    assert (config.hidden_size, config.num_layers, config.num_heads, config.num_positions) == (64, 2, 4, 32)
    assert (config.n_layer, config.n_head, config.n_positions, config.num_labels) == (2, 4, 32, 3)
    assert GPT2Config(use_cache=False, max_length=30).use_cache is False
    assert GPT2Config(max_length=30).max_length == 30 and GPT2Config().use_cache is True
    assert GPT2Config().is_decoder is False  # as everywhere here
    with pytest.raises(ConfigError, match="has no field 'n_heads'.*Did you mean 'n_head'"):
        GPT2Config(n_heads=3)
    with pytest.raises(ConfigError, match="is given twice"):
        GPT2Config(n_embd=3, hidden_size=4)
    with pytest.raises(ConfigError, match="n_embd must be int, not 'big'"):
        GPT2Config(n_embd="big")
    with pytest.raises(ConfigError, match="n_layer must be from 1 to"):
        GPT2Config(num_hidden_layers=0)


@pytest.mark.parametrize("model_type", minitransformer.models.auto.ARCHITECTURES)
def test_every_family_has_the_common_names(model_type):
    config = AutoConfig.for_model(model_type)
    transformers = pytest.importorskip("transformers")
    if model_type == "transformer":
        pytest.skip("our own")
    theirs = transformers.AutoConfig.for_model(model_type)
    for name in ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "pad_token_id"):
        if hasattr(theirs, name) and not (model_type == "fsmt" and name == "vocab_size"):
            assert getattr(config, name) == getattr(theirs, name), name
    for name, value in theirs.to_dict().items():
        if name in config.to_dict() and name not in (
            "architectures",
            "torch_dtype",
            "generation",
            "task_specific_params",
        ):
            if name == "sliding_window" and theirs.to_dict().get("use_sliding_window") is False:
                continue  # they forget a window that is not used
            assert config.to_dict()[name] == value, name
    assert json.loads(config.to_json_string())["model_type"] == model_type
    assert config.to_dict()["id2label"] == config.id2label
    assert type(config).from_dict(config.to_dict()) == config


def test_assigning_to_a_config_names_replace():
    config = BertConfig()
    for name in ("pad_token_id", "num_hidden_layers", "hidden_size"):
        with pytest.raises(AttributeError, match=rf"model.config = model.config.replace\({name}=...\)") as caught:
            setattr(config, name, 3)
        assert isinstance(caught.value, MinitransformerError)
    with pytest.raises(ConfigError, match="Did you mean 'pad_token_id'"):
        config.pad_tokn_id = 3
    with pytest.raises(ConfigError, match="never changes"):
        del config.pad_token_id
    changed = config.replace(num_hidden_layers=3, num_labels=5, max_length=7)
    assert (changed.num_layers, changed.num_labels, changed.generation["max_length"]) == (3, 5, 7)
    with pytest.raises(ConfigError, match="Did you mean 'num_hidden_layers'"):
        config.replace(num_hiden_layers=3)


def test_configs_are_read_and_saved_alone(tmp_path):
    config = BertConfig(num_hidden_layers=3, num_labels=3)
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path) == AutoConfig.from_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path, num_labels=4).num_labels == 4
    assert BertConfig.from_pretrained(tmp_path).num_layers == 3
    assert AutoModelForCausalLM.from_config(
        GPT2Config(n_embd=8, n_head=2, n_layer=1), torch_dtype="bfloat16"
    ).dtype == (torch.bfloat16)
