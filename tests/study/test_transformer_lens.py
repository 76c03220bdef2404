"""Beside TransformerLens 4.3, whose answers ``ask_transformer_lens.py`` kept: lens, sweeps and attributions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from study.ask_transformer_lens import ANSWERS, BASE, FOIL, SOURCE, WORD, write_model
from study.subjects import ONE_OF_EACH, inputs_of, subject

from minitransformer import AutoModelForCausalLM, study

TOLERANCE = {"atol": 1e-8, "rtol": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Any:
    folder = write_model(tmp_path_factory.mktemp("asked"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    return json.loads(Path(ANSWERS).read_text(encoding="utf-8"))


def inputs(ids: list[list[int]]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor(ids)}


def test_the_lens_is_the_same(model: Any, theirs: dict[str, Any]) -> None:
    lens = study.logit_lens(model, inputs(BASE))
    torch.testing.assert_close(lens.values, torch.tensor(theirs["logit_lens"], dtype=torch.float64), **TOLERANCE)


def test_sweeps_are_the_same(model: Any, theirs: dict[str, Any]) -> None:
    metric = study.logit(WORD, FOIL)
    heads = study.patch(model, inputs(BASE), inputs(SOURCE), metric, normalise=False)  # layer, head, position
    expected = torch.tensor(theirs["heads"], dtype=torch.float64).permute(0, 2, 1)  # theirs: layer, position, head
    torch.testing.assert_close(heads.values, expected, **TOLERANCE)
    stream = study.patch(
        model, inputs(BASE), inputs(SOURCE), metric, "blocks.*.input", ("tap", "position"), normalise=False
    )
    torch.testing.assert_close(stream.values, torch.tensor(theirs["stream"], dtype=torch.float64), **TOLERANCE)


def test_attributions_are_the_same_where_folding_moves_nothing(model: Any, theirs: dict[str, Any]) -> None:
    """They fold the final norm and centre what is written, which a difference of logits does not feel; and they count
    what the values get from biases to the block's bias, where here it is the heads': that is taken off."""
    ours = study.attribute_logits(model, inputs(BASE), WORD, FOIL)
    norm, unembedding = (
        model.backbone.decoder.final_norm,
        model.head.output.weight[WORD] - model.head.output.weight[FOIL],
    )
    name = "backbone.decoder.blocks.2.output"
    x = study.run(model, inputs(BASE), name)[name][0, -1]
    scale = (x.var(correction=0) + norm.eps).sqrt()
    found = {label: value[0] for label, value in zip(theirs["direct_labels"], theirs["direct"], strict=True)}
    for layer, block in enumerate(model.backbone.decoder.blocks):
        size, value = block.attn.head_size, block.attn.value
        of_value = value.bias + value.weight @ block.attn_norm.bias
        for head in range(4):
            place = slice(head * size, (head + 1) * size)
            written = block.attn.output.weight[:, place] @ of_value[place]
            of_bias = unembedding @ (norm.weight * (written - written.mean()) / scale)
            mine = float(ours.at(part=f"decoder.blocks.{layer}.attn head {head}")) - float(of_bias.detach())
            # 1e-6, since their folding rounds to float32 on its way: what they give does not add up nearer than that.
            assert mine == pytest.approx(found[f"L{layer}H{head}"], abs=1e-6)


def test_what_they_refuse_is_answered_here(theirs: dict[str, Any]) -> None:
    refused = {question for question, answer in theirs["refusals"].items() if answer != "answers"}
    assert refused, "they answer everything now: the table in docs/study.md is out of date"
    for twin in ONE_OF_EACH:
        own, batch = subject(twin), inputs_of(twin, [4])
        assert study.logit_lens(own, batch).values.isfinite().all()
        assert study.attribute_logits(own, batch, WORD).about["sum_error"] < 1e-10
