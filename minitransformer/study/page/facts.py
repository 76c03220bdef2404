"""What the page tells of a model and a text, computed before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import StudyError
from minitransformer.study.anatomy import stacks
from minitransformer.study.attribution import attribute_inputs
from minitransformer.study.lenses import logit_lens, residual_stream
from minitransformer.study.logits import Written
from minitransformer.study.patching import patch
from minitransformer.study.runs import Inputs, Metric, copies, find_taps, has_taps, labelled, logit, logits_of, run

OUTPUTS = 24
"""Output words whose making is shown, at most."""
CANDIDATES = 2
"""Best words at each of them."""


Tensors = dict[str, Tensor]


@dataclass
class Map:
    """All heads of one attention."""

    told: dict[str, Any]
    weights: Tensor  # (heads, query, key)


@dataclass
class Facts:
    """Of one text."""

    inputs: Inputs
    told: dict[str, Any]
    maps: list[Map]


def gather(model: Any, tokenizer: Any, text: str, *, target: str | None, max_tokens: int) -> Facts:
    """Run the model on a text and keep what the page shows."""
    inputs = encoded(model, tokenizer, text, target)
    sides = {"input": inputs["input_ids"]}
    if "decoder_input_ids" in inputs:
        sides = {"source": inputs["input_ids"], "target": inputs["decoder_input_ids"]}
    for side, ids in sides.items():
        if ids.shape[1] > max_tokens:
            raise StudyError(f"the {side} has {ids.shape[1]} tokens, a page shows at most {max_tokens}: shorten it")
    tokens = {side: readable(tokenizer, ids[0].tolist(), side == "target") for side, ids in sides.items()}
    words = {side: word_numbers(tokenizer, names) for side, names in tokens.items()}
    maps = attention_maps(model, inputs, sides)
    told: dict[str, Any] = {"text": text, "tokens": tokens, "words": words, "streams": {}}
    for stack in stacks(model):
        side = _side(stack.name, sides)
        stream = residual_stream(model, inputs, stack)
        told["streams"][stack.name.removeprefix("backbone.")] = {
            "side": side,
            "lengths": [_rounded(x[0].norm(dim=-1)) for x in stream],
        }
    if getattr(model, "head", None) is not None and has_taps(model, "head*.logits"):
        told["lens"] = lens_words(model, tokenizer, inputs)
        told["outputs"] = outputs(model, tokenizer, inputs)
    return Facts(inputs, told, maps)


def encoded(model: Any, tokenizer: Any, text: str, target: str | None = None) -> dict[str, Tensor]:
    """The model's inputs for a text; for two stacks also what it wrote, or shall have written."""
    inputs = {
        name: x
        for name, x in dict(tokenizer([text], return_tensors="pt")).items()
        if name in ("input_ids", "attention_mask", "token_type_ids")
    }
    if len(stacks(model)) < 2 or not hasattr(model, "generate"):
        return inputs
    if target is not None:
        ids = tokenizer(text_target=[target], return_tensors="pt")["input_ids"]
        return {**inputs, "decoder_input_ids": model.shift_right(ids)}
    with torch.no_grad():
        written = model.generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=64)
    return {**inputs, "decoder_input_ids": written[:, :-1] if written.shape[1] > 1 else written}


def readable(tokenizer: Any, ids: Sequence[int], target: bool = False) -> list[str]:
    """Tokens as people read them."""
    return [str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))]


