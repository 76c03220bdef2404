"""Recipes of training with odd values, keys and shapes; now and then the damage is in the run's own folder."""

from __future__ import annotations

import copy
import gzip
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import matplotlib.font_manager  # noqa: F401  (lists the fonts, by a program, before anything is watched)

from fuzz import Broken, Case
from minitransformer.options import shown
from minitransformer.recipes.run import run

MASKED = {
    "description": "a test",
    "tokenizer": {"kind": "wordpiece", "vocab_size": 80, "lowercase": True, "settings": {"strip_accents": True}},
    "model": {
        "architecture": "bert",
        "config": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 32,
        },
    },
    "objective": {"name": "masked_lm", "mask_rate": 0.2, "max_length": 20},
    "data": {
        "train": [{"files": "text.txt", "format": "lines", "limit": 6}],
        "valid": {"files": "text.txt", "format": "lines", "part": [0.5, 1.0]},
    },
    "training": {"steps": 2, "batch_size": 2, "learning_rate": 1e-3, "betas": [0.9, 0.98], "seed": 1},
    "evaluation": {"task": "fill-mask", "limit": 2, "share": 0.3},
}
CLASSES = {
    "tokenizer": {"kind": "byte-bpe", "vocab_size": 280},
    "model": {
        "architecture": "gpt2",
        "config": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32},
        "generation": {"max_new_tokens": 4, "num_beams": 2},
    },
    "objective": {"name": "causal_lm", "max_length": 16},
    "data": {"train": {"files": ["table.csv"], "columns": {"text": "sentence"}, "where": {"label": ["a", "b"]}}},
    "training": {"epochs": 1, "tokens_per_batch": 300, "schedule": "cosine", "warmup": 0.5},
}
PAIRS = {
    "tokenizer": {"kind": "wordpiece", "vocab_size": 80},
    "model": copy.deepcopy(MASKED["model"]),
    "objective": {"name": "classification", "labels": ["a", "b"]},
    "data": {"train": {"files": "table.csv", "columns": {"text": 0, "label": 1}, "header": True, "shuffle": 3}},
    "training": {"steps": 1, "batch_size": 2, "accumulate": 2, "precision": "float64"},
}
BIG = {"steps", "epochs", "num_hidden_layers", "n_layer"}
"""Keys whose right values may ask for more than a case may take."""
WORDS = ("text", "label", "files", "steps", "from", "name", "kind", "pad_token_id", "eos_token_id", "vocab_size")
IDS = (
    "pad_token_id",
    "eos_token_id",
    "bos_token_id",
    "decoder_start_token_id",
    "vocab_size",
    "is_decoder",
    "model_type",
)


def toml_value(draw: Random) -> Any:
    """Any value that TOML has."""
    value = draw.choice(
        [0, 1, -1, 2, 10**9, -(10**9), 2**63, 2**64, 10**30, 0.0, 0.5, 1.0, -0.5, 1e308, 1e-320, float("inf"),
         float("nan"), "", "x", "text.txt", "nothing.txt", "*", "**", "[", "~", "~nobody/x", "../x", "/dev/zero",
         "/dev/null", "\0", "a\nb", "x" * 5000, "東京", "damaged.gz", "bomb.gz", "text-generation", "bert", "t5",
         "marian", "wordpiece", "sentencepiece", "masked_lm", "loss", True, False, [], [0], [1, 2], ["x"], [[]], [{}],
         {}, {"a": 1},
         {"x": {"y": []}}]
    )  # fmt: skip
    if draw.random() < 0.03:
        for _ in range(draw.choice([5, 60])):
            value = [value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a recipe are."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, one in inner for place in places(one, (*path, key))]


def mutate(draw: Random, recipe: dict[str, Any]) -> str:
    """Change one thing; says what."""
    *way, last = draw.choice(
        [place for place in places(recipe) if place != ("model", "config")]
    )  # without: it is large
    table: Any = recipe
    for key in way:
        table = table[key]
    kind = draw.random()
    if kind < 0.15 or last not in (table if isinstance(table, dict) else range(len(table))):
        del table[last]
        return f"without {(*way, last)}"
    if kind < 0.35 and isinstance(table, dict):
        name, value = draw.choice([draw.choice(WORDS), draw.choice(IDS), str(last)[:-1] or "x"]), toml_value(draw)
        table[name] = value
        return f"{(*way, name)} = {shown(value)}"
    value = toml_value(draw)
    if last in BIG and isinstance(value, (int, float)) and value > 3:
        value = 2
    table[last] = value
    return f"{(*way, last)} = {shown(value)}"


def as_toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value).replace("\\u0000", "\\u0000")
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {as_toml(one)}" for name, one in value.items()) + "}"
    return repr(value)


