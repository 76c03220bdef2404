"""Attribution to input tokens: completeness, numeric gradients, and captum where it is installed."""

from __future__ import annotations

import pytest
import torch
from study.subjects import ONE_OF_EACH, inputs_of, subject, twin_named

from minitransformer import study
from minitransformer.study.attribution import word_taps

CAPTUM = ["BertForMaskedLM", "GPT2LMHeadModel", "BartForConditionalGeneration"]
METRIC = study.logit(9, 11, position=-2)


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_integrated_gradients_add_up_to_the_difference(twin) -> None:
    """Within 1 % at 64 steps; through relu, with weights as large as these, it is told truly how far off they are."""
    model, inputs = subject(twin), inputs_of(twin, [7, 5])
    found = study.attribute_inputs(model, inputs, METRIC, steps=64)
    sides = ["source", "target"] if twin.kind == "encoder-decoder" else ["input"]
    assert list(found) == sides and all(result.axes == ("row", "token") for result in found.values())
    taps = word_taps(model, inputs)
    with torch.no_grad():
        before = METRIC(model(**inputs))
    after = METRIC(study.run(model, inputs, edit={tap: torch.zeros_like for tap in taps.values()}).output)
    total = sum(result.values.sum(1) for result in found.values())
    off = float(((total - (before - after)).abs() / (before - after).abs()).max())
    told = found[sides[0]].about["completeness_error"]
    assert told == pytest.approx(off, rel=1e-3, abs=1e-9)
    kinked = twin.name.startswith(("CTRL", "TransfoXL", "T5", "FSMT"))  # their activation is relu
    assert kinked or told <= 0.01


@pytest.mark.parametrize("name", CAPTUM)
def test_the_gradient_is_the_slope(name: str) -> None:
    twin = twin_named(name)
    model, inputs = subject(twin), inputs_of(twin, [5])
    tap = next(iter(word_taps(model, inputs).values()))
    found = next(iter(study.attribute_inputs(model, inputs, METRIC, "input_x_gradient").values()))
    values = []
    for factor in (1 + 1e-6, 1 - 1e-6):

        def scaled(x, factor=factor):
            x = x.clone()
            x[:, 2] *= factor
            return x

        values.append(METRIC(study.run(model, inputs, edit={tap: scaled}).output))
    torch.testing.assert_close(found.values[:, 2], (values[0] - values[1]) / 2e-6, atol=1e-6, rtol=1e-4)
    norm = next(iter(study.attribute_inputs(model, inputs, METRIC, "saliency").values()))
    assert bool((norm.values >= 0).all()) and not torch.allclose(norm.values, found.values)


@pytest.mark.parametrize("name", CAPTUM)
def test_captum_says_the_same(name: str) -> None:
    captum = pytest.importorskip("captum.attr")
    twin = twin_named(name)
    model, inputs = subject(twin), inputs_of(twin, [6])
    taps = word_taps(model, inputs)
    words = {side: study.run(model, inputs, tap)[tap] for side, tap in taps.items()}

    def forward(*vectors):
        rows = len(vectors[0])
        edit = {tap: (lambda x, v=v: v) for tap, v in zip(taps.values(), vectors, strict=True)}
        batch = {name: x.expand(rows, *x.shape[1:]) for name, x in inputs.items()}
        return METRIC(study.run(model, batch, edit=edit, grad=True).output)

    vectors = tuple(words.values())
    theirs = captum.IntegratedGradients(forward).attribute(vectors, n_steps=32, internal_batch_size=32)
    ours = study.attribute_inputs(model, inputs, METRIC, steps=32)
    for result, expected in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(result.values, expected.sum(-1), atol=1e-8, rtol=1e-6)

    width = vectors[0].shape[-1]
    theirs = captum.Occlusion(forward).attribute(vectors, sliding_window_shapes=tuple((1, width) for _ in vectors))
    ours = study.attribute_inputs(model, inputs, METRIC, "occlusion")
    for result, expected in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(result.values.float(), expected[..., 0], atol=1e-6, rtol=1e-5)  # theirs is float32


