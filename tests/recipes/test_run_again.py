"""Recipes started again, and what is refused before training begins."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from recipes.recipe_runs import BERT, folder, run, weights, write

from minitransformer import AutoTokenizer
from minitransformer.errors import DataError, TrainingError
from minitransformer.recipes.run import prepare

__all__ = ["folder"]

pytestmark = pytest.mark.usefixtures("no_pictures")


# ------------------------------------------------------------------------------------------------------------ going on


def test_the_same_command_goes_on_bit_for_bit(folder: Path) -> None:
    run(folder, "encoder", output="whole")
    first = run(folder, "encoder", output="parts", minutes=1e-9)
    assert first.stopped == "minutes" and first.step == 1 and not (folder / "runs/parts/final").exists()
    assert run(folder, "encoder", output="parts").step == 6
    whole, parts = (weights(folder / "runs" / name / "final") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("model.config.hidden_size=32", "recipe.model.config.hidden_size was 16 and is 32 now"),
        ("tokenizer.vocab_size=70", "recipe.tokenizer.vocab_size was 80 and is 70 now"),
        ("training.learning_rate=1e-3", "settings.learning_rate was 5e-05 and is 0.001 now"),
        ("objective.mask_rate=0.3", "recipe.objective.mask_rate was None and is 0.3 now"),
    ],
)
def test_another_recipe_is_refused(override: str, differs: str, folder: Path) -> None:
    run(folder, "encoder", minutes=1e-9)
    before = {path.name: path.read_bytes() for path in (folder / "runs/encoder/tokenizer").iterdir()}
    with pytest.raises(TrainingError, match=differs):
        run(folder, "encoder", override)
    assert before == {path.name: path.read_bytes() for path in (folder / "runs/encoder/tokenizer").iterdir()}
    assert run(folder, "encoder").step == 6


def test_other_data_is_refused(folder: Path) -> None:
    run(folder, "encoder", minutes=1e-9)
    text = (folder / "text.txt").read_text()
    (folder / "text.txt").write_text(text.replace("cat", "dog", 1))
    with pytest.raises(TrainingError, match=r"files.train.text.txt was '\w+' and is '\w+' now"):
        run(folder, "encoder")


def test_data_may_move_and_time_may_change(folder: Path) -> None:
    first = run(folder, "encoder", minutes=1e-9)
    (folder / "elsewhere").mkdir()
    (folder / "text.txt").rename(folder / "elsewhere/text.txt")
    history = run(folder, "encoder", "training.log_every=2", data=folder / "elsewhere")
    assert first.step < history.step == 6


def test_a_run_that_never_began_may_change(folder: Path) -> None:
    prepare(folder / "encoder.toml", output=folder / "runs/encoder")
    assert run(folder, "encoder", "tokenizer.vocab_size=70").step == 6
    assert len(AutoTokenizer.from_pretrained(folder / "runs/encoder/final")) <= 70


# ---------------------------------------------------------------------------------------------- refused before training


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("encoder", "text.txt", "texts.txt", r"there is no file .*texts.txt. Did you mean 'text.txt'"),
        ("encoder", "hidden_size = 16", "hiden_size = 16", r"\[model\]: .*hiden_size Did you mean 'hidden_size'"),
        ("encoder", "hidden_size = 16", 'hidden_size = "16"', r"\[model\]: hidden_size in config.json must be int"),
        ("encoder", "hidden_size = 16", "hidden_size = 15", "hidden"),
        ("encoder", '"bert"', '"brt"', r"\[model\]: unknown model_type 'brt'. Did you mean 'bert'"),
        ("encoder", "hidden_size = 16", "id2label = {}", "id2label follows from the data"),
        ("encoder", "hidden_size = 16", "vocab_size = 50", r"the tokenizer has \d+ tokens, the model only 50"),
        ("encoder", '"wordpiece"', '"byte-bpe"', r"\[tokenizer\]: .*does not suit the architecture 'bert'"),
        (
            "encoder",
            '"masked_lm"',
            '"causal_lm"',
            "the objective causal_lm does not fit: bert has no AutoModelForCausalLM",
        ),
        (
            "encoder",
            '"masked_lm"',
            '"masked_lm"\nmax_length = 128',
            "max_length is 128, but the model has 64 positions",
        ),
        ("encoder", "[objective]", "[model.generation]\ntop_k = 3\n[objective]", "for models that generate"),
        ("encoder", "part = [0.9, 1]", "part = [0.999, 1]", r"\[data.valid\]: part = .* leaves none"),
        ("encoder", "steps = 6", "steps = 6\nbest = 'accuracy'", "accuracy"),
        ("sentiment", "encoder.toml", "encodr.toml", r"there is none in .*encodr: run it first, minitransformer train"),
        ("sentiment", "encoder.toml", "./nowhere", "neither a folder that exists nor a model id"),
        ("sentiment", '"gold"', '"label"', r"sentiment.tsv, line 2: there is no column 'label'"),
        (
            "sentiment",
            'name = "classification"',
            'name = "classification"\nlabels = ["neg", "po"]',
            r"line 2: .*'pos'.*'po'",
        ),
    ],
)
def test_what_is_refused(name: str, old: str, new: str, said: str, folder: Path) -> None:
    if name == "sentiment" and "encoder" not in old:
        run(folder, "encoder")
    path = folder / f"{name}.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises((TrainingError, DataError, ValueError), match=said):
        run(folder, name)
    assert not list((folder / "runs" / name).glob("checkpoints/step-*")), "training has begun"


def test_a_label_that_only_the_validation_data_has(folder: Path) -> None:
    (folder / "odd.tsv").write_text("sentence\tgold\ngood milk\tpos\nbad milk\tnegg\n")
    text = BERT.replace("masked_lm", "classification")
    columns = 'columns = {text = "sentence", label = "gold"}\n'
    for file, part in (("sentiment.tsv", "[0, 0.9]"), ("odd.tsv", "[0.9, 1]")):
        old = f'files = "text.txt"\nformat = "lines"\npart = {part}\n'
        assert old in text
        text = text.replace(old, f'files = "{file}"\n{columns}')
    with pytest.raises(DataError, match=r"odd.tsv, line 3: the model has no label 'negg'. Did you mean 'neg'\?"):
        prepare(write(folder, "classify", text), output=folder / "runs/classify")


def test_folders_that_cannot_be_used(folder: Path) -> None:
    with pytest.raises(TrainingError, match="there is no data folder"):
        run(folder, "encoder", data=folder / "nowhere")
    (folder / "runs").mkdir()
    (folder / "runs/encoder").touch()
    with pytest.raises(TrainingError, match="the output folder .*encoder could not be written"):
        run(folder, "encoder")


def test_what_is_learnt_from_and_validated_with_is_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="minitransformer"):
        prepare(folder / "encoder.toml", output=folder / "runs/a", overrides=["data.valid.part=[0.8, 1]"])
    assert "6 of the 12 records to validate with are learnt from too" in caplog.text
    assert "54 records to learn from, 12 to validate" in caplog.text


def test_the_vocabulary_has_the_letters_of_the_recipe(folder: Path) -> None:
    for name, overrides in (("all", []), ("few", ["tokenizer.letters=12"])):
        prepare(folder / "encoder.toml", output=folder / "runs" / name, overrides=overrides)
        tokenizer = AutoTokenizer.from_pretrained(folder / "runs" / name / "tokenizer")
        assert (tokenizer.unk_token_id in tokenizer("Paris")["input_ids"]) is (name == "few")


def test_records_are_shuffled_by_a_seed_of_their_own(folder: Path) -> None:
    from minitransformer.recipes.prepare import load_data
    from minitransformer.recipes.recipe import DataTable

    def texts(**options: object) -> list[str]:
        table = DataTable(files="text.txt", format="lines", **options)
        return [record["text"] for record in load_data([table], folder, "here")[0]]

    everything = texts()
    first, rest = texts(shuffle=1, part=(0.0, 0.5)), texts(shuffle=1, part=(0.5, 1.0))
    assert first == texts(shuffle=1, part=(0.0, 0.5)) != everything[:30]
    assert sorted(first + rest) == sorted(everything)
    assert texts(shuffle=2)[:5] == texts(shuffle=2, limit=5) != texts(shuffle=1, limit=5)
    (folder / "text.txt").write_text("\n".join(everything + everything[:9]))
    assert sorted(texts(unique=True)) == sorted(set(everything))


def test_questions_are_narrowed_where_a_table_says_so(folder: Path) -> None:
    from minitransformer.recipes.prepare import load_data
    from minitransformer.recipes.recipe import DataTable

    context = "Tom sleeps. Sarah lives in Rome. It rains."
    question = {"id": "1", "question": "Where?", "answers": [{"text": "Rome", "answer_start": context.index("Rome")}]}
    content = {"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]}
    (folder / "squad.json").write_text(json.dumps(content))
    for narrow, expected in ((False, context), (True, "Sarah lives in Rome. ")):
        (record,), _ = load_data([DataTable(files="squad.json", format="squad", narrow=narrow)], folder, "here")
        assert record["context"] == expected
