"""Dumps in every format that people write, with their own names and axes; damaged ones are one sentence each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for, random_ids
from oracle.ports import port, traced
from oracle.subjects import small
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from minitransformer.cli import app
from minitransformer.parity.comparison import compare, compare_files
from minitransformer.parity.dumps import read_dump
from minitransformer.parity.traces import ParityError, write_trace
from minitransformer.testing import reference_twin


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> tuple[Any, Any, Path, dict[str, Tensor]]:
    twin = next(twin for twin in TWINS if twin.name == "GPT2LMHeadModel")
    model, folder = small(twin), tmp_path_factory.mktemp("gpt2")
    inputs = inputs_for(twin, [5], "right")[0]
    trace = traced(model, inputs, folder)
    write_trace(model, inputs, folder, with_model=True)
    return trace, model, folder, port(trace, model)


def write_safetensors(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file({name: x.clone().contiguous() for name, x in tensors.items()}, folder / "dump.safetensors")
    return folder / "dump.safetensors"


def write_npz(tensors: dict[str, Tensor], folder: Path) -> Path:
    np.savez(folder / "dump.npz", **{name: x.numpy() for name, x in tensors.items()})
    return folder / "dump.npz"


def write_npy(tensors: dict[str, Tensor], folder: Path) -> Path:
    for name, x in tensors.items():
        np.save(folder / f"{name}.npy", x.numpy())
    return folder


def write_bin(tensors: dict[str, Tensor], folder: Path) -> Path:
    rows, place = [], 0
    with (folder / "all.bin").open("wb") as file:
        for name, x in tensors.items():
            data = x.numpy().tobytes()
            file.write(data)
            rows.append({"name": name, "shape": list(x.shape), "dtype": "float32", "file": "all.bin", "offset": place})
            place += len(data)
    (folder / "manifest.json").write_text(json.dumps({"tensors": rows}), encoding="utf-8")
    return folder


def write_viz(tensors: dict[str, Tensor], folder: Path) -> Path:
    encoded = {
        name: {"shape": list(x.shape), "dtype": str(x.dtype), "data": base64.b64encode(x.numpy().tobytes()).decode()}
        for name, x in tensors.items()
    }
    (folder / "partials.json").write_text(json.dumps({"config": {"n_layer": 3}, **encoded}), encoding="utf-8")
    return folder / "partials.json"


WRITERS: list[Callable[[dict[str, Tensor], Path], Path]] = [
    write_safetensors,
    write_npz,
    write_npy,
    write_bin,
    write_viz,
]


@pytest.mark.parametrize("write", WRITERS)
def test_each_format_is_read_and_compared(gpt2, write, tmp_path):
    _, _, folder, tensors = gpt2
    dump = write(tensors, tmp_path)
    found = compare_files(folder, dump)
    assert found.same and len(found.rows) == len(tensors), found
    read = read_dump(dump)
    assert all(torch.equal(read[name], x) for name, x in tensors.items())


def test_llm_viz_has_names_of_its_own(gpt2, tmp_path):
    _, _, folder, tensors = gpt2
    names = {
        "tok_emb": "embeddings.words",
        "x": "embeddings.sum",
        "ln1": "blocks.0.attn_normed",
        "att": "blocks.0.attn.scores",
        "attSm": "blocks.0.attn.pattern",
        "yProj": "blocks.0.attn.out",
        "mlpResid": "blocks.0.after_ffn",
        "block1": "blocks.1.output",
        "ln_f": "decoder.final_normed",
        "lm_head": "head.logits",
    }
    theirs = {
        name: next(x for tap, x in tensors.items() if tap.endswith(f".{own}") or tap == own)
        for name, own in names.items()
    }
    theirs["att"] = theirs["att"].masked_fill(theirs["att"] < -1e9, float("-inf"))
    found = compare_files(folder, write_viz(theirs, tmp_path))
    assert found.same and {row.by for row in found.rows} == {"name"} and len(found.rows) == len(names), found


def test_names_shuffled_and_axes_permuted_are_found_by_value(gpt2):
    trace, model, _, tensors = gpt2
    generator = torch.Generator().manual_seed(0)
    names = list(tensors)
    order = torch.randperm(len(names), generator=generator).tolist()
    shuffled = {}
    for i in order:
        x = tensors[names[i]]
        shuffled[f"t{i}"] = x.permute(torch.randperm(x.dim(), generator=generator).tolist()).contiguous()
    found = compare(trace, shuffled, model)
    assert found.same, found
    right = 0
    for row in found.rows:
        true = names[int(row.theirs[1:])]
        right += row.name == true or torch.equal(trace.tensors[row.name], trace.tensors[true])
    assert right >= 0.95 * len(names), (right, len(names), found.left)


def test_a_map_names_what_no_rule_would(gpt2, tmp_path):
    _, _, folder, tensors = gpt2
    theirs = {
        f"L{i}_{short}": next(x for tap, x in tensors.items() if tap.endswith(f"blocks.{i}.{own}"))
        for i in range(3)
        for short, own in (("qq", "attn.q"), ("kk", "attn.k"))
    }
    theirs["L1_qq"] = theirs["L1_qq"] + 0.5
    rows = '[names]\n"L{i}_qq" = "blocks.{i}.attn.q"\n"L{i}_kk" = "blocks.{i}.attn.k"\n"nothing{i}" = "x.{i}"\n'
    (tmp_path / "map.toml").write_text(rows, encoding="utf-8")
    found = compare_files(folder, write_npz(theirs, tmp_path), map_file=tmp_path / "map.toml")
    assert {row.by for row in found.rows} == {"map"} and len(found.rows) == 6
    assert found.first == "backbone.decoder.blocks.1.attn.q"
    assert any("'nothing{i}' of the map matches no tensor" in remark for remark in found.remarks)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2LMHeadModel", "BartModel", "T5Model", "MarianModel"])
def test_the_tree_of_transformers_debugger_is_compared(name, tmp_path):
    from transformers.model_debugging_utils import model_addition_debugger_context

    import minitransformer

    twin = next(twin for twin in TWINS if twin.name == name)
    reference = reference_twin(twin.name, **twin.config)
    reference.save_pretrained(tmp_path / "model")
    ours = getattr(minitransformer, twin.auto).from_pretrained(tmp_path / "model", dtype=torch.float64)
    inputs = {"input_ids": random_ids(1, 6)}
    if twin.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = random_ids(1, 5, seed=2)
    trace = traced(ours, inputs, tmp_path / "trace")
    with model_addition_debugger_context(
        reference, debug_path=str(tmp_path / "debug"), do_prune_layers=False, use_repr=False
    ):
        reference(**inputs)
    found = compare(trace, read_dump(tmp_path / "debug"), ours, kind="transformers' debugger")
    assert found.same, found
    assert sum(row.by == "name" for row in found.rows) > 20, found


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: (f / "x.npz").write_bytes(b"PK\x03\x04 cut"), "no whole .npz file"),
        (lambda f: (f / "x.npy").write_bytes(b"\x93NUMPY"), "no whole .npy file"),
        (lambda f: np.save(f / "x.npy", np.array([{}]), allow_pickle=True), "no whole .npy file of numbers"),
        (lambda f: (f / "x.safetensors").write_bytes(b"\x00" * 20), "no whole safetensors file"),
        (lambda f: (f / "x.pt").write_bytes(b"PK"), "is not opened: write safetensors"),
        (lambda f: (f / "x.json").write_text("[1]"), "but no dump"),
        (lambda f: (f / "x.json").write_text("{"), "x.json"),
        (lambda f: (f / "x.onnx").write_bytes(b""), "no dump that is known"),
        (
            lambda f: (f / "x.json").write_text(
                json.dumps({"a": {"shape": [4], "dtype": "torch.float32", "data": base64.b64encode(b"1234").decode()}})
            ),
            "has 4 bytes, but (4,) of float32 needs 16",
        ),
        (
            lambda f: (f / "x.json").write_text(json.dumps({"tensors": [{"name": "a", "shape": [1], "file": "../b"}]})),
            "outside of the dump",
        ),
        (
            lambda f: (f / "x.json").write_text(json.dumps({"tensors": [{"name": "a", "shape": [1]}]})),
            "a of ",
        ),
    ],
)
def test_a_damaged_dump_is_one_sentence(gpt2, make, said, tmp_path):
    _, _, folder, _ = gpt2
    make(tmp_path)
    (file,) = tmp_path.iterdir()
    run = CliRunner().invoke(app, ["compare", str(folder), str(file)])
    assert run.exit_code == 2 and said in run.output.replace("\n", " "), run.output
    assert "Traceback" not in run.output and run.output.count("\n") <= 4


def test_what_can_still_be_compared_is(gpt2, tmp_path):
    trace, model, _, tensors = gpt2
    few = dict(list(tensors.items())[::5])
    few["other"] = torch.randn(3, 3)
    broken = next(name for name in few if "blocks.1" in name and name in tensors)
    few[broken] = few[broken].clone().contiguous()
    few[broken].view(-1)[0] = float("nan")
    found = compare(trace, few, model)
    assert found.first == broken and found.left == ["other"]
    assert any("1 numbers that are NaN or infinite" in remark for remark in found.remarks)
    shape = dict(tensors)
    first = next(iter(shape))
    shape[first] = torch.randn(2, 2)
    found = compare(trace, shape, model)
    assert any("no order of axes fits" in remark for remark in found.remarks) and len(found.rows) == len(tensors) - 1


def test_other_ids_are_told(gpt2):
    trace, model, _, tensors = gpt2
    ids = torch.tensor(trace.manifest["inputs"]["input_ids"])
    assert compare(trace, {**tensors, "input_ids": ids.int()}, model).same
    ids[0, 2] += 1
    with pytest.raises(ParityError, match="made on other input_ids than the trace: at place 2"):
        compare(trace, {**tensors, "input_ids": ids}, model)
    with pytest.raises(ParityError, match="made on other input_ids"):
        compare(trace, {**tensors, "ids": ids[:, :3]}, model)
    with pytest.raises(ParityError, match="fits the trace by name or by value"):
        compare(trace, {"a": torch.randn(7, 7)}, model)


def test_the_command_speaks_to_people_programs_and_browsers(gpt2, tmp_path):
    _, _, folder, tensors = gpt2
    right = CliRunner().invoke(app, ["compare", str(folder), str(write_npz(tensors, tmp_path))])
    assert right.exit_code == 0 and "are right, up to rounding in float32" in right.output, right.output
    wrong = dict(tensors)
    name = "backbone.decoder.blocks.1.after_ffn"
    wrong[name] = tensors["backbone.decoder.blocks.1.ffn.out"]
    page = tmp_path / "page.html"
    arguments = ["compare", str(folder), str(write_safetensors(wrong, tmp_path)), "--json", "--report", str(page)]
    run = CliRunner().invoke(app, arguments)
    told = json.loads(run.output)
    assert run.exit_code == 1 and told["first_wrong"] == name
    assert told["cause"].startswith("the residual is missing")
    html = page.read_text(encoding="utf-8")
    assert "the residual is missing" in html and "http" not in html and "<script" not in html
    moved = CliRunner().invoke(app, ["compare", str(folder), str(tmp_path / "dump.npz"), "--dtype", "int8"])
    assert moved.exit_code == 2 and "--dtype must be" in moved.output
