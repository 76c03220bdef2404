"""Lenses: what would the model answer if it stopped at this layer?"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.files import draft_of
from minitransformer.study.anatomy import Stack, named_stack, stacks, top_stack
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, Run, logits_of, run


def logit_lens(model: nn.Module, inputs: Inputs) -> Result:
    """The head's scores of the residual stream before the first block and behind each one.

    A pre-norm stack's stream passes its final norm first, with the statistics of that layer (a scale remembered from
    another layer would be wrong); a whole head (dense, activation, norm, decoder; pooler) is applied to it. The last
    layer is the model's own answer, bit by bit. nostalgebraist 2020, "interpreting GPT: the logit lens".

    Args:
        model: with a head.
        inputs: a batch.

    Returns:
        Axes layer (0 before the first block), row, position (but for heads that answer once for a text), class.
    """
    return _read_at(model, inputs, top_stack(model), "logit lens")


def decoder_lens(model: nn.Module, inputs: Inputs) -> Result:
    """The decoder's scores if the encoder had stopped at each of its layers.

    Langedijk et al. 2023 (https://arxiv.org/abs/2310.03686). The last layer is the model's own answer, bit by bit.

    Args:
        model: an encoder-decoder with a head.
        inputs: a batch, with ``decoder_input_ids``.

    Returns:
        Axes layer (of the encoder; 0 before its first block), row, position, class.
    """
    found = stacks(model)
    if len(found) < 2:
        raise StudyError(f"{type(model).__name__} has one stack: the decoder's lens needs an encoder and a decoder")
    return _read_at(model, inputs, found[0], "decoder lens")


def _read_at(model: nn.Module, inputs: Inputs, stack: Stack, title: str) -> Result:
    stream = residual_stream(model, inputs, stack)
    values = []
    with torch.no_grad():
        for x in stream:
            edit = {f"{stack.name}.output": partial(_instead, stack.normed(x))}
            values.append(logits_of(run(model, inputs, edit=edit).output))
    scores = torch.stack(values)
    axes = ("layer", "row", "position", "class") if scores.dim() == 4 else ("layer", "row", "class")
    return Result(scores, axes, title=title)


def _instead(put: Tensor, passing: Tensor) -> Tensor:
    return put


def residual_stream(model: nn.Module, inputs: Inputs, stack: Stack | str | None = None) -> list[Tensor]:
    """The stream before the first block of a stack and behind each layer, (batch, token, hidden_size) each.

    A layer is a pass through one block; blocks that layers share are passed more than once.
    """
    stack = stack if isinstance(stack, Stack) else named_stack(model, stack)
    watched = run(model, inputs, [f"{block}.{side}" for block in stack.blocks for side in ("input", "output")])
    passed = _in_order(watched)
    return [passed[0], *passed[1::2]]


def _in_order(watched: Run) -> list[Tensor]:
    return [watched.calls[name][call] for name, call in watched.order]


def top_words(lens: Result, tokenizer: Any, *, position: int = -1, row: int = 0, k: int = 1) -> list[list[str]]:
    """The best ``k`` words of each layer at a position."""
    scores = lens.at(row=row, position=position).values
    return [tokenizer.convert_ids_to_tokens(ids) for ids in scores.topk(k, dim=-1).indices.tolist()]


class TunedLens:
    """A lens that learns, for each layer, what the rest of the model does on average: an affine map before the head.

    Trained to the model's own answers by KL divergence (Belrose et al. 2023, https://arxiv.org/abs/2303.08112). A new
    one is the logit lens.

    Args:
        model: with a head that scores each token.
        stack: the one under the head.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.stack = model, top_stack(model)
        if getattr(model, "head", None) is None:
            raise StudyError(f"{type(model).__name__} has no head: load it by an AutoModelFor... class")
        self.weights: Tensor | None = None  # (layers, D, D), added to the identity
        self.biases: Tensor | None = None  # (layers, D)

    def fit(
        self, batches: Iterable[Inputs], *, epochs: int = 1, learning_rate: float = 1e-3, weight_decay: float = 1e-3
    ) -> list[float]:
        """Learn from texts; returns the mean divergence of each batch, in nats.

        Args:
            batches: inputs; kept in memory if there are several epochs.
            epochs: passes over them.
            learning_rate: of Adam.
            weight_decay: towards the logit lens.
        """
        batches = list(batches) if epochs > 1 else batches
        parameters = [p.requires_grad for p in self.model.parameters()]
        told, optimiser = [], None
        try:
            self.model.requires_grad_(False)
            for _ in range(epochs):
                for inputs in batches:
                    stream = torch.stack(residual_stream(self.model, inputs, self.stack)[:-1])
                    mask = self._mask(inputs, stream)
                    answer = logits_of(run(self.model, inputs).output)[mask].log_softmax(-1)
                    if optimiser is None:
                        weights, biases = self._begin(stream)
                        optimiser = torch.optim.AdamW([weights, biases], lr=learning_rate, weight_decay=weight_decay)
                    with torch.enable_grad():
                        guess = self._scores(stream, weights, biases)[:, mask].log_softmax(-1)
                        wanted = answer.expand_as(guess)
                        loss = F.kl_div(guess, wanted, reduction="none", log_target=True).sum(-1).mean()
                        optimiser.zero_grad()
                        loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                    told.append(float(loss.detach()))
        finally:
            for p, before in zip(self.model.parameters(), parameters, strict=True):
                p.requires_grad_(before)
        if optimiser is None:
            raise StudyError("there are no batches to learn from")
        self.weights, self.biases = weights.detach(), biases.detach()
        return told

    @torch.no_grad()
    def __call__(self, inputs: Inputs) -> Result:
        """As ``logit_lens``; the last layer is the model's own answer."""
        stream = torch.stack(residual_stream(self.model, inputs, self.stack))
        weights, biases = self._begin(stream[:-1])
        scores = [self._scores(stream[:-1], weights.detach(), biases.detach()), self._head(stream[-1:])]
        return Result(torch.cat(scores), ("layer", "row", "position", "class"), title="tuned lens")

    @torch.no_grad()
    def divergence(self, inputs: Inputs) -> Result:
        """KL divergence of each layer's guess from the model's answer in nats, mean over tokens; axis layer."""
        scores = self(inputs).values.log_softmax(-1)
        mask = self._mask(inputs, scores)
        wanted = scores[-1][mask]
        values = [F.kl_div(x[mask], wanted, reduction="none", log_target=True).sum(-1).mean() for x in scores]
        return Result(torch.stack(values), ("layer",), title="divergence from the answer, nats")

    def save(self, path: str | Path) -> None:
        """Write the maps as safetensors.

        Raises:
            StudyError: there are none yet.
            SavingError: the file cannot be written.
        """
        if self.weights is None or self.biases is None:
            raise StudyError("this lens has learnt nothing yet: call fit()")
        with draft_of(path) as draft:
            save_file({"weights": self.weights.contiguous(), "biases": self.biases.contiguous()}, draft)

    def load(self, path: str | Path) -> TunedLens:
        """Read what ``save`` wrote; returns the lens itself.

        Raises:
            StudyError: the file is not of a lens, or damaged.
        """
        try:
            tensors = load_file(path)
            self.weights, self.biases = tensors["weights"], tensors["biases"]
        except (OSError, SafetensorError, KeyError) as error:
            raise StudyError(f"{path} cannot be read as a lens ({error}): give a file that save() wrote") from error
        return self

    def _begin(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """The maps, zeros in a new lens."""
        layers, width = stream.shape[0], stream.shape[-1]
        if self.weights is None or self.biases is None:
            weights, biases = stream.new_zeros(layers, width, width), stream.new_zeros(layers, width)
        else:
            weights, biases = self.weights.to(stream).clone(), self.biases.to(stream).clone()
        if weights.shape != (layers, width, width):
            raise StudyError(f"the lens is of {tuple(weights.shape[:2])} layers and width, the model {(layers, width)}")
        return weights.requires_grad_(), biases.requires_grad_()

    def _scores(self, stream: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        moved = stream + torch.einsum("lbtd, led -> lbte", stream, weights) + biases[:, None, None]
        return self._head(moved)

    def _head(self, stream: Tensor) -> Tensor:
        normed = self.stack.normed(stream)
        return torch.stack([self.model.head(x) for x in normed])

    def _mask(self, inputs: Inputs, stream: Tensor) -> Tensor:
        decoder = "decoder_input_ids" in inputs
        mask = inputs.get("decoder_attention_mask" if decoder else "attention_mask")
        return torch.ones(stream.shape[1:3], dtype=torch.bool) if mask is None else mask.bool()
