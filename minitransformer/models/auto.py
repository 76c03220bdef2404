"""From a checkpoint's ``model_type`` to the class that reads it: the registry, and the ``Auto`` classes over it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minitransformer.arguments import READING_MODELS, settle, take_repository
from minitransformer.config import ModelConfig
from minitransformer.errors import ArgumentError, ConfigError, did_you_mean, warn_caller
from minitransformer.hub import Repository, as_repository
from minitransformer.models.common.base import Architecture, PretrainedModel, read_config
from minitransformer.models.common.loading import as_dtype
from minitransformer.models.common.registering import GROUP, REGISTERED, check_architecture
from minitransformer.registers import installed_names, load_installed, register

if TYPE_CHECKING:
    from minitransformer.models.common.base import GenerativeModel

ARCHITECTURES = {  # model_type in config.json -> module under minitransformer.models, or name in a module
    "albert": "albert",
    "bart": "bart",
    "bert": "bert",
    "ctrl": "ctrl",
    "distilbert": "distilbert",
    "electra": "electra",
    "fsmt": "transformer:FSMT",
    "gpt2": "gpt2",
    "llama": "llama",
    "m2m_100": "m2m100",
    "marian": "marian",
    "mbart": "mbart",
    "mistral": "mistral",
    "modernbert": "modernbert",
    "mt5": "t5:MT5",
    "openai-gpt": "gpt",
    "pegasus": "pegasus",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "roberta": "roberta",
    "t5": "t5",
    "transformer": "transformer",
    "umt5": "t5:UMT5",
    "transfo-xl": "transformer_xl",
}


def register_architecture(architecture: Architecture) -> Architecture:
    """Let the Auto classes, ``inspect``, pipelines, training and the command line know another package's architecture.

    Args:
        architecture: its config class and its model classes, as at the end of ``models/bert.py``.

    Raises:
        RegistrationError: something is lacking (the message says what), or its model_type is another one's.
    """
    check_architecture(architecture)
    register("architecture", REGISTERED, architecture.config.model_type, architecture, taken=ARCHITECTURES)
    return architecture


def architecture(model_type: str | None) -> Architecture:
    """The architecture that config.json calls ``model_type``.

    Raises:
        ConfigError: it is not known; the message lists those that are.
    """
    if model_type not in ARCHITECTURES:
        return _of_another_package(str(model_type))
    module, _, name = ARCHITECTURES[model_type].partition(":")
    found: Architecture = getattr(import_module(f"minitransformer.models.{module}"), name or "ARCHITECTURE")
    return found


def _of_another_package(model_type: str) -> Architecture:
    """An architecture that was registered, or that an installed package offers."""
    if model_type not in REGISTERED:
        offered = load_installed(GROUP, model_type)
        if offered is None:
            hint = did_you_mean(model_type, known_types())
            raise ConfigError(f"unknown model_type {model_type!r}.{hint} Known: {', '.join(known_types())}.")
        register_architecture(offered)
        if model_type not in REGISTERED:
            raise ConfigError(f"the package that offers {model_type!r} has {offered.config.model_type!r} there")
    return REGISTERED[model_type]


def known_types() -> list[str]:
    """Every model_type: the library's own, registered ones, and those of installed packages."""
    return sorted({*ARCHITECTURES, *REGISTERED, *installed_names(GROUP)})


class AutoConfig:
    """Reads any checkpoint's config.json."""

    def __init__(self) -> None:
        raise TypeError("use AutoConfig.from_pretrained(...) or .from_dict(...)")

    @staticmethod
    def from_pretrained(id_or_folder: str | Path | Repository, **options: Any) -> ModelConfig:
        """The config of a folder or a model id on the Hub; options as in ``ModelConfig.from_pretrained``.

        Raises:
            ConfigError: an unknown model_type, or a variant that is not supported.
        """
        repository = take_repository(id_or_folder, options)
        raw = dict(read_config(repository))
        model_type = options.pop("model_type", None) or model_type_of(raw, str(repository))
        kind = architecture(model_type).config
        return kind.from_pretrained_dict({**raw, "model_type": model_type}, options)

    @staticmethod
    def from_dict(raw: Mapping[str, Any], where: str = "this config") -> ModelConfig:
        """The config that the contents of a config.json describe."""
        return architecture(model_type_of(raw, where)).config.from_hf({"model_type": model_type_of(raw, where), **raw})

    @staticmethod
    def for_model(model_type: str, **fields: Any) -> ModelConfig:
        """A new config of this architecture."""
        return architecture(model_type).config(**fields)


def model_type_of(raw: Mapping[str, Any], where: str) -> str:
    """The model_type of a config.json; without one, that which the folder's name says.

    Raises:
        ConfigError: neither says it.

    Warns:
        UserWarning: it was guessed.
    """
    if raw.get("model_type") is not None:
        return str(raw["model_type"])
    name = Path(where).name.lower()
    guess = next((known for known in sorted(known_types(), key=len, reverse=True) if known in name), None)
    if guess is None:
        raise ConfigError(
            f"config.json of {where} has no model_type, and its name says none. Write it there, or load it by the "
            "class, which knows: BertForMaskedLM.from_pretrained(...) from minitransformer.models.bert. "
            f"Known: {', '.join(known_types())}."
        )
    warn_caller(f"config.json of {where} has no model_type; by its name it is {guess!r}")
    return guess


class AutoModel:
    """Loads any checkpoint as the model without a head; subclasses load it with one."""

    HEAD: ClassVar[str] = "Model"

    def __init__(self) -> None:
        raise TypeError(f"use {type(self).__name__}.from_pretrained(...) or .from_config(...)")

    @classmethod
    def from_pretrained(cls, id_or_folder: str | Path | Repository | None, **options: Any) -> PretrainedModel:
        """Load a checkpoint; arguments as in ``PretrainedModel.from_pretrained``.

        Raises:
            ConfigError: the architecture is unknown or does not offer this head.
        """
        config = options.pop("config", None)
        repository = None if id_or_folder is None else take_repository(id_or_folder, options)
        if not isinstance(config, ModelConfig):
            place = repository if config is None else as_repository(config)
            if place is None:
                raise ArgumentError("from_pretrained(None) loads no file: pass config= and state_dict=")
            config = AutoConfig.from_pretrained(place)
        return cls.class_for(config).from_pretrained(repository, config=config, **options)

    @classmethod
    def from_config(cls, config: ModelConfig, **options: Any) -> PretrainedModel:
        """A new model with random weights; ``dtype`` (or ``torch_dtype``) of the weights as in ``from_pretrained``."""
        dtype = options.pop("torch_dtype", None) or options.pop("dtype", None)
        options.pop("dtype", None)
        settle(options, READING_MODELS, ["dtype", "torch_dtype"], f"{cls.__name__}.from_config")
        model = cls.class_for(config).from_config(config)
        return model if dtype is None else model.to(as_dtype(dtype, config))

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


class AutoModelForMultipleChoice(AutoModel):
    """Choose the text that fits best."""

    HEAD = "ForMultipleChoice"


class AutoModelForTokenClassification(AutoModel):
    """Label every token."""

    HEAD = "ForTokenClassification"


class AutoModelForQuestionAnswering(AutoModel):
    """Find an answer in a text."""

    HEAD = "ForQuestionAnswering"


class AutoModelForNextSentencePrediction(AutoModel):
    """Tell whether a text follows another."""

    HEAD = "ForNextSentencePrediction"
