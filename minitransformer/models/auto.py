"""From a checkpoint's ``model_type`` to the class that reads it: the registry, and the ``Auto`` classes over it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minitransformer.config import ModelConfig
from minitransformer.errors import ConfigError, did_you_mean
from minitransformer.models.base import Architecture, PretrainedModel, read_config

if TYPE_CHECKING:
    from minitransformer.models.base import GenerativeModel

ARCHITECTURES = {  # model_type in config.json -> module under minitransformer.models, or name in a module
    "albert": "albert",
    "bart": "bart",
    "bert": "bert",
    "ctrl": "ctrl",
    "distilbert": "distilbert",
    "electra": "electra",
    "fsmt": "transformer:FSMT",
    "gpt2": "gpt2",
    "marian": "marian",
    "mbart": "mbart",
    "openai-gpt": "gpt",
    "roberta": "roberta",
    "t5": "t5",
    "transformer": "transformer",
    "transfo-xl": "transformer_xl",
}


def architecture(model_type: str | None) -> Architecture:
    """The architecture that config.json calls ``model_type``.

    Raises:
        ConfigError: it is not known; the message lists those that are.
    """
    if model_type not in ARCHITECTURES:
        hint = did_you_mean(str(model_type), ARCHITECTURES)
        raise ConfigError(f"unknown model_type {model_type!r}.{hint} Known: {', '.join(sorted(ARCHITECTURES))}.")
    module, _, name = ARCHITECTURES[model_type].partition(":")
    found: Architecture = getattr(import_module(f"minitransformer.models.{module}"), name or "ARCHITECTURE")
    return found


class AutoConfig:
    """Reads any checkpoint's config.json."""

    @staticmethod
    def from_pretrained(
        id_or_folder: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> ModelConfig:
        """The config of a folder or a model id on the Hub.

        Raises:
            ConfigError: an unknown model_type, or a variant that is not supported.
        """
        return AutoConfig.from_dict(read_config(id_or_folder, revision=revision, token=token), str(id_or_folder))

    @staticmethod
    def from_dict(raw: dict[str, Any], where: str = "this config") -> ModelConfig:
        """The config that the contents of a config.json describe."""
        if "model_type" not in raw:
            raise ConfigError(f"config.json of {where} has no model_type. Known: {', '.join(sorted(ARCHITECTURES))}.")
        return architecture(raw["model_type"]).config.from_hf(raw)


class AutoModel:
    """Loads any checkpoint as the model without a head; subclasses load it with one."""

    HEAD: ClassVar[str] = "Model"

    def __init__(self) -> None:
        raise TypeError(f"use {type(self).__name__}.from_pretrained(...) or .from_config(...)")

    @classmethod
    def from_pretrained(
        cls, id_or_folder: str | Path, *, revision: str | None = None, token: str | None = None, **options: Any
    ) -> PretrainedModel:
        """Load a checkpoint; arguments as in ``PretrainedModel.from_pretrained``.

        Raises:
            ConfigError: the architecture is unknown or does not offer this head.
        """
        config = options.pop("config", None) or AutoConfig.from_pretrained(id_or_folder, revision=revision, token=token)
        model_class = cls.class_for(config)
        return model_class.from_pretrained(id_or_folder, config=config, revision=revision, token=token, **options)

    @classmethod
    def from_config(cls, config: ModelConfig) -> PretrainedModel:
        """A new model with random weights."""
        return cls.class_for(config).from_config(config)

    @classmethod
    def class_for(cls, config: ModelConfig) -> type[PretrainedModel]:
        """The model class with this head.

        Raises:
            ConfigError: the architecture does not offer it.
        """
        heads = architecture(config.model_type).heads
        if cls.HEAD not in heads:
            offered = ", ".join(f"Auto{'' if head == 'Model' else 'Model'}{head}" for head in heads)
            raise ConfigError(f"{config.model_type} has no {cls.__name__}; it offers {offered}")
        return heads[cls.HEAD]


class AutoModelForPreTraining(AutoModel):
    """Tell replaced words from original ones (ELECTRA); guess words and the order of texts (BERT, ALBERT)."""

    HEAD = "ForPreTraining"


class AutoModelForTextEncoding(AutoModel):
    """The encoder of an encoder-decoder, alone."""

    HEAD = "ForTextEncoding"


class AutoModelForMaskedLM(AutoModel):
    """Guess hidden words."""

    HEAD = "ForMaskedLM"


class GenerativeAutoModel(AutoModel):
    """Loads a checkpoint as a model that can ``generate``."""

    if TYPE_CHECKING:

        @classmethod
        def from_pretrained(cls, *args: Any, **options: Any) -> GenerativeModel: ...

        @classmethod
        def from_config(cls, *args: Any, **options: Any) -> GenerativeModel: ...


class AutoModelForCausalLM(GenerativeAutoModel):
    """Continue a text."""

    HEAD = "ForCausalLM"


class AutoModelForSeq2SeqLM(GenerativeAutoModel):
    """Turn a text into another: translate, summarise."""

    HEAD = "ForSeq2SeqLM"


class AutoModelForSequenceClassification(AutoModel):
    """Label a text or a pair of texts."""

    HEAD = "ForSequenceClassification"


class AutoModelForTokenClassification(AutoModel):
    """Label every token."""

    HEAD = "ForTokenClassification"


class AutoModelForQuestionAnswering(AutoModel):
    """Find an answer in a text."""

    HEAD = "ForQuestionAnswering"


class AutoModelForNextSentencePrediction(AutoModel):
    """Tell whether a text follows another."""

    HEAD = "ForNextSentencePrediction"
