"""The ports under examples/: right as they stand, and told which operation is wrong, and why, with a planted fault."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from models.twins import TWINS
from models.twins.twin import random_ids
from oracle.subjects import small

from minitransformer.parity import UNKNOWN, compare_files
from minitransformer.parity.traces import write_trace

PORTS = Path(__file__).parents[2] / "examples" / "ports"


@pytest.fixture(scope="module")
def traces(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for name, of in (("gpt2", "GPT2LMHeadModel"), ("bert", "BertModel"), ("one", "GPT2LMHeadModel")):
        model = small(next(twin for twin in TWINS if twin.name == of)).float()
        folder = tmp_path_factory.mktemp(name)
        write_trace(model.double(), {"input_ids": random_ids(1 if name == "one" else 2, 6)}, folder, with_model=True)
        model.float().save_pretrained(folder / "model")
        made[name] = folder
    return made


FAULTS = {
    "gpt2_numpy.py": [
        ("", "", "", ""),
        ("/ np.float32(np.sqrt(hidden // heads))", "", "blocks.0.attn.scores", "not divided by sqrt(head_size)"),
        ("np.tri(tokens, dtype=bool)", "np.tri(tokens, k=1, dtype=bool)", "blocks.0.attn.scores", "off by one"),
        ("np.tri(tokens, dtype=bool)", "True", "blocks.0.attn.scores", "mask is missing"),
        (
            "np.sqrt((x**2).mean(-1, keepdims=True) + eps)",
            "x.std(-1, ddof=1, keepdims=True)",
            "attn_normed",
            UNKNOWN,
        ),
        ("reshape(batch, tokens, heads, -1).transpose(0, 2, 1, 3)", "reshape(batch, heads, tokens, -1)", "q", "tokens"),
        ("1 + np.tanh", "1.1 + np.tanh", "blocks.0.ffn.hidden", UNKNOWN),
        ("np.arange(ids.shape[1])", "np.arange(1, 1 + ids.shape[1])", "embeddings.sum", "positions are 1 too large"),
        ("x + keep(", "keep(", "blocks.0.after_attn", "residual is missing"),
        ("gelu_new(pre)", "np.maximum(pre, 0)", "hidden", "the activation is relu"),
    ],
    "bert_numpy.py": [
        ("", "", "", ""),
        ("/ np.float32(np.sqrt(hidden // heads))", "", "blocks.0.attn.out", "not divided by sqrt(head_size)"),
        ("np.sqrt(hidden // heads)", "np.sqrt(hidden)", "attn.out", "divided by sqrt(hidden_size)"),
        ("words + kinds[types] + places", "words + places", "embeddings.normed", "the token types are missing"),
        ("x + attention(x", "attention(x", "attn_normed", "residual is missing"),
        ("(1 + erf(x / 2**0.5))", "(1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))", "hidden", "is gelu_"),
        (" + weights[f\"{name}.bias\"])\n\n\ndef keep", ")\n\n\ndef keep", "attn.q", "the bias is missing"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "operation", "cause"),
    [(file, *fault) for file, faults in FAULTS.items() for fault in faults],
)
def test_a_port_and_its_faults(file, old, new, operation, cause, traces, tmp_path):
    source = (PORTS / file).read_text(encoding="utf-8")
    assert old in source
    (tmp_path / file).write_text(source.replace(old, new, 1) if old else source, encoding="utf-8")
    folder = traces[file.partition("_")[0]]
    subprocess.run([sys.executable, tmp_path / file, folder, tmp_path / "dump.npz"], check=True)
    found = compare_files(folder, tmp_path / "dump.npz")
    if not old:
        assert found.same and not found.left and len(found.rows) > 30, found
        return
    assert str(found.first).endswith(operation) and cause in str(found.cause), found.verdict


C_FAULTS = [
    ("", "", "", ""),
    ("dot / sqrt(K)", "dot", "blocks.0.attn.mixed", "not divided by sqrt(head_size)"),
    ("s <= t", "s < T", "blocks.0.attn.mixed", "mask is missing"),
    ("positions[t * D + i]", "positions[(t + 1) * D + i]", "embeddings.sum", "positions are 1 too large"),
    ("(var + eps)", "(var + 1e-5)", "attn_normed", "eps is 1e-05, not 0.0001"),
    ("w[i * n + j]", "w[n == in ? j * in + i : i * n + j]", "blocks.0.attn.out", "the weight is transposed"),
    ("x[i] += y[i]", "x[i] = y[i]", "blocks.0.after_attn", "residual is missing"),
]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(("old", "new", "operation", "cause"), C_FAULTS)
def test_a_port_in_c_and_its_faults(old, new, operation, cause, traces, tmp_path):
    source = (PORTS / "gpt2.c").read_text(encoding="utf-8")
    assert old in source
    (tmp_path / "gpt2.c").write_text(source.replace(old, new) if old else source, encoding="utf-8")
    subprocess.run(["cc", "-O1", "-o", tmp_path / "gpt2", tmp_path / "gpt2.c", "-lm"], check=True)
    (tmp_path / "dump").mkdir()
    subprocess.run([tmp_path / "gpt2", traces["one"], tmp_path / "dump"], check=True)
    found = compare_files(traces["one"], tmp_path / "dump")
    if not old:
        assert found.same and not found.left and len(found.rows) > 20, found
        return
    assert str(found.first).endswith(operation) and cause in str(found.cause), found.verdict
