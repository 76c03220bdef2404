"""Recipes at work: from files of data to folders that both libraries open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from recipes.recipe_runs import SENTIMENT, SEQ2SEQ, folder, run, weights, write

from minitransformer import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from minitransformer.errors import TrainingError
from minitransformer.recipes.run import prepare

__all__ = ["folder"]

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_pretrain_then_fine_tune(folder: Path) -> None:
    history = run(folder, "encoder")
    assert history.stopped == "finished" and history.step == 6
    pretrained = folder / "runs/encoder/final"
    config = AutoConfig.from_pretrained(pretrained)
    assert config.vocab_size == len(AutoTokenizer.from_pretrained(pretrained)) <= 80
    assert config.pad_token_id == 0 and config.hidden_size == 16
    reference = transformers.pipeline("fill-mask", str(pretrained), framework="pt")
    ours = pipeline("fill-mask", pretrained)
    asked = "the [MASK] eats milk"
    assert [x["token_str"] for x in ours(asked)] == [x["token_str"] for x in reference(asked)]

    run(folder, "sentiment", "data.train.limit=24")
    final = folder / "runs/sentiment/final"
    config = AutoConfig.from_pretrained(final)
    assert config.id2label == {0: "neg", 1: "pos"} and config.architectures == ("BertForSequenceClassification",)
    assert AutoTokenizer.from_pretrained(final).get_vocab() == AutoTokenizer.from_pretrained(pretrained).get_vocab()
    reference = transformers.pipeline("text-classification", str(final), framework="pt")
    assert pipeline("text-classification", final)("good milk")[0]["label"] == reference("good milk")[0]["label"]


def test_what_pretraining_gives_arrives(folder: Path) -> None:
    """The encoder is taken over; its twin from scratch has the same sizes and other weights."""
    run(folder, "encoder")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    best = weights(folder / "runs/encoder/best")[name]
    tuned = prepare(folder / "sentiment.toml", output=folder / "runs/a").model
    twin = prepare(folder / "sentiment.toml", output=folder / "runs/b", overrides=["model.from_scratch=true"]).model
    assert torch.equal(tuned.backbone.encoder.blocks[0].attn.query.weight, best)
    assert not torch.equal(twin.backbone.encoder.blocks[0].attn.query.weight, best)
    assert {n: p.shape for n, p in tuned.named_parameters()} == {n: p.shape for n, p in twin.named_parameters()}


def test_the_head_is_kept_for_the_same_labels_only(folder: Path) -> None:
    run(folder, "encoder")
    run(folder, "sentiment")
    classifier = weights(folder / "runs/sentiment/best")["classifier.weight"]
    again = write(folder, "again", SENTIMENT.replace("encoder.toml", "sentiment.toml"))

    def head(*overrides: str) -> torch.Tensor:
        model = prepare(again, output=folder / "runs/again", overrides=overrides).model
        assert model.num_parameters() > 1000
        return model.head.output.weight

    assert torch.equal(head(), classifier)
    assert not torch.equal(head("model.new_head=true"), classifier)
    assert head('objective.labels=["neg", "neutral", "pos"]').shape[0] == 3
    assert not torch.equal(head('objective.labels=["pos", "neg"]'), classifier)
    assert torch.equal(head("data.train.limit=1"), classifier)  # which has one label; the model knows both
    with pytest.raises(TrainingError, match=r"\[model\]: new_head = false, but its labels are neg, pos"):
        head("model.new_head=false", 'objective.labels=["pos", "neg"]')
    write(folder, "again", SENTIMENT)
    with pytest.raises(TrainingError, match="new_head = false, but the checkpoint is a BertForMaskedLM"):
        head("model.new_head=false")


def test_token_classification(folder: Path) -> None:
    run(folder, "encoder")
    data = '[data.train]\nfiles = "names.conll"\n[training]\nsteps = 2\nbatch_size = 2\n'
    write(folder, "ner", f'[model]\nfrom = "encoder.toml"\n[objective]\nname = "token_classification"\n{data}')
    run(folder, "ner")
    assert AutoConfig.from_pretrained(folder / "runs/ner/final").id2label == {0: "O", 1: "B-LOC", 2: "B-PER"}


@pytest.mark.parametrize("joint", [True, False])
def test_translation(joint: bool, folder: Path) -> None:
    text = f"""
