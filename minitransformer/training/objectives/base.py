"""What an objective is: how records become batches, and batches a loss.

Two rules keep training independent of how a step is cut into micro-batches and spread over processes:

* All chance in a batch comes from the generator that ``collate`` is given, and one call makes the whole step's batch.
* ``loss`` returns a *share*: the sum of its terms, divided by their number in the whole step (``counts``, added up over
  all parts of the step). Shares add up to the mean over the step, and so do their gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import TrainingError
from minitransformer.layers.cross_entropy import is_transformed, vocabulary_cross_entropy
from minitransformer.models.common.heads import Scores
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.strategies import LARGEST_LIMIT
from minitransformer.training.objectives.tensors import pad_rows

Example = dict[str, Any]
"""What a row of a batch is made from; ``example["input_ids"]`` is a list of ids and tells its length."""
Batch = dict[str, Tensor]
"""Tensors of shape (batch, ...): what the model takes, labels included, so that ``model(**batch).loss`` is the loss."""

USUAL_LENGTH = 512


class Objective(ABC):
    """Base of all objectives.

    Args:
        tokenizer: turns the records' texts into ids.
        config: of the model that will be trained.
        max_length: the most tokens of an example, special ones included; by default what the model takes, at most 512.

    Raises:
        TrainingError: the model has fewer positions than ``max_length``, or fewer words than the tokenizer.
    """

    HEAD: ClassVar[str]
    """Which ``AutoModelFor...`` is trained."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig, *, max_length: int | None = None) -> None:
        self.tokenizer, self.config = tokenizer, config
        if len(tokenizer) > config.vocab_size:
            raise TrainingError(
                f"the tokenizer has {len(tokenizer)} tokens, but the model's vocab_size is {config.vocab_size}: "
                "do they belong together?"
            )
        limits = [limit for limit in (config.max_positions, tokenizer.model_max_length) if limit is not None]
        if max_length is None:
            max_length = min([USUAL_LENGTH, *(limit for limit in limits if limit <= LARGEST_LIMIT)])
        self.max_length = check_length("max_length", max_length, config.max_positions)
        known = (config.pad_token_id, tokenizer.pad_token_id, 0)  # where nothing is padded, 0 is never looked at
        self.pad_id: int = next(i for i in known if i is not None)

    @abstractmethod
    def examples(self, records: Sequence[Record]) -> list[Example]:
        """Examples of these records: as ids, cut or packed to length; without chance.

        Raises:
            DataError: a record lacks a field, or a field holds what it must not.
        """

    @abstractmethod
    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """One batch, row by row of these examples; all chance comes from ``generator``."""

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, int]:
        """Over how many terms of this batch each part of the loss is a mean."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Float[Tensor, ""]:
        """This batch's share of the loss of a step.

        Args:
            model: as ``build`` gave it.
            batch: some rows of what ``collate`` made.
            counts: those of all batches of the step, added up.
        """

    def build(self, model: Any) -> nn.Module:
        """What is trained: the model itself, unless the objective needs a second one beside it."""
        found: nn.Module = model
        return found

    def pad(self, examples: Sequence[Example], **fill: int) -> Batch:
        """The examples' ids as a batch with its attention mask; also the lists of other names, with what fills gaps."""
        fill = {"input_ids": self.pad_id, **fill}
        batch = {name: pad_rows([e[name] for e in examples], value) for name, value in fill.items()}
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        places = torch.arange(batch["input_ids"].shape[1])
        batch["attention_mask"] = (places < lengths[:, None]).long()
        return batch


def model_inputs(model: Any, batch: Batch) -> Batch:
    """What of the batch the model reads, beside labels."""
    names = {"input_ids", "attention_mask", "token_type_ids"} & batch.keys() & model.forward_parameters()
    return {name: batch[name] for name in sorted(names)}


def vocabulary_head(model: Any, task: str) -> nn.Module:
    """The part of a model for ``task`` ("ForMaskedLM") that scores the words of the vocabulary.

    Raises:
        TrainingError: it is a model for something else.
    """
    if getattr(model, "HEAD", None) != task:
        raise TrainingError(f"{type(model).__name__} is no model {task}, so it cannot learn this objective")
    head: nn.Module = model.head
    return head


def vocabulary_loss(
    head: nn.Module,
    hidden: Float[Tensor, "batch token hidden_size"],
    labels: Int[Tensor, "batch token"],
    count: int,
    *,
    label_smoothing: float = 0.0,
    at_once: int | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy where there is a label, summed and divided by ``count``.

    The head runs only there: a vocabulary is large, and masked LM asks for one word in seven. Its last layer is
    computed for a part of the tokens at a time, and with it the gradient, so that the scores of all never are in memory
    together.

    Args:
        head: scores the words of the vocabulary.
        hidden: the backbone's output.
        labels: ids, -100 where nothing is asked.
        count: number of labels in the whole step.
        label_smoothing: see ``models.common.losses.token_loss``.
        at_once: score so many tokens at a time; by default as many as make 32 MiB in float32. A head of your own is
            scored once more on the way back.
    """
    asked = labels != -100
    x, y = hidden[asked], labels[asked]  # (N, D), (N,)
    if computes_in_parts(head) and len(y):
        layer = head.output
        return vocabulary_cross_entropy(
            head.features(x[None])[0],
            layer.weight,
            layer.bias,
            y,
            label_smoothing=label_smoothing,
            divisor=max(count, 1),
            at_once=at_once,
        )

    def total(x: Tensor, y: Tensor) -> Tensor:
        logits = widen(head(x[None])[0])
        return F.cross_entropy(logits, y, reduction="sum", label_smoothing=label_smoothing)

    if at_once is None or len(x) <= at_once:
        return total(x, y) / max(count, 1)
    parts = zip(torch.split(x, at_once), torch.split(y, at_once), strict=True)
    shares = [checkpoint(total, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.stack(shares).sum() / max(count, 1)


def computes_in_parts(head: nn.Module) -> TypeGuard[Scores]:
    """Whether a head's last layer can be computed part by part: nobody watches it, changed it or shared it out."""
    if not isinstance(head, Scores) or type(head).forward is not Scores.forward or "forward" in vars(head):
        return False
    layer = head.output
    hooks = [hook for module in (head, layer, head.logits) for hook in hooks_of(module)]
    plain = type(layer) is nn.Linear and type(layer.weight) is nn.Parameter and "forward" not in vars(layer)
    return plain and not hooks and not head.logits.watched and not is_transformed()


def hooks_of(module: nn.Module) -> list[Any]:
    """The hooks of a module."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return [hook for hooks in kinds for hook in hooks.values()]


def widen(logits: Tensor) -> Tensor:
    """Half precision is too coarse for the sum over a softmax."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def count_labels(labels: Tensor) -> int:
    """How many labels count."""
    return int((labels != -100).sum())


def check_length(name: str, length: Any, positions: int | None, *, least: int = 2) -> int:
    """``length`` itself, if a model with so many positions can read it.

    Raises:
        TrainingError: it is no number, too small or too large.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < least:
        raise TrainingError(f"{name} must be a whole number of at least {least}, not {length!r}")
    if positions is not None and length > positions:
        raise TrainingError(f"{name} is {length}, but the model has {positions} positions: make it at most that")
    return length


def check_share(name: str, share: Any, *, most: float = 1.0, least: float = 0.0) -> float:
    """``share`` itself, if it lies within bounds.

    Raises:
        TrainingError: it does not.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not least <= share <= most:
        raise TrainingError(f"{name} must be a number from {least:g} to {most:g}, not {share!r}")
    return float(share)
