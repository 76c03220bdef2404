"""One script for one process or many: the process group that torchrun describes, and the engines that use it.

Every process goes through the same steps with its share of each batch. DistributedDataParallel gives each a copy of the
model and averages gradients; FSDP2 (``fully_shard``) gives each a share of every parameter, and brings a block's
parameters together only while the block runs.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from minitransformer.models.common.recomputing import blocks_of


class ComputesLoss(Protocol):
    """What the engines need of an objective."""

    def loss(self, model: Any, batch: dict[str, Tensor], counts: Mapping[str, int]) -> Tensor: ...


def rank() -> int:
    """Number of this process, 0 in a run without torchrun. Process 0 writes logs and models."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))


def own_device() -> torch.device:
    """The accelerator of this process, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Inside, the processes that torchrun started know each other; with a single process nothing happens."""
    if world_size() == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def summed(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def agreed(loss: Tensor, should_stop: bool) -> tuple[float, bool]:
    """The sum of all processes' losses, and whether any of them wants to stop."""
    if world_size() == 1:
        return float(loss), should_stop
    total, stops = summed(torch.stack([loss.double(), torch.full_like(loss, should_stop).double()])).tolist()
    return total, stops > 0


def from_first(value: Any) -> Any:
    """What process 0 has, for all."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def wait_for_all() -> None:
    """Go on when every process is here."""
    if world_size() > 1:
        dist.barrier()


class Step(nn.Module):
    """Model and objective as one module, whose call gives the loss.

    Objectives call parts of a model (its backbone, then its head where something is to be guessed). The engines watch
    for calls of the module that they wrap; they wrap this one, so that no objective can pass them by.
    """

    def __init__(self, model: nn.Module, objective: ComputesLoss) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: dict[str, Tensor], counts: Mapping[str, int]) -> Tensor:
        """This batch's share of the loss."""
        return self.objective.loss(self.model, batch, counts)


class Engine:
    """A model's training step on all processes.

    Args:
        model: with its weights; those of process 0 count.
        objective: computes the loss.
        device: of this process.
        kind: "ddp" or "fsdp"; makes no difference to a single process.
        probe: runs the step that it is given forwards and backwards, on little data.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: ComputesLoss,
        device: torch.device,
        kind: str,
        *,
        probe: Callable[[nn.Module], None],
    ) -> None:
        self.model = model
        self.rank, self.world = rank(), world_size()
        self.step: nn.Module = Step(model, objective)
        self._empty_model: nn.Module | None = None
        if self.world > 1 and kind == "ddp":
            self.step = DistributedDataParallel(
                self.step,
                device_ids=[device] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,  # no second copy of the gradients
                find_unused_parameters=_has_unused(self.step, probe),  # looks through the graph at every step
            )
        elif self.world > 1:
            self._empty_model = _without_weights(model)
            for tensor in [*model.parameters(), *model.buffers()]:
                dist.broadcast(tensor.detach(), src=0)
            mesh = init_device_mesh(device.type, (self.world,))
            for block in blocks_of(model):
                fully_shard(block, mesh=mesh)
            fully_shard(self.step, mesh=mesh)

    def backward(
        self,
        batch: dict[str, Tensor],
        counts: Mapping[str, int],
        autocast: AbstractContextManager[Any],
        *,
        exchange: bool,
    ) -> Tensor:
        """Add the gradient of this share of the loss; give the share.

        Args:
            batch: a micro-batch.
            counts: over how many terms the mean of the whole step's loss is taken.
            autocast: context of the forward pass.
            exchange: whether copies exchange their gradients, which is enough after the last micro-batch.
        """
        with nullcontext() if exchange else self._without_exchange():
            with autocast:
                loss: Tensor = self.step(batch, counts)
            # The engines average gradients over the processes, whose shares of the loss add up.
            torch.autograd.backward(loss * self.world)
        return loss.detach()

    def _without_exchange(self) -> AbstractContextManager[None]:
        return self.step.no_sync() if isinstance(self.step, DistributedDataParallel) else nullcontext()

    def whole_model(self) -> nn.Module | None:
        """The model as a single process has it; None in all processes but the first, if parameters are shared out.

        All processes have to call it.
        """
        if self._empty_model is None:
            return self.model
        wholes: dict[int, Any] = {}
        for ours, empty in zip(self.model.parameters(), self._empty_model.parameters(), strict=True):
            whole = ours.full_tensor() if isinstance(ours, DTensor) else ours
            if self.rank == 0:
                wholes[id(empty)] = nn.Parameter(whole.detach(), requires_grad=ours.requires_grad)
        return copy.deepcopy(self._empty_model, wholes) if self.rank == 0 else None


def _has_unused(step: nn.Module, probe: Callable[[nn.Module], None]) -> bool:
    probe(step)
    unused = any(p.grad is None for p in step.parameters() if p.requires_grad)
    step.zero_grad(set_to_none=True)
    return unused


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy whose parameters have no memory and whose buffers are the model's own."""
    replacements: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for p in model.parameters():
        replacements[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    return copy.deepcopy(model, replacements)
