"""Fewer instructions than this processor has: each form answers as it promises, or is refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from optimize.forms import HERE
from tiny_folders import gpt2

from minitransformer.optimize import TOLERANCES

RESTRICTIONS = {
    "everything": {},
    "ATen without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "ATen with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN with AVX512 without VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "no kernels": {"WITHOUT_KERNELS": "1"},
}
PRODUCTS = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2, "int8": 1e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpt2(tmp_path_factory.mktemp("restricted"), n_embd=64, n_layer=3)


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_each_form_stays_within_its_tolerance_or_is_refused(folder: Path, name: str) -> None:
    script = Path(__file__).with_name("restricted.py")
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | RESTRICTIONS[name])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    here, found = result["here"], result["found"]
    assert result["length"] == 11, "the model itself answers everywhere"
    assert list(found) == list(TOLERANCES)
    if name == "no kernels":
        assert here == []
    elif name == "everything":
        assert here == HERE
    elif name == "oneDNN with AVX2":
        assert here[:2] == [form for form in HERE if form.startswith("float")], "what AVX2 is enough for"
    for form, told in found.items():
        if form in here:
            assert told["distance"] <= TOLERANCES[form] and told["products"] <= PRODUCTS[form]
            assert told["same text"] or form != "float32"
        else:
            remedy = "take " + " or ".join(map(repr, here)) if here else "use the model itself"
            assert f"no kernels for the form {form!r}" in told and told.endswith(remedy)


def test_where_oneDNN_is_float32_has_its_form() -> None:
    import torch

    if torch.backends.mkldnn.is_available():
        assert "float32" in HERE
