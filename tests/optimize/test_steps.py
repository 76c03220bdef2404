"""Compiled steps of generation, against the readable model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_folders import bart, gpt2

from minitransformer.optimize import TOLERANCES
from minitransformer.optimize.products import has_int8, has_packing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (has_packing() and has_int8()), reason="this PyTorch has no such kernels"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]


def compiled(folder: Path, is_seq2seq: bool) -> dict[str, Any]:
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, str(script), str(folder), str(int(is_seq2seq))], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_decoder(tmp_path):
    result = compiled(gpt2(tmp_path, n_layer=3, n_positions=128), is_seq2seq=False)
    assert result["equal"]
    assert (result["graphs"], result["breaks"]) == (2, 0), "one graph for all blocks and lengths, one for the scores"
    for dtype, distances in result["distances"].items():
        for name, distance in distances.items():
            assert distance <= TOLERANCES[dtype], (dtype, name)


def test_a_decoder_that_reads_a_source(tmp_path):
    result = compiled(bart(tmp_path, decoder_layers=3), is_seq2seq=True)
    assert result["equal"]
    assert (result["graphs"], result["breaks"]) == (2, 0), "one graph for all blocks and lengths, one for the scores"
