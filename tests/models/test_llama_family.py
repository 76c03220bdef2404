"""Llama and its descendants beyond their twins: generation, rotary frequencies, other files, caches, configs."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.twins import llama, mistral, qwen2, qwen3
from models.twins.twin import padded, random_ids
from safetensors.torch import load_file, save_file
from torch import Tensor

from minitransformer import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering
from minitransformer.errors import ConfigError
from minitransformer.inspection import cache_size
from minitransformer.layers import MultiHeadAttention, Rotary, View, rotary_frequencies
from minitransformer.layers.attention import attend
from minitransformer.layers.kernels import attend_fused
from minitransformer.models.llama import LlamaConfig, LlamaForCausalLM
from minitransformer.models.mistral import MistralConfig
from minitransformer.models.qwen2 import Qwen2Config
from minitransformer.optimize import optimized
from minitransformer.testing import reference_twin
from minitransformer.weights import Interleave

FAMILIES = {
    "llama": ("LlamaForCausalLM", llama.CONFIG | {"rope_scaling": llama.LLAMA3}),
    "mistral": ("MistralForCausalLM", mistral.CONFIG),
    "qwen2": ("Qwen2ForCausalLM", qwen2.CONFIG | qwen2.WINDOWS | {"max_window_layers": 1}),
    "qwen3": ("Qwen3ForCausalLM", qwen3.CONFIG),
}


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=FAMILIES)
def pair(request, tmp_path_factory) -> tuple[Any, Any]:
    """Ours and theirs."""
    name, config = request.param
    theirs = reference_twin(name, seed=4, **config)
    folder = tmp_path_factory.mktemp(name)
    theirs.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64), theirs


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True, "top_k": 8}, {"repetition_penalty": 1.3}],
    ids=["greedy", "beams", "sampling", "penalty"],
)
def test_generation_of_padded_prompts_equals_the_reference(pair, options):
    ids, mask = padded([5, 9, 2], "left", 3)
    texts = []
    for model in pair:
        torch.manual_seed(1)
        with torch.no_grad():
            texts.append(model.generate(ids, attention_mask=mask, max_new_tokens=15, **options))
    assert torch.equal(*texts)
    assert len(texts[0][:, 9:].unique()) > 3


def test_texts_may_be_longer_than_those_of_training():
    model = LlamaForCausalLM(LlamaConfig(**llama.CONFIG | {"max_position_embeddings": 8, "eos_token_id": None}))
    assert model.generate(random_ids(1, 6), max_new_tokens=20).shape == (1, 26)


@pytest.mark.parametrize("scaling", [None, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}], ids=["default", "llama3"])  # fmt: skip
@pytest.mark.parametrize(("size", "theta"), [(128, 500000.0), (64, 10000.0), (10, 1e6)])
def test_frequencies_have_the_bits_of_the_reference(size, theta, scaling):
    from transformers import LlamaConfig as Theirs
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    theirs = Theirs(head_dim=size, rope_theta=theta, rope_scaling=scaling, max_position_embeddings=131072)
    expected, _ = ROPE_INIT_FUNCTIONS["llama3" if scaling else "default"](theirs, "cpu")
    assert torch.equal(rotary_frequencies(size, theta, scaling), expected)
    rotary = Rotary(size, theta=theta, scaling=scaling).half().double().bfloat16()
    cos, _ = rotary.turns(torch.tensor([[1, 131071]]))
    assert torch.equal(cos[0, 0, :, : size // 2], (torch.tensor([[1.0], [131071.0]]) * expected).cos())


def test_only_distances_show():
    torch.manual_seed(0)
    q, k, rotary = torch.randn(1, 2, 6, 8).double(), torch.randn(1, 1, 6, 8).double(), Rotary(8, theta=50.0)

    def products(start: int) -> Tensor:
        a, b = rotary(q, k, View(positions=torch.arange(start, start + 6)[None]))
        return a @ b.transpose(-1, -2)

    torch.testing.assert_close(products(0), products(11), atol=1e-5, rtol=0)  # angles are in float32
    assert (products(0) - q @ k.transpose(-1, -2)).abs().max() > 0.1


@pytest.mark.parametrize("window", [1, 3, 50])
@pytest.mark.parametrize("causal", [True, False])
def test_fused_kernel_and_readable_code_agree_on_windows_and_shared_keys(window, causal):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 7, 4).double() for heads in (6, 2, 2))
    both = [
        form(q[:, :, -n:], k, v, View(causal=causal, window=window), temperature=2.0, sharing=3)
        for form in (attend, attend_fused)
        for n in (7, 1)
    ]
    torch.testing.assert_close(both[0], both[2], atol=1e-12, rtol=0)
    torch.testing.assert_close(both[1], both[3], atol=1e-12, rtol=0)
    alone = [attend(q[:, h : h + 1], k[:, h // 3 : h // 3 + 1], v[:, h // 3 : h // 3 + 1],
        View(causal=causal, window=window), temperature=2.0) for h in range(6)]  # fmt: skip
    torch.testing.assert_close(both[0], torch.cat(alone, dim=1), atol=1e-12, rtol=0)


def test_heads_must_divide():
    with pytest.raises(ValueError, match="num_heads 4 is not a multiple of num_kv_heads 3"):
        MultiHeadAttention(16, 4, num_kv_heads=3)


def test_a_file_of_a_language_model_gives_the_backbone_of_an_answering_one_and_back(tmp_path):
    theirs = reference_twin("Qwen2ForCausalLM", **qwen2.CONFIG)
    theirs.save_pretrained(tmp_path / "lm")
    with pytest.warns(UserWarning, match="2 weights of Qwen2ForQuestionAnswering are not in"):
        answering = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "lm", dtype=torch.float64)
    answering.save_pretrained(tmp_path / "qa")
    assert all(
        name.startswith(("transformer.", "qa_outputs.")) for name in load_file(tmp_path / "qa/model.safetensors")
    )
    ids = random_ids(2, 6)
    back = AutoModel.from_pretrained(tmp_path / "qa", dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(back(ids).last_hidden_state, expected, atol=1e-10, rtol=0)


def test_old_files_hold_frequencies(tmp_path):
    reference_twin("LlamaForCausalLM", **llama.CONFIG).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    more = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(3) for i in range(3)}
    save_file({**load_file(path), **more, "model.rotary_emb.inv_freq": torch.ones(3)}, path)
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_the_cache_holds_the_heads_of_keys_alone():
    model = LlamaForCausalLM(LlamaConfig(**llama.CONFIG)).eval()
    from minitransformer.layers import DecoderCache

    cache = DecoderCache()
    model(random_ids(1, 5), past_key_values=cache)
    held = sum(block.self_attn.keys.numel() + block.self_attn.values.numel() for block in (cache[i] for i in range(3)))
    assert cache[0].self_attn.keys.shape == (1, 2, 5, 6)
    assert cache_size(model).startswith(f"Cache: {4 * held // 5:,} bytes per token in float32, {2 * held // 5:,} in b")
    assert cache_size(torch.nn.Linear(2, 2)) == ""


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "modernbert"])
def test_the_fast_form_is_near(name):
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 160}
    heads = {} if name == "modernbert" else {"num_key_value_heads": 2, "head_dim": 32}
    more = {"mistral": {"sliding_window": 4}, "modernbert": {"local_attention": 4}}.get(name, {})
    special = {"pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2}
    special |= {"sep_token_id": 2} if name == "modernbert" else {}
    config = AutoConfig.for_model(name, num_attention_heads=4, **sizes, **heads, **more, **special)
    model = AutoModel.from_config(config).eval()
    ids, mask = padded([9, 5], "right", 3)
    with torch.no_grad():
        right, fast = (m(ids, attention_mask=mask).last_hidden_state[mask.bool()] for m in (model, optimized(model)))
    assert (right - fast).norm() <= 1e-5 * right.norm()


# ------------------------------------------------------------------------------------------------- llama2.c


def llama2c(path: Path, tied: bool) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Random numbers in the layout of stories260K.bin, smaller; and the same by name."""
    sizes = {"dim": 24, "hidden": 40, "layers": 2, "heads": 4, "kv": 2, "vocab": 30, "length": 16}
    D, F, L, H, G, V, T = sizes.values()
    K, rng = D // H, np.random.default_rng(0)
    shapes = {"words": (V, D), "norm1": (L, D), "q": (L, D, D), "k": (L, G * K, D), "v": (L, G * K, D), "o": (L, D, D),
        "norm2": (L, D), "w1": (L, F, D), "w2": (L, D, F), "w3": (L, F, D), "norm": (D,), "cos": (T, K // 2),
        "sin": (T, K // 2), **({} if tied else {"classes": (V, D)})}  # fmt: skip
    made = {name: rng.normal(0, 0.3, shape).astype("<f4") for name, shape in shapes.items()}
    header = np.array([D, F, L, H, G, V if tied else -V, T], "<i4")
    path.write_bytes(header.tobytes() + b"".join(x.tobytes() for x in made.values()))
    return made, sizes


def run(weights: dict[str, np.ndarray], sizes: dict[str, int], ids: list[int]) -> np.ndarray:
    """The logits, as run.c computes them: pairs side by side."""
    w = {name: x.astype(np.float64) for name, x in weights.items()}
    H, G, K, T = sizes["heads"], sizes["kv"], sizes["dim"] // sizes["heads"], len(ids)

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight

    def turned(x: np.ndarray) -> np.ndarray:
        out = x.copy()
        for place in range(T):
            for i in range(0, K, 2):
                angle = place * 10000.0 ** (-i / K)
                a, b = x[place, :, i], x[place, :, i + 1]
                out[place, :, i] = a * math.cos(angle) - b * math.sin(angle)
                out[place, :, i + 1] = a * math.sin(angle) + b * math.cos(angle)
        return out

    x = w["words"][ids]
    for i in range(sizes["layers"]):
        y = norm(x, w["norm1"][i])
        q, k, v = ((y @ w[n][i].T).reshape(T, heads, K) for n, heads in (("q", H), ("k", G), ("v", G)))
        q, k = turned(q), turned(k)
        mixed = np.zeros((T, H, K))
        for place in range(T):
            for h in range(H):
                scores = k[: place + 1, h // (H // G)] @ q[place, h] / math.sqrt(K)
                pattern = np.exp(scores - scores.max())
                mixed[place, h] = pattern / pattern.sum() @ v[: place + 1, h // (H // G)]
        x = x + mixed.reshape(T, -1) @ w["o"][i].T
        y = norm(x, w["norm2"][i])
        gate = y @ w["w1"][i].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w["w3"][i].T)) @ w["w2"][i].T
    return norm(x, w["norm"]) @ w.get("classes", w["words"]).T


@pytest.mark.parametrize("tied", [True, False])
def test_a_file_of_llama2c_gives_its_numbers(tied, tmp_path):
    path = Path(__file__).parents[2] / "examples" / "llama2c.py"
    spec = importlib.util.spec_from_file_location("llama2c", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    weights, sizes = llama2c(tmp_path / "tiny.bin", tied)
    model, ids = example.read(tmp_path / "tiny.bin", torch.float64), [5, 1, 29, 7, 7, 12]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    assert np.abs(logits.numpy() - run(weights, sizes, ids)).max() < 1e-5  # angles are in float32


@pytest.mark.parametrize("shape", [(24, 7), (12,)])
def test_interleaving_goes_there_and_back(shape):
    x, op = torch.randn(shape), Interleave(6)
    (ours,) = op.apply(x)
    assert torch.equal(op.revert([ours]), x) and op.file_shape([tuple(ours.shape)]) == shape
    assert torch.equal(ours[:6], x[[0, 2, 4, 1, 3, 5]])
    with pytest.raises(ValueError, match="no heads of 6 rows"):
        op.file_shape([(13, 2)])


# ------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "longrope", "su", 3])
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3"])
def test_other_scalings_are_refused_by_name(name, kind):
    for key in ("type", "rope_type"):
        with pytest.raises(ConfigError, match=f"{name} with rope_scaling of type '?{kind}'? is not supported; supp"):
            AutoConfig.from_dict({"model_type": name, "rope_scaling": {key: kind, "factor": 2.0}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_scaling": {"rope_type": "llama3"}}, "'llama3' needs factor, a positive number, not None"),
        ({"rope_scaling": llama.LLAMA3 | {"factor": "8"}}, "needs factor, a positive number, not '8'"),
        ({"rope_scaling": llama.LLAMA3 | {"low_freq_factor": 9.0}}, "low_freq_factor below its high_freq_factor"),
        ({"num_key_value_heads": 5}, "num_attention_heads=32 is not a multiple of num_key_value_heads=5"),
        ({"head_dim": 7}, "a head is 7 wide"),
        ({"hidden_size": 100}, "hidden_size=100 is not a multiple of num_attention_heads=32"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 is not supported"),
        ({"hidden_act": "silou"}, "silou"),
        ({"rope_theta": 0.0}, "rope_theta must be from 1"),
    ],
    ids=str,
)
def test_what_a_config_may_not_say(config, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        AutoConfig.from_dict({"model_type": "llama", **config})


@pytest.mark.parametrize("config", [{"layer_types": ["full_attention"]}, {"num_hidden_layers": 1,
    "layer_types": ["chunked_attention"]}, {"num_hidden_layers": 1, "layer_types": ["sliding_attention"]},
    {"num_hidden_layers": 1, "layer_types": ["linear_attention"]}], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_kinds_of_layers_that_are_not_there(name, config):
    with pytest.raises(ConfigError, match="layer_types"):
        AutoConfig.from_dict({"model_type": name, **config})


def test_defaults_are_each_architectures_own():
    assert (LlamaConfig().num_kv_heads, MistralConfig().num_kv_heads, Qwen2Config().num_kv_heads) == (None, 8, 32)
    newer = {"rope_theta": 5e5, **llama.LLAMA3}
    config = AutoConfig.from_dict({"model_type": "llama", "rope_parameters": newer})
    assert config.theta == 5e5 and config.scaling == llama.LLAMA3
    plain = AutoConfig.from_dict(
        {"model_type": "llama", "rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}}
    )
    assert plain.theta == 7.0 and plain.rope_scaling is None
