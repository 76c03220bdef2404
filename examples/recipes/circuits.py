"""Train the two models that are there to be taken apart, and put them into the package.

    python examples/recipes/circuits.py induction --output runs/induction     # letters said twice; minutes
    python examples/recipes/circuits.py grokking --output runs/grokking       # modular addition; an hour or less
    python examples/recipes/circuits.py induction --output runs/induction --release

Their data are made, not read, and new at every step (or all of it is one batch), so that they need no more than this
file: the recipe says what is made and how long it is learnt. A run that was stopped goes on where it last saved, to the
same bits. ``--release`` rounds the weights to float16, measures them as they are then, and writes the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
import torch.nn.functional as F
from tokenizers import Regex, decoders, models, pre_tokenizers
from torch import Tensor

from minitransformer import study
from minitransformer.hub import EMBEDDED, read_json
from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel
from minitransformer.recipes.recipe import toml

RECIPES = Path(__file__).parent
sys.path.append(str(RECIPES.parents[1] / "tools"))  # which puts checkpoints into the package

from releasing.card import card  # noqa: E402
from releasing.entries import Entry, read_checkpoints  # noqa: E402
from releasing.folder import replacing  # noqa: E402
from releasing.page import read_evaluations, write_page  # noqa: E402

END = "<|endoftext|>"
LETTERS = [END, *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", "."]
Batch = tuple[Tensor, Tensor]
"""Ids, and labels (-100 where nothing is asked), (batch, token) each; the label of a token is the one behind it."""


def repeats(data: dict[str, Any], training: dict[str, Any]) -> Callable[[int], Batch]:
    """Rows of distinct random letters, said over and over; asked for is what comes from the second time on."""
    shortest, longest = data["period"]

    def batch(step: int) -> Batch:
        generator = torch.Generator().manual_seed(training["seed"] * 1_000_003 + step)
        rows = training["batch"]
        period = torch.randint(shortest, longest + 1, (rows, 1), generator=generator)
        letters = torch.rand(rows, len(LETTERS) - 1, generator=generator).argsort(1)[:, :longest] + 1
        place = torch.arange(data["length"] + 1)[None]
        ids = letters.gather(1, place % period)
        return ids[:, :-1], ids[:, 1:].masked_fill(place[:, :-1] < period, -100)

    return batch


def additions(data: dict[str, Any]) -> tuple[Batch, Batch]:
    """All sums modulo p: those to learn from, and those held back. ``a + b =`` asks for the sum."""
    p = data["modulus"]
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    a, b = a.flatten(), b.flatten()
    ids = torch.stack([a, torch.full_like(a, p), b, torch.full_like(a, p + 1)], dim=1)
    labels = torch.full_like(ids, -100)
    labels[:, -1] = (a + b) % p
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(data["seed"]))
    learnt = int(data["share"] * len(ids))
    first, rest = order[:learnt], order[learnt:]
    return (ids[first], labels[first]), (ids[rest], labels[rest])


def accuracy(model: Any, batch: Batch) -> float:
    """Share of what is asked for that the model tells."""
    ids, labels = batch
    with torch.no_grad():
        told = model(ids).logits.argmax(-1)
    return float((told == labels)[labels != -100].double().mean())


def train(recipe: dict[str, Any], folder: Path, *, layers: int | None = None) -> GPT2LMHeadModel:
    """Train, or go on; writes state.pt and log.jsonl into the folder."""
    data, settings = recipe["data"], recipe["training"]
    dropout = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = GPT2Config.from_hf({"model_type": "gpt2", **recipe["model"], **dropout, **ends})
    config = config if layers is None else config.replace(num_layers=layers)
    torch.manual_seed(settings["seed"])
    model = GPT2LMHeadModel.from_config(config).train()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"], betas=(0.9, 0.98)
    )
    if data["kind"] == "repeats":
        batch = repeats(data, settings)
        held_back = repeats(data, {**settings, "batch": 512})(10_000_000)
        falls = True
    else:
        learnt, held_back = additions(data)
        batch, falls = (lambda step: learnt), False
    folder.mkdir(parents=True, exist_ok=True)
    state, begun, spent = folder / "state.pt", 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        begun, spent = saved["step"], saved["seconds"]
    start = time.perf_counter()
    for step in range(begun, settings["steps"]):
        rate = settings["learning_rate"] * min(1.0, (step + 1) / settings["warmup"])
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / settings["steps"]) if falls else rate
        ids, labels = batch(step)
        logits = model(ids).logits
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % settings["save_every"] == 0 or step + 1 == settings["steps"]:
            seconds = spent + time.perf_counter() - start
            told = {
                "step": step + 1,
                "loss": round(float(loss.detach()), 6),
                "learnt": round(accuracy(model, (ids, labels)), 4),
                "held_back": round(accuracy(model, held_back), 4),
                "minutes": round(seconds / 60, 2),
            }
            print(json.dumps(told), flush=True)
            with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(told) + "\n")
            part = folder / "state.part"
            saved = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**saved, "step": step + 1, "seconds": seconds}, part)
            part.replace(state)
    return model.eval()


def tokenizer(recipe: dict[str, Any]) -> tokenizers.Tokenizer:
    """A word for each letter, or for each number and sign."""
    if recipe["data"]["kind"] == "repeats":
        made = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(LETTERS)}, unk_token=END))
        made.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
        made.decoder = decoders.Fuse()
    else:
        words = [*map(str, range(recipe["data"]["modulus"])), "+", "=", END]
        made = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=END))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens([END])
    return made


ENTRIES = {
    "induction": Entry(
        name="gpt2-induction",
        recipe="induction",
        task="text-generation",
        what="goes on with letters that repeat, by one head that looks back and one that looks up",
        language=["en"],
        license="apache-2.0",
        example='"q7Fxab2Kq7Fx", max_new_tokens=4, do_sample=False',
        tests=(),
    ),
    "grokking": Entry(
        name="gpt2-grokking",
        recipe="grokking",
        task="text-generation",
        what="adds two numbers modulo a prime, which it learnt long after it knew its examples by heart",
        language=["en"],
        license="apache-2.0",
        example='"5 + 7 =", max_new_tokens=1, do_sample=False',
        tests=(),
    ),
}
MADE = {
    "name": "none: letters and sums, made by examples/recipes/circuits.py",
    "license": "public domain",
    "source": "https://en.wikipedia.org/wiki/Random_number_generation",
    "by": "a generator of random numbers",
    "hub": None,
}


def release(name: str, recipe: dict[str, Any], folder: Path, home: Path = EMBEDDED) -> dict[str, Any]:
    """Write the checkpoint: weights in float16, tokenizer, evaluation.json, card."""
    entry, settings = ENTRIES[name], recipe["training"]
    saved = torch.load(folder / "state.pt", weights_only=True)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    model = train(recipe, folder)
    with replacing(home / entry.name) as target:
        model.half().save_pretrained(target)
        words = tokenizer(recipe)
        words.save(str(target / "tokenizer.json"), pretty=False)
        told = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": recipe["model"]["n_positions"],
            "unk_token": END,
            "eos_token": END,
            "clean_up_tokenization_spaces": False,
        }
        (target / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        rounded = GPT2LMHeadModel.from_pretrained(target)
        result = measure_repeats(recipe, rounded, folder) if name == "induction" else measure_sums(recipe, rounded, log)
        evaluation = {
            "name": f"minitransformer/{entry.name}",
            "what": entry.what,
            "class": "GPT2LMHeadModel",
            "parameters": model.num_parameters(),
            "bytes": sum(path.stat().st_size for path in target.iterdir()),
            "license": entry.license,
            "data": [MADE],
            "runs": [
                {
                    "recipe": name,
                    "command": f"python examples/recipes/circuits.py {name} --output runs/{name}",
                    "seed": settings["seed"],
                    "steps": saved["step"],
                    "kept_step": saved["step"],
                    "minutes": round(saved["seconds"] / 60, 1),
                    "cores": 1,
                }
            ],
            "results": [result],
        }
        text = json.dumps(evaluation, indent=1, ensure_ascii=False) + "\n"
        (target / "evaluation.json").write_text(text, encoding="utf-8")
        (target / "README.md").write_text(card(entry, evaluation, read_json(target / "config.json")), encoding="utf-8")
    return evaluation


def measure_repeats(recipe: dict[str, Any], model: Any, folder: Path) -> dict[str, Any]:
    """Accuracy on letters never seen, with all heads and without one; and that of a model with one layer."""
    held_back = repeats(recipe["data"], {**recipe["training"], "batch": 1000})(20_000_000)
    without = {}
    for layer in range(model.config.num_layers):
        for head in range(model.config.num_heads):
            with study.ablate(model, (f"decoder.blocks.{layer}.attn", head)):
                without[f"{layer}.{head}"] = round(accuracy(model, held_back), 4)
    shallow = train(recipe, folder.with_name(f"{folder.name}-one-layer"), layers=1)
    return {
        **_result("letters said again, 1,000 rows never seen", 1000, "the same recipe with one layer"),
        "model": {"accuracy": round(100 * accuracy(model, held_back), 2)},
        "baseline": {"accuracy": round(100 * accuracy(shallow, held_back), 2)},
        "without_head": without,
    }


def measure_sums(recipe: dict[str, Any], model: Any, log: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy on the sums held back, and when the run knew its examples and when the others."""
    _, held_back = additions(recipe["data"])
    known = next(line["step"] for line in log if line["learnt"] >= 0.999)
    understood = next((line["step"] for line in log if line["held_back"] >= 0.98), None)
    return {
        **_result("the sums that were held back", len(held_back[0]), "a guess"),
        "model": {"accuracy": round(100 * accuracy(model, held_back), 2)},
        "baseline": {"accuracy": round(100 / recipe["data"]["modulus"], 2)},
        "steps": {"examples_known": known, "rest_understood": understood},
    }


def _result(data: str, records: int, baseline: str) -> dict[str, Any]:
    told = {"task": "text-generation", "data": data, "files": ["made by circuits.py"], "records": records}
    return {**told, "learnt_from": 0, "validated_with": 0, "options": {}, "weakness": False, "baseline_is": baseline}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(ENTRIES), help="of the recipe")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--release", action="store_true", help="write the checkpoint of the package, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = toml().loads((RECIPES / f"{given.name}.toml").read_text(encoding="utf-8"))
    train(recipe, given.output)
    if given.release:
        told = release(given.name, recipe, given.output)
        print(json.dumps(told["results"][0], indent=1))
        write_page(read_evaluations(EMBEDDED, read_checkpoints()))


if __name__ == "__main__":
    main()
