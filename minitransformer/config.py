"""Configurations: a frozen dataclass for each architecture, read from config.json and written back to it.

A field of ours carries the key it has in a checkpoint's config.json (GPT-2's ``n_embd``, BERT's ``hidden_act``)::

    @dataclass(frozen=True, kw_only=True)
    class GPT2Config(ModelConfig):
        hidden_size: int = key("n_embd", 768)
        REQUIRES = {"add_cross_attention": (False,)}     # any other value is an error
        IGNORES = {"use_cache": "the caller owns the cache"}

Nothing in a config.json is dropped silently: a key is a field, or required to have a value that we implement, or
ignored for a written reason, or unknown, which warns and names the nearest key. All are kept and written back.

Fields are made and read under their key as well, and under the names that transformers has for all architectures:
``GPT2Config(n_embd=64, num_hidden_layers=2, num_labels=3).num_attention_heads``.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import Self

from minitransformer.arguments import HUB, READING_MODELS, WRITING, settle, take, take_repository
from minitransformer.errors import ArgumentError, ConfigError, did_you_mean, warn_caller
from minitransformer.files import together, write_whole
from minitransformer.hub import Repository, read_json
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
    "use_cache": "says whether a call by hand gives its cache",
    "output_past": "the caller owns the cache",
    "return_dict": "says whether a call by hand gives an object or a tuple",
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
    "directionality": "a note of those who trained it",
    "pooler_fc_size": "a note of those who trained it",
    "pooler_num_attention_heads": "a note of those who trained it",
    "pooler_num_fc_layers": "a note of those who trained it",
    "pooler_size_per_head": "a note of those who trained it",
    "pooler_type": "a note of those who trained it",
    "student_decoder_layers": "a note of those who trained it",
    "student_encoder_layers": "a note of those who trained it",
    "replacing_rate": "a note of those who trained it",
    "save_step": "a note of those who trained it",
}
_ANY_ARCHITECTURE_REQUIRES: dict[str, tuple[Any, ...]] = {
    "pruned_heads": ({}, None),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
}


EVERYWHERE = {
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "max_position_embeddings": "num_positions",
}
"""Names that transformers understands for (nearly) all architectures, whatever their key is -> our field."""

SYNONYMS = {
    "num_positions": "block_size context_length n_ctx max_seq_len max_sequence_length seq_length sequence_length",
    "hidden_size": "n_embd d_model dim emb_dim embed_dim embedding_dim model_dim hidden_dim",
    "num_layers": "n_layer n_layers layers depth num_blocks n_blocks",
    "num_heads": "n_head n_heads heads num_attention_head",
    "vocab_size": "n_vocab num_embeddings vocabulary_size",
}
"""Our field -> names that other programs have for it, for hints."""

_READABLE = {
    "use_cache": True,
    "return_dict": True,
    "use_return_dict": True,
    "torchscript": False,
    "_attn_implementation": "sdpa",
    "keys_to_ignore_at_inference": ["past_key_values"],
}
"""What transformers' configs say where a file says nothing, of keys that have no meaning here."""


def key(name: str, default: Any, *, aliases: tuple[str, ...] = ()) -> Any:
    """A dataclass field that stands under another name in config.json.

    Args:
        name: its key there.
        default: the value when the key is absent (the architecture's own default, not a general one).
        aliases: further keys under which old files hold it.
    """
    return field(default=default, metadata={"key": name, "aliases": aliases})


class FrozenConfigError(ConfigError, FrozenInstanceError):
    """Somebody assigns to a config, which models share and which therefore never changes."""


def _refuse_assignment(config: ModelConfig, name: str, value: Any = None) -> None:
    known = [*_name_of_key(type(config)), *EVERYWHERE]
    hint = "" if name in known or hasattr(config, name) else did_you_mean(name, known)
    raise FrozenConfigError(
        f"a config never changes: write model.config = model.config.replace({name}=...) instead of assigning.{hint}"
    )


