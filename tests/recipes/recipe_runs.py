"""Recipes and data that train in a second, for tests that run them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minitransformer.recipes.run import train

WORDS = "the cat dog house that this is good bad milk Paris London Anna Bob eats likes sees".split()
SIZES = "num_hidden_layers = 1\nnum_attention_heads = 2\nintermediate_size = 32\nmax_position_embeddings = 64\n"
SEQ2SEQ = """d_model = 16
encoder_layers = 1
decoder_layers = 1
encoder_attention_heads = 2
decoder_attention_heads = 2
encoder_ffn_dim = 32
decoder_ffn_dim = 32
max_position_embeddings = 64
"""
BERT = f"""
[tokenizer]
kind = "wordpiece"
vocab_size = 80
[model]
architecture = "bert"
[model.config]
hidden_size = 16
{SIZES}
[objective]
name = "masked_lm"
[data.train]
files = "text.txt"
format = "lines"
part = [0, 0.9]
[data.valid]
files = "text.txt"
format = "lines"
part = [0.9, 1]
[training]
steps = 6
batch_size = 4
"""
SENTIMENT = """
[model]
from = "encoder.toml"
[objective]
name = "classification"
[data.train]
files = "sentiment.tsv"
columns = {text = "sentence", label = "gold"}
part = [0, 0.75]
[data.valid]
files = "sentiment.tsv"
columns = {text = "sentence", label = "gold"}
part = [0.75, 1]
[training]
steps = 4
batch_size = 4
[evaluation]
task = "text-classification"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recipes and data; runs have their output in ``runs``."""
    draw = random.Random(0)

    def sentence(length: int) -> str:
        return " ".join(draw.choices(WORDS, k=length))

    (tmp_path / "text.txt").write_text("".join(f"{sentence(9)}.\n" for _ in range(60)))
    rows = [
        f"{sentence(4).replace('good', 'is').replace('bad', 'is')} {word}\t{'pos' if word == 'good' else 'neg'}\n"
        for word in ["good", "bad"] * 20
    ]
    (tmp_path / "sentiment.tsv").write_text("sentence\tgold\n" + "".join(rows))
    (tmp_path / "pairs.tsv").write_text("".join(f"{s}\t{s.upper()}\n" for s in (sentence(5) for _ in range(40))))
    tags = {"Anna": "B-PER", "Bob": "B-PER", "Paris": "B-LOC"}
    blocks = [[draw.choice(WORDS) for _ in range(6)] for _ in range(30)]
    tagged = ["".join(f"{word}\t{tags.get(word, 'O')}\n" for word in block) for block in blocks]
    (tmp_path / "names.conll").write_text("\n".join(tagged))
    write(tmp_path, "encoder", BERT)
    write(tmp_path, "sentiment", SENTIMENT)
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder / f"{name}.toml"


def run(folder: Path, name: str, *overrides: str, output: str | None = None, **options):
    return train(folder / f"{name}.toml", output=folder / "runs" / (output or name), overrides=overrides, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")
