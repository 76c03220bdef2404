"""What can be verified of forward passes: operations, outputs, loss, gradients, cache, padding, batches, generation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from minitransformer.layers import DecoderCache
from minitransformer.parity.divergence import divergence
from minitransformer.parity.operations import model_tensors, operations
from minitransformer.parity.recording import record
from minitransformer.parity.twins import running
from minitransformer.parity.verification.records import FAILED, LEFT_OUT, PASSED, Stage
from minitransformer.parity.verification.subject import LENGTHS, TOLERANCE, Subject
from minitransformer.weights import export_weights

EXACT = 1e-12
"""Of an operation that is computed again from its recorded inputs."""
STEP = 1e-6
NEW = 8
"""Tokens to generate."""


def _verdict(name: str, worst: float, limit: float, what: str) -> Stage:
    state = PASSED if worst <= limit else FAILED
    return Stage(name, state, f"{what}: largest difference {worst:.1e}, allowed {limit:.0e}", {"largest": worst})


def operations_stage(subject: Subject) -> Iterator[Stage]:
    """Each operation, computed again from its recorded inputs; and beside the reference's modules."""
    inputs = subject.padded()
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        recording = record(subject.model, inputs, tensors.__setitem__)
        parameters = model_tensors(subject.model)
        table, worst = operations(subject.model, recording), 0.0
        for operation in table:
            again, x = operation.run(tensors, parameters), tensors[operation.name]
            worst = max(worst, float(((again - x).abs() / x.abs().clamp(min=1.0)).max()))
    yield _verdict("operations", worst, EXACT, f"{len(table)} computed again from their inputs in float64")
    if subject.reference is None:
        yield Stage("operations beside the reference", LEFT_OUT, subject.reference_missing)
        return
    found = divergence(subject.model, subject.reference, subject.beside(), level="operation")
    state = PASSED if found.same else FAILED
    told = f"{len(found)} tensors of transformers' modules are right" if found.same else found.verdict
    yield Stage("operations beside the reference", state, told, {"first_wrong": found.first, "cause": found.cause})


def outputs_stage(subject: Subject) -> Iterator[Stage]:
    """Hidden states, attention maps and answers, beside the reference's."""
    name = "logits" if subject.head else "hidden states"
    if subject.reference is None:
        yield Stage(name, LEFT_OUT, subject.reference_missing)
        return
    inputs = subject.beside()
    keep = inputs.get("attention_mask")
    rows = list(divergence(subject.model, subject.reference, inputs, keep=keep, level="output"))
    worst = max(rows, key=lambda row: row.largest)
    yield _verdict(name, worst.largest, TOLERANCE, f"{len(rows)} outputs, the furthest {worst.name}")


def learning_stage(subject: Subject) -> Iterator[Stage]:
    """Loss and gradients, beside the reference's; gradients beside differences of the loss, too."""
    model, inputs = copy.deepcopy(subject.model), subject.padded()
    yield _slope(model, inputs)
    labels = _labels(subject, inputs)
    if not labels:
        yield Stage("loss", LEFT_OUT, "the model without a head has none")
        return
    if subject.reference is None:
        yield Stage("loss", LEFT_OUT, subject.reference_missing)
        yield Stage("gradients beside the reference", LEFT_OUT, subject.reference_missing)
        return
    reference = subject.reference
    inputs = subject.beside()
    labels = _labels(subject, inputs)
    reference.zero_grad()
    losses = []
    for one in (model, reference):
        with running(one):
            loss = one(**inputs, **labels).loss
            loss.backward()
        losses.append(float(loss.detach()))
    limit = 1e-6 if subject.model.config.model_type == "electra" else 1e-9  # it computes this one in float32
    yield _verdict("loss", abs(losses[0] - losses[1]), limit, f"{losses[0]:.6f} here, {losses[1]:.6f} there")
    for parameter in model.parameters():  # gradients go through the weight map like the weights themselves
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    mine, worst, compared = export_weights(model, model.WEIGHTS), 0.0, 0
    for own, parameter in reference.named_parameters(remove_duplicate=False):
        if own in mine and parameter.requires_grad:
            theirs = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            worst, compared = max(worst, float((mine[own] - theirs).abs().max())), compared + 1
    reference.zero_grad()
    yield _verdict("gradients beside the reference", worst, limit, f"of {compared} tensors")


