"""Models can be traced, exported, compiled and transformed, and what comes out is right for other masks and lengths."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from torch import nn

from minitransformer.models.auto import ARCHITECTURES, architecture

SCRIPT = Path(__file__).with_name("traced.py")
CLASSES = {c.__name__: c for kind in ARCHITECTURES for c in architecture(kind).heads.values()}
PLAIN = [twin for twin in TWINS if not twin.variant]


def one_head_each() -> list[str]:
    """The base model of each architecture, and the first of its heads."""
    first: dict[tuple[type, bool], str] = {}
    for twin in PLAIN:
        first.setdefault((CLASSES[twin.name].CONFIG, twin.head == ""), twin.name)
    return list(first.values())


ALL = [twin.name for twin in PLAIN]
FEW = ["BertForMaskedLM", "GPT2LMHeadModel"]
DECODERS = ["GPT2LMHeadModel", "BartForConditionalGeneration"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("trace", one_head_each()),
        ("transform", one_head_each()),
        ("export", FEW),
        ("decode", DECODERS),
        pytest.param("trace", ALL, marks=pytest.mark.slow),
        pytest.param("transform", ALL, marks=pytest.mark.slow),
        pytest.param("export", ALL, marks=pytest.mark.slow),
        pytest.param("compile", ALL, marks=pytest.mark.slow),
        pytest.param("onnx", one_head_each(), marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} classes",
)
def test_what_comes_out_is_right_for_other_masks_and_lengths(kind, names):
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    run = subprocess.run([sys.executable, SCRIPT, kind, *names], capture_output=True, text=True, env={**os.environ})
    assert run.returncode == 0, f"after {run.stdout.split()[-1:]}: {run.stderr[-3000:]}"
    assert run.stdout.split() == names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dynamic_quantization_converts_every_linear_layer():
    """As of transformers' models: 6 in each of 3 blocks, 2 in the head."""
    torch.manual_seed(0)
    twin = next(twin for twin in PLAIN if twin.name == "BertForMaskedLM")
    model = CLASSES[twin.name].from_config(CLASSES[twin.name].CONFIG.from_hf(twin.config)).eval()
    inputs, _ = inputs_for(twin, [3, 9], "right")
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    kinds = [type(module) for module in quantized.modules()]
    blocks = len(model.backbone.encoder.blocks)
    assert nn.Linear not in kinds and kinds.count(torch.ao.nn.quantized.dynamic.Linear) == 6 * blocks + 2
    assert (quantized(**inputs).logits - model(**inputs).logits).abs().max() < 0.1


def test_answers_may_be_written_to():
    twin = next(twin for twin in PLAIN if twin.name == "BertForQuestionAnswering")
    inputs, _ = inputs_for(twin, [3, 9], "right")
    output = CLASSES[twin.name](CLASSES[twin.name].CONFIG.from_hf(twin.config))(**inputs)
    output.start_logits[:, 1] = -10000
    output.end_logits[:, 2] = -10000
    assert (output.end_logits[:, 1] > -10000).all() and (output.start_logits[:, 2] > -10000).all()