def test_a_word_may_be_the_baseline() -> None:
    twin = twin_named("BertForMaskedLM")
    model, inputs = subject(twin), inputs_of(twin, [6])
    found = study.attribute_inputs(model, inputs, METRIC, "occlusion", baseline=0)["input"]
    ids = inputs["input_ids"].clone()
    ids[:, 3] = 0
    with torch.no_grad():
        change = METRIC(model(**inputs)) - METRIC(model(**{**inputs, "input_ids": ids}))
    torch.testing.assert_close(found.values[:, 3], change, atol=1e-12, rtol=0)


def test_faithfulness_is_told_by_leaving_out_what_counts() -> None:
    twin = twin_named("BertForMaskedLM")
    model, inputs = subject(twin), inputs_of(twin, [9, 6])
    metric = study.logit(9)
    by_effect = study.attribute_inputs(model, inputs, metric, "occlusion")["input"]
    told = study.faithfulness(model, inputs, metric, by_effect, share=0.3)
    turned = study.Result(-by_effect.values, by_effect.axes)
    assert told["comprehensiveness"] > study.faithfulness(model, inputs, metric, turned, share=0.3)["comprehensiveness"]


def test_rollout_multiplies_and_flow_is_the_narrowest_place() -> None:
    layer = torch.tensor([[[0.6, 0.4], [0.1, 0.9]]], dtype=torch.float64)
    mixed = 0.5 * layer + 0.5 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(study.rollout([layer, layer]), mixed @ mixed)
    # From token 1 of two layers to token 0: by 1-1-0 at most 0.05, by 1-0-0 at most 0.05 (0.8 follows).
    torch.testing.assert_close(study.flow([layer, layer], 1), torch.tensor([0.1, 0.95 + 0.05], dtype=torch.float64))
    torch.testing.assert_close(study.flow([layer], 0), mixed[0, 0])
    with pytest.raises(study.StudyError, match="position 2"):
        study.flow([layer], 2)


def test_norms_of_attention_are_those_of_what_is_written() -> None:
    twin = twin_named("MarianMTModel")
    model, inputs = subject(twin), inputs_of(twin, [5])
    name = "backbone.decoder.blocks.1.cross_attn"
    watched = study.run(model, inputs, [f"{name}.pattern", f"{name}.v"])
    attn = model.get_submodule(name)
    pattern, v = watched[f"{name}.pattern"][0], watched[f"{name}.v"][0]
    size = v.shape[-1]
    query, key = 2, 3
    vectors = [
        pattern[h, query, key] * (attn.output.weight[:, h * size : (h + 1) * size] @ v[h, key]) for h in range(len(v))
    ]
    together = study.attention_norms(model, inputs)[name][0, query, key]
    torch.testing.assert_close(together, torch.stack(vectors).sum(0).norm().detach())
    alone = study.attention_norms(model, inputs, by_head=True)[name][0, 1, query, key]
    torch.testing.assert_close(alone, vectors[1].norm().detach())


def test_value_zeroing_is_one_block_without_one_value() -> None:
    twin = twin_named("BertForMaskedLM")
    model, inputs = subject(twin), inputs_of(twin, [5])
    found = study.value_zeroing(model, inputs)
    name = "backbone.encoder.blocks.1"

    before = study.run(model, inputs, f"{name}.output")[f"{name}.output"]
    turned = []
    for token in (2, 3):

        def zero(x, token=token):
            x = x.clone()
            x[:, :, token] = 0
            return x

        after = study.run(model, inputs, f"{name}.output", edit={f"{name}.attn.v": zero})[f"{name}.output"]
        turned.append(1 - torch.cosine_similarity(before, after, dim=-1)[0])
    rows = found[name][0]
    torch.testing.assert_close(rows.sum(-1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(rows[:, 2] / rows[:, 3], turned[0] / turned[1], atol=1e-9, rtol=1e-7)


def test_unfit_methods_and_metrics_are_named() -> None:
    twin = twin_named("BertForMaskedLM")
    model, inputs = subject(twin), inputs_of(twin, [4])
    with pytest.raises(study.StudyError, match="no method is called 'integrated_gradient'.*Did you mean"):
        study.attribute_inputs(model, inputs, METRIC, "integrated_gradient")
    with pytest.raises(study.StudyError, match="no gradient"):
        study.attribute_inputs(model, inputs, lambda output: output.logits[:, 0, 0].detach())
    with pytest.raises(study.StudyError, match="baseline"):
        study.attribute_inputs(model, inputs, METRIC, baseline=torch.zeros(3))
