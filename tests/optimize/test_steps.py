"""Compiled steps of generation, against the readable model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optimize.forms import FORMS, needs
from tiny_folders import bart, gpt2

from minitransformer.optimize import TOLERANCES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]


def compiled(folder: Path, is_seq2seq: bool, form: str) -> dict[str, Any]:
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, str(script), str(folder), str(int(is_seq2seq)), form], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("form", FORMS)
def test_a_decoder(tmp_path, form):
    result = compiled(gpt2(tmp_path, n_layer=3, n_positions=128), is_seq2seq=False, form=form)
    assert result["equal"] or form != "float32"
    assert (result["graphs"], result["breaks"]) == (2, 0), "one graph for all blocks and lengths, one for the scores"
    for name, distance in result["distances"].items():
        assert distance <= TOLERANCES[form], name


@needs("float32")
def test_a_decoder_that_reads_a_source(tmp_path):
    result = compiled(bart(tmp_path, decoder_layers=3), is_seq2seq=True, form="float32")
    assert result["equal"]
    assert (result["graphs"], result["breaks"]) == (2, 0), "one graph for all blocks and lengths, one for the scores"
