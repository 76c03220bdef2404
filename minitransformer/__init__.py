"""Transformers written by hand: small enough to read in an afternoon, exact enough to trust.

::

    from minitransformer import AutoModel, AutoTokenizer, pipeline, trace

Names are resolved on first use, so that importing the package costs nothing: PyTorch is loaded when a name
that needs it is first touched. ``__init__.pyi`` tells type checkers where each name is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "minitransformer.errors": (
        "ArgumentError",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "GenerationError",
        "HubError",
        "InputError",
        "MinitransformerError",
        "MissingFileError",
        "PipelineError",
        "RegistrationError",
        "SavingError",
        "TokenizerError",
        "TraceError",
        "TrainingError",
        "UnknownOptionError",
    ),
    "minitransformer.generation": ("GenerationConfig", "generate"),
    "minitransformer.layers.cache": ("DecoderCache",),
    "minitransformer.layers.kernels": ("fast_linear",),
    "minitransformer.layers.taps": ("tap_names", "trace"),
    "minitransformer.models.auto": (
        "AutoConfig",
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoModelForMaskedLM",
        "AutoModelForMultipleChoice",
        "AutoModelForNextSentencePrediction",
        "AutoModelForPreTraining",
        "AutoModelForQuestionAnswering",
        "AutoModelForSeq2SeqLM",
        "AutoModelForSequenceClassification",
        "AutoModelForTextEncoding",
        "AutoModelForTokenClassification",
        "register_architecture",
    ),
    "minitransformer.models.common.parts": ("put_parts", "register_part"),
    "minitransformer.pipelines": ("pipeline", "register_pipeline"),
    "minitransformer.tokenization": ("AutoTokenizer", "register_tokenizer"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ArgumentError",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForNextSentencePrediction",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTextEncoding",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DecoderCache",
    "GenerationConfig",
    "GenerationError",
    "HubError",
    "InputError",
    "MinitransformerError",
    "MissingFileError",
    "PipelineError",
    "RegistrationError",
    "SavingError",
    "TokenizerError",
    "TraceError",
    "TrainingError",
    "UnknownOptionError",
    "__version__",
    "fast_linear",
    "generate",
    "pipeline",
    "put_parts",
    "register_architecture",
    "register_part",
    "register_pipeline",
    "register_tokenizer",
    "tap_names",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562); names of transformers are doors in ``compat``."""
    module, own_name = _HOME.get(name, ""), name
    if not module:
        names = import_module("minitransformer.compat.names")
        if name not in names.HOMES:
            raise AttributeError(names.missing(name, __all__))
        module, own_name = names.HOMES[name]
    value = getattr(import_module(module), own_name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *import_module("minitransformer.compat.names").HOMES})
