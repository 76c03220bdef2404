"""From a recipe's tables to the model that training starts from, with the labels and special ids it needs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

import minitransformer.models.auto as auto
from minitransformer.config import ModelConfig
from minitransformer.data import Record
from minitransformer.errors import ConfigError, MinitransformerError, TrainingError
from minitransformer.generation import GenerationConfig
from minitransformer.generation.inputs import written_vocabulary
from minitransformer.generation.processors import check_tokens
from minitransformer.models.common.base import GenerativeModel, PretrainedModel, read_config
from minitransformer.recipes.recipe import ModelTable, Recipe
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives import OBJECTIVES, Classification

logger = logging.getLogger("minitransformer")

START_WITH_PAD = ("marian", "t5")
"""Architectures whose decoder begins with the padding token; the others' begins with the end token."""


def read_model_config(table: ModelTable, source: str | Path | None, place: str) -> ModelConfig:
    """The config that the table describes: the checkpoint's or the architecture's own, with the table's keys over it.

    Raises:
        TrainingError: a key is unknown, or has a wrong value.
    """
    raw: dict[str, Any] = {"model_type": table.architecture} if source is None else dict(read_config(source))
    for name in ("id2label", "label2id"):
        if name in table.config:
            raise TrainingError(f"{place}: {name} follows from the data, or from labels in [objective]: leave it out")
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        try:
            known = auto.AutoConfig.from_dict(raw, str(source or place))
            complaints.clear()  # what a checkpoint has too many is no mistake of the recipe's
            config = known if not table.config else auto.AutoConfig.from_dict({**raw, **table.config})
        except ConfigError as error:
            raise TrainingError(f"{place}: {error}") from error
    for complaint in complaints:
        if any(name in str(complaint.message) for name in table.config):
            said = str(complaint.message).replace("config.json has keys", "config has keys")
            raise TrainingError(f"{place}: {said}")
    return config


def fit_to_tokenizer(config: ModelConfig, tokenizer: Tokenizer, given: Mapping[str, Any]) -> ModelConfig:
    """The config of a new model with the tokenizer's vocabulary size and special ids, but for keys that are given."""
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "target_vocab_size": len(tokenizer),
        "pad_token_id": pad,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": end,
    }
    if config.is_encoder_decoder:
        values["decoder_start_token_id"] = pad if config.model_type in START_WITH_PAD else end
    keys = {f.name: {f.name, f.metadata.get("key", f.name)} for f in fields(config)}
    changes = {name: value for name, value in values.items() if name in keys and not keys[name] & given.keys()}
    generation = dict(config.generation)
    if "forced_eos_token_id" in generation and "forced_eos_token_id" not in given:
        generation["forced_eos_token_id"] = end
    config = config.replace(**changes, generation=generation)
    config.check()
    return config


def check_special_ids(config: ModelConfig, given: Mapping[str, Any], place: str) -> None:
    """See that the special tokens that a recipe names are tokens of the model.

    Raises:
        TrainingError: one of them is not.
    """
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        tokens = getattr(config, name, None)
        for token in tokens if isinstance(tokens, (list, tuple)) else [tokens]:
            if name in given and token is not None and not 0 <= token < config.vocab_size:
                raise TrainingError(f"{place}: {name} is {token}; the model's tokens are 0 to {config.vocab_size - 1}")


def choose_labels(recipe: Recipe, config: ModelConfig, records: Sequence[Record], knows: bool) -> ModelConfig:
    """The config with the labels of a classification: those of the recipe, of the model, or of the data.

    Args:
        recipe: may list them.
        config: of the model to begin with.
        records: to learn from.
        knows: whether that model has a head for this objective.
    """
    objective = OBJECTIVES[recipe.objective.name]
    if not hasattr(objective, "labels_in"):
        return config
    labels = list(recipe.objective.labels)
    if not labels and objective is Classification and config.problem_type == "regression":
        labels = ["LABEL_0"]
    if not labels:
        several = {"several": True} if config.problem_type == "multi_label_classification" else {}
        labels = objective.labels_in(records, **several)
        if knows and set(labels) <= set(config.label2id):
            return config
    return config.replace(id2label=dict(enumerate(labels)))


def make_model(
    recipe: Recipe, config: ModelConfig, source: str | Path | None, old: ModelConfig | None, place: str
) -> PretrainedModel:
    """The model to train: new, or from a checkpoint, with its head or a new one.

    Args:
        recipe: how.
        config: what the model shall be.
        source: the checkpoint to begin with; None for random weights.
        old: the checkpoint's own config.
        place: for messages.
    """
    model_class = head_class(recipe, config)
    torch.manual_seed(recipe.training.seed)
    if source is None or old is None:
        model = model_class.from_config(config)
        logger.info("model: a new %s with %s parameters", model_class.__name__, f"{model.num_parameters():,}")
    else:
        new_head = needs_new_head(recipe.model.new_head, model_class, config, old, place)
        model = model_class.from_pretrained(source, config=config, new_head=new_head)
        head = "a new head" if new_head else "its head"
        logger.info("model: %s from %s, with %s", model_class.__name__, source, head)
    if recipe.model.generation:
        if not isinstance(model, GenerativeModel):
            raise TrainingError(f"{place}: [model.generation] is for models that generate, not {model_class.__name__}")
        try:
            options = GenerationConfig(**{**model.generation_config.to_hf(), **recipe.model.generation})
            options.validate()
            check_tokens(options, written_vocabulary(config))
            model.generation_config = options
        except MinitransformerError as error:
            raise TrainingError(f"{place}: [model.generation]: {error}") from error
    return model


def head_class(recipe: Recipe, config: ModelConfig) -> type[PretrainedModel]:
    """The model class with the head that the objective trains.

    Raises:
        TrainingError: the architecture has no such head.
    """
    found: type[auto.AutoModel] = getattr(auto, f"AutoModelFor{OBJECTIVES[recipe.objective.name].HEAD}")
    try:
        return found.class_for(config)
    except ConfigError as error:
        raise TrainingError(f"{recipe.path}: the objective {recipe.objective.name} does not fit: {error}") from error


def needs_new_head(
    wanted: bool | None, model_class: type[PretrainedModel], config: ModelConfig, old: ModelConfig, place: str
) -> bool:
    """Whether the head has to be drawn anew: the checkpoint has another, or one for other labels.

    Raises:
        TrainingError: the recipe wants to keep a head that does not fit.
    """
    other = model_class.__name__ not in old.architectures
    has_labels = model_class.__name__.endswith("Classification")
    differs = has_labels and list(config.id2label.values()) != list(old.id2label.values())
    if wanted is None:
        return other or differs
    if not wanted and (other or differs):
        has = ", ".join(old.architectures) or "no head"
        why = f"the checkpoint is a {has}" if other else f"its labels are {', '.join(old.id2label.values())}"
        raise TrainingError(f"{place}: new_head = false, but {why}: leave it out, or list these labels")
    return wanted
