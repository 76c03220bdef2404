"""GPT and CTRL beyond their twins: generation, padding, configs, and where the reference is not followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.twins import ctrl, gpt
from models.twins.twin import padded, random_ids
from transformers.models.ctrl.modeling_ctrl import positional_encoding

from minitransformer import AutoConfig, AutoModelForCausalLM
from minitransformer.errors import ConfigError, GenerationError
from minitransformer.models.ctrl import CTRLConfig, SinglePrecisionPositions
from minitransformer.models.gpt import OpenAIGPTConfig
from minitransformer.testing import assert_same, reference_twin

FAMILIES = {  # the seeds give texts that vary
    "gpt": ("OpenAIGPTLMHeadModel", {"seed": 2, **gpt.CONFIG, "n_positions": 40, "tie_word_embeddings": False}),
    "ctrl": ("CTRLLMHeadModel", {"seed": 18, **ctrl.CONFIG, "n_positions": 40, "tie_word_embeddings": False}),
}


@pytest.fixture(scope="module", params=FAMILIES.values(), ids=FAMILIES)
def pair(request, tmp_path_factory) -> tuple[Any, Any]:
    """Ours and theirs."""
    name, config = request.param
    theirs = reference_twin(name, **config)
    folder = tmp_path_factory.mktemp(name)
    theirs.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64), theirs


def generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, capsys: Any, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        ids = model.generate(ids, attention_mask=mask, max_new_tokens=15, **options)
    capsys.readouterr()  # CTRL's reference prints
    return ids


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.2},
        {"num_beams": 3, "num_return_sequences": 2},
        {"num_beams": 4, "length_penalty": 2.0, "no_repeat_ngram_size": 2},
        {"do_sample": True, "top_k": 8},
    ],
    ids=["greedy", "penalty", "beams", "long_beams", "sampling"],
)
def test_generation_equals_the_reference(pair, options, capsys):
    ids = random_ids(2, 6)
    texts = []
    for model in pair:
        torch.manual_seed(1)
        texts.append(generate(model, ids, torch.ones_like(ids), capsys, **options))
    assert torch.equal(*texts)
    assert len(texts[0][:, 6:].unique()) > 3


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_unequal_prompts_equal_prompts_one_by_one(pair, side, options, capsys):
    ours, theirs = pair
    ids, mask = padded([5, 9, 2], side, 3)
    together = generate(ours, ids, mask, capsys, **options)[:, 9:]
    for row in range(3):
        alone = ids[row][mask[row].bool()][None]
        new = generate(ours, alone, torch.ones_like(alone), capsys, **options)[0, alone.shape[1] :]
        assert torch.equal(together[row, : len(new)], new) and bool((together[row, len(new) :] == 3).all())
        assert torch.equal(new, generate(theirs, alone, torch.ones_like(alone), capsys, **options)[0, alone.shape[1] :])


def test_the_reference_counts_padding(pair):
    """Which is why its answers change with the batch; positions that count padding give its numbers here too."""
    ours, theirs = pair
    ids, mask = padded([5, 9, 2], "left", 3)
    counted = torch.arange(9)[None].expand(3, 9)
    with torch.no_grad():
        a, b, c = ours(ids, mask).logits, theirs(ids, attention_mask=mask).logits, ours(ids, mask, position_ids=counted)
    keep = mask.bool()
    assert (a - b)[1].abs().max() < 1e-10 < 1e-2 < (a - b)[keep].abs().max()  # the longest prompt has no padding
    assert (c.logits - b)[keep].abs().max() < 1e-10


@pytest.mark.parametrize("side", ["left", "right"])
def test_compat_gives_the_answers_of_the_reference_for_padded_prompts(pair, side, capsys):
    ours, theirs = pair
    ids, mask = padded([5, 9, 2], side, 3)
    expected = generate(theirs, ids, mask, capsys)
    assert torch.equal(generate(ours, ids, mask, capsys, compat="transformers"), expected)
    assert not torch.equal(generate(ours, ids, mask, capsys), expected)
    with pytest.raises(GenerationError, match="compat must be 'transformers', not '4.57'"):
        generate(ours, ids, mask, capsys, compat="4.57")


def test_token_types_are_words(pair):
    """All zeros, as CTRL's tokenizer gives them, are not nothing: they add word 0 everywhere."""
    ours, theirs = pair
    inputs = {"input_ids": random_ids(2, 6), "token_type_ids": torch.zeros(2, 6, dtype=torch.long)}
    assert_same(ours, theirs, inputs)
    without = ours(inputs["input_ids"]).logits
    assert (ours(**inputs).logits - without).abs().max() > 1e-2
    with pytest.raises(ValueError, match="token_type_ids holds 60"):
        ours(inputs["input_ids"], token_type_ids=torch.full((2, 6), 60))


