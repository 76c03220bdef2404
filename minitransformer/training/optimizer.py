"""AdamW with decay for matrices only, and the learning rate at every step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from minitransformer.training.settings import Settings


def make_optimizer(named_parameters: Iterable[tuple[str, nn.Parameter]], settings: Settings) -> torch.optim.AdamW:
    """AdamW (https://arxiv.org/abs/1711.05101) over the parameters that are trained.

    Its state is made at once, not at the first step: a model that does not fit into memory fails before the training
    starts, and a checkpoint is read into tensors that are there.
    """
    optimizer = torch.optim.AdamW(
        decay_groups(named_parameters, settings.weight_decay),
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        fused=True,  # one pass over the memory; on a CPU 5 to 10 times as fast as the other two ways
    )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
    return optimizer


def decay_groups(named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, object]]:
    """Two groups: matrices and embedding tables decay; biases, and the weights of norms, do not.

    Source: transformers 4.57 ``Trainer.get_decay_parameter_names``. Frozen parameters are in neither.
    """
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            is_matrix = parameter.ndim > 1 and not name.endswith("bias")
            (decaying if is_matrix else others).append(parameter)
    groups = [(decaying, weight_decay), (others, 0.0)]
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters]


def gradient_norm(model: nn.Module) -> Tensor:
    """The length of the whole gradient, of all processes' shares together where parameters are shared out."""
    norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """The learning rate of one step: up to the peak in a straight line, then as the schedule says.

    A function of the step alone, so that there is nothing to save. The first step already learns something and so
    does the last: the line to zero starts at 1/warmup and would reach 0 one step after the end.

    Args:
        step: which one, counted from 0.
        steps: how many there are in all.
        settings: peak, warm-up and schedule.
    """
    warmup = settings.warmup_steps(steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    gone = (step - warmup) / max(1, steps - warmup)  # of the way from the peak to the end, 0 to less than 1
    shapes = {"linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2, "constant": 1.0}
    return settings.learning_rate * shapes[settings.schedule]