class ConfigType(type):
    """The class of config classes: makes configs from names of config.json too, and checks them."""

    if not TYPE_CHECKING:  # type checkers shall see the fields

        def __call__(cls, **given: Any) -> Any:
            """A config.

            Args:
                **given: fields, by their own names or their keys in config.json; also ``num_labels`` and ``label2id``,
                    and any key of config.json that is ignored here, or meant for ``generate``.

            Raises:
                ConfigError: a name is unknown, or a value is of the wrong type or contradicts another.
            """
            if cls.__setattr__ is not _refuse_assignment:
                cls.__setattr__ = cls.__delattr__ = _refuse_assignment
            config = super().__call__(**_own_names(cls, given))
            config.check()
            return config

        @property
        def __signature__(cls) -> inspect.Signature:
            signature = inspect.signature(cls.__init__)
            return signature.replace(parameters=list(signature.parameters.values())[1:])


def _quiet(default: Any) -> Any:
    """A field that is written to config.json only where it is not the default."""
    return field(default=default, metadata={"quiet": True})


@dataclass(frozen=True, kw_only=True)
class ModelConfig(metaclass=ConfigType):
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
    output_attentions: bool = _quiet(False)
    """Whether calls give the attention maps, unless they say otherwise."""
    output_hidden_states: bool = _quiet(False)
    """Whether calls give the hidden states, unless they say otherwise."""
    minitransformer: dict[str, Any] | None = _quiet(None)
    """Which parts were put into the model by its users (``models.parts``)."""
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
            """Fields can also be read under their key in config.json (``config.n_embd``), and so can other keys."""
            if name.startswith("__") or name in ("generation", "extra"):
                raise AttributeError(name)
            kind = type(self)
            own = _name_of_key(kind).get(name, EVERYWHERE.get(name))
            if own in _fields(kind):
                return getattr(self, own)
            for kept in (self.extra, self.generation, _READABLE):
                if name in kept:
                    return kept[name]
            if name in required_values(kind):
                return required_values(kind)[name][0]
            raise NoFieldError(kind, name)

    @classmethod
    def from_pretrained(cls, id_or_folder: str | Path | Repository, **options: Any) -> Self:
        """Read a checkpoint's config.json.

        Args:
            id_or_folder: a folder (never touches the network) or a model id on the Hub.
            **options: fields that shall have another value; and where the file is: ``revision``, ``token``,
                ``subfolder``, ``cache_dir``, ``local_files_only``, ``force_download``.

        Raises:
            ConfigError: an unsupported variant, or a wrong value.
            ArgumentError: an option is unknown.
            MissingFileError: there is no config.json.
            HubError: the Hub could not be reached, or refused.
        """
        repository = take_repository(id_or_folder, options)
        return cls.from_pretrained_dict(read_json(repository.file("config.json")), options)

    @classmethod
    def from_pretrained_dict(cls, raw: Mapping[str, Any], options: dict[str, Any]) -> Self:
        """The config of a file's contents and the caller's options, which are taken out of it."""
        unused = options.pop("return_unused_kwargs", None)
        if unused:
            raise ArgumentError("return_unused_kwargs: nothing stays unused here; what is unknown is an error")
        habits = take(options, READING_MODELS)
        config = cls.from_hf(raw).override(options)
        settle({**habits, **options}, READING_MODELS, [*_known_keys(cls), *HUB], f"{cls.__name__}.from_pretrained")
        return config

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], **options: Any) -> Self:
        """The config that the contents of a config.json describe; ``options`` win over them."""
        return cls.from_pretrained_dict(raw, options)

    def override(self, options: dict[str, Any]) -> Self:
        """A copy with those fields changed that ``options`` name; they are taken out of it."""
        kind = type(self)
        known = {*_fields(kind), *_known_keys(kind), *_LABELS}
        changes = {k: options.pop(k) for k in list(options) if k in known or _field_for(kind, k)}
        return self.replace(**changes) if changes else self

    def to_dict(self) -> dict[str, Any]:
        """The contents of config.json, with class numbers as numbers."""
        return {**self.to_hf(), "id2label": dict(self.id2label)}

    def to_diff_dict(self) -> dict[str, Any]:
        """The same, less what a new config of the architecture says too."""
        kind: Any = type(self)
        usual = kind().to_dict()
        return {k: v for k, v in self.to_dict().items() if k == "model_type" or k not in usual or usual[k] != v}

    def to_json_string(self) -> str:
        """The text of config.json."""
        return json.dumps(self.to_hf(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write config.json into ``folder``, which is made if it does not exist."""
        settle(options, WRITING, [], f"{type(self).__name__}.save_pretrained")
        with together(folder):
            write_whole(Path(folder) / "config.json", self.to_json_string())

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
        kinds = _kinds(cls)
        for f in dataclasses.fields(cls):
            for name in reversed(_keys(f)):  # the main key last, so that it overrules its aliases
                if name in raw:
                    values[f.name] = _checked(kinds[f.name], f.name, name, raw.pop(name))
        unknown = []
        for name, value in raw.items():
            own = _field_for(cls, name)
            if own is not None and own not in values:
                values[own] = _checked(kinds[own], own, name, value)
                continue
            _check_supported(cls, name, value)
            values["generation" if name in GENERATION_KEYS else "extra"][name] = value
            if name not in _known_keys(cls):
                unknown.append(name + _hint(cls, name))
        if unknown:
            warn_caller(f"config.json has keys that {cls.__name__} does not know: {'; '.join(unknown)}")
        return cls(**values)

    def to_hf(self) -> dict[str, Any]:
        """The contents of a config.json that transformers reads with the same meaning."""
        raw: dict[str, Any] = {"model_type": self.model_type, **self.extra, **self.generation}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.metadata.get("quiet") and value == f.default:
                continue
            if _keys(f) and (value is not None or f.default is not None):  # None where None is the default goes unsaid
                raw[_keys(f)[0]] = value
        raw["architectures"] = list(self.architectures) or None
        raw["id2label"] = {str(i): label for i, label in self.id2label.items()}
        raw["label2id"] = self.label2id
        return raw

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, by their own names or those of config.json.

        Raises:
            ConfigError: a name is unknown, or a value is of the wrong type or contradicts another.
        """
        if changes.get("num_labels") == self.num_labels and "label2id" not in changes:
            del changes["num_labels"]  # so many there are, and they have names
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        kept = {name: values[name] for name in _KEPT}
        return type(self)(**{**values, **_own_names(type(self), {**kept, **changes})})

    def resized(self, vocab_size: int) -> Self:
        """A copy for a vocabulary of another size; where there are two, the source's."""
        return self.replace(vocab_size=vocab_size)

    def resized_target(self, vocab_size: int) -> Self:
        """A copy whose target's vocabulary has another size.

        Raises:
            ConfigError: there is no vocabulary of the target's own.
        """
        raise ConfigError(f"{self.model_type} has one vocabulary: resize_token_embeddings changes it")

    def check(self) -> None:
        """Raise a ConfigError if the fields contradict each other; architectures may add checks."""
        check_ranges(self)


def _keys(f: dataclasses.Field[Any]) -> tuple[str, ...]:
    """The key of a field in config.json, then its aliases; empty for what is not a key there."""
    main = f.metadata.get("key", f.name)
    return () if main is None else (main, *f.metadata.get("aliases", ()))


@cache
def _name_of_key(cls: type[ModelConfig]) -> dict[str, str]:
    """Key or alias in config.json -> name of the field."""
    return {name: f.name for f in dataclasses.fields(cls) for name in _keys(f)}


@cache
def _fields(cls: type[ModelConfig]) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(cls)}


@cache
def _kinds(cls: type[ModelConfig]) -> dict[str, Any]:
    """Name of a field -> its type."""
    return typing.get_type_hints(cls)


def _field_for(cls: type[ModelConfig], name: str) -> str | None:
    """The field that transformers means by a name that it has for all architectures, if this one has that field."""
    own = EVERYWHERE.get(name)
    has_it = own in _fields(cls) and name not in ignored_keys(cls)
    return own if has_it else None


_LABELS = ("id2label", "label2id", "num_labels")
_KEPT = ("generation", "extra")


def _own_names(cls: type[ModelConfig], given: dict[str, Any]) -> dict[str, Any]:
    """A caller's arguments under the names of our fields; what is no field goes into ``extra`` or ``generation``.

    Raises:
        ConfigError: a name is unknown, or a value is of the wrong type.
    """
    for name in _KEPT:
        if not isinstance(given.get(name, {}), Mapping):
            raise ConfigError(f"{name} must be a dictionary, not {given[name]!r:.200}")
    values: dict[str, Any] = {name: dict(given[name]) for name in _KEPT if name in given}
    _read_labels({name: given[name] for name in _LABELS if name in given}, values)
    for name, value in given.items():
        if name in _LABELS or name in _KEPT:
            continue
        own = name if name in _fields(cls) else _name_of_key(cls).get(name) or _field_for(cls, name)
        if own is not None:
            if own in values:
                raise ConfigError(f"{name} is given twice: it is the same as {own}")
            values[own] = _checked(_kinds(cls)[own], own, name, value, "")
            continue
        if name not in _known_keys(cls):
            raise ConfigError(f"{cls.__name__} has no field {name!r}.{_hint(cls, name)}")
        _check_supported(cls, name, value)
        if name in GENERATION_KEYS:
            values.setdefault("generation", _generation_defaults(cls))[name] = value
        else:
            values.setdefault("extra", {})[name] = value
    return values


class NoFieldError(AttributeError):
    """A field that a config does not have. The nearest one is looked for when somebody reads the message.

    Args:
        kind: the class of the config.
        name: of the field.
    """

    def __init__(self, kind: type[ModelConfig], name: str) -> None:
        super().__init__(kind, name)
        self.kind, self.field = kind, name

    def __str__(self) -> str:
        return f"{self.kind.__name__} has no field {self.field!r}.{_hint(self.kind, self.field)}"


def _hint(cls: type[ModelConfig], name: str) -> str:
    """`` Did you mean 'n_positions'?``: this architecture's key for what others call ``name``, or the nearest one."""
    for own, others in SYNONYMS.items():
        if name in others.split() and own in _fields(cls):
            return f" Did you mean {_keys(_fields(cls)[own])[0]!r}?"
    return did_you_mean(name, _known_keys(cls))


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


def config_names(cls: type[ModelConfig]) -> list[str]:
    """Every name under which a config of this class takes or gives a value."""
    return list(dict.fromkeys([*_fields(cls), *_known_keys(cls), *EVERYWHERE]))


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


def _checked(kind: Any, own: str, name: str, value: Any, where: str = " in config.json") -> Any:
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
        try:
            return float(value)  # JSON writes 0 for 0.0
        except OverflowError:
            raise ConfigError(f"{name}{where} must be a number that a float can hold") from None
    wrong_bool = isinstance(value, bool) and bool not in plain
    if not isinstance(value, plain) or wrong_bool or (isinstance(value, float) and not math.isfinite(value)):
        wanted = " or ".join(option.__name__ for option in plain)
        raise ConfigError(f"{name}{where} must be {wanted}, not {value!r:.200}")
    inner = [typing.get_args(option)[0] for option in options if typing.get_origin(option) is list]
    if isinstance(value, list) and not all(type(one) in inner for one in value):
        raise ConfigError(f"{name}{where} must be a list of {inner[0].__name__}, not {value!r:.200}")
    return value


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)