@pytest.mark.parametrize(("positions", "size"), [(20, 24), (40, 30), (3000, 1280), (7, 6), (300, 33)])
def test_ctrl_positions_have_the_bits_of_the_reference(positions, size):
    ours = SinglePrecisionPositions(positions, size).table
    assert torch.equal(ours, positional_encoding(positions, size, torch.float))


def test_texts_that_are_too_long(pair):
    ours, _ = pair
    with pytest.raises(ValueError, match="position 40 does not exist: the model has 40 positions"):
        ours(random_ids(1, 41))


@pytest.mark.parametrize("afn", ["gelu_fast", "tanh", "Gelu"])
def test_activations_that_gpt_does_not_have(afn):
    with pytest.raises(ConfigError, match=f"openai-gpt has no activation afn='{afn}'.* Known: gelu, gelu_new, relu"):
        AutoConfig.from_dict({"model_type": "openai-gpt", "afn": afn})


def test_the_published_configs_are_understood(recwarn):
    summary = {
        "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
        "summary_type": "cls_index", "summary_use_proj": True,
    }  # fmt: skip
    published_gpt = {
        "afn": "gelu", "architectures": ["OpenAIGPTLMHeadModel"], "attn_pdrop": 0.1, "embd_pdrop": 0.1,
        "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "openai-gpt", "n_ctx": 512, "n_embd": 768,
        "n_head": 12, "n_layer": 12, "n_positions": 512, "n_special": 0, "predict_special_tokens": True,
        "resid_pdrop": 0.1, "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": 40478, **summary,
    }  # fmt: skip
    published_ctrl = {
        "attn_pdrop": 0.1, "dff": 8192, "embd_pdrop": 0.1, "from_tf": False, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-06, "model_type": "ctrl", "n_ctx": 512, "n_embd": 1280, "n_head": 16, "n_layer": 48,
        "n_positions": 50000, "num_labels": 1, "output_attentions": False, "output_hidden_states": False,
        "pruned_heads": {}, "resid_pdrop": 0.1, "torchscript": False, "use_bfloat16": False, "vocab_size": 246534,
        **summary,
    }  # fmt: skip
    found = AutoConfig.from_dict(published_gpt), AutoConfig.from_dict(published_ctrl)
    assert not recwarn.list
    assert [type(config) for config in found] == [OpenAIGPTConfig, CTRLConfig]
    assert [config.max_positions for config in found] == [512, 50000]


def test_old_files_of_gpt(tmp_path):
    """The first published file: no prefix, no head, causal masks as buffers."""
    from safetensors.torch import load_file, save_file

    reference_twin("OpenAIGPTModel", **gpt.CONFIG).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    masks = {f"h.{i}.attn.bias": torch.ones(20, 20).tril()[None, None].clone() for i in range(3)}
    save_file({**tensors, **masks, "position_ids": torch.arange(20)}, path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert torch.equal(model.head.output.weight, tensors["tokens_embed.weight"])
