"""Every size, rate and id of every config has a range, and what is outside of it is named."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from random import Random
from typing import Any

import pytest
import torch

from minitransformer import AutoConfig, CheckpointError, ConfigError
from minitransformer.models.auto import ARCHITECTURES, architecture
from minitransformer.models.common.sizes import check_room, check_sizes
from minitransformer.ranges import IsToken, Range, bounds
from minitransformer.weights.sources import Tensors

CASES = [(name, bound) for name in sorted(ARCHITECTURES) for bound in bounds(architecture(name).config)]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_no_number_goes_without(name: str) -> None:
    cls = architecture(name).config
    known = {bound.name for bound in bounds(cls)}
    for field in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[field.name]
        kinds = {kind} if typing.get_origin(kind) is dict else {kind, *typing.get_args(kind)}
        assert field.name in known or not kinds & {int, float}, f"{field.name} of {name} has no range"


@pytest.mark.parametrize(("name", "bound"), CASES, ids=lambda value: getattr(value, "key", value))
def test_what_is_outside_is_an_error_that_names_the_key(name: str, bound: Any) -> None:
    cls = architecture(name).config
    if cls.__dataclass_fields__[bound.name].metadata.get("key", "") is None:
        return  # no key of config.json
    if isinstance(bound.mark, Range):
        outside = [bound.mark.least - 1, bound.mark.most + 1, -(10**9), 10**30]
    elif bound.mark is IsToken:
        outside = [-1, 10**9]
    else:
        return
    for value in outside if bound.name != "cutoffs" else [[value] for value in outside]:
        with pytest.raises(ConfigError, match=f"{bound.key} must be"):
            cls.from_hf({"model_type": cls.model_type, bound.key: value})


@pytest.mark.parametrize(
    "raw",
    [
        {"num_labels": 10**9},
        {"num_labels": 0},
        {"num_labels": True},
        {"architectures": 5},
        {"architectures": [None]},
        {"task_specific_params": {"summarization": 3}},
        {"hidden_dropout_prob": float("inf")},
        {"eos_token_id": [1, "x"]},
        {"eos_token_id": [1, 10**9]},
        {"num_attention_heads": 7},
        {"id2label": {"0": "a", "9": "b"}},
        {"label2id": {"a": float("inf")}},
    ],
    ids=str,
)
def test_values_that_make_no_sense(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        AutoConfig.from_dict({"model_type": "bert", **raw})


def test_a_config_is_compared_with_the_weights_before_anything_is_built() -> None:
    source = Tensors({f"{i}": torch.zeros(1) for i in range(40)})
    check_sizes(AutoConfig.from_dict({"model_type": "bert"}), source)
    for raw in ({"model_type": "bert", "num_hidden_layers": 41}, {"model_type": "t5", "num_decoder_layers": 99}):
        with pytest.raises(CheckpointError, match="has 40 tensors in all"):
            check_sizes(AutoConfig.from_dict(raw), source)
    marian = AutoConfig.from_dict({"model_type": "marian", "max_position_embeddings": 2**20})
    with pytest.raises(CheckpointError, match="1048576 positions of width 1024"):
        check_sizes(marian, source)


def test_a_new_model_that_no_machine_holds_is_refused() -> None:
    config = AutoConfig.from_dict({"model_type": "bert", "hidden_size": 12 * 2**17, "vocab_size": 2**24})
    with pytest.raises(ConfigError, match="takes .* bytes, and the machine has"):
        check_room(architecture("bert").heads["Model"], config)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_model_of_odd_sizes_is_built_or_refused_by_name(name: str) -> None:
    draw, known = Random(name), architecture(name)
    numbers = {bound.name for bound in bounds(known.config) if bound.mark is IsToken or isinstance(bound.mark, Range)}
    whole = [field for field in sorted(numbers) if "int" in str(typing.get_type_hints(known.config)[field])]
    for _ in range(60):
        sizes = {field: draw.choice([0, 1, 2, 3, 4, 6, 8, 12, 16]) for field in whole if draw.random() < 0.95}
        with contextlib.suppress(ConfigError):
            config = known.config(**sizes)
            if all(getattr(config, field) in range(-1, 59_000) for field in whole if "position" not in field):
                check_room(kind := draw.choice(list(known.heads.values())), config)
                kind(config)


def test_a_padding_id_outside_of_the_vocabulary_is_named_though_nobody_gave_it() -> None:
    large = [known for known in map(architecture, sorted(ARCHITECTURES)) if (known.config.pad_token_id or 0) > 2]
    for known in large:
        with pytest.raises(ConfigError, match="pad_token_id must be an id of the vocabulary, from 0 to 2"):
            known.config(vocab_size=3)
    assert large
