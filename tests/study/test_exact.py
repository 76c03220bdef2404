"""Identities that hold to the last bits, in float64, for every architecture and head, padded on either side."""

from __future__ import annotations

import pytest
import torch
from models.twins.twin import Twin
from study.subjects import ONE_OF_EACH, WITH_HEADS, inputs_of, subject, twin_named

from minitransformer import study
from minitransformer.study.runs import logits_of

SIDES = pytest.mark.parametrize("side", ["right", "left"])


def answer(model, inputs):
    with torch.no_grad():
        return model(**inputs)


@SIDES
@pytest.mark.variants_later
@pytest.mark.parametrize("twin", WITH_HEADS, ids=str)
def test_parts_add_up_to_every_logit(twin: Twin, side: str) -> None:
    model, inputs = subject(twin), inputs_of(twin, [3, 9, 1], side)
    shares = study.attribute_logits(model, inputs, position=None)
    output = answer(model, inputs)
    if twin.head == "ForQuestionAnswering":
        logits = torch.stack([output.start_logits, output.end_logits], dim=-1)
    else:
        logits = logits_of(output)
    total = shares.values.sum(0)
    assert total.numel() == logits.numel() and len(shares.names("part")) > 8
    torch.testing.assert_close(total.reshape(logits.shape), logits, atol=1e-10, rtol=0)


@SIDES
@pytest.mark.variants_later
@pytest.mark.parametrize("twin", WITH_HEADS, ids=str)
def test_the_last_layer_of_a_lens_is_the_answer_bit_by_bit(twin: Twin, side: str) -> None:
    model, inputs = subject(twin), inputs_of(twin, [3, 9, 1], side)
    lens, logits = study.logit_lens(model, inputs), logits_of(answer(model, inputs))
    assert torch.equal(lens.values[-1], logits)
    assert not torch.allclose(lens.values[0], logits)
    if twin.kind == "encoder-decoder":
        of_encoder = study.decoder_lens(model, inputs)
        assert torch.equal(of_encoder.values[-1], logits)
        assert not torch.allclose(of_encoder.values[0], logits)


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_a_share_is_the_same_asked_for_alone_or_among_all(twin: Twin) -> None:
    model, inputs = subject(twin), inputs_of(twin, [6, 6])
    every = study.attribute_logits(model, inputs, position=None).values  # (P, B, T, V)
    at = every.shape[2] - 2
    one = study.attribute_logits(model, inputs, 11, position=at)
    torch.testing.assert_close(one.values, every[:, :, at, 11], atol=1e-10, rtol=0)
    against = study.attribute_logits(model, inputs, 11, 5, position=at)
    torch.testing.assert_close(against.values, every[:, :, at, 11] - every[:, :, at, 5], atol=1e-10, rtol=0)


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_neurons_add_up_to_their_feed_forward(twin: Twin) -> None:
    model, inputs = subject(twin), inputs_of(twin, [6])
    coarse = study.attribute_logits(model, inputs, 9)
    fine = study.attribute_logits(model, inputs, 9, neurons=True)
    for part, share in zip(coarse.names("part"), coarse.values, strict=True):
        if part.endswith(".ffn"):
            mine = [
                i for i, name in enumerate(fine.names("part")) if name.startswith((f"{part} neuron", f"{part} bias"))
            ]
            assert len(mine) > 20
            torch.testing.assert_close(fine.values[mine].sum(), share, atol=1e-10, rtol=0)
    torch.testing.assert_close(fine.values.sum(), coarse.values.sum(), atol=1e-10, rtol=0)


def test_a_head_writes_what_its_ablation_takes_away_where_nothing_follows() -> None:
    """The last attention of a pre-norm stack writes straight to the final norm; with its scale held, it is linear."""
    model, inputs = subject(twin_named("GPT2LMHeadModel")), inputs_of(twin_named("GPT2LMHeadModel"), [7])
    shares = study.attribute_logits(model, inputs, 9)
    watched = study.run(model, inputs, ["decoder.blocks.2.after_ffn", "decoder.blocks.2.attn.mixed"])
    x, mixed = watched["backbone.decoder.blocks.2.after_ffn"][0, -1], watched["backbone.decoder.blocks.2.attn.mixed"]
    attn, norm = model.backbone.decoder.blocks[2].attn, model.backbone.decoder.final_norm
    written = attn.output.weight[:, :6] @ mixed[0, 0, -1]  # head 0 has the first 24 / 4 columns
    scale = (x.var(correction=0) + norm.eps).sqrt()
    by_hand = model.head.output.weight[9] @ (norm.weight * (written - written.mean()) / scale)
    torch.testing.assert_close(shares.at(part="decoder.blocks.2.attn head 0").values, by_hand, atol=1e-12, rtol=0)


def test_an_unfit_class_position_or_model_is_named() -> None:
    twin = twin_named("GPT2LMHeadModel")
    model, inputs = subject(twin), inputs_of(twin, [4])
    with pytest.raises(study.StudyError, match="class 60 is none of the 60"):
        study.attribute_logits(model, inputs, 60)
    with pytest.raises(study.StudyError, match="position 4 lies outside of the 4"):
        study.attribute_logits(model, inputs, 1, position=4)
    with pytest.raises(study.StudyError, match="say which token"):
        study.attribute_logits(model, inputs, None, 3)
    with pytest.raises(study.StudyError, match="has no head"):
        study.attribute_logits(model.backbone, inputs, 1)
    with pytest.raises(study.StudyError, match="no head that scores"):
        study.logit_lens(model.backbone, inputs)
    with pytest.raises(study.StudyError, match="needs an encoder and a decoder"):
        study.decoder_lens(model, inputs)
    with pytest.raises(study.StudyError, match="training mode"):
        study.logit_lens(model.train(), inputs)
    model.eval()