def word_numbers(tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """For each token the number of its word; a special token is a word."""
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    marked = any(token.startswith(("▁", "Ġ")) for token in tokens)
    ended = any(token.endswith("</w>") for token in tokens)
    numbers: list[int] = []
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        if marked:
            new = token.startswith(("▁", "Ġ"))
        elif ended:
            new = before.endswith("</w>")
        else:
            new = not token.startswith("##")
        new = new or token in special or before in special or not i
        numbers.append((numbers[-1] if numbers else -1) + new)
    return numbers


def attention_maps(model: Any, inputs: Inputs, sides: dict[str, Tensor]) -> list[Map]:
    """Every attention, with the sides that its rows and columns are of."""
    if not has_taps(model, "*attn.pattern"):
        return []
    maps = []
    for name, pattern in labelled(run(model, inputs, "*attn.pattern"), "pattern").items():
        side = _side(name, sides)
        kind = "cross" if "cross_attn" in name else {"source": "encoder", "target": "decoder"}.get(side, "self")
        columns = "source" if kind == "cross" else side
        weights = pattern[0][..., -sides[columns].shape[1] :]
        maps.append(
            Map({"name": name.removeprefix("backbone."), "kind": kind, "rows": side, "columns": columns}, weights)
        )
    return maps


def _side(name: str, sides: dict[str, Tensor]) -> str:
    if "target" not in sides:
        return "input"
    return "target" if any(part.startswith("decoder") for part in name.split(".")) else "source"


def _rounded(x: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in x.tolist()]


def lens_words(model: Any, tokenizer: Any, inputs: Inputs) -> list[list[list[Any]]]:
    """For each layer and token: the best class and its probability."""
    scores = logit_lens(model, inputs).values
    if scores.dim() == 3:
        scores = scores[:, :, None]
    best = scores[:, 0].softmax(-1).max(-1)  # (L, T)
    names = class_names(model, tokenizer, scores.shape[-1])
    return [
        [[names(i), round(p, 3)] for i, p in zip(ids, values, strict=True)]
        for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def class_names(model: Any, tokenizer: Any, classes: int) -> Any:
    """Class number -> what it is called: a word, or a label."""
    labels = getattr(model.config, "id2label", {}) or {}
    if classes < len(tokenizer) / 2:
        return lambda i: str(labels.get(i, i)) if len(labels) == classes else str(i)
    return lambda i: str(tokenizer.convert_ids_to_tokens([i])[0])


def outputs(model: Any, tokenizer: Any, inputs: Inputs) -> dict[str, Any]:
    """The best classes where the model answers, with the parts and the input tokens that they rest on."""
    output = run(model, inputs).output
    scores = logits_of(output)
    is_answer = hasattr(output, "start_logits")
    whole = scores.dim() == 2 and not is_answer
    if is_answer:  # a start and an end: two classes of one head
        asked = [(int(output.start_logits[0].argmax()), [0]), (int(output.end_logits[0].argmax()), [1])]
        names: Any = ("start", "end").__getitem__
    elif whole:
        asked = [(0, list(range(min(8, scores.shape[-1]))))]
        names = class_names(model, tokenizer, scores.shape[-1])
    else:
        asked = [
            (place, scores[0, place].topk(min(CANDIDATES, scores.shape[-1])).indices.tolist())
            for place in _places(tokenizer, inputs, scores)
        ]
        names = class_names(model, tokenizer, scores.shape[-1])
    told: list[dict[str, Any]] = []
    written = Written.read(model, inputs)
    parts = (*written.names, "head bias")
    for place, classes in asked:
        for one in classes:
            result = written.towards(one, place=place)
            told.append(
                {
                    "position": -1 if whole else place,
                    "class": names(one),
                    "id": one,
                    "logit": round(float(result.about["logit"]), 4),
                    "parts": _rounded(result.values.flatten()),
                }
            )
    _add_inputs(model, inputs, told, is_answer)
    return {"parts": list(parts), "words": told}


def _places(tokenizer: Any, inputs: Inputs, scores: Tensor) -> list[int]:
    """Where the page shows the making of words: at masks, else everywhere, the last ones if there are many."""
    mask = getattr(tokenizer, "mask_token_id", None)
    masks = (inputs["input_ids"][0] == mask).nonzero()[:, 0].tolist() if mask is not None else []
    if masks and "decoder_input_ids" not in inputs:
        return masks[:OUTPUTS]
    return list(range(scores.shape[1]))[-OUTPUTS:]


def _add_inputs(model: Any, inputs: Inputs, told: list[dict[str, Any]], is_answer: bool) -> None:
    """Input x gradient of each output word, as rows of one batch."""
    ids = torch.tensor([one["id"] for one in told])
    places = torch.tensor([max(0, one["position"]) for one in told])

    def answers(output: Any) -> Tensor:
        rows = torch.arange(len(told))
        return torch.stack([output.start_logits, output.end_logits], 1)[rows, ids, places]

    metric: Metric = answers if is_answer else logit(ids, position=places)
    found = attribute_inputs(model, copies(inputs, len(told)), metric, "input_x_gradient")
    for side, result in found.items():
        for one, row in zip(told, result.values, strict=True):
            one.setdefault("inputs", {})[side] = _rounded(row)


# -------------------------------------------------------------------------------------------------------- two texts


def compare(model: Any, tokenizer: Any, first: Facts, second: Facts) -> dict[str, Any]:
    """The effect of patching the first text's values into the second's run, by layer and token, and by head."""
    if getattr(model, "head", None) is None or "lens" not in first.told:
        return {"why_not": "the model has no head, so no answer to compare: only attention and stream are shown"}
    a, b = dict(first.inputs), dict(second.inputs)
    if a["input_ids"].shape != b["input_ids"].shape:
        counts = a["input_ids"].shape[1], b["input_ids"].shape[1]
        return {"why_not": f"the texts have {counts[0]} and {counts[1]} tokens; patching needs as many: exchange words"}
    a, b, place = _aligned(tokenizer, a, b)
    scores = [logits_of(run(model, one).output) for one in (a, b)]
    rows = [x[0] if x.dim() == 2 else x[0, place] for x in scores]
    token, foil = (int(row.argmax()) for row in rows)
    if token == foil:  # the same answer: the class whose logit differs most stands against it
        foil = int((rows[1] - rows[0]).index_fill(0, torch.tensor([token]), float("-inf")).argmax())
    metric = logit(token, foil, position=place)
    name = class_names(model, tokenizer, scores[0].shape[-1])
    low, high = metric(_Scores(scores[1])), metric(_Scores(scores[0]))
    if float(low) == float(high):
        return {"why_not": "both texts have the same answer, to the last bit"}
    told: dict[str, Any] = {
        "metric": f"logit({name(token)}) − logit({name(foil)})",
        "first": round(float(high), 4),
        "second": round(float(low), 4),
        "sweeps": [],
    }
    sides = dict.fromkeys(("source", "target") if len(stacks(model)) > 1 else ("input",), torch.empty(0))
    for stack in stacks(model):
        stream = patch(model, b, a, metric, f"{stack.name}.*output", ("tap", "position"))
        _add_sweep(told, stream, "residual stream", _side(stack.name, sides))
    for ending in ("attn", "cross_attn"):
        for stack in stacks(model):
            pattern = f"{stack.name}.*.{ending}.mixed"
            if has_taps(model, pattern):
                _add_sweep(
                    told, patch(model, b, a, metric, list(find_taps(model, pattern)), ("tap", "head")), ending, "head"
                )
    return told


@dataclass
class _Scores:
    logits: Tensor


def _aligned(tokenizer: Any, a: Tensors, b: Tensors) -> tuple[Tensors, Tensors, int]:
    """Both inputs with one target, and the place that is asked: the mask, the end, or where what is written parts."""
    if "decoder_input_ids" in a:
        x, y = a["decoder_input_ids"][0].tolist(), b["decoder_input_ids"][0].tolist()
        shared = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), min(len(x), len(y)))
        prefix = a["decoder_input_ids"][:, : max(1, shared)]
        return {**a, "decoder_input_ids": prefix}, {**b, "decoder_input_ids": prefix}, -1
    mask = getattr(tokenizer, "mask_token_id", None)
    found = (a["input_ids"][0] == mask).nonzero()[:, 0] if mask is not None else torch.empty(0)
    return a, b, int(found[0]) if len(found) else -1


def _add_sweep(told: dict[str, Any], result: Any, what: str, axis: str) -> None:
    labels = [name.removeprefix("backbone.") for name in result.names("tap")]
    values = [[round(value, 4) for value in row] for row in result.values.tolist()]
    told["sweeps"].append({"what": what, "axis": axis, "rows": labels, "values": values})
