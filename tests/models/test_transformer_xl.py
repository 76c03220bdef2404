"""Transformer-XL beyond one segment: memories, generation over them, padding, stored numbers of the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from models.twins.transformer_xl import ATTENTION, CONFIG, VOCABULARY
from models.twins.twin import padded, random_ids

from minitransformer import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, trace
from minitransformer.errors import ConfigError, GenerationError
from minitransformer.layers import tap_names
from minitransformer.models.transformer_xl import TransfoXLConfig, TransfoXLLMHeadModel
from minitransformer.testing import assert_same, reference_twin

FIXTURES = Path(__file__).parent / "fixtures" / "transformer_xl"
VARIANTS = {**ATTENTION, **{name: VOCABULARY[name] for name in ("div_1", "one_cluster")}}


def make_pair(folder: Path, name: str = "TransfoXLLMHeadModel", **config: Any) -> tuple[Any, Any]:
    """Ours and theirs."""
    theirs = reference_twin(name, **{**CONFIG, **config})
    theirs.save_pretrained(folder)
    auto = AutoModelForCausalLM if name == "TransfoXLLMHeadModel" else AutoModel
    return auto.from_pretrained(folder, dtype=torch.float64), theirs


@pytest.fixture(scope="module", params=VARIANTS.items(), ids=lambda item: item[0] or "plain")
def pair(request, tmp_path_factory) -> tuple[Any, Any]:
    return make_pair(tmp_path_factory.mktemp("xl"), **request.param[1])


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Any, Any]:
    return make_pair(tmp_path_factory.mktemp("xl"))


# --- memory ----------------------------------------------------------------------------------------------------------


def test_segment_after_segment(pair):
    ours, theirs = pair
    mine = yours = None
    for seed, length in enumerate((5, 1, 11, 3)):  # shorter and longer than the memory
        ids = random_ids(2, length, seed=seed)
        inputs = {"input_ids": ids}
        if mine is not None:
            assert_same(ours, lambda input_ids, mems, y=yours, **asked: theirs(input_ids, mems=y, **asked),
                        {**inputs, "mems": mine})  # fmt: skip
        else:
            assert_same(ours, theirs, inputs)
        with torch.no_grad():
            mine, yours = ours(ids, mems=mine).mems, theirs(ids, mems=yours).mems
        if ours.config.mem_len:
            assert [m.shape for m in mine] == [(ours.config.mem_len, 2, 24)] * 3
        else:
            assert mine is None and yours is None


@pytest.mark.parametrize("length", [0, 3, 7, 10])
def test_a_memory_of_another_length(pair, length):
    """A caller may pass on less than a whole memory, or more."""
    ours, theirs = pair
    if ours.config.mem_len == 0:
        pytest.skip("remembers nothing")
    generator = torch.Generator().manual_seed(5)
    mems = [torch.randn(length, 2, 24, generator=generator, dtype=torch.float64) for _ in range(3)]
    assert_same(ours, theirs, {"input_ids": random_ids(2, 6), "mems": mems})


def test_memory_carries_no_gradient(plain):
    ours, _ = plain
    first = ours(random_ids(2, 5))
    assert all(not memory.requires_grad for memory in first.mems)
    ours(random_ids(2, 5, seed=1), mems=first.mems, labels=random_ids(2, 5, seed=1)).loss.backward()
    ours.zero_grad()


def test_loss_over_segments(pair):
    ours, theirs = pair
    ids = random_ids(2, 9)
    with torch.no_grad():
        mine, yours = ours(ids), theirs(ids)
        labels = random_ids(2, 9, seed=3)
        labels[1, 4:] = -100
        a = ours(ids, mems=mine.mems, labels=labels)
        b = theirs(ids, mems=yours.mems, labels=labels.clone())
    torch.testing.assert_close(a.loss, b.loss, atol=1e-12, rtol=0)
    assert a.logits is None and (a.mems is None) == (ours.config.mem_len == 0)


def test_logits_are_log_probabilities(pair):
    logits = pair[0](random_ids(2, 6)).logits
    torch.testing.assert_close(logits.logsumexp(-1), torch.zeros(2, 6, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(pair[0](random_ids(2, 6), logits_to_keep=2).logits, logits[:, -2:], atol=1e-12, rtol=0)


def test_an_empty_memory_is_attended_to(tmp_path):
    """What the reference does, and what makes mem_len part of the mathematics."""
    ours, theirs = make_pair(tmp_path)
    with trace(ours, "blocks.0.attn.pattern") as t:
        ours(random_ids(1, 4))
    pattern = t["blocks.0.attn.pattern"].detach()
    back = torch.arange(7, 7 + 4)[:, None] - torch.arange(7 + 4)  # how far each key lies behind each query
    assert torch.equal(pattern > 0, ((back >= 0) & (back < 7)).expand(1, 3, 4, 11))


@pytest.mark.parametrize(
    "mems",
    [
        [torch.zeros(7, 2, 24)] * 2,
        [torch.zeros(2, 7, 24)] * 3,
        [torch.zeros(7, 1, 24)] * 3,
        [torch.zeros(7, 2, 20)] * 3,
        [torch.zeros(7, 2, 24), torch.zeros(6, 2, 24), torch.zeros(7, 2, 24)],
        [torch.zeros(7, 24)] * 3,
        [torch.tensor(0.0)] * 3,
        [],
    ],
    ids=["layers", "axes", "batch", "width", "unequal", "no_batch", "scalars", "none"],
)
def test_a_memory_of_the_wrong_shape(plain, mems):
    with pytest.raises(
        ValueError, match=r"mems must be 3 tensors .* of shape \(memory, batch=2, hidden_size=24\), not"
    ):
        plain[0](random_ids(2, 5), mems=[memory.double() for memory in mems])


def test_a_mask_of_the_wrong_shape(plain):
    ours, _ = plain
    mems = ours(random_ids(2, 5)).mems
    with pytest.raises(ValueError, match=r"must have the shape \(2, 3\) of input_ids, not \(2, 10\)"):
        ours(random_ids(2, 3), torch.ones(2, 10), mems=mems)


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_over_segments(pair, side):
    ours, _ = pair
    segments = [padded([5, 9, 2], side, 3, seed=1), padded([4, 1, 8], side, 3, seed=2)]
    mems, batch = None, []
    for ids, mask in segments:
        out = ours(ids, mask, mems=mems)
        mems = out.mems
        batch.append(out.logits)
    for row in range(3):
        alone_mems = None
        for (ids, mask), logits in zip(segments, batch, strict=True):
            seen = mask[row].bool()
            alone = ours(ids[row][seen][None], mems=alone_mems)
            alone_mems = alone.mems
            torch.testing.assert_close(logits[row][seen], alone.logits[0], atol=1e-12, rtol=0)
        for together, separate in zip(mems or (), alone_mems or (), strict=True):
            torch.testing.assert_close(together[:, row], separate[:, 0], atol=1e-12, rtol=0)


# --- generation ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def decode(theirs: Any, ids: torch.Tensor, steps: int) -> torch.Tensor:
    """Greedy decoding with the reference, which has no generate: the prompt, then each token over the memory."""
    out = theirs(ids)
    for step in range(steps):
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, token], dim=1)
        if step < steps - 1:
            out = theirs(token, mems=out.mems) if out.mems is not None else theirs(ids)
    return ids


def test_greedy_generation_equals_a_loop_over_the_reference(pair):
    ours, theirs = pair
    ids = random_ids(3, 6, seed=4)
    found = ours.generate(ids, max_new_tokens=15, eos_token_id=None, pad_token_id=3)
    assert torch.equal(found, decode(theirs, ids, 15))
    assert len(found[:, 6:].unique()) > 1  # a text, not one word for ever


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_unequal_prompts_equal_prompts_one_by_one(pair, side, options):
    ours, _ = pair
    ids, mask = padded([5, 9, 2], side, 3)
    together = ours.generate(ids, attention_mask=mask, max_new_tokens=8, eos_token_id=2, **options)[:, 9:]
    for row in range(3):
        alone = ours.generate(ids[row][mask[row].bool()][None], max_new_tokens=8, eos_token_id=2, **options)
        new = alone[0, int(mask[row].sum()) :]
        assert torch.equal(together[row, : len(new)], new) and bool((together[row, len(new) :] == 3).all())


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 4, "num_return_sequences": 2}, {"do_sample": True, "num_return_sequences": 3}, {"num_beams": 2}],
    ids=["beams", "samples", "two_beams"],
)
def test_memory_changes_no_text(plain, options):
    """Where every token looks back equally far, to read all ids anew at every step gives the same."""
    ours, _ = plain
    ids, mask = padded([5, 9, 2], "left", 3)
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        texts.append(ours.generate(ids, attention_mask=mask, max_new_tokens=12, use_cache=use_cache, **options))
    assert torch.equal(*texts)


def test_intermediates_of_generation(plain):
    ours, _ = plain
    out = ours.generate(
        random_ids(2, 5), max_new_tokens=3, num_beams=2, eos_token_id=None, return_dict_in_generate=True,
        output_attentions=True, output_hidden_states=True, output_scores=True,
    )  # fmt: skip
    assert [layers[0].shape for layers in out.attentions] == [(4, 3, 5, 12), (4, 3, 1, 8), (4, 3, 1, 8)]
    assert out.hidden_states[1][0].shape == (4, 1, 24)


def test_what_generation_refuses(plain):
    ours, _ = plain
    ids = random_ids(1, 5)
    other = TransfoXLLMHeadModel.from_config(ours.config)
    options = {"max_new_tokens": 9, "eos_token_id": None, "assistant_confidence_threshold": 0.0}
    with pytest.raises(GenerationError, match="cannot forget .* leave assistant_model out"):
        ours.generate(ids, assistant_model=other, **options)
    with pytest.raises(GenerationError, match="no token types"):
        ours.generate(ids, token_type_ids=torch.zeros_like(ids))


# --- numbers of the reference, without the reference -----------------------------------------------------------------


def test_stored_numbers():
    """Computed once by fixtures/make_transformer_xl.py with transformers 4.57.6, in float32."""
    stored = json.loads((FIXTURES / "numbers.json").read_text())
    ours = AutoModelForCausalLM.from_pretrained(FIXTURES)
    mems = None
    for segment in stored["segments"]:
        ids = torch.tensor(segment["input_ids"])
        labels = torch.tensor(segment["labels"])
        with torch.no_grad():
            loss = ours(ids, mems=mems, labels=labels).loss
            out = ours(ids, mems=mems, output_attentions=True)
        mems = out.mems
        assert float(loss) == pytest.approx(segment["loss"], rel=1e-6)
        close = {"atol": 1e-5, "rtol": 1e-5}
        torch.testing.assert_close(out.logits, torch.tensor(segment["log_probabilities"]), **close)
        torch.testing.assert_close(mems[-1], torch.tensor(segment["last_memory"]), **close)
        torch.testing.assert_close(out.attentions[-1][:, :, -1], torch.tensor(segment["last_pattern"]), **close)
    prompt = torch.tensor(stored["prompt"])
    found = ours.generate(prompt, max_new_tokens=stored["new_tokens"], eos_token_id=None)
    assert found.tolist() == stored["greedy"]


# --- configs, new models, taps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_type": 1}, "attn_type=1 is not supported"),
        ({"sample_softmax": 5}, "sample_softmax=5 is not supported"),
        ({"cutoffs": [10, 10, 45]}, "cutoffs must rise"),
        ({"cutoffs": [10, 60]}, "cutoffs must rise from above 0 to below vocab_size 60"),
        ({"cutoffs": "10"}, "cutoffs in config.json must be list"),
        ({"div_val": 8}, "div_val=8 leaves no width"),
        ({"div_val": 0}, "div_val must be from 1 to 65536, not 0"),
        ({"tie_projs": [False, True]}, "tie_projs has 2 entries for 4 clusters"),
        ({"mem_len": 0}, "no token sees anything"),
        ({"mem_len": -1, "same_length": False}, "no token sees anything"),
        ({"d_model": 25}, "d_model must be even"),
    ],
)
def test_configs_that_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        AutoConfig.from_dict({"model_type": "transfo-xl", **CONFIG, **change})


def test_a_classifier_whose_widths_differ_is_refused():
    config = TransfoXLConfig.from_hf(CONFIG)
    with pytest.raises(ConfigError, match="needs d_embed 32 to equal d_model 24"):
        AutoModelForSequenceClassification.from_config(config)


def test_the_published_config_is_understood(recwarn):
    published = {
        "adaptive": True, "architectures": ["TransfoXLLMHeadModel"], "attn_type": 0, "clamp_len": 1000,
        "cutoffs": [20000, 40000, 200000], "d_embed": 1024, "d_head": 64, "d_inner": 4096, "d_model": 1024,
        "div_val": 4, "dropatt": 0.0, "dropout": 0.1, "eos_token_id": 0, "ext_len": 0, "init": "normal",
        "init_range": 0.01, "init_std": 0.02, "layer_norm_epsilon": 1e-05, "mem_len": 1600, "model_type": "transfo-xl",
        "n_head": 16, "n_layer": 18, "pre_lnorm": False, "proj_init_std": 0.01, "same_length": True,
        "sample_softmax": -1, "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 250}},
        "tgt_len": 128, "tie_projs": [False, True, True, True], "tie_weight": True, "untie_r": True,
        "vocab_size": 267735,
    }  # fmt: skip
    config = AutoConfig.from_dict(published)
    assert not recwarn.list
    assert config.widths == [1024, 256, 64, 16] and config.projection_is_tied == published["tie_projs"]
    assert config.clusters == [(0, 20000), (20000, 40000), (40000, 200000), (200000, 267735)]
    assert TransfoXLConfig() == TransfoXLConfig.from_hf({}) and config.max_positions is None


def test_a_new_model_knows_its_frequencies_and_learns():
    torch.manual_seed(0)
    model = TransfoXLLMHeadModel.from_config(TransfoXLConfig.from_hf(CONFIG))
    expected = 1 / 10000 ** (torch.arange(0, 24, 2) / 24)
    torch.testing.assert_close(model.backbone.decoder.distances.frequencies.data, expected)
    assert not model.backbone.decoder.distances.frequencies.requires_grad
    ids = random_ids(2, 12)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(12):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1


def test_taps_of_its_own_attention(plain):
    ours, _ = plain
    names = [name.removeprefix("backbone.decoder.blocks.1.attn.") for name in tap_names(ours, "blocks.1.attn.*")]
    assert names == ["q", "k", "v", "r", "raw_scores", "scores", "pattern", "mixed", "out"]
    ids = random_ids(2, 5)
    with trace(ours, "blocks.1.attn.*") as t:
        ours(ids)
    q, r, mixed, out = (t[f"blocks.1.attn.{name}"] for name in ("q", "r", "mixed", "out"))
    assert q.shape == mixed.shape == (2, 3, 5, 6) and r.shape == (3, 12, 6) and out.shape == (2, 5, 24)
    scores, pattern = t["blocks.1.attn.scores"], t["blocks.1.attn.pattern"]
    torch.testing.assert_close(scores.softmax(-1), pattern)
    with trace(ours, edit={"blocks.*.attn.pattern": torch.zeros_like}):
        blind = ours(ids).logits
    with trace(ours, edit={"blocks.*.attn.out": torch.zeros_like}):
        torch.testing.assert_close(ours(ids).logits, blind)
