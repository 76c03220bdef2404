"""Parts taken away, and what heads are worth: against edits by hand and numeric gradients."""

from __future__ import annotations

import pytest
import torch
from study.subjects import ONE_OF_EACH, changed, inputs_of, subject, twin_named

from minitransformer import study, trace
from minitransformer.study.ablation import spearman
from minitransformer.study.runs import logits_of

NAME = "GPT2LMHeadModel"


def answer(model, inputs):
    with torch.no_grad():
        return logits_of(model(**inputs))


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_a_head_is_gone_within_the_context_and_back_behind_it(twin) -> None:
    model, inputs = subject(twin), inputs_of(twin, [6, 4])
    tap = next(n for n in study.runs.tap_names(model) if n.endswith("attn.mixed"))
    before = answer(model, inputs)
    with study.ablate(model, (tap.removesuffix(".mixed"), 1)):
        without = answer(model, inputs)

    def zero(x):
        x = x.clone()
        x[:, 1] = 0
        return x

    with trace(model, edit={tap: zero}):
        by_hand = answer(model, inputs)
    assert torch.equal(without, by_hand) and not torch.allclose(without, before)
    assert torch.equal(answer(model, inputs), before)


def test_the_mean_counts_no_padding() -> None:
    twin = twin_named(NAME)
    model, inputs = subject(twin), inputs_of(twin, [6, 3], "left")
    name = "backbone.decoder.blocks.1.attn.mixed"
    mixed = study.run(model, inputs, name)[name]
    mask = inputs["attention_mask"].bool()
    mean = mixed.transpose(1, 2)[mask].mean(0)  # (H, K)

    def put(x):
        x = x.clone()
        x[:, 2] = mean[2][None, None]
        return x

    with trace(model, edit={name: put}):
        by_hand = answer(model, inputs)
    with study.ablate(model, (name, 2), "mean", reference=inputs):
        torch.testing.assert_close(answer(model, inputs), by_hand, atol=1e-12, rtol=0)


def test_resampling_puts_in_what_passes_for_the_reference() -> None:
    twin = twin_named(NAME)
    model, inputs = subject(twin), inputs_of(twin, [6])
    other = changed(inputs)
    with study.ablate(model, "decoder.output", "resample", reference=other):
        torch.testing.assert_close(answer(model, inputs), answer(model, other), atol=1e-12, rtol=0)
    with study.ablate(model, "decoder.output", "resample", reference=inputs_of(twin, [5])):
        with pytest.raises(study.StudyError, match="resample needs as many rows and tokens"):
            answer(model, inputs)


@pytest.mark.parametrize("name", [NAME, "BertForMaskedLM", "MarianMTModel", "AlbertForMaskedLM"])
def test_importance_is_the_gradient_of_a_gate_and_the_effect_of_going_without(name: str) -> None:
    twin = twin_named(name)
    model, inputs = subject(twin), inputs_of(twin, [6, 6, 6])
    taps = [n for n in study.runs.tap_names(model) if n.endswith(".attn.mixed")][-2:]
    metric = study.logit(9, 11)
    found = study.head_importance(model, inputs, metric, taps=taps)
    assert found.axes == ("tap", "head", "measure")
    for tap in taps:
        for head in (0, 2):
            values = {}
            for gate in (0.0, 1 - 1e-5, 1.0, 1 + 1e-5):

                def scale(x, gate=gate, head=head):
                    x = x.clone()
                    x[:, head] = x[:, head] * gate
                    return x

                with trace(model, edit={tap: scale}), torch.no_grad():
                    values[gate] = metric(model(**inputs))
            slope = (values[1 + 1e-5] - values[1 - 1e-5]) / 2e-5
            row = found.at(tap=tap, head=head)
            torch.testing.assert_close(row.at(measure="effect").values, (values[0.0] - values[1.0]).mean())
            torch.testing.assert_close(row.at(measure="gradient").values, slope.abs().mean(), atol=1e-7, rtol=1e-5)
    assert -1 <= found.about["spearman"] <= 1


def test_spearman_is_scipys() -> None:
    from scipy.stats import spearmanr

    a, b = torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6]), torch.tensor([2.0, 7, 1, 8, 2, 8, 1, 8])
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_unfit_ablations_are_named() -> None:
    twin = twin_named(NAME)
    model, inputs = subject(twin), inputs_of(twin, [4])
    with pytest.raises(study.StudyError, match="no way to ablate.*'mean'"):
        with study.ablate(model, "ffn.out", "means"):
            pass
    with pytest.raises(study.StudyError, match="needs reference="):
        with study.ablate(model, "ffn.out", "mean"):
            pass
    with pytest.raises(study.StudyError, match="heads 0 to 3, not"):
        with study.ablate(model, ("decoder.blocks.0.attn", 7)):
            answer(model, inputs)
    with pytest.raises(study.StudyError, match="has no heads"):
        with study.ablate(model, ("ffn.out", 0)):
            answer(model, inputs)
    with pytest.raises(study.StudyError, match="no tap"):
        with study.ablate(model, "nothing.here"):
            pass
    with pytest.raises(study.StudyError, match="must have heads"):
        study.head_importance(model, inputs, study.logit(1), taps="ffn.out")
    with pytest.raises(study.StudyError, match="no gradient"):
        study.head_importance(model, inputs, lambda output: output.logits[:, -1, 0].detach())
