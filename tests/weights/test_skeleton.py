"""A model that waits for its weights costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from weights.toys import LanguageModel

from minitransformer.weights import without_memory


def test_parameters_have_shapes_and_no_memory() -> None:
    state = torch.get_rng_state()
    with without_memory():
        model, other = LanguageModel(), nn.Conv1d(2, 3, 1)
    assert all(parameter.is_meta for module in (model, other) for parameter in module.parameters())
    assert model.head.weight is model.backbone.word.weight and model.head.weight.shape == (7, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert not nn.Embedding(2, 2).weight.is_meta  # outside again


LOAD = """
import sys
from weights.toys import LanguageModel, Memory, TOY, saved
from minitransformer.weights import load_weights, without_memory
with without_memory():
    model = LanguageModel()
load_weights(model, Memory(saved(LanguageModel())), TOY)
print(*sorted({"torch._dynamo", "torch._inductor", "sympy", "transformers"} & sys.modules.keys()))
"""


def test_loading_imports_no_compiler() -> None:
    """PyTorch would import its own for some operations without memory: hundreds of modules, more than a second."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