[tokenizer]
kind = "sentencepiece"
vocab_size = 60
joint = {str(joint).lower()}
[model]
architecture = "marian"
generation = {{max_length = 12, num_beams = 2}}
[model.config]
{SEQ2SEQ}
[objective]
name = "seq2seq"
label_smoothing = 0.1
[data.train]
files = "pairs.tsv"
columns = {{source = 0, target = 1}}
[training]
steps = 3
batch_size = 4
"""
    write(folder, "translate", text)
    run(folder, "translate")
    final = folder / "runs/translate/final"
    config = AutoConfig.from_pretrained(final)
    assert config.eos_token_id == 0 and config.pad_token_id == config.decoder_start_token_id == config.vocab_size - 1
    options = json.loads((final / "generation_config.json").read_text())
    assert options["max_length"] == 12 and options["num_beams"] == 2 and options["forced_eos_token_id"] == 0
    answer = pipeline("translation_en_to_up", final)("the cat eats")
    reference = transformers.pipeline("translation_en_to_up", str(final), framework="pt")
    assert answer == reference("the cat eats")


def test_other_architectures_get_their_special_ids(folder: Path) -> None:
    def config_of(name: str, model: str, tokenizer: str, objective: str, data: str) -> object:
        training = "[training]\nsteps = 1\nbatch_size = 2\n"
        text = f"[tokenizer]\n{tokenizer}\n[model]\n{model}\n[objective]\n{objective}\n[data.train]\n{data}\n{training}"
        return prepare(write(folder, name, text), output=folder / "runs" / name).model.config

    lines = 'files = "text.txt"\nformat = "lines"'
    pairs = 'files = "pairs.tsv"\ncolumns = {source = 0, target = 1}'
    gpt = 'architecture = "gpt2"\nconfig = {n_embd = 16, n_layer = 1, n_head = 2, n_positions = 32}'
    bpe, pieces = 'kind = "byte-bpe"\nvocab_size = 300', 'kind = "sentencepiece"\nvocab_size = 60'
    plain = config_of("gpt", gpt, bpe, 'name = "causal_lm"', lines)
    assert (plain.bos_token_id, plain.eos_token_id, plain.pad_token_id) == (0, 0, None)
    padded = bpe + '\nsettings = {pad_token = "<|endoftext|>"}'
    assert config_of("gpt-padded", gpt, padded, 'name = "causal_lm"', lines).pad_token_id == 0
    bart = config_of("bart", f'architecture = "bart"\n[model.config]\n{SEQ2SEQ}', bpe, 'name = "denoising"', lines)
    assert (bart.pad_token_id, bart.eos_token_id, bart.decoder_start_token_id) == (1, 2, 2)
    assert bart.generation["forced_eos_token_id"] == 2
    first = f'architecture = "transformer"\n[model.config]\n{SEQ2SEQ}'
    vaswani = config_of("vaswani", first, pieces, 'name = "seq2seq"', pairs)
    assert vaswani.vocab_size == vaswani.target_vocab_size <= 60
    assert vaswani.eos_token_id == vaswani.decoder_start_token_id == 0
    t5 = 'architecture = "t5"\nconfig = {d_model = 16, num_layers = 1, num_heads = 2, d_kv = 8, d_ff = 32}'
    spans = config_of("t5", t5, pieces, 'name = "span_corruption"\nmax_length = 32', lines)
    assert (spans.pad_token_id, spans.eos_token_id, spans.decoder_start_token_id) == (0, 1, 0)


def test_a_checkpoint_of_the_package_to_begin_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(folder, "encoder")
    (folder / "embedded").mkdir()
    (folder / "runs/encoder/final").rename(folder / "embedded/books")
    monkeypatch.setattr("minitransformer.hub.EMBEDDED", folder / "embedded")
    write(folder, "sentiment", SENTIMENT.replace("encoder.toml", "minitransformer/books"))
    assert run(folder, "sentiment").step == 4


def test_a_folder_to_begin_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the recipe or to the working directory; the whole output of a run will do."""
    run(folder, "encoder")
    for name, where in (("runs/encoder/final", "/"), ("runs/encoder", folder), ("encoder", folder / "runs")):
        monkeypatch.chdir(where)
        write(folder, "sentiment", SENTIMENT.replace("encoder.toml", name))
        assert prepare(folder / "sentiment.toml", output=folder / "runs/x").model.num_parameters() > 1000


def test_a_classifier_learns(folder: Path) -> None:
    """All parts together do what they are for: the labels follow from one word."""
    run(folder, "encoder")
    settings = {"steps": 60, "batch_size": 16, "learning_rate": 2e-2, "best": "accuracy", "evaluate_every": 20}
    history = run(folder, "sentiment", *(f"training.{name}={value}" for name, value in settings.items()))
    assert history.best is not None and history.best > 75  # 100 with this seed; guessing gives 50
    best = folder / "runs/sentiment/best"
    model = AutoModelForSequenceClassification.from_pretrained(best)
    assert model.config.label2id == {"neg": 0, "pos": 1}
    assert pipeline("text-classification", best)("the dog likes good")[0]["label"] == "pos"
