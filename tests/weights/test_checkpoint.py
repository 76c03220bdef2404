"""Checkpoint files: what is found, what is written, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from minitransformer.errors import CheckpointError, MissingFileError
from minitransformer.weights import Row, WeightMap, load_weights, open_checkpoint, save_checkpoint


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {
        "a.weight": torch.randn(6, 5),
        "b.weight": torch.randn(3, 4).to(torch.bfloat16),
        "c.bias": torch.randn(7, dtype=torch.float64),
        "d.empty": torch.zeros(0, 3),
    }


def contents(folder: Path) -> dict[str, Tensor]:
    source = open_checkpoint(folder)
    return {name: source.read(name) for name in source.names()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]) for name in a)


def write_bin_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    weight_map = {}
    for i, (name, tensor) in enumerate(tensors.items()):
        shard = f"pytorch_model-{i + 1:05d}-of-{len(tensors):05d}.bin"
        torch.save({name: tensor}, folder / shard)
        weight_map[name] = shard
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


# ------------------------------------------------------------------------------------------------ reading, writing


@pytest.mark.parametrize("max_shard_size", [None, 1, 140, 10**6])
def test_there_and_back(tmp_path: Path, tensors: dict[str, Tensor], max_shard_size: int | None) -> None:
    save_checkpoint(tensors, tmp_path, max_shard_size=max_shard_size)
    assert equal(contents(tmp_path), tensors)
    files = {path.name for path in tmp_path.iterdir()}
    if max_shard_size in (None, 10**6):
        assert files == {"model.safetensors"}
    else:
        assert "model.safetensors.index.json" in files
        shards = sorted(files - {"model.safetensors.index.json"})
        assert shards == [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == 6 * 5 * 4 + 3 * 4 * 2 + 7 * 8
        assert set(index["weight_map"].values()) == set(shards)


def test_the_file_says_that_it_is_for_pytorch(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_checkpoint(tensors, tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_shapes_come_without_reading(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_checkpoint(tensors, tmp_path)
    source = open_checkpoint(tmp_path)
    assert {name: tuple(source.shape(name)) for name in source.names()} == {
        n: tuple(t.shape) for n, t in tensors.items()
    }


def test_saving_again_leaves_nothing_of_the_first_time(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    other = {"x": torch.ones(2)}
    (tmp_path / "vocab.txt").write_text("[PAD]")
    for size, kept in ((1, tensors), (None, other), (1, tensors), (140, tensors), (None, other)):
        save_checkpoint(kept, tmp_path, max_shard_size=size)
        assert equal(contents(tmp_path), kept)
        assert not list(tmp_path.glob("*.part")) and (tmp_path / "vocab.txt").exists()
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "vocab.txt"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_checkpoint(tensors, tmp_path)
    shared = torch.ones(4)
    with pytest.raises(RuntimeError):  # two names of one memory: safetensors refuses
        save_checkpoint({"x": shared, "y": shared}, tmp_path)
    assert equal(contents(tmp_path), tensors)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_saving_over_the_file_that_the_tensors_are_mapped_from(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_checkpoint(tensors, tmp_path)
    mapped = contents(tmp_path)
    save_checkpoint({name: tensor.clone() * 2 for name, tensor in mapped.items()}, tmp_path)
    assert equal(mapped, tensors)
    save_checkpoint(mapped, tmp_path)
    assert equal(contents(tmp_path), tensors)


def test_training_does_not_write_into_the_file(tmp_path: Path) -> None:
    save_checkpoint({"w": torch.ones(4, 4)}, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model = nn.Linear(4, 4, bias=False, device="meta")
    load_weights(model, open_checkpoint(tmp_path), WeightMap("base", backbone=[Row("w", "weight")]))
    with torch.no_grad():
        model.weight.zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_of_tensors(tmp_path: Path, tensors: dict[str, Tensor], zipped: bool) -> None:
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert equal(contents(tmp_path), tensors)
    assert tuple(open_checkpoint(tmp_path).shape("a.weight")) == (6, 5)


def test_sharded_pickles(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_bin_shards(tmp_path, tensors)
    assert equal(contents(tmp_path), tensors)


def test_order_of_preference(tmp_path: Path) -> None:
    write_bin_shards(tmp_path, {"x": torch.tensor(4.0)})
    assert contents(tmp_path)["x"] == 4
    torch.save({"x": torch.tensor(3.0)}, tmp_path / "pytorch_model.bin")
    assert contents(tmp_path)["x"] == 3
    save_file({"x": torch.tensor(2.0)}, tmp_path / "shard.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "shard.safetensors"}}')
    assert contents(tmp_path)["x"] == 2
    save_file({"x": torch.tensor(1.0)}, tmp_path / "model.safetensors")
    assert contents(tmp_path)["x"] == 1


# ------------------------------------------------------------------------------------------------ what is refused


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tf_model.h5").write_bytes(b"")
    with pytest.raises(
        MissingFileError, match=r"has no weights; looked for model.safetensors.*config.json, tf_model.h5"
    ):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 60, -5])
def test_cut_off_safetensors(tmp_path: Path, tensors: dict[str, Tensor], length: int) -> None:
    save_checkpoint(tensors, tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model.safetensors \(\d+ bytes\) is damaged or cut off .*copy it again"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", [b"<!doctype html><p>Not found", b"hello", b"", b"PK\x03\x04 and no more"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_that_is_something_else(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(CheckpointError, match=f"{name} .*is damaged or cut off"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("fraction", [0.02, 0.5, 0.95])
def test_cut_off_pickle(tmp_path: Path, zipped: bool, fraction: float) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="is damaged or cut off"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_git_lfs_pointer(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440449768\n")
    with pytest.raises(CheckpointError, match=f"{name} is a git-lfs pointer.*git lfs pull"):
        open_checkpoint(tmp_path)


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_to_run_code(tmp_path: Path, zipped: bool) -> None:
    victim = tmp_path / "ran"
    evil = {"x": torch.ones(2), "y": RunsCode(victim)}
    torch.save(evil, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"holds more than tensors: it wants to use \w+.mkdir\. .*safetensors"):
        open_checkpoint(tmp_path)
    assert not victim.exists()
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)  # the file is really dangerous
    assert victim.exists()


def test_a_pickle_of_a_whole_module(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"it wants to use torch.nn.modules.linear.Linear"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("contents", "message"),
    [([torch.ones(2)], "holds a list"), ({"x": torch.ones(2), "epoch": 3}, "'epoch' is of type int, not a tensor")],
)
def test_a_pickle_of_other_things(tmp_path: Path, contents: object, message: str) -> None:
    torch.save(contents, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_a_format_of_another_world(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors", metadata={"format": "gguf"})
    with pytest.raises(CheckpointError, match="its format is 'gguf'; known: pt, tf, flax, mlx"):
        open_checkpoint(tmp_path)


# -------------------------------------------------------------------------------------------------------- shards


@pytest.fixture
def sharded(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    save_checkpoint(tensors, tmp_path, max_shard_size=1)
    return tmp_path


def test_missing_shard(sharded: Path) -> None:
    (sharded / "model-00002-of-00004.safetensors").unlink()
    with pytest.raises(
        MissingFileError, match=r"index.json names a shard that is missing: .*has no model-00002-of-00004"
    ):
        open_checkpoint(sharded)


def test_damaged_shard(sharded: Path) -> None:
    (sharded / "model-00002-of-00004.safetensors").write_bytes(b"12345678")
    with pytest.raises(CheckpointError, match="model-00002-of-00004.safetensors .*is damaged"):
        open_checkpoint(sharded)


def test_tensor_that_its_shard_lacks(sharded: Path) -> None:
    save_file({"x": torch.ones(1)}, sharded / "model-00001-of-00004.safetensors")
    with pytest.raises(
        CheckpointError, match=r"says that a.weight is in model-00001-of-00004.safetensors, but it is not"
    ):
        open_checkpoint(sharded)


def test_tensor_that_the_index_forgets_is_not_dropped(sharded: Path, tensors: dict[str, Tensor]) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    shard = index["weight_map"]["a.weight"]
    save_file({"a.weight": tensors["a.weight"], "forgotten": torch.ones(1)}, sharded / shard)
    assert equal(contents(sharded), tensors | {"forgotten": torch.ones(1)})


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/secret.safetensors", 3, "sub/x.safetensors"])
def test_shard_outside_of_the_folder(tmp_path: Path, shard: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(CheckpointError, match="as a shard, which is no name of a file beside it"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "has no weight_map"), ('{"weight_map": []}', "has no weight_map"), ("{", "not valid JSON: .*line 1")],
)
def test_broken_index(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)
