"""Right ports raise no alarm, wrong ones are told which operation is wrong, and why."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from oracle.ports import port, traced
from oracle.subjects import small
from torch import Tensor

from minitransformer.parity import UNKNOWN, ParityError, compare
from minitransformer.parity.kinds import compute

ONE_EACH = [
    "AlbertForMaskedLM",
    "BartForConditionalGeneration",
    "BertForSequenceClassification",
    "CTRLLMHeadModel",
    "DistilBertForQuestionAnswering",
    "ElectraForPreTraining",
    "FSMTForConditionalGeneration",
    "GPT2LMHeadModel",
    "MarianMTModel",
    "MBartForSequenceClassification",
    "OpenAIGPTLMHeadModel",
    "RobertaForMaskedLM",
    "T5ForConditionalGeneration",
    "TransfoXLLMHeadModel",
]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> dict[str, Any]:
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            twin = next(twin for twin in TWINS if twin.name == name)
            model = small(twin)
            made[name] = (traced(model, inputs_for(twin, [7, 4], "right")[0], tmp_path_factory.mktemp(name)), model)
        return made[name]

    return make  # type: ignore[return-value]


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_right_port_raises_no_alarm(subjects, name, dtype):
    trace, model = subjects(name)
    found = compare(trace, port(trace, model, dtype), model)
    assert found.same and found.cause is None, found
    assert len(found.rows) == len(trace.operations)


def _norm_of_half(roles: dict[str, Tensor], constants: dict[str, Any]) -> Tensor:
    x = roles["x"]
    return torch.cat([x[..., :1], compute("norm.layer", roles, constants)[..., 1:]], -1)


FAULTS: list[tuple[str, str, Any, str]] = [
    (
        "GPT2LMHeadModel",
        "blocks.1.attn.raw_scores",
        lambda r, c: torch.einsum("bhtk,bhsk->bhts", r["q"], r["k"]),
        "the scores are not divided by sqrt(head_size)",
    ),
    (
        "GPT2LMHeadModel",
        "blocks.2.attn.raw_scores",
        lambda r, c: torch.einsum("bhtk,bhsk->bhts", r["q"], r["k"]) / math.sqrt(r["q"].shape[1] * r["q"].shape[3]),
        "the scores are divided by sqrt(hidden_size), not sqrt(head_size)",
    ),
    (
        "GPT2LMHeadModel",
        "blocks.0.ffn.hidden",
        lambda r, c: torch.nn.functional.gelu(r["x"]),
        "the activation is gelu, not gelu_new",
    ),
    ("GPT2LMHeadModel", "blocks.0.after_attn", lambda r, c: r["sublayer"], "the residual is missing"),
    (
        "GPT2LMHeadModel",
        "blocks.1.attn.out",
        lambda r, c: r["mixed"].transpose(1, 2).flatten(2) @ r["weight"] + r["bias"],
        "the weight is transposed (the checkpoint stores it as (in, out))",
    ),
    ("GPT2LMHeadModel", "decoder.final_normed", lambda r, c: r["x"], "the norm is missing"),
    (
        "BertForSequenceClassification",
        "blocks.1.attn_normed",
        lambda r, c: torch.nn.functional.layer_norm(r["x"], r["x"].shape[-1:], r["weight"], r["bias"], 1e-3),
        "eps is 0.001, not 1e-05",
    ),
    (
        "BertForSequenceClassification",
        "blocks.0.attn.q",
        lambda r, c: (r["x"] @ r["weight"].T + r["bias"]).unflatten(-1, (-1, c["heads"])).permute(0, 3, 1, 2),
        "heads are cut interleaved",
    ),
    (
        "BertForSequenceClassification",
        "blocks.0.attn.v",
        lambda r, c: (r["x"] @ r["weight"].T).unflatten(-1, (c["heads"], -1)).transpose(1, 2),
        "the bias is missing",
    ),
    (
        "BertForSequenceClassification",
        "blocks.2.attn.scores",
        lambda r, c: r["raw_scores"] + r["mask"],
        "the mask is added as 0 and 1",
    ),
    (
        "BertForSequenceClassification",
        "blocks.2.attn.scores",
        lambda r, c: r["raw_scores"],
        "the mask is missing",
    ),
    (
        "BertForSequenceClassification",
        "blocks.2.attn.pattern",
        lambda r, c: torch.softmax(r["scores"], dim=-2),
        "the softmax runs over queries, not keys",
    ),
    (
        "BertForSequenceClassification",
        "embeddings.sum",
        lambda r, c: r["words"] + r["positions"],
        "the token types are",
    ),
    (
        "BartForConditionalGeneration",
        "decoder_embeddings.positions",
        lambda r, c: r["table"][r["ids"]],
        "positions are 2 too small",
    ),
    (
        "BartForConditionalGeneration",
        "decoder.blocks.0.cross_attn.k",
        lambda r, c: (r["x"].roll(1, -1) @ r["weight"].T + r["bias"]).unflatten(-1, (c["heads"], -1)).transpose(1, 2),
        UNKNOWN,
    ),
    (
        "T5ForConditionalGeneration",
        "encoder.blocks.0.attn_normed",
        lambda r, c: torch.nn.functional.layer_norm(r["x"], r["x"].shape[-1:], r["weight"], None, c["eps"]),
        "a layer norm stands in an RMS norm's place",
    ),
    (
        "T5ForConditionalGeneration",
        "encoder.blocks.1.attn.scores",
        lambda r, c: r["raw_scores"].masked_fill(~r["mask"], -1e9),
        "the position bias is missing",
    ),
    ("T5ForConditionalGeneration", "head.logits", lambda r, c: r["x"] @ r["weight"].T, "the factor before"),
    ("CTRLLMHeadModel", "embeddings.sum", lambda r, c: r["words"] + r["positions"], "the factor sqrt(hidden_size) is"),
    (
        "CTRLLMHeadModel",
        "blocks.1.attn.scores",
        lambda r, c: r["raw_scores"].masked_fill(~(torch.ones(7, 7).tril(1).bool() & r["mask"].any(-2, True)), -1e9),
        "the causal mask is off by one",
    ),
    (
        "GPT2LMHeadModel",
        "embeddings.words",
        lambda r, c: r["table"][torch.cat([r["ids"][:, 1:], r["ids"][:, :1]], 1)],
        "the first token is missing",
    ),
    (
        "GPT2LMHeadModel",
        "embeddings.words",
        lambda r, c: r["table"][torch.cat([torch.full_like(r["ids"][:, :1], 3), r["ids"][:, :-1]], 1)],
        "BOS is added",
    ),
    (
        "BertForSequenceClassification",
        "embeddings.words",
        lambda r, c: r["table"][r["ids"].flip(-1)],
        "the tokens are in another order",
    ),
    (
        "GPT2LMHeadModel",
        "blocks.1.ffn.pre",
        lambda r, c: compute("linear", r, c).half(),
        "it is computed in float16",
    ),
    (
        "BertForSequenceClassification",
        "blocks.1.attn.pattern",
        lambda r, c: r["scores"].softmax(-1).bfloat16(),
        "it is computed in bfloat16",
    ),
    (
        "BertForSequenceClassification",
        "blocks.1.attn_normed",
        lambda r, c: compute("norm.layer", r, {"eps": 0.03}),
        "eps is 0.03, not",
    ),
    ("GPT2LMHeadModel", "blocks.1.ffn_normed", _norm_of_half, UNKNOWN),
    ("GPT2LMHeadModel", "blocks.1.ffn.hidden", lambda r, c: torch.tanh(r["x"]) * 0.7, UNKNOWN),
    ("BertForSequenceClassification", "blocks.1.attn.mixed", lambda r, c: r["pattern"] @ r["v"] * 1.01, UNKNOWN),
]


@pytest.mark.parametrize(
    ("name", "place", "change", "cause"), FAULTS, ids=lambda value: value[:40] if isinstance(value, str) else "change"
)
def test_the_first_wrong_operation_is_named_with_its_cause(subjects, name, place, change, cause):
    trace, model = subjects(name)
    (operation,) = [one.name for one in trace.operations if one.name.endswith(place)]
    found = compare(trace, port(trace, model, fault=(operation, change)), model)
    assert found.first == operation, found
    assert cause in str(found.cause), found.cause
    assert found.cause == UNKNOWN or " or " not in str(found.cause)
    later = [row for row in found.rows if row.name == trace.operations[-1].name]
    assert all(row.state == "inherits" for row in later if row.name != operation)


def test_a_head_tied_to_embeddings_that_are_not_its_own(tmp_path):
    twin = next(twin for twin in TWINS if str(twin) == "T5ForConditionalGeneration-untied")
    model = small(twin)
    trace = traced(model, inputs_for(twin, [5, 3], "right")[0], tmp_path)
    tied = model.backbone.encoder_embeddings.word.weight.detach().float()
    found = compare(trace, port(trace, model, fault=("head.logits", lambda r, c: r["x"] @ tied.T)), model)
    assert found.first == "head.logits" and "the head is tied to backbone" in str(found.cause), found.cause


def test_numbers_beyond_float16_are_told(tmp_path):
    twin = next(twin for twin in TWINS if twin.name == "GPT2LMHeadModel")
    model = small(twin)
    with torch.no_grad():
        model.backbone.decoder.blocks[1].ffn.down.weight.mul_(1e5)
    trace = traced(model, inputs_for(twin, [5], "right")[0], tmp_path)
    (name,) = [one.name for one in trace.operations if one.name.endswith("blocks.1.ffn.out")]
    assert trace.tensors[name].abs().max() > 65504
    found = compare(trace, port(trace, model, fault=(name, lambda r, c: _beyond(compute("linear", r, c)))), model)
    assert found.first == name and "beyond 65504 become infinite" in str(found.cause), found.cause


def _beyond(x: Tensor) -> Tensor:
    return x.masked_fill(x > 65504, math.inf).masked_fill(x < -65504, -math.inf)


def test_a_port_on_other_tokens_is_told_which(subjects):
    trace, model = subjects("GPT2LMHeadModel")
    right = port(trace, model)
    short = {name: x[:, 1:] if x.dim() == 3 else x for name, x in right.items() if "embeddings" in name}
    with pytest.raises(ParityError, match=r"made on 6 tokens, the trace on 7: the first token is missing, id \d+"):
        compare(trace, short, model)