def _slope(model: Any, inputs: dict[str, Tensor]) -> Stage:
    """The derivative along one direction, beside a difference of two passes."""
    mask = inputs.get("attention_mask")

    def loss() -> Tensor:
        x: Tensor = model(**inputs)[0]
        weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
        if mask is not None and x.shape[:2] == mask.shape:  # at padding each kernel gives something else
            x, weights = x[mask.bool()], weights[mask.bool()]
        return (x * weights).mean()

    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss(), parameters, allow_unused=True)
    generator = torch.Generator().manual_seed(0)
    ways = [torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().std(correction=0) for p in parameters]
    parts = [float((g * w).sum()) for g, w in zip(slopes, ways, strict=True) if g is not None]
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            for p, way in zip(parameters, ways, strict=True):
                p.add_(sign * STEP * way)
            values.append(float(loss()))
            for p, way in zip(parameters, ways, strict=True):
                p.sub_(sign * STEP * way)
    measured = (values[0] - values[1]) / (2 * STEP)
    worst = abs(sum(parts) - measured) / max(sum(map(abs, parts)), 1e-6)
    return _verdict("gradients", worst, 1e-4, "beside a difference of two passes")


def _labels(subject: Subject, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    ids = inputs["input_ids"]
    batch, length = ids.shape
    classes, rows = subject.model.config.num_labels, torch.arange(batch)
    hidden = inputs.get("attention_mask", torch.ones_like(ids)) == 0
    head, known = subject.head, subject.model.forward_parameters()
    if head == "ForQuestionAnswering":
        return {"start_positions": rows % length, "end_positions": (rows + 1) % length}
    if head in ("ForSequenceClassification", "ForNextSentencePrediction"):
        one = head == "ForSequenceClassification" and classes == 1
        return {"labels": rows.double() if one else rows % (classes if head == "ForSequenceClassification" else 2)}
    if head == "ForTokenClassification":
        return {"labels": (ids % classes).masked_fill(hidden, -100)}
    if head == "ForSeq2SeqLM":
        return {"labels": subject.ids(*inputs["decoder_input_ids"].shape)}
    if head in ("ForMaskedLM", "ForCausalLM", "ForPreTraining"):
        if subject.model.config.model_type == "electra" and head == "ForPreTraining":
            return {"labels": (ids % 2).masked_fill(hidden, 0)}
        labels = {"labels": subject.ids(batch, length).masked_fill(hidden, -100)}
        orders = ("sentence_order_label", "next_sentence_label")
        return {**labels, **{name: rows % 2 for name in orders if name in known}}
    return {}


def cache_stage(subject: Subject) -> Iterator[Stage]:
    """Token by token with a cache, as in one pass."""
    model = subject.model
    if not subject.writes:
        yield Stage("cache", LEFT_OUT, "the model writes nothing")
        return
    if "past_key_values" not in model.forward_parameters():
        yield Stage("cache", LEFT_OUT, "its memory is no cache of keys and values")
        return
    target = subject.ids(2, min(6, subject.model.config.max_positions or 6))
    with torch.no_grad():
        cache, parts = DecoderCache(), []
        if subject.two_sides:
            source = {k: x[:2] for k, x in subject.padded().items() if not k.startswith("decoder")}
            whole = model(**source, decoder_input_ids=target)[0]
            encoded = model.encode(**source)
            more = {"attention_mask": source["attention_mask"], "encoder_outputs": encoded}
            for i in range(target.shape[1]):
                parts.append(model(**more, decoder_input_ids=target[:, i : i + 1], past_key_values=cache)[0])
        else:
            whole = model(input_ids=target)[0]
            for i in range(target.shape[1]):
                parts.append(model(input_ids=target[:, i : i + 1], past_key_values=cache)[0])
    worst = float((torch.cat(parts, 1) - whole).abs().max())
    yield _verdict("cache", worst, TOLERANCE, "token by token, as in one pass")


def padding_stage(subject: Subject) -> Iterator[Stage]:
    """Texts padded in a batch, as alone; on the left, as on the right."""
    if not subject.takes_mask:
        for name in ("batch = singles", "padding sides"):
            yield Stage(name, LEFT_OUT, "the architecture knows no padding")
        return
    model, inputs = subject.model, subject.padded()
    right, alone = _rows(subject, inputs), []
    for i, length in enumerate(min(n, inputs["input_ids"].shape[1]) for n in LENGTHS):
        single = {k: x[i : i + 1, :length] if not k.startswith("decoder") else x[i : i + 1] for k, x in inputs.items()}
        alone.append(_rows(subject, single)[0])
    yield _verdict("batch = singles", _furthest(right, alone), TOLERANCE, f"{len(LENGTHS)} texts of unequal length")
    left = dict(inputs)
    mask = inputs["attention_mask"]
    for i in range(len(mask)):
        shift = int((mask[i] == 0).sum())
        for key in ("input_ids", "attention_mask"):
            left[key] = left[key].clone()
            left[key][i] = inputs[key][i].roll(shift)
    worst = _furthest(right, _rows(subject, left))
    if worst <= TOLERANCE:
        yield _verdict("padding sides", worst, TOLERANCE, "left as right")
    elif subject.head in ("ForCausalLM",):
        yield _verdict("padding sides", worst, TOLERANCE, "left as right")
    elif subject.reference is None or not subject.reference_takes_mask:
        why = subject.reference_missing or "the reference knows no padding"
        yield Stage("padding sides", LEFT_OUT, f"positions of this architecture count padding, and {why}")
    elif subject.head == "ForSequenceClassification" and subject.two_sides:
        why = "the reference makes other targets of sources padded on the left"
        yield Stage("padding sides", LEFT_OUT, f"positions of this architecture count padding, and {why}")
    else:
        rows = list(divergence(model, subject.reference, left, keep=left["attention_mask"], level="output"))
        furthest = max(row.largest for row in rows)
        yield _verdict("padding sides", furthest, TOLERANCE, "padded on the left, as the reference")


def _rows(subject: Subject, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The first output of each text, less padding."""
    with torch.no_grad():
        x: Tensor = subject.model(**inputs)[0]
    mask = inputs["attention_mask"].bool()
    of_tokens = x.dim() > 1 and x.shape[:2] == mask.shape and not subject.two_sides
    return [row[seen] if of_tokens else row for row, seen in zip(x, mask, strict=True)]


def _furthest(some: list[Tensor], others: list[Tensor]) -> float:
    return max(
        float((a - b).abs().max()) if a.shape == b.shape else float("inf") for a, b in zip(some, others, strict=True)
    )


def generation_stage(subject: Subject) -> Iterator[Stage]:
    """What greedy decoding and beams write, beside the reference, and without a cache."""
    if not subject.writes:
        yield Stage("generation", LEFT_OUT, "the model writes nothing")
        return
    model, reference, config = subject.model, subject.reference, subject.model.config
    prompt = subject.ids(2, min(4, (config.max_positions or 4 + NEW) - NEW) if not subject.two_sides else 5)
    wanted = {"greedy": {}, "beams": {"num_beams": 3}}
    for name, more in wanted.items():
        options = {"max_new_tokens": NEW, "min_length": 0, "do_sample": False, **more}
        mine = model.generate(prompt, **options)
        if name == "greedy" and "past_key_values" in model.forward_parameters():
            plain = model.generate(prompt, **options, use_cache=False)
            state = PASSED if torch.equal(mine, plain) else FAILED
            yield Stage("greedy ids without a cache", state, f"{tuple(mine.shape)} ids, beside those with one")
        if reference is None or config.model_type == "fsmt":
            why = subject.reference_missing or "transformers' generate departs from its own forward pass there"
            yield Stage(f"{name} ids", LEFT_OUT, why)
            continue
        with running(reference):
            theirs = reference.generate(prompt, **options)
        state = PASSED if torch.equal(mine, theirs) else FAILED
        told = "the same as the reference's" if state == PASSED else f"{mine.tolist()} here, {theirs.tolist()} there"
        yield Stage(f"{name} ids", state, told)