def write_data(folder: Path) -> None:
    lines = [f"the {name} sleeps because it is tired ." for name in "cat dog fox bird cow pig hen".split()]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    (folder / "table.csv").write_text(
        "sentence,label\n" + "".join(f"{line},{'ab'[i % 2]}\n" for i, line in enumerate(lines))
    )
    packed = gzip.compress("\n".join(lines).encode())
    (folder / "damaged.gz").write_bytes(packed[: len(packed) // 2] + b"\0" * 20)


def case(draw: Random, folder: Path) -> Case:
    """A recipe, checked or run for a step or two."""
    write_data(folder)
    recipe = copy.deepcopy(draw.choice([MASKED, CLASSES, PAIRS]))
    said = [mutate(draw, recipe) for _ in range(draw.choice([1, 1, 2]))]
    text = "".join(f"{json.dumps(name)} = {as_toml(value)}\n" for name, value in recipe.items())
    overrides = []
    if draw.random() < 0.1:
        at = draw.randrange(len(text))
        text = (
            text[:at] + draw.choice(["[", "]", "=", '"', "\0", "\ud800", "[" * 3000, "9" * 5000, ""]) + text[at + 1 :]
        )
        said.append(f"damaged at {at}")
    if draw.random() < 0.1:
        overrides = [
            draw.choice(["training.steps=", "a", "=", "data.train.limit=0", "model.config.x=[" * 99, "a.b.c=1"])
        ]
        said.append(f"--set {overrides}")
    (folder / "r.toml").write_bytes(text.encode(errors="surrogatepass"))
    spoil = draw.choice([None, None, None, "again", "state", "foreign", "final"])
    only_check = draw.random() < 0.5 and spoil is None

    def tried() -> Any:
        tempfile.tempdir = str(folder)  # where processes meet
        try:
            if spoil is not None:
                return after_damage(draw, folder, spoil)
            return run(folder / "r.toml", folder, folder / "out", overrides, only_check=only_check)
        finally:
            tempfile.tempdir = None

    if spoil is not None:
        said = [f"damage: {spoil}"]
    return f"{'check' if only_check else 'train'} {'; '.join(said)}", tried


def after_damage(draw: Random, folder: Path, what: str) -> Any:
    """A run that goes on in a folder where somebody has been."""
    recipe = {**copy.deepcopy(MASKED), "training": {"steps": 2, "batch_size": 2, "save_every": 1}}
    del recipe["evaluation"]
    text = "".join(f"{json.dumps(name)} = {as_toml(value)}\n" for name, value in recipe.items())
    (folder / "r.toml").write_text(text)
    out = folder / "out"
    run(folder / "r.toml", folder, out)
    states = sorted((out / "checkpoints").glob("*/state.json"))
    if what == "state":
        state: Any = json.loads(states[-1].read_text())
        *way, last = draw.choice(places(state))
        table = state
        for key in way:
            table = table[key]
        table[last] = toml_value(draw)
        states[-1].write_text(json.dumps(draw.choice([state, state, toml_value(draw)])))
    if what == "foreign":
        for name in draw.sample(
            ["step-x1", "step-1.part", "notes.part", "step-", "step-99999999999999999999", "a"], k=3
        ):
            (out / "checkpoints" / name).mkdir()
            (out / "checkpoints" / name / "state.json").write_text(draw.choice(["", "{}", "[]"]))
        (out / "checkpoints" / "step-7.part").write_text("a file") if draw.random() < 0.5 else None
        (out / draw.choice(["run.json", "log.csv", "training.lock"])).write_text(draw.choice(["", "[", "{}", "[1]"]))
    if what == "final":
        import shutil

        shutil.rmtree(out / "final")
    history = run(folder / "r.toml", folder, out)
    if not (out / "final" / "model.safetensors").is_file():
        raise Broken("half-written", "a finished run has no final/")
    if (out / "training.lock").exists() and what != "foreign":
        raise Broken("left over", "training.lock")
    return history
