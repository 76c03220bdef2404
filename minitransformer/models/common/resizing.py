"""Giving a model a vocabulary of another size: tables, heads and their biases, whatever the architecture calls them.

What depends on the size of the vocabulary is found, not listed: the model is built twice without memory, for the old
size and for the new, and what differs is what grows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.config import ModelConfig
from minitransformer.errors import ConfigError
from minitransformer.weights import without_memory


@torch.no_grad()
def resize(model: Any, config: ModelConfig, *, mean: bool) -> None:
    """Let ``model`` have the vocabulary that ``config`` says; known words keep their numbers.

    Args:
        model: a ``PretrainedModel``; parameters that several modules share stay shared.
        config: its config with another size of the vocabulary.
        mean: whether new rows are the mean of the old ones, so that a new word begins as likely as the average; else
            they are drawn as in a new model. A new word's bias is the mean of the old ones, too, or zero.

    Raises:
        ConfigError: the model was changed after it was built, so that it is not what its config says; or its weights
            are in a form of ``optimize``.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ConfigError("this model's weights are in another form (see optimize): resize it before")
    kind = type(model)
    with without_memory():
        before, after = kind(model.config), kind(config)
    old_shapes = {name: p.shape for name, p in before.named_parameters(remove_duplicate=False)}
    grown = {
        name: p.shape
        for name, p in after.named_parameters(remove_duplicate=False)
        if name in old_shapes and p.shape != old_shapes[name]
    }
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name in grown:
        if name in parameters and parameters[name].shape != old_shapes[name]:
            raise ConfigError(
                f"{name} has the shape {tuple(parameters[name].shape)}, but by the config {tuple(old_shapes[name])}: "
                "a vocabulary can be resized only where the config says its size"
            )
    new: dict[int, nn.Parameter] = {}
    for name, shape in grown.items():
        old = parameters.get(name)
        if old is not None and id(old) not in new:
            std = model.initial_std(name)
            new[id(old)] = nn.Parameter(_resized(old, shape, mean=mean, std=std), requires_grad=old.requires_grad)
    for name, old in parameters.items():
        if id(old) in new:
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner)._parameters[leaf] = new[id(old)]
    _take_over_sizes(model, before, after)
    for module in model.modules():
        if isinstance(getattr(module, "config", None), ModelConfig):
            module.config = config


def _resized(old: Tensor, shape: torch.Size, *, mean: bool, std: float) -> Tensor:
    """A tensor of that shape that begins like ``old`` along each axis."""
    new = torch.empty(shape, dtype=old.dtype, device=old.device)
    common = tuple(slice(min(a, b)) for a, b in zip(old.shape, shape, strict=True))
    axis = next(i for i, (a, b) in enumerate(zip(old.shape, shape, strict=True)) if a != b)
    if old.dim() > 1 and not mean:
        new.normal_(std=std)
    elif (old.dim() > 1 or old.requires_grad) and mean:
        new.copy_(old.mean(dim=axis, keepdim=True).expand(shape))
    else:  # constants of a file, such as final_logits_bias
        new.zero_()
    new[common] = old[common]
    return new


def _take_over_sizes(model: nn.Module, before: nn.Module, after: nn.Module) -> None:
    """Set the plain attributes (``num_embeddings``, ``out_features``, cluster bounds) that differ between the two."""
    olds, news = dict(before.named_modules()), dict(after.named_modules())
    for name, module in model.named_modules():
        if name not in olds or name not in news:
            continue
        for attribute, value in vars(news[name]).items():
            if isinstance(value, int | list | tuple) and not attribute.startswith("_"):
                if value != vars(olds[name]).get(attribute):
                    setattr(module, attribute, value)
