"""Recipes: what is read, what can be set from outside, and what every slip of the pen is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from minitransformer.errors import TrainingError
from minitransformer.recipes.recipe import Recipe, read_recipe
from minitransformer.training.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples" / "recipes"

RECIPE = """
description = "a test"

[tokenizer]
kind = "wordpiece"
vocab_size = 100
lowercase = true
settings = {strip_accents = true}

[model]
architecture = "bert"
config = {hidden_size = 16}

[objective]
name = "masked_lm"
mask_rate = 0.2
whole_word = true

[[data.train]]
files = ["a.tsv", "b/*.tsv"]
columns = {text = "sentence", label = 2}
where = {label = ["yes", 1]}
part = [0, 0.9]

[[data.train]]
files = "c.txt"

[data.valid]
files = ["d.txt"]
limit = 10

[training]
steps = 10
betas = [0.9, 0.98]

[evaluation]
task = "fill-mask"
limit = 3
"""


def write(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str = RECIPE, *overrides: str) -> Recipe:
    return read_recipe(write(folder, text), overrides)


def test_every_table_is_read(tmp_path: Path) -> None:
    recipe = read(tmp_path)
    assert recipe.description == "a test" and recipe.path == tmp_path / "tiny.toml"
    assert recipe.tokenizer is not None and recipe.tokenizer.kind == "wordpiece" and recipe.tokenizer.lowercase
    assert recipe.tokenizer.settings == {"strip_accents": True} and recipe.tokenizer.letters is None
    assert recipe.model.architecture == "bert" and recipe.model.config == {"hidden_size": 16}
    assert recipe.objective.name == "masked_lm" and recipe.objective.options == {"mask_rate": 0.2, "whole_word": True}
    first, second = recipe.train
    assert first.paths(Path("data")) == [Path("data/a.tsv"), Path("data/b/*.tsv")] and first.part == (0.0, 0.9)
    assert first.reading()["columns"] == {"text": "sentence", "label": 2}
    assert first.reading()["where"] == {"label": ["yes", 1]}
    assert second.paths(Path("data")) == [Path("data/c.txt")] and second.part == (0.0, 1.0)
    assert [table.limit for table in recipe.valid] == [10]
    assert recipe.training == Settings(steps=10, betas=(0.9, 0.98))
    assert recipe.evaluation is not None and recipe.evaluation.task == "fill-mask"
    assert recipe.evaluation.limit == 3 and recipe.evaluation.options == {}


def test_values_from_outside(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        RECIPE,
        "tokenizer.letters=50",
        "evaluation.share=0.5",
        "training.steps=7",
        "training.learning_rate=1e-3",
        "training.schedule=cosine",
        'objective.name="replaced_tokens"',
        "objective.packing=false",
        "model.config.num_hidden_layers = 3",
        "data.train.limit=5",
    )
    assert recipe.training == Settings(steps=7, betas=(0.9, 0.98), learning_rate=1e-3, schedule="cosine")
    assert recipe.tokenizer is not None and recipe.tokenizer.letters == 50
    assert recipe.evaluation is not None and recipe.evaluation.options == {"share": 0.5}
    assert recipe.model.config == {"hidden_size": 16, "num_hidden_layers": 3}
    assert recipe.objective.name == "replaced_tokens"  # mask_rate is an option of its base class
    assert recipe.objective.options == {"mask_rate": 0.2, "whole_word": True, "packing": False}
    assert [table.limit for table in recipe.train] == [5, 5] and [table.limit for table in recipe.valid] == [10]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('[tokenizer]\nkind = "wordpiece"', "[tokenizer", r"is no recipe: .*line 4"),
        ("[tokenizer]", "[tokeniser]", r"tiny.toml: unknown table \[tokeniser\]. Did you mean 'tokenizer'\?"),
        (
            "vocab_size",
            "vocab_sise",
            r"tiny.toml, \[tokenizer\]: unknown key 'vocab_sise'. Did you mean 'vocab_size'\?",
        ),
        (
            "vocab_size = 100",
            'vocab_size = "100"',
            r"\[tokenizer\]: vocab_size must be an integer from 1 to 1048576, not '100'",
        ),
        (
            "vocab_size = 100",
            "vocab_size = true",
            r"\[tokenizer\]: vocab_size must be an integer from 1 to 1048576, not True",
        ),
        ("vocab_size = 100", "", r"\[tokenizer\]: kind needs a vocab_size"),
        (
            "vocab_size = 100",
            "vocab_size = 100\nletters = 0",
            r"\[tokenizer\]: letters must be an integer of at least 1, not 0",
        ),
        (
            "vocab_size = 100",
            "vocab_size = 100\nletters = true",
            r"\[tokenizer\]: letters must be an integer of at least 1, not True",
        ),
        ("vocab_size = 100", "vocab_size = 100\nleters = 9", r"unknown key 'leters'. Did you mean 'letters'\?"),
        ('kind = "wordpiece"', 'kind = "byte-bpe"\nletters = 9', r"letters belongs to kind = 'wordpiece'"),
        ('"wordpiece"', '"wordpieces"', r"kind must be one of wordpiece, byte-bpe, sentencepiece, not 'wordpieces'"),
        ('kind = "wordpiece"', "", r"\[tokenizer\]: give either from or kind"),
        ('kind = "wordpiece"', 'from = "x"', r"\[tokenizer\]: vocab_size belongs to a vocabulary that is learnt"),
        ("lowercase = true", "lowercase = 1", r"lowercase must be True or False, not 1"),
        ('architecture = "bert"', "", r"\[model\]: give either architecture or from"),
        ('architecture = "bert"', "architecture = 3", r"\[model\]: architecture must be a text, not 3"),
        ('architecture = "bert"', 'architecture = "bert"\nfrom_scratch = true', "there is none"),
        ("config = {hidden_size = 16}", "config = 16", r"\[model\]: config must be a dictionary, not 16"),
        ('[model]\narchitecture = "bert"\nconfig = {hidden_size = 16}', "", r"a table \[model\] is needed"),
        ('name = "masked_lm"', "", r"\[objective\]: name is needed"),
        ('"masked_lm"', '"maked_lm"', "unknown objective 'maked_lm'. Did you mean 'masked_lm'"),
        ("mask_rate = 0.2", "maskrate = 0.2", r"\[objective\]: unknown key 'maskrate'. Did you mean 'mask_rate'\?"),
        ("mask_rate = 0.2", 'mask_rate = "high"', r"\[objective\]: mask_rate must be a number, not 'high'"),
        ("mask_rate = 0.2", 'labels = ["a"]', "masked_lm has no labels"),
        ('"masked_lm"\nmask_rate = 0.2\nwhole_word = true', '"classification"\nlabels = ["a", "a"]', "a label twice"),
        (RECIPE[RECIPE.index("[[data.train]]") : RECIPE.index("[data.valid]")], "", r"\[data.train\] is needed"),
        ("[data.valid]", "[data.validate]", r"unknown table \[data.validate\]. Did you mean 'valid'\?"),
        ("limit = 10", "limits = 10", r"\[data.valid\]: unknown key 'limits'. Did you mean 'limit'\?"),
        ("limit = 10", "limit = 0", r"\[data.valid\]: limit must be an integer of at least 1"),
        ('files = "c.txt"', "", r"\[data.train\] number 2: files is needed"),
        ('files = "c.txt"', "files = []", "files is empty"),
        (
            'files = "c.txt"',
            "files = [1]",
            "files must be the name of a file or a list, each of it the name of a file, not",
        ),
        ("part = [0, 0.9]", "part = [0.9, 0.1]", r"number 1: part must be \[from, to\]"),
        ("part = [0, 0.9]", "part = [0.5]", r"number 1: part must be a list of 2"),
        ("label = 2}", "label = 2.5}", "columns must be a dictionary whose values are each a text or an integer"),
        (
            "steps = 10",
            "stepz = 10",
            r"tiny.toml, \[training\]: the trainer has no option 'stepz'. Did you mean 'steps'",
        ),
        ("steps = 10", "", r"\[training\]: either steps or epochs is needed"),
        ("steps = 10", 'steps = "ten"', r"\[training\]: steps must be an integer from 1 to 1000000000, not 'ten'"),
        ('task = "fill-mask"', "", r"\[evaluation\]: task is needed"),
        ('task = "fill-mask"', 'task = "fill-musk"', r"\[evaluation\]: .*Did you mean 'fill-mask'"),
        ("limit = 3", "limits = 3", r"\[evaluation\]: .*no option 'limits'"),
        ("limit = 3", 'limit = "three"', r"\[evaluation\]: limit must be an integer of at least 1, not 'three'"),
        ("limit = 3", "limit = 0", r"\[evaluation\]: limit must be an integer of at least 1, not 0"),
        ("limit = 3", "batch_size = -1", r"\[evaluation\]: batch_size must be an integer of at least 1, not -1"),
        ("limit = 3", 'share = "half"', r"\[evaluation\]: share must be a number between 0 and 1, not 'half'"),
        ('description = "a test"', "description = 3", "tiny.toml: description must be a text, not 3"),
        ('architecture = "bert"', 'from = "x"', "knows its own vocabulary, not a new one"),
        ('[data.valid]\nfiles = ["d.txt"]\nlimit = 10', "", r"add a table \[data.valid\]"),
        (RECIPE[RECIPE.index("[tokenizer]") : RECIPE.index("[model]")], "", r"a new model needs a table \[tokenizer\]"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert RECIPE.count(old) == 1, "the test changes nothing, or too much"
    with pytest.raises(TrainingError, match=said) as caught:
        read(tmp_path, RECIPE.replace(old, new))
    assert "tiny.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.steps", "not of the form TABLE.KEY=VALUE"),
        ("steps=3", "not of the form TABLE.KEY=VALUE"),
        ("training..steps=3", "not of the form TABLE.KEY=VALUE"),
        ("trainings.steps=3", r"unknown table \[trainings\]. Did you mean 'training'"),
        ("training.step=3", "Did you mean 'steps'"),
        ("description.x=3", "description is no table"),
        ("description.x.y=3", "no table with the key 'x'"),
    ],
)
def test_wrong_overrides_are_named(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=said):
        read(tmp_path, RECIPE, override)


def test_no_such_recipe(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(TrainingError, match=r"there is no recipe .*tinny.toml. Did you mean 'tiny.toml'\?"):
        read_recipe(tmp_path / "tinny.toml")
    with pytest.raises(TrainingError, match="there is no recipe nowhere/x.toml"):
        read_recipe("nowhere/x.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingError, match="bytes.toml is no recipe"):
        read_recipe(tmp_path / "bytes.toml")


CIRCUITS = ("grokking", "induction")
"""Read by examples/recipes/circuits.py, which makes its data itself."""


@pytest.mark.parametrize(
    "path", sorted(path for path in EXAMPLES.glob("*.toml") if path.stem not in CIRCUITS), ids=lambda path: path.stem
)
def test_the_committed_recipes_are_right(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.description, "say what it is"
