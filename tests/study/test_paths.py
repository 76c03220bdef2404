"""Path patching against forwards written by hand, for each wiring: nothing of ours but the weights is used there."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models.twins.twin import Twin, inputs_for
from study.subjects import changed, subject, twin_named

from minitransformer import study, tap_names
from minitransformer.layers.norms import RMSNorm
from minitransformer.study.runs import logits_of

WIRINGS = ["OpenAIGPTLMHeadModel", "GPT2LMHeadModel", "BertForMaskedLM"]
SEQ2SEQ = [
    "BartForConditionalGeneration",
    "MBartForConditionalGeneration",
    "MarianMTModel",
    "T5ForConditionalGeneration",
]


def norm(module: Any, x):
    if isinstance(module, RMSNorm):
        return module.weight * x / (x.pow(2).mean(-1, keepdim=True) + module.eps).sqrt()
    x = x - x.mean(-1, keepdim=True)
    return module.weight * x / (x.pow(2).mean(-1, keepdim=True) + module.eps).sqrt() + module.bias


def heads_of(attn: Any, x, memory, visible, bias=0.0, replace=None):
    """The mixed values, (heads, query, size), written out; ``replace`` puts heads of q, k or v in."""

    def split(layer, y):
        y = F.linear(y, layer.weight, layer.bias)
        return y.reshape(len(y), attn.num_heads, -1).transpose(0, 1)

    parts = {"q": split(attn.query, x), "k": split(attn.key, memory), "v": split(attn.value, memory)}
    for name, (heads, values) in (replace or {}).items():
        for head in heads:
            parts[name] = parts[name].clone()
            parts[name][head] = values[name][head]
    scores = parts["q"] @ parts["k"].transpose(1, 2) / attn.temperature + bias
    weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
    return weights @ parts["v"], parts


def joined(attn: Any, mixed):
    y = mixed.transpose(0, 1).reshape(mixed.shape[1], -1)
    return F.linear(y, attn.output.weight, attn.output.bias)


def ffn(module: Any, x):
    if hasattr(module, "gate"):
        return module.down(module.activation(module.gate(x)) * module.linear(x))
    return module.down(module.activation(module.up(x)))


class ByHand:
    """A stack, sublayer by sublayer: what each writes can be given, and what each hears is kept."""

    def __init__(self, stack: Any, pre: bool, causal: bool, positions: Any = None) -> None:
        self.stack, self.pre, self.causal, self.positions = stack, pre, causal, positions

    def __call__(self, x, memory=None, given=None, replace=None):
        given, replace, heard, written = given or {}, replace or {}, {}, {}
        T = len(x)
        square = torch.ones(T, T, dtype=torch.bool)
        square = square.tril() if self.causal else square
        bias = 0.0
        if self.positions is not None:
            bias = self.positions(T, T)[0]
        for i, block in enumerate(self.stack.blocks):
            for name in ("attn", "cross_attn", "ffn"):
                module = getattr(block, name, None)
                if module is None:
                    continue
                key, own = f"{i}.{name}", getattr(block, f"{name}_norm")
                y = norm(own, x) if self.pre else x
                if name == "ffn":
                    out = ffn(module, replace.get(key, y))
                    heard[key] = y
                else:
                    cross = name == "cross_attn"
                    visible = torch.ones(T, len(memory), dtype=torch.bool) if cross else square
                    source = memory if cross else y
                    mixed, heard[key] = heads_of(module, y, source, visible, 0.0 if cross else bias, replace.get(key))
                    written[f"{key}.mixed"] = mixed
                    mixed = given.get(f"{key}.mixed", mixed)
                    out = joined(module, mixed)
                written[key] = out
                out = given.get(key, out)
                x = x + out if self.pre else norm(own, x + out)
        if getattr(self.stack, "final_norm", None) is not None:
            x = norm(self.stack.final_norm, x)
        return x, written, heard


def embedded(model, inputs, side=""):
    taps = study.run(model, inputs, f"*{side}embeddings.output").calls
    return next(iter(taps.values()))[0][0]


def is_pre(stack) -> bool:
    return type(stack.blocks[0]).__name__.startswith("PreNorm")


@pytest.mark.parametrize("name", WIRINGS)
@pytest.mark.parametrize("kind", ["q", "k", "v", "all", "ffn", "logits"])
@torch.no_grad()
def test_one_stack(name: str, kind: str) -> None:
    """Head 1 of block 0 tells head 2 of block 1 (or its feed-forward, or the answer)."""
    twin = twin_named(name)
    model = subject(twin)
    base, _ = inputs_for(twin, [6], "right")
    source = changed(base)
    stack = model.backbone.encoder if twin.kind == "encoder" else model.backbone.decoder
    side = "encoder" if twin.kind == "encoder" else "decoder"
    positions = getattr(model.backbone, "encoder_positions", None)
    hand = ByHand(stack, is_pre(stack), causal=twin.kind == "decoder", positions=positions)
    x, y = embedded(model, base), embedded(model, source)
    _, plain, _ = hand(x)
    _, other, _ = hand(y)

    sent = {key: value for key, value in plain.items() if not key.endswith(".attn")}  # mixed values and feed-forwards
    mixed = plain["0.attn.mixed"].clone()
    mixed[1] = other["0.attn.mixed"][1]
    sent["0.attn.mixed"] = mixed
    told, _, heard = hand(x, given=sent)
    if kind == "logits":
        expected = model.head(told[None])
        receivers: list[Any] = [f"{side}.output"]
    else:
        if kind == "ffn":
            replace = {"1.ffn": heard["1.ffn"]}
            receivers = [f"{side}.blocks.1.ffn"]
        else:
            names = ("q", "k", "v") if kind == "all" else (kind,)
            replace = {"1.attn": {n: ((2,), heard["1.attn"]) for n in names}}
            receivers = [(f"{side}.blocks.1.attn" + ("" if kind == "all" else f".{kind}"), 2)]
        after, _, _ = hand(x, replace=replace)
        expected = model.head(after[None])
    found = study.path_patch(model, base, source, [(f"{side}.blocks.0.attn", 1)], receivers)
    torch.testing.assert_close(logits_of(found), expected, atol=1e-12, rtol=1e-12)
    assert not torch.allclose(expected, logits_of(model(**base)), atol=1e-6)


@pytest.mark.parametrize("name", SEQ2SEQ)
@torch.no_grad()
def test_an_encoders_head_tells_the_decoders_cross_attention(name: str) -> None:
    twin = twin_named(name)
    model = subject(twin)
    base, _ = inputs_for(twin, [6], "right")
    source = changed(base)
    backbone = model.backbone
    sides = [getattr(backbone, f"{side}_positions", None) for side in ("encoder", "decoder")]
    encoder = ByHand(backbone.encoder, is_pre(backbone.encoder), causal=False, positions=sides[0])
    decoder = ByHand(backbone.decoder, is_pre(backbone.decoder), causal=True, positions=sides[1])
    x, y = embedded(model, base, "encoder_"), embedded(model, source, "encoder_")
    t = embedded(model, base, "decoder_")
    memory, plain, _ = encoder(x)
    _, other, _ = encoder(y)
    _, wrote, _ = decoder(t, memory)

    sent = {key: value for key, value in plain.items() if not key.endswith(".attn")}
    sent["1.attn.mixed"] = plain["1.attn.mixed"].clone()
    sent["1.attn.mixed"][2] = other["1.attn.mixed"][2]
    told, _, _ = encoder(x, given=sent)
    frozen = {key: value for key, value in wrote.items() if not key.endswith("attn")}
    _, _, heard = decoder(t, told, given=frozen)
    replace = {"1.cross_attn": {n: ((0, 1), heard["1.cross_attn"]) for n in ("q", "k", "v")}}
    after, _, _ = decoder(t, memory, replace=replace)
    receivers = [("decoder.blocks.1.cross_attn", head) for head in (0, 1)]
    found = study.path_patch(model, base, source, [("encoder.blocks.1.attn", 2)], receivers)
    torch.testing.assert_close(logits_of(found), model.head(after[None]), atol=1e-12, rtol=1e-12)
    assert not torch.allclose(logits_of(found), logits_of(model(**base)), atol=1e-6)


@pytest.mark.parametrize("name", [*WIRINGS, *SEQ2SEQ, "TransfoXLLMHeadModel", "AlbertForMaskedLM"])
@torch.no_grad()
def test_when_everybody_tells_the_end_it_is_the_source(name: str) -> None:
    twin = twin_named(name)
    model = subject(twin)
    base, _ = inputs_for(twin, [6, 3], "right")
    source = changed(base)
    writers = [n for n in tap_names(model) if n.endswith(("attn.mixed", "ffn.out", "embeddings.output"))]
    found = study.path_patch(
        model, base, source, writers, ["decoder.output" if twin.kind != "encoder" else "encoder.output"]
    )
    torch.testing.assert_close(logits_of(found), logits_of(model(**source)), atol=1e-12, rtol=1e-12)


def test_each_sender_alone_with_a_metric() -> None:
    twin = twin_named("GPT2LMHeadModel")
    model = subject(twin)
    base, _ = inputs_for(twin, [6], "right")
    source = changed(base)
    metric = study.logit(7, 9)
    senders = [("decoder.blocks.0.attn", h) for h in range(4)]
    found = study.path_patch(model, base, source, senders, ["decoder.output"], metric)
    assert found.axes == ("sender",) and found.names("sender")[2] == "decoder.blocks.0.attn head 2"
    low, high = metric(model(**base)), metric(model(**source))
    for i, sender in enumerate(senders):
        one = metric(study.path_patch(model, base, source, [sender], ["decoder.output"]))
        torch.testing.assert_close(found.values[i], ((one - low) / (high - low))[0].detach(), atol=1e-12, rtol=0)


def test_unfit_places_are_named() -> None:
    twin: Twin = twin_named("GPT2LMHeadModel")
    model = subject(twin)
    base, _ = inputs_for(twin, [6], "right")
    source = changed(base)
    with pytest.raises(study.StudyError, match="does not write to a residual stream"):
        study.path_patch(model, base, source, ["decoder.blocks.0.attn.scores"], ["decoder.output"])
    with pytest.raises(study.StudyError, match="heads 0 to 3, not 4"):
        study.path_patch(model, base, source, [("decoder.blocks.0.attn", 4)], ["decoder.output"])
    with pytest.raises(study.StudyError, match="name one"):
        study.path_patch(model, base, source, ["blocks.*.attn"], ["decoder.output"])
    with pytest.raises(study.StudyError, match="no tap"):
        study.path_patch(model, base, source, [("decoder.blocks.0.attn", 1)], ["decoder.nothing"])
    with pytest.raises(study.StudyError, match="has no heads"):
        study.path_patch(model, base, source, [("decoder.blocks.0.ffn", 1)], ["decoder.output"])
    with pytest.raises(study.StudyError, match="at least one sender"):
        study.path_patch(model, base, source, [], ["decoder.output"])
