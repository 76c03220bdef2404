"""transformers, 4.57 or 5: the same code in two environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from speed.engines import Setup, Unable
from speed.engines.torch_calls import CLASSES, TASKS, model_call
from speed.works import Work, labels, texts


def version() -> str:
    import transformers

    return transformers.__version__


def load(setup: Setup) -> Callable[[Work], Callable[[], Any]]:
    import torch
    import transformers

    torch.set_num_threads(setup.threads)
    if setup.dtype == "int8":
        raise Unable("transformers has no int8 weights for the CPU of its own")
    dtype = getattr(torch, setup.dtype)
    if setup.kind in TASKS:
        run = transformers.pipeline(TASKS[setup.kind], setup.folder, dtype=dtype, device=-1)
        return lambda work: _pipeline_call(run, work, setup.options.get("by_hand", False))
    if setup.options.get("by_hand"):
        raise Unable("only texts are sorted by hand")
    model = getattr(transformers, CLASSES[setup.kind]).from_pretrained(setup.folder, dtype=dtype).eval()
    return lambda work: model_call(model, work)


def _pipeline_call(run: Any, work: Work, by_hand: bool) -> Callable[[], Any]:
    """As its users call it; by hand, as the most careful of them do: in batches of texts of like length."""
    given = texts(work)
    options: dict[str, Any] = {"batch_size": 32 if by_hand else work["batch"]}
    if work["kind"] == "zero-shot":
        options["candidate_labels"] = labels(work)

    def plain(given: list[str] = given) -> Any:
        answers = run(given, **options)
        return [answer["scores"] for answer in answers] if work["kind"] == "zero-shot" else answers

    def sorted_by_hand() -> Any:
        order = sorted(range(len(given)), key=lambda i: -len(given[i]))
        answers = [None] * len(given)
        for i, answer in zip(order, plain([given[i] for i in order]), strict=True):
            answers[i] = answer
        return answers

    return sorted_by_hand if by_hand else plain
