"""Configurations: a frozen dataclass for each architecture, read from config.json and written back to it.

A field of ours carries the key it has in a checkpoint's config.json (GPT-2's ``n_embd``, BERT's ``hidden_act``)::

    @dataclass(frozen=True, kw_only=True)
    class GPT2Config(ModelConfig):
        hidden_size: int = key("n_embd", 768)
        REQUIRES = {"add_cross_attention": (False,)}     # any other value is an error
        IGNORES = {"use_cache": "the caller owns the cache"}

Nothing in a config.json is dropped silently: a key is a field, or required to have a value that we implement, or
ignored for a written reason, or unknown, which warns and names the nearest key. All are kept and written back.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from minitransformer.errors import ConfigError, did_you_mean
from minitransformer.ranges import MOST_LABELS, Count, Layers, Spread, TokenId, Width, check_ranges

GENERATION_KEYS = frozenset(
    """
    max_length max_new_tokens min_length min_new_tokens early_stopping do_sample num_beams num_beam_groups temperature
    top_k top_p min_p typical_p epsilon_cutoff eta_cutoff diversity_penalty repetition_penalty length_penalty
    encoder_repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens renormalize_logits sequence_bias
    """.split()
)
"""Options of ``generate`` that old checkpoints keep in config.json; today they stand in generation_config.json."""

_ANY_ARCHITECTURE_IGNORES = {
    "_name_or_path": "says where the file came from",
    "transformers_version": "says what wrote the file",
    "finetuning_task": "says what the file was trained for",
    "tokenizer_class": "read by the tokenizer",
    "use_cache": "the caller owns the cache",
    "output_attentions": "asked for at the call",
    "output_hidden_states": "asked for at the call",
    "output_past": "the caller owns the cache",
    "return_dict": "outputs are always objects",
    "return_dict_in_generate": "asked for at the call",
    "output_scores": "asked for at the call",
    "use_return_dict": "outputs are always objects",
    "torchscript": "a setting of another library's export",
    "use_bfloat16": "dtype= at loading decides",
    "gradient_checkpointing": "a setting of training, not of the model",
    "chunk_size_feed_forward": "saves memory without changing a result",
    "attn_implementation": "kernels are chosen by what is asked for",
    "_attn_implementation": "kernels are chosen by what is asked for",
    "_attn_implementation_autoset": "kernels are chosen by what is asked for",
    "tf_legacy_loss": "a setting of another framework",
    "_num_labels": "a legacy copy of the number of labels",
}
_ANY_ARCHITECTURE_REQUIRES: dict[str, tuple[Any, ...]] = {
    "pruned_heads": ({}, None),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
}


def key(name: str, default: Any, *, aliases: tuple[str, ...] = ()) -> Any:
    """A dataclass field that stands under another name in config.json.

    Args:
        name: its key there.
        default: the value when the key is absent (the architecture's own default, not a general one).
        aliases: further keys under which old files hold it.
    """
    return field(default=default, metadata={"key": name, "aliases": aliases})


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What every architecture's config.json may hold. An architecture adds its own fields."""

    model_type: ClassVar[str]
    REQUIRES: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Key -> the values that we implement; another value is an error that names it."""
    IGNORES: ClassVar[Mapping[str, str]] = {}
    """Key -> the reason why its value does not matter here."""

    vocab_size: Width
    hidden_size: Width
    num_layers: Layers
    num_heads: Count
    initializer_range: Spread = 0.02
    tie_word_embeddings: bool = True
    pad_token_id: TokenId | None = None
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | list[TokenId] | None = None
    sep_token_id: TokenId | None = None
    decoder_start_token_id: TokenId | None = None
    is_encoder_decoder: bool = False
    id2label: dict[int, str] = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    problem_type: str | None = None
    architectures: tuple[str, ...] = ()
    torch_dtype: str | None = key("torch_dtype", None, aliases=("dtype",))
    task_specific_params: dict[str, dict[str, Any]] | None = None
    prefix: str | None = None
    generation: dict[str, Any] = field(default_factory=dict, metadata={"key": None})
    """Options of ``generate`` that stand in config.json."""
    extra: dict[str, Any] = field(default_factory=dict, metadata={"key": None})
    """Ignored and unknown keys, kept to be written back."""

    @property
    def num_labels(self) -> int:
        """Number of classes of a classification head."""
        return len(self.id2label)

    @property
    def label2id(self) -> dict[str, int]:
        """Class number of each label."""
        return {label: i for i, label in self.id2label.items()}

    @property
    def max_positions(self) -> int | None:
        """The most tokens that a text may have, or None where positions have no end."""
        found: int | None = self.__dict__.get("num_positions")
        return found

    if not TYPE_CHECKING:  # hidden from type checkers, which shall find misspelt fields

        def __getattr__(self, name: str) -> Any:
            """Fields can also be read under their key in config.json (``config.n_embd``)."""
            own = _name_of_key(type(self)).get(name)
            if own is None:
                hint = did_you_mean(name, _name_of_key(type(self)))
                raise AttributeError(f"{type(self).__name__} has no field {name!r}.{hint}")
            return getattr(self, own)

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any]) -> Self:
        """Read the contents of a config.json.

        Raises:
            ConfigError: a value has the wrong type, or asks for something that we do not implement.

        Warns:
            UserWarning: keys that are not known at all; they are kept in ``extra``.
        """
        raw = dict(raw)
        if raw.pop("model_type", cls.model_type) != cls.model_type:
            raise ConfigError(f"{cls.__name__} reads configs of model_type {cls.model_type!r} only")
        values: dict[str, Any] = {"generation": _generation_defaults(cls), "extra": {}}
        _read_labels(raw, values)
        kinds = typing.get_type_hints(cls)
        for f in dataclasses.fields(cls):
            for name in reversed(_keys(f)):  # the main key last, so that it overrules its aliases
                if name in raw:
                    values[f.name] = _checked(kinds[f.name], f.name, name, raw.pop(name))
        unknown = []
        for name, value in raw.items():
            _check_supported(cls, name, value)
            values["generation" if name in GENERATION_KEYS else "extra"][name] = value
            if name not in _known_keys(cls):
                unknown.append(name + did_you_mean(name, _known_keys(cls)))
        if unknown:
            warnings.warn(f"config.json has keys that {cls.__name__} does not know: {'; '.join(unknown)}", stacklevel=2)
        config = cls(**values)
        config.check()
        return config

    def to_hf(self) -> dict[str, Any]:
        """The contents of a config.json that transformers reads with the same meaning."""
        raw: dict[str, Any] = {"model_type": self.model_type, **self.extra, **self.generation}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if _keys(f) and (value is not None or f.default is not None):  # None where None is the default goes unsaid
                raw[_keys(f)[0]] = value
        raw["architectures"] = list(self.architectures) or None
        raw["id2label"] = {str(i): label for i, label in self.id2label.items()}
        raw["label2id"] = self.label2id
        return raw

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other; architectures may add checks."""
        check_ranges(self)


def _keys(f: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The key of a field in config.json, then its aliases; empty for what is not a key there."""
    main = f.metadata.get("key", f.name)
    return () if main is None else (main, *f.metadata.get("aliases", ()))


def _name_of_key(cls: type[ModelConfig]) -> dict[str, str]:
    """Key or alias in config.json -> name of the field."""
    return {name: f.name for f in dataclasses.fields(cls) for name in _keys(f)}


def _generation_defaults(cls: type[ModelConfig]) -> dict[str, Any]:
    factory = cls.__dataclass_fields__["generation"].default_factory
    assert factory is not dataclasses.MISSING
    return factory()


def required_values(cls: type[ModelConfig]) -> dict[str, tuple[Any, ...]]:
    """Keys of config.json that must have one of these values, if they are there."""
    return {**_ANY_ARCHITECTURE_REQUIRES, **cls.REQUIRES}


def ignored_keys(cls: type[ModelConfig]) -> dict[str, str]:
    """Keys of config.json that are ignored, and the reasons."""
    return {**_ANY_ARCHITECTURE_IGNORES, **cls.IGNORES}


def _known_keys(cls: type[ModelConfig]) -> list[str]:
    return [*_name_of_key(cls), *required_values(cls), *ignored_keys(cls), *GENERATION_KEYS]


def _check_supported(cls: type[ModelConfig], name: str, value: Any) -> None:
    supported = required_values(cls).get(name)
    if supported is not None and value not in supported:
        allowed = " or ".join(repr(v) for v in supported)
        raise ConfigError(f"{cls.model_type} with {name}={value!r:.200} is not supported; supported: {allowed}")


def _read_labels(raw: dict[str, Any], values: dict[str, Any]) -> None:
    """Move id2label, label2id and num_labels from ``raw`` to ``values``: JSON has strings where we want integers."""
    id2label, label2id, num_labels = (raw.pop(name, None) for name in ("id2label", "label2id", "num_labels"))
    try:
        if id2label:
            values["id2label"] = {int(i): str(label) for i, label in id2label.items()}
        elif label2id:
            values["id2label"] = {int(i): str(label) for label, i in label2id.items()}
        elif num_labels is not None:
            if type(num_labels) is not int or not 1 <= num_labels <= MOST_LABELS:
                raise ConfigError(f"num_labels must be from 1 to {MOST_LABELS}, not {num_labels!r:.60}")
            values["id2label"] = {i: f"LABEL_{i}" for i in range(num_labels)}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"id2label must map class numbers to labels: {error}") from error
    if "id2label" in values:
        labels = values["id2label"]
        if sorted(labels) != list(range(len(labels))):
            raise ConfigError(f"id2label must number its labels 0 to {len(labels) - 1}, not {sorted(labels)!r:.200}")
        values["id2label"] = dict(sorted(labels.items()))


def _checked(kind: Any, own: str, name: str, value: Any) -> Any:
    """``value`` of the key ``name``, if it is of the type ``kind`` of the field ``own``."""
    if own == "architectures":
        if not isinstance(value or [], list | tuple) or not all(isinstance(one, str) for one in value or ()):
            raise ConfigError(f"{name} must be a list of names of classes, not {value!r:.100}")
        return tuple(value or ())
    if own == "torch_dtype" and value is not None:
        return str(value).removeprefix("torch.")
    if own == "task_specific_params" and isinstance(value, dict) and not all(map(_is_dict, value.values())):
        raise ConfigError(f"{name} must hold an object for each task, not {value!r:.100}")
    options = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    plain = tuple(typing.get_origin(option) or option for option in options)
    if float in plain and int not in plain and isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # JSON writes 0 for 0.0
    wrong_bool = isinstance(value, bool) and bool not in plain
    if not isinstance(value, plain) or wrong_bool or (isinstance(value, float) and not math.isfinite(value)):
        wanted = " or ".join(option.__name__ for option in plain)
        raise ConfigError(f"{name} in config.json must be {wanted}, not {value!r:.200}")
    inner = [typing.get_args(option)[0] for option in options if typing.get_origin(option) is list]
    if isinstance(value, list) and not all(type(one) in inner for one in value):
        raise ConfigError(f"{name} in config.json must be a list of {inner[0].__name__}, not {value!r:.200}")
    return value


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)
