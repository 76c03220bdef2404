"""Traces are written, read and compared tensor by tensor: what a command needs does not grow with the trace."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

STEP = """
import json, resource, sys
import torch
from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel
from minitransformer.parity import compare_files, write_trace

step, folder = sys.argv[1:]
config = GPT2Config(vocab_size=500, hidden_size=64, num_layers=6, num_heads=8, num_positions=1024)
torch.manual_seed(0)
model = GPT2LMHeadModel.from_config(config).eval()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
ids = torch.arange(768)[None] % 499
model(input_ids=ids[:, :64])
before = peak()
if step == "trace":
    write_trace(model, {"input_ids": ids}, folder, with_model=True)
else:
    assert compare_files(folder, folder).same
print(json.dumps(peak() - before))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trace(tmp_path):
    folder = tmp_path / "trace"
    for step in ("trace", "compare"):
        run = subprocess.run(
            [sys.executable, "-c", STEP, step, str(folder)], capture_output=True, text=True, check=True
        )
        grown = json.loads(run.stdout.splitlines()[-1])
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20
        print(f"{step}: {grown:.0f} MB more, of a trace of {size:.0f} MB")
        assert size > 350 and grown < 300, (step, grown, size)
