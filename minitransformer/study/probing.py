"""Probes: can a simple classifier read a property off a layer, and could it read anything off it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, labelled, run

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Weights of the L2 penalty that are tried; the validation share decides."""


def probe(
    model: nn.Module,
    batches: Sequence[Inputs],
    labels: Sequence[Tensor],
    taps: str | Sequence[str] = ("*.blocks.*.output",),
    *,
    test: Sequence[int] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> Result:
    """A linear classifier on each tap, beside the same on a control task.

    Multinomial logistic regression by L-BFGS; L2 by a fifth of the training tokens. The control task gives each word
    type a random label, drawn as often as the true ones occur (Hewitt & Liang 2019, https://arxiv.org/abs/1909.03368);
    selectivity is accuracy less control accuracy: a probe that learns the control task as well reads words, not the
    property.

    Args:
        model: in evaluation mode.
        batches: inputs.
        labels: for each batch, (batch, token) of class numbers, -100 where there is none.
        taps: patterns of taps with a vector for each token.
        test: numbers of the batches to score on; by default the last fifth.
        strengths: of the penalty, to choose from.
        seed: of the control labels.

    Returns:
        Axes tap, measure: "accuracy", "control", "selectivity", "majority" (of the commonest class).
    """
    if len(batches) != len(labels) or len(batches) < 2:
        raise StudyError(f"{len(batches)} batches and {len(labels)} tensors of labels: one for each, and at least two")
    test = list(range(len(batches) - max(1, len(batches) // 5), len(batches))) if test is None else list(test)
    held_out = {i % len(batches) for i in test}
    vectors: dict[str, dict[bool, list[Tensor]]] = {}
    classes: dict[bool, list[Tensor]] = {True: [], False: []}
    words: dict[bool, list[Tensor]] = {True: [], False: []}
    for i, (inputs, wanted) in enumerate(zip(batches, labels, strict=True)):
        ids = inputs["input_ids"]
        if wanted.shape != ids.shape:
            raise StudyError(f"batch {i}: labels {tuple(wanted.shape)} do not fit the tokens {tuple(ids.shape)}")
        kept, side = wanted != -100, i in held_out
        watched = run(model, inputs, taps)
        for ending in {name.rpartition(".")[2] for name in watched.calls}:
            for place, x in labelled(watched, ending).items():
                if x.shape[:2] != ids.shape or x.dim() != 3:
                    raise StudyError(f"{place}.{ending} has shape {tuple(x.shape)}, no vector for each token")
                vectors.setdefault(f"{place}.{ending}", {True: [], False: []})[side].append(x[kept])
        classes[side].append(wanted[kept])
        words[side].append(ids[kept])
    y, w = ({side: torch.cat(part) for side, part in sides.items()} for sides in (classes, words))
    control = control_labels(w, y[False], seed)
    majority = float((y[True] == y[False].mode().values).double().mean())
    rows = []
    for both in vectors.values():
        joined = {side: torch.cat(part) for side, part in both.items()}
        accuracy, of_control = (_score(joined, wanted, strengths) for wanted in (y, control))
        rows.append([accuracy, of_control, accuracy - of_control, majority])
    measures = ("accuracy", "control", "selectivity", "majority")
    about = {"train_tokens": len(y[False]), "test_tokens": len(y[True])}
    return Result(
        torch.tensor(rows, dtype=torch.float64),
        ("tap", "measure"),
        {"tap": tuple(vectors), "measure": measures},
        "linear probe",
        about,
    )


def control_labels(words: dict[bool, Tensor], drawn_like: Tensor, seed: int) -> dict[bool, Tensor]:
    """A random class for each word type, with the frequencies of the classes in ``drawn_like``."""
    generator = torch.Generator().manual_seed(seed)
    size = 1 + max(int(part.max()) for part in words.values())
    of_type = drawn_like.cpu()[torch.randint(len(drawn_like), (size,), generator=generator)]
    return {side: of_type.to(part.device)[part] for side, part in words.items()}


def _score(x: dict[bool, Tensor], y: dict[bool, Tensor], strengths: Sequence[float]) -> float:
    """Accuracy on the test part; the penalty is chosen on every fifth training token."""
    valid = torch.arange(len(y[False]), device=y[False].device) % 5 == 4
    mean, std = x[False].mean(0), x[False].std(0) + 1e-6
    train, test = ((x[side] - mean) / std for side in (False, True))
    classes = 1 + int(max(y[False].max(), y[True].max()))
    best: tuple[float, Any] = (-1.0, None)
    for strength in strengths:
        fitted = fit(train[~valid], y[False][~valid], classes, strength)
        right = accuracy_of(fitted, train[valid], y[False][valid])
        best = max(best, (right, fitted), key=lambda pair: pair[0])
    return accuracy_of(best[1], test, y[True])


def fit(x: Tensor, y: Tensor, classes: int, strength: float, steps: int = 60) -> tuple[Tensor, Tensor]:
    """Weights and biases of a multinomial logistic regression, (classes, hidden_size) and (classes,)."""
    x = x.detach().clone()
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, device=x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), y) + strength * weight.pow(2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def accuracy_of(fitted: tuple[Tensor, Tensor], x: Tensor, y: Tensor) -> float:
    """Share of the rows that are told right."""
    return float((F.linear(x, *fitted).argmax(-1) == y).double().mean())
