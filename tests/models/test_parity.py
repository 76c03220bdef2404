"""Every head of every family against its twin in transformers: float64, eager, 1e-10 everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for, labels_for, only, padded, random_ids

import minitransformer
from minitransformer.layers import DecoderCache
from minitransformer.testing import assert_same, reference_twin


@pytest.fixture(scope="module", params=TWINS, ids=str)
def pair(request, tmp_path_factory) -> tuple[Twin, Any, Any]:
    """A twin, the reference, and ours loaded from what the reference saved."""
    twin: Twin = request.param
    folder = tmp_path_factory.mktemp(str(twin))
    reference = reference_twin(twin.name, **twin.config)
    reference.save_pretrained(folder)
    ours = getattr(minitransformer, twin.auto).from_pretrained(folder, dtype=torch.float64)
    return twin, ours, reference


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("lengths", [[7, 7], [3, 9, 1], [20], [1]], ids=str)
def test_everything_equals_the_reference(pair, lengths, side):
    twin, ours, reference = pair
    inputs, keep = inputs_for(twin, lengths, side)
    assert_same(ours, reference, inputs, keep=keep, atol=twin.atol)


@only(lambda twin: not twin.needs_target)
def test_defaults_and_given_positions(pair):
    twin, ours, reference = pair
    ids = random_ids(1, 6)
    if twin.kind == "encoder-decoder":
        ids[:, -1] = twin.config["eos_token_id"]
    assert_same(ours, reference, {"input_ids": ids}, atol=twin.atol)
    if "position_ids" in ours.forward_parameters():
        assert_same(
            ours, reference, {"input_ids": ids, "position_ids": torch.tensor([[4, 2, 0, 1, 9, 7]])}, atol=twin.atol
        )


@only(lambda twin: twin.has_head)
def test_loss_and_gradients(pair):
    twin, ours, reference = pair
    inputs, _ = inputs_for(twin, [4, 9, 6], "right")
    labels = labels_for(twin, inputs)
    if twin.head == "ForSeq2SeqLM":
        inputs.pop("decoder_input_ids")
    losses = []
    for model in (ours, reference):
        model.train()
        model.zero_grad()
        makes_targets = hasattr(reference, "prepare_decoder_input_ids_from_labels")  # ours makes them inside
        if model is reference and twin.head == "ForSeq2SeqLM" and makes_targets:
            inputs["decoder_input_ids"] = reference.prepare_decoder_input_ids_from_labels(labels["labels"].clone())
        out = model(**inputs, **labels)
        loss = out.loss if model is ours else reference_loss(twin, out, inputs, labels)
        loss.backward()
        model.eval()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1], atol=max(1e-9, twin.atol), rtol=0)
    weights = {parameter: parameter.data for parameter in ours.parameters()}
    for parameter in weights:  # gradients are carried through the weight map like the weights themselves
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    try:
        carried = minitransformer.weights.export_weights(ours, ours.WEIGHTS)
    finally:
        for parameter, weight in weights.items():
            parameter.data = weight
    compared = 0
    trained: dict[torch.nn.Parameter, list[str]] = {}  # with all its names: we may write a tied one under another
    for name, parameter in reference.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            trained.setdefault(parameter, []).append(name)
    for parameter, names in trained.items():
        gradients = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name in carried.keys() & set(names):
            difference = float((carried[name] - gradients).abs().max())
            assert difference <= max(1e-9, twin.atol), f"the gradient of {name} differs by {difference:.1e}"
        compared += bool(carried.keys() & set(names))
    assert compared == len(trained)


def reference_loss(twin, out, inputs, labels) -> torch.Tensor:
    """The reference's loss, in float64 also where it computes in float32."""
    if twin.head == "ForCausalLM" and twin.kind == "decoder":
        return F.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels["labels"][:, 1:].flatten())
    if "replaced" in twin.labels:
        counted = inputs["attention_mask"].bool()
        return F.binary_cross_entropy_with_logits(out.logits[counted], labels["labels"][counted].double())
    return out.loss


@only(lambda twin: twin.decodes)
@pytest.mark.parametrize("side", ["right", "left"])
def test_cached_decoding_equals_the_full_pass(pair, side):
    twin, ours, _ = pair
    ids, mask = padded([11, 6, 9], side, twin.pad)
    with torch.no_grad():
        if twin.kind == "encoder-decoder":
            source = {"input_ids": ids, "attention_mask": mask}
            target = random_ids(3, 11, seed=9)
            whole = ours(**source, decoder_input_ids=target)[0]
            encoded = ours.encode(**source)
            cache, parts = DecoderCache(), []
            for start, end in ((0, 4), (4, 5), (5, 6), (6, 11)):
                parts.append(
                    ours(
                        attention_mask=mask,
                        encoder_outputs=encoded,
                        decoder_input_ids=target[:, start:end],
                        past_key_values=cache,
                    )[0]
                )
            assert cache.length == 11
            torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-12, rtol=0)
            return
        whole = ours(ids, mask)[0]
        cache, parts = DecoderCache(), []
        for start, end in ((0, 4), (4, 5), (5, 6), (6, 11)):
            parts.append(ours(ids[:, start:end], mask[:, :end], past_key_values=cache)[0])
    torch.testing.assert_close(torch.cat(parts, dim=1)[mask.bool()], whole[mask.bool()], atol=1e-12, rtol=0)


@only(lambda twin: twin.head == "ForCausalLM")
def test_padding_changes_nothing_for_a_decoder(pair):
    twin, ours, _ = pair
    for side in ("left", "right"):
        ids, mask = padded([5, 9, 2], side, twin.pad)
        batch = ours(ids, mask).logits
        for row in range(3):
            alone = ours(ids[row][mask[row].bool()][None]).logits[0]
            torch.testing.assert_close(batch[row][mask[row].bool()], alone, atol=1e-12, rtol=0)


def test_fused_and_readable_kernels_agree(pair):
    twin, ours, _ = pair
    inputs, keep = inputs_for(twin, [3, 9, 1], "right")
    with torch.no_grad():
        fused, readable = ours(**inputs), ours(**inputs, output_attentions=True)
    for name in fused.keys():  # noqa: SIM118
        if isinstance(fused[name], torch.Tensor):
            a, b = fused[name], readable[name]
            if a.shape[:2] == keep.shape:
                a, b = a[keep.bool()], b[keep.bool()]
            torch.testing.assert_close(a, b, atol=1e-11, rtol=0)
