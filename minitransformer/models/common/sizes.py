"""What a config asks for, held against the headers of the weights before anything is built.

A few bytes of a config.json can ask for a model that takes the whole memory, or minutes, to build. Whether everything
fits exactly is for the weight map to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod

from torch import nn

from minitransformer.config import ModelConfig
from minitransformer.errors import CheckpointError, ConfigError
from minitransformer.ranges import IsInFile, bounds
from minitransformer.weights import without_memory
from minitransformer.weights.sources import Source

LARGEST_TABLE = 2**27
"""Numbers of a table that is computed (of sines), if that is more than the file has."""

SURELY_SMALL = 2**28
"""Numbers that fit into any machine."""


def check_room(build: Callable[[ModelConfig], nn.Module], config: ModelConfig) -> None:
    """See that the machine's memory could hold a new model; one that is surely small is not built for it.

    Raises:
        ConfigError: it could not.
    """
    sizes = [getattr(config, bound.name) for bound in bounds(type(config))]
    sides = sorted(size for size in sizes if isinstance(size, int))[-2:]
    if prod(sides) * 8 * config.num_layers < SURELY_SMALL or not hasattr(os, "sysconf"):
        return
    with without_memory():
        needed = sum(4 * parameter.numel() for parameter in build(config).parameters())
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ConfigError(f"a model of this config takes {needed:,} bytes, and the machine has {there:,}")


def check_sizes(config: ModelConfig, source: Source) -> None:
    """See that a model of this size could be in these weights.

    Raises:
        CheckpointError: it asks for more layers than there are tensors, or for a table far larger than all of them.
    """
    names = source.names()
    cls = type(config)
    for name, key, mark, _ in bounds(cls):
        value = getattr(config, name)
        if mark is IsInFile and value is not None and value > len(names):
            raise CheckpointError(
                f"config.json asks for {key}={value}, but {source.where} has {len(names)} tensors in all. "
                "Is this the config.json that came with these weights?"
            )
    table = (config.max_positions or 0) * config.hidden_size
    if table > LARGEST_TABLE and table > sum(prod(source.shape(name)) for name in names):
        raise CheckpointError(
            f"config.json asks for {config.max_positions} positions of width {config.hidden_size}, more numbers than "
            f"{source.where} has in all. Is this the config.json that came with these weights?"
        )
