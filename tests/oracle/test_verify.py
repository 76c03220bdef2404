"""A checkpoint is verified beside transformers, beside a trace, and by itself; what is wrong with it is told."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from models.twins import TWINS
from oracle.subjects import small
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from minitransformer.cli import app
from minitransformer.hub import as_folder
from minitransformer.models.auto import AutoModelForMaskedLM
from minitransformer.parity import verify, write_trace
from minitransformer.parity.verification import FAILED, LEFT_OUT, PASSED

BERT = "minitransformer/bert-books"
STAGES = (
    "config",
    "tensors",
    "tokenizer",
    "operations",
    "logits",
    "loss",
    "gradients",
    "cache",
    "batch = singles",
    "padding sides",
    "save and reload",
)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


@pytest.fixture
def bert(tmp_path) -> Path:
    folder = tmp_path / "bert"
    shutil.copytree(as_folder(BERT), folder)
    return folder


def test_a_right_checkpoint_passes_beside_transformers():
    pytest.importorskip("transformers")
    found = verify("minitransformer/marian-fr-en", "transformers")
    assert found.same and {stage.state for stage in found.stages} == {PASSED}, found
    assert set(STAGES) <= {stage.name for stage in found.stages}
    assert {"greedy ids", "beams ids", "tokenizer beside the reference"} <= {stage.name for stage in found.stages}


def test_without_a_reference_it_says_what_it_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    run = call(BERT, "--json", "--against", "transformers")
    told = json.loads(run.output)
    assert run.exit_code == 0 and told["same"] and told["against"] == "nothing"
    left = {stage["name"]: stage["told"] for stage in told["stages"] if stage["state"] == LEFT_OUT}
    assert {"logits", "loss", "gradients beside the reference", "transformers opens it"} <= set(left)
    assert "transformers is not installed" in left["logits"]
    passed = {stage["name"] for stage in told["stages"] if stage["state"] == PASSED}
    assert {"config", "tensors", "tokenizer", "operations", "gradients", "batch = singles", "save and reload"} <= passed


def test_beside_a_trace_it_tells_which_operation_is_another(bert, tmp_path):
    model = AutoModelForMaskedLM.from_pretrained(bert, dtype=torch.float64)
    ids = torch.tensor([[5, 9, 12, 7]])
    write_trace(model, {"input_ids": ids}, tmp_path / "trace")
    right = call(bert, "--against", tmp_path / "trace")
    assert right.exit_code == 0 and "operations beside the dump" in right.output, right.output
    file = bert / "model.safetensors"
    tensors = load_file(file)
    name = next(n for n in tensors if n.endswith("layer.1.attention.self.value.bias"))
    tensors[name] = tensors[name] + 0.5
    save_file(tensors, file, {"format": "pt"})
    page = tmp_path / "page.html"
    wrong = call(bert, "--against", tmp_path / "trace", "--report", page)
    assert wrong.exit_code == 1 and "encoder.blocks.1.attn.v" in wrong.output, wrong.output
    html = page.read_text(encoding="utf-8")
    assert "encoder.blocks.1.attn.v" in html and "http" not in html


def test_what_is_wrong_with_a_checkpoint_is_a_failed_stage(bert):
    raw = json.loads((bert / "config.json").read_text(encoding="utf-8"))
    (bert / "config.json").write_text(json.dumps({**raw, "rotary_dim": 8}), encoding="utf-8")
    found = {stage.name: stage for stage in verify(bert).stages}
    assert found["config"].state == FAILED and "'rotary_dim'" in found["config"].told


def test_what_cannot_be_verified_is_one_sentence(tmp_path, bert):
    for arguments, said in (
        ([tmp_path / "none"], "none"),
        ([bert, "--against", tmp_path / "none"], "there is no dump"),
        ([bert, "--against", bert / "config.json"], "but no dump"),
    ):
        run = call(*arguments)
        assert run.exit_code == 2 and said in run.output.replace("\n", " "), run.output
        assert "Traceback" not in run.output and run.output.count("\n") <= 4
    save_file({"x": torch.ones(3, 3)}, tmp_path / "x.safetensors")
    run = call(bert, "--against", tmp_path / "x.safetensors")
    assert run.exit_code == 2 and "does not say what it was computed on: add its input_ids" in run.output.replace(
        "\n", " "
    )


@pytest.mark.slow
@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_every_class_passes_beside_its_twin(twin, tmp_path):
    small(twin).save_pretrained(tmp_path)
    found = verify(tmp_path)
    assert found.same, found
