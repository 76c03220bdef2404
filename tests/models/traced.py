"""Trace, export, compile and transform models, and hold what comes out against them; for ``test_traced.py``.

``python traced.py KIND CLASS...``: a process of its own, as the tests check the shapes and types in signatures at run
time, where tracers pass numbers of their own. Prints a line for each model class.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.twins import TWINS
from models.twins.twin import Twin, inputs_for, random_ids
from torch import Tensor
from torch.func import functional_call, grad, jacrev, vmap

from minitransformer.layers import DecoderCache
from minitransformer.models.auto import ARCHITECTURES, architecture

CLASSES = {c.__name__: c for kind in ARCHITECTURES for c in architecture(kind).heads.values()}
PLAIN = [twin for twin in TWINS if not twin.variant]
SCORES = ("logits", "start_logits", "prediction_logits", "last_hidden_state")


def small(twin: Twin) -> Any:
    torch.manual_seed(0)
    model_class = CLASSES[twin.name]
    return model_class.from_config(model_class.CONFIG.from_hf(twin.config)).double().eval()


def batch(twin: Twin, lengths: list[int]) -> dict[str, Tensor]:
    inputs, _ = inputs_for(twin, lengths, "right")
    inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
    if twin.kind == "encoder-decoder":
        inputs.setdefault("decoder_input_ids", random_ids(len(lengths), max(lengths), seed=2))
    return inputs


def scores(output: Any) -> Tensor:
    return next(output[name] for name in SCORES if name in output)


def equal(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


@torch.no_grad()
def trace(twin: Twin) -> None:
    model, plain, padded = small(twin), batch(twin, [9, 9, 9]), batch(twin, [3, 12])
    traced = torch.jit.trace(model, example_kwarg_inputs=plain, strict=False, check_trace=False)
    for inputs in (plain, padded):
        equal(scores(traced(**inputs)), scores(model(**inputs)))


def transform(twin: Twin) -> None:
    model, inputs = small(twin), batch(twin, [3, 9])
    parameters = dict(model.named_parameters())

    def total(parameters: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        return scores(functional_call(model, parameters, (), inputs)).pow(2).sum()

    def of_one(parameters: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        return total(parameters, {name: x[None] for name, x in inputs.items()})

    each = vmap(grad(of_one), (None, 0))(parameters, inputs)
    both = grad(total)(parameters, inputs)
    scores(model(**inputs)).pow(2).sum().backward()  # the model's own tensors are where they were
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(each[name].sum(0), parameter.grad, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(both[name], parameter.grad, atol=1e-9, rtol=1e-9)
    name = next(name for name in parameters if name.endswith("attn.output.weight"))
    jacobian = jacrev(lambda w: scores(functional_call(model, {name: w}, (), inputs))[0].flatten()[:2])(
        parameters[name]
    )
    assert jacobian.shape == (2, *parameters[name].shape) and jacobian.abs().sum() > 0


def exported_form(twin: Twin) -> tuple[Any, Any]:
    model, inputs = small(twin), batch(twin, [9, 9, 9])
    sizes = {name: {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO} for name in inputs}
    return model, torch.export.export(model, (), inputs, dynamic_shapes=sizes).module()


@torch.no_grad()
def export(twin: Twin) -> None:
    model, exported = exported_form(twin)
    for lengths in ([9, 9, 9], [3, 12]):
        equal(scores(exported(**batch(twin, lengths))), scores(model(**batch(twin, lengths))))


@torch.no_grad()
def compile(twin: Twin) -> None:
    torch._dynamo.reset()
    model = small(twin)
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    for lengths in ([9, 9, 9], [3, 12]):
        equal(scores(compiled(**batch(twin, lengths))), scores(model(**batch(twin, lengths))))


@torch.no_grad()
def decode(twin: Twin) -> None:
    torch._dynamo.reset()
    model = small(twin)
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    ids, found = random_ids(2, 8), []
    for each in (model, compiled):
        cache, named = DecoderCache(), {}
        if twin.kind == "encoder-decoder":
            named = {"encoder_outputs": model.encode(random_ids(2, 5, seed=3))}
        key = "decoder_input_ids" if named else "input_ids"
        model(**{key: ids[:, :3]}, past_key_values=cache, **named)
        steps = [each(**{key: ids[:, i : i + 1]}, past_key_values=cache, **named) for i in range(3, 8)]
        found.append(torch.cat([step.logits for step in steps], dim=1))
    equal(found[1], found[0])


@torch.no_grad()
def onnx(twin: Twin) -> None:
    import onnxruntime

    folder = Path(tempfile.mkdtemp())
    model, inputs = small(twin).float(), batch(twin, [9, 9, 9])
    sizes = {n: {0: torch.export.Dim("batch"), 1: torch.export.Dim.DYNAMIC} for n in inputs}
    torch.onnx.export(model, (), folder / "m.onnx", kwargs=inputs, dynamo=True, dynamic_shapes=sizes)
    session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
    for lengths in ([9, 9, 9], [3, 12]):
        given = batch(twin, lengths)
        found = session.run(None, {n.name: given[n.name].numpy() for n in session.get_inputs()})[0]
        torch.testing.assert_close(torch.from_numpy(found), scores(model(**given)), atol=1e-5, rtol=0)


KINDS = {"trace": trace, "transform": transform, "export": export, "compile": compile, "decode": decode, "onnx": onnx}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name in sys.argv[2:]:
        KINDS[sys.argv[1]](next(twin for twin in PLAIN if twin.name == name))
        print(name, flush=True)
