"""Files as they are found: old names, foreign heads, strange prefixes, transposes, configs that say too little."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from models.twins import TWINS, bert, gpt2, marian, roberta
from models.twins.twin import VOCAB_SIZE, random_ids
from safetensors.torch import load_file, save_file

import minitransformer
from minitransformer import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from minitransformer.errors import CheckpointError, ConfigError
from minitransformer.models.auto import architecture
from minitransformer.models.bert import BertForMaskedLM
from minitransformer.models.gpt2 import GPT2LMHeadModel
from minitransformer.testing import assert_same, reference_twin, repaired

transformers = pytest.importorskip("transformers")

FAMILIES = {}  # model_type -> the module of transformers, and a small config
for twin in TWINS:
    kind = getattr(transformers, twin.name)
    if not twin.variant:
        FAMILIES.setdefault(kind.config_class.model_type, (importlib.import_module(kind.__module__), twin.config))

NO_MODELS = ("PreTrainedModel", "PretrainedModel", "BartModel_", "Decoder", "Encoder", "Wrapper", "Stack")


def classes_of(model_type: str) -> list[type]:
    """The models of transformers for this architecture."""
    module, _ = FAMILIES[model_type]
    found = [getattr(module, name) for name in dir(module)]
    return [
        kind
        for kind in found
        if isinstance(kind, type)
        and issubclass(kind, transformers.PreTrainedModel)
        and kind.__module__ == module.__name__
        and not kind.__name__.endswith(NO_MODELS)
        and not kind.__name__.startswith("Pretrained")
        and not ("CausalLM" in kind.__name__ and model_type in ("bart", "mbart", "marian", "pegasus"))  # decoder alone
    ]


PAIRS = [(model_type, kind) for model_type in FAMILIES for kind in classes_of(model_type)]


def edit_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, **changes) -> None:
    raw = {**json.loads((folder / "config.json").read_text()), **changes}
    kept = {key: value for key, value in raw.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(kept))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def make(name: str, config: dict) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            reference_twin(name, **config).save_pretrained(made[name])
        return made[name]

    return make


@pytest.fixture
def folder(folders, tmp_path):
    def copy(name: str, config: dict) -> Path:
        return shutil.copytree(folders(name, config), tmp_path / name)

    return copy


@pytest.mark.parametrize(("model_type", "kind"), PAIRS, ids=lambda x: x if isinstance(x, str) else x.__name__)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_of_any_head_opens_in_every_class_of_its_family(model_type, kind, tmp_path):
    """But where the class has more than a head that the file lacks, or a head of the same name and another size."""
    reference = repaired(kind(kind.config_class(**FAMILIES[model_type][1])))
    reference.save_pretrained(tmp_path)
    for head, ours in architecture(model_type).heads.items():
        only_an_encoder = kind.__name__.endswith(("T5EncoderModel", "T5ForTokenClassification"))
        if only_an_encoder and head not in ("ForTextEncoding", "ForTokenClassification"):
            with pytest.raises(CheckpointError, match="missing"):
                ours.from_pretrained(tmp_path, allow_missing_head=True)
        elif "TransfoXLForSequenceClassification" == ours.__name__:
            continue  # the reference's files need sizes that no language model has
        elif "MultipleChoice" in kind.__name__ or (head == "ForMultipleChoice" and "Classification" in kind.__name__):
            # one score for a choice and one for each label are of the same name
            ours.from_pretrained(tmp_path, new_head=True)
        else:
            ours.from_pretrained(tmp_path, allow_missing_head=True)


@pytest.mark.parametrize("name", [t.name for t in TWINS if not t.variant and t.head == ""])
def test_norms_named_as_in_tensorflow(name, folder):
    twin = next(t for t in TWINS if t.name == name)
    place = folder(name, twin.config)
    before = AutoModel.from_pretrained(place)

    def old(tensors):
        bare = {n.removesuffix(".weight") for n, x in tensors.items() if n.endswith(".weight") and x.dim() == 1}
        new = {f"{norm}.weight": f"{norm}.gamma" for norm in bare} | {f"{norm}.bias": f"{norm}.beta" for norm in bare}
        assert any(n in tensors for n in new)
        return {new.get(n, n): x for n, x in tensors.items()}

    edit_tensors(place, old)
    for a, b in zip(before.parameters(), AutoModel.from_pretrained(place).parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("head", ["GPT2DoubleHeadsModel", "GPT2ForQuestionAnswering"])
def test_a_language_model_from_a_file_with_another_head_equals_the_reference(head, folder):
    place = folder(head, gpt2.CONFIG)
    ours = GPT2LMHeadModel.from_pretrained(place, dtype=torch.float64)
    reference = transformers.GPT2LMHeadModel.from_pretrained(place, dtype=torch.float64, attn_implementation="eager")
    assert_same(ours, reference.eval(), {"input_ids": random_ids(2, 5)})


def test_what_may_stay_unused_is_named(folder):
    place = folder("GPT2LMHeadModel", gpt2.CONFIG)
    edit_tensors(place, lambda t: {**t, "value_head.weight": torch.ones(2), "adapter.0.up": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"(?s)2 unexpected.*pass allow_unused=\['adapter.\*.up', 'value_head"):
        GPT2LMHeadModel.from_pretrained(place)
    with pytest.raises(CheckpointError, match="1 unexpected"):
        GPT2LMHeadModel.from_pretrained(place, allow_unused="value_head.*")
    _, report = GPT2LMHeadModel.from_pretrained(
        place, allow_unused=["value_head.*", "adapter.*"], output_loading_info=True
    )
    assert {"value_head.weight", "adapter.0.up"} <= set(report["unexpected_keys"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "base_model.model.", "net.inner."])
@pytest.mark.parametrize(("name", "config"), [("BertForMaskedLM", bert.CONFIG), ("GPT2Model", gpt2.CONFIG)])
def test_a_prefix_before_all_names_is_named_and_taken_off(prefix, name, config, folder):
    place = folder(name, config)
    auto = AutoModelForMaskedLM if name.startswith("Bert") else AutoModel
    before = auto.from_pretrained(place)
    edit_tensors(place, lambda tensors: {prefix + n: x for n, x in tensors.items()})
    with pytest.raises(CheckpointError) as caught:
        auto.from_pretrained(place)
    assert f"begin with {prefix!r}" in str(caught.value) and f"strip_prefix={prefix!r}" in str(caught.value)
    assert "another architecture" not in str(caught.value) and "\n" not in str(caught.value)
    for again in (
        auto.from_pretrained(place, strip_prefix=prefix),
        auto.from_pretrained(place, key_mapping={f"^{prefix}": ""}),
    ):
        assert all(map(torch.equal, before.parameters(), again.parameters()))


@pytest.mark.parametrize(("name", "config"), [("GPT2LMHeadModel", gpt2.CONFIG), ("BertForMaskedLM", bert.CONFIG)])
def test_transposed_weights_are_called_transposed(name, config, folder):
    place = folder(name, config)
    layers = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight", "query.weight", "dense.weight")
    edit_tensors(place, lambda t: {n: x.t().contiguous() if n.endswith(layers) else x for n, x in t.items()})
    with pytest.raises(
        CheckpointError, match=r"(?s)transposes of what .* files hold.*Square ones.*will be transposed too"
    ):
        getattr(minitransformer, "AutoModelForCausalLM" if "GPT2" in name else "AutoModelForMaskedLM").from_pretrained(
            place
        )


def test_a_config_without_model_type(folder, tmp_path):
    place = folder("BertForMaskedLM", bert.CONFIG)
    edit_config(place, model_type=...)
    with pytest.warns(UserWarning, match="has no model_type; by its name it is 'bert'"):
        AutoModelForMaskedLM.from_pretrained(place)  # the folder is called BertForMaskedLM
    other = place.rename(tmp_path / "mine")
    with pytest.raises(ConfigError, match="its name says none.*BertForMaskedLM.from_pretrained"):
        AutoModelForMaskedLM.from_pretrained(other)
    BertForMaskedLM.from_pretrained(other)


def test_a_class_that_nobody_knows_is_said_in_a_sentence(folder):
    place = folder("GPT2LMHeadModel", gpt2.CONFIG)
    edit_config(place, architectures=["GPT2GQA"])
    with pytest.warns(UserWarning, match="is for GPT2GQA, which is no class of this library; its weights fit"):
        AutoModelForCausalLM.from_pretrained(place)
    edit_tensors(place, lambda tensors: {n.replace("c_attn", "qkv"): x for n, x in tensors.items()})
    with pytest.raises(
        CheckpointError, match=r"is for GPT2GQA, which is no class.*\(6 missing, 6 unexpected\)"
    ) as caught:
        AutoModelForCausalLM.from_pretrained(place)
    assert "\n" not in str(caught.value)
    for usual in ("GPT2DoubleHeadsModel", "GPT2Model", "TFGPT2LMHeadModel", "GPT2ForTokenClassification"):
        edit_config(place, architectures=[usual])
        with pytest.raises(CheckpointError, match="qkv"):
            AutoModelForCausalLM.from_pretrained(place)


def test_names_of_other_programs_are_understood_in_hints():
    with pytest.warns(UserWarning, match="block_size Did you mean 'n_positions'"):
        AutoConfig.from_dict({"model_type": "gpt2", "block_size": 64})
    with pytest.warns(UserWarning, match="n_embd Did you mean 'hidden_size'"):
        AutoConfig.from_dict({"model_type": "bert", "n_embd": 64})


def test_marian_untied_with_two_vocabularies_as_transformers_saves_it(tmp_path):
    sizes = {"decoder_vocab_size": 40, "share_encoder_decoder_embeddings": False, "tie_word_embeddings": False}
    reference = reference_twin("MarianMTModel", **{**marian.CONFIG, **sizes})
    reference.save_pretrained(tmp_path)
    ours = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64)
    inputs = {"input_ids": random_ids(2, 5), "decoder_input_ids": random_ids(2, 4, vocab_size=40)}
    assert_same(ours, reference, inputs)
    assert ours.config.decoder_rows == VOCAB_SIZE
    ours.save_pretrained(tmp_path / "again")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again", dtype=torch.float64)
    assert_same(again, reference, inputs)


def test_roberta_with_norms_of_bert(folder):
    """Old names of one architecture in the file of another, as transformers opens it."""
    place = folder("RobertaForMaskedLM", roberta.CONFIG)
    edit_tensors(
        place,
        lambda t: {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): x
            for n, x in t.items()
        },
    )
    reference = transformers.RobertaForMaskedLM.from_pretrained(place, dtype=torch.float64, attn_implementation="eager")
    ours = AutoModelForMaskedLM.from_pretrained(place, dtype=torch.float64)
    assert_same(ours, reference.eval(), {"input_ids": random_ids(2, 5)})
