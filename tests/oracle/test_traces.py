"""Traces as files: what is written is what passed, in a folder that other tools can read."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_folders
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from oracle.subjects import small
from safetensors.torch import load_file
from typer.testing import CliRunner

from minitransformer.cli import app
from minitransformer.errors import InputError
from minitransformer.layers import trace
from minitransformer.parity.traces import ParityError, read_trace, write_trace


def subject(name: str):
    twin = next(twin for twin in TWINS if twin.name == name)
    return small(twin), inputs_for(twin, [3, 6], "right")[0]


def test_a_trace_holds_every_tensor_that_passed_and_says_how_it_came_about(tmp_path):
    model, inputs = subject("BertForMaskedLM")
    manifest = json.loads(write_trace(model, inputs, tmp_path).read_text(encoding="utf-8"))
    tensors = load_file(tmp_path / "trace.safetensors")
    with trace(model, "*") as t, torch.no_grad():
        logits = model(**inputs).logits
    for name, x in t.items():
        assert torch.equal(tensors[name], x)
    assert torch.equal(tensors[manifest["outputs"]["logits"]], logits)
    assert manifest["inputs"]["input_ids"] == inputs["input_ids"].tolist()
    told = {operation["name"]: operation for operation in manifest["operations"]}
    scores = told["backbone.encoder.blocks.0.attn.raw_scores"]
    assert scores["formula"].startswith("einsum") and scores["constants"] == {"temperature": 6**0.5}
    query = told["backbone.encoder.blocks.0.attn.q"]
    assert query["file_parameters"]["weight"]["name"] == "bert.encoder.layer.0.attention.self.query.weight"
    for operation in told.values():
        assert 5e-8 < operation["noise"]["float32"] < 1e-4 and 3e-3 < operation["noise"]["bfloat16"] < 0.5, operation
        assert operation["noise"]["float32"] < operation["noise"]["bfloat16"]
    assert (tmp_path / "trace.safetensors").stat().st_size < 5e6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "trace.safetensors"]


def test_patterns_limit_what_is_kept_but_not_what_is_told(tmp_path):
    model, inputs = subject("GPT2LMHeadModel")
    write_trace(model, inputs, tmp_path, taps=["attn.pattern", "head.logits"])
    read = read_trace(tmp_path)
    kept = [name for name in read.tensors if not name.startswith(("inputs/", "outputs/"))]
    assert {name for name in kept if name not in read.manifest["given"]} == {
        *(f"backbone.decoder.blocks.{i}.attn.pattern" for i in range(3)),
        "head.logits",
    }
    assert len(read.operations) > 40
    with pytest.raises(ParityError, match="no tap of GPT2LMHeadModel matches 'attn.patern'"):
        write_trace(model, inputs, tmp_path, taps=["attn.patern"])


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "T5ForConditionalGeneration"])
def test_gradients_are_those_of_the_loss_that_the_manifest_names(name, tmp_path):
    model, inputs = subject(name)
    told = json.loads(write_trace(model, inputs, tmp_path, gradients=True).read_text(encoding="utf-8"))["gradients"]
    tensors = load_file(tmp_path / "trace.safetensors")
    logits = model(**inputs).logits
    logits.retain_grad()
    (logits.pow(2).mean() / 2).backward()
    torch.testing.assert_close(tensors[told["tensors"]["head.logits"]], logits.grad, atol=1e-15, rtol=1e-12)
    for parameter, x in model.named_parameters():
        torch.testing.assert_close(tensors[told["tensors"][parameter]], x.grad, atol=1e-13, rtol=1e-10)


def test_a_model_that_drops_values_is_refused(tmp_path):
    model, inputs = subject("BertModel")
    with pytest.raises(InputError, match="training mode"):
        write_trace(model.train(), inputs, tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' account of memory")
def test_memory_is_that_of_the_largest_tensors(tmp_path):
    from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel

    def anonymous() -> int:  # what is mapped from a file can be dropped at any time, and does not count
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024

    sizes = {"vocab_size": 64, "n_embd": 16, "n_layer": 24, "n_head": 2, "n_positions": 400}
    model = GPT2LMHeadModel.from_config(GPT2Config.from_hf(sizes)).eval()
    write_trace(model, {"input_ids": torch.ones(1, 8, dtype=torch.long)}, tmp_path / "short")
    peak, before, done = [0], anonymous(), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        write_trace(model, {"input_ids": torch.ones(1, 400, dtype=torch.long)}, tmp_path / "long")
    finally:
        done.set()
        watcher.join()
    size = (tmp_path / "long" / "trace.safetensors").stat().st_size
    assert size > 90e6 and peak[0] - before < 0.5 * size, (size, peak[0] - before)


def test_the_command_traces_texts_and_ids(tmp_path):
    folder = tiny_folders.bert(tmp_path / "bert")
    run = CliRunner().invoke(app, ["trace", str(folder), "--text", "the cat sleeps .", "-o", str(tmp_path / "t")])
    assert run.exit_code == 0, run.output
    manifest = read_trace(tmp_path / "t").manifest
    assert manifest["inputs"]["tokens"][0][1:3] == ["the", "cat"] and manifest["dtype"] == "float64"
    assert manifest["model"]["class"] == "BertForMaskedLM"
    ids = manifest["inputs"]["input_ids"]
    (tmp_path / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
    np.save(tmp_path / "ids.npy", np.array(ids[0]))
    for file in ("ids.json", "ids.npy"):
        arguments = ["trace", str(folder), "--ids", str(tmp_path / file), "--dtype", "float32", "-o"]
        run = CliRunner().invoke(app, [*arguments, str(tmp_path / file.replace(".", "_"))])
        assert run.exit_code == 0, run.output
        read = read_trace(tmp_path / file.replace(".", "_"))
        assert read.manifest["inputs"]["input_ids"] == ids and read.tensors["head.logits"].dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--text, or --ids"),
        (["--text", " "], "no text to trace"),
        (["--text", "x", "--dtype", "int8"], "--dtype must be one of"),
        (["--text", "x", "--taps", "attn.patern"], "matches 'attn.patern'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, said, tmp_path):
    folder = tiny_folders.bert(tmp_path / "bert")
    run = CliRunner().invoke(app, ["trace", str(folder), "-o", str(tmp_path / "t"), *arguments])
    assert run.exit_code == 2 and said in run.output and run.output.count("\n") <= 2, run.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"input_ids": [[1, 2], [3]]}', "rows of one length"),
        ('{"input_ids": [[1.5]]}', "whole numbers"),
        ('{"input_idz": [[1]]}', "does not take"),
        ('{"attention_mask": [[1]]}', "no input_ids"),
        ("[[", "ids.json"),
    ],
)
def test_a_bad_file_of_ids_is_one_sentence(content, said, tmp_path):
    folder = tiny_folders.bert(tmp_path / "bert")
    (tmp_path / "ids.json").write_text(content, encoding="utf-8")
    run = CliRunner().invoke(
        app, ["trace", str(folder), "-o", str(tmp_path / "t"), "--ids", str(tmp_path / "ids.json")]
    )
    assert run.exit_code == 2 and said in run.output and run.output.count("\n") <= 2, run.output


def test_a_damaged_trace_is_one_sentence(tmp_path):
    model, inputs = subject("BertModel")
    with pytest.raises(ParityError, match="holds no trace"):
        read_trace(tmp_path)
    path = write_trace(model, inputs, tmp_path)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("minitransformer-trace/1", "minitransformer-trace/7"), encoding="utf-8")
    with pytest.raises(ParityError, match="format 'minitransformer-trace/7', this version reads"):
        read_trace(tmp_path)
    for said in ('"_import_dotted_name"', '"int64"', "null", "[]"):
        path.write_text(whole.replace('"dtype": "float64"', f'"dtype": {said}', 1), encoding="utf-8")
        with pytest.raises(ParityError, match="is damaged: its dtype is"):
            print(read_trace(tmp_path).dtype)
    path.write_text(whole, encoding="utf-8")
    tensors = tmp_path / "trace.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(ParityError, match="no whole safetensors file"):
        read_trace(tmp_path)
