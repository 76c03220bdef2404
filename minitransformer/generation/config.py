"""Options of ``generate``: their names, defaults, ranges, and where a value comes from when several places give one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Protocol

from minitransformer.errors import GenerationError, did_you_mean


class UnknownOptionError(GenerationError, TypeError):
    """An option that ``generate`` does not know."""


@dataclass(init=False, repr=False, eq=False)
class GenerationConfig:
    """What to generate, and how: every option of ``generate`` with its default.

    An instance holds only what somebody said; everything else is the default below. So a default never hides what a
    weaker source says: options of the call win over a given ``GenerationConfig``, that over the model's own
    (``generation_config.json``), and that over the defaults here.

    Names and meaning are those of transformers 4.57's ``GenerationConfig``.

    Raises:
        UnknownOptionError: a name that is not an option; the message has the nearest one.
    """

    # Length, in tokens. max_length counts the prompt of a decoder-only model; left at 20 it means 20 new tokens.
    max_length: int | None = 20
    max_new_tokens: int | None = None  # wins over max_length
    min_length: int | None = 0
    min_new_tokens: int | None = None
    max_time: float | None = None  # seconds
    stop_strings: str | list[str] | None = None  # needs tokenizer=

    # Strategy: greedy, sampling (do_sample), beam search (num_beams), or both.
    do_sample: bool = False
    num_beams: int = 1
    num_return_sequences: int = 1
    early_stopping: bool | str = False  # beams: True, False or "never"
    length_penalty: float = 1.0  # beams: score = sum of log probabilities / length ** length_penalty
    use_cache: bool = True

    # Changes of the scores, in the order of application (processors.py).
    sequence_bias: dict[tuple[int, ...], float] | list[Any] | None = None
    encoder_repetition_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: list[list[int]] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    remove_invalid_values: bool = False
    exponential_decay_length_penalty: tuple[int, float] | None = None  # (first new token, factor per token)
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    temperature: float | None = 1.0  # from here on only with do_sample
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    typical_p: float | None = 1.0
    epsilon_cutoff: float | None = 0.0
    eta_cutoff: float | None = 0.0
    renormalize_logits: bool = False  # last, with every strategy

    # Special tokens.
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | list[int] | None = None

    # What comes back beside the tokens.
    return_dict_in_generate: bool = False
    output_scores: bool = False
    output_logits: bool | None = None
    output_attentions: bool = False
    output_hidden_states: bool = False

    # Assisted decoding (assistant_model=).
    num_assistant_tokens: int = 20
    num_assistant_tokens_schedule: str = "constant"  # or "heuristic", "heuristic_transient": adapt to what is accepted
    assistant_confidence_threshold: float = 0.4  # the assistant stops proposing below this probability

    # About the file, not about generation.
    transformers_version: str | None = None

    def __init__(self, **options: Any) -> None:
        self.extra: dict[str, Any] = {}
        for name, value in options.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "extra" and name not in KNOWN:
            raise unknown_option(name)
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"GenerationConfig({', '.join(f'{name}={value!r}' for name, value in self.said.items())})"

    @property
    def said(self) -> dict[str, Any]:
        """The options that somebody set."""
        return {name: value for name, value in vars(self).items() if name != "extra"}

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> GenerationConfig:
        """Read the content of a ``generation_config.json``.

        Keys that are no options of ours are kept in ``extra``, so that ``to_hf`` gives them back, and are named in a
        warning.
        """
        config = cls(**{name: value for name, value in values.items() if name in KNOWN})
        config.extra = {name: value for name, value in values.items() if name not in KNOWN}
        strangers = sorted(name for name in config.extra if not name.startswith("_"))
        if strangers:
            warnings.warn(f"generation_config has keys that have no effect here: {', '.join(strangers)}", stacklevel=2)
        return config

    @classmethod
    def from_model_config(cls, config: Any) -> GenerationConfig:
        """Lift the options that old checkpoints keep in ``config.json`` (``config.generation``) and the special tokens.

        Args:
            config: a model's configuration.
        """
        lifted = {name: value for name, value in dict(config.generation).items() if name in KNOWN}
        for name in SPECIAL_TOKENS:
            lifted.setdefault(name, getattr(config, name, None))
        options = cls(**{name: value for name, value in lifted.items() if value is not None})
        if any(getattr(options, name) for name in OUTPUTS):
            options.return_dict_in_generate = True
        return options

    def to_hf(self) -> dict[str, Any]:
        """The content of a ``generation_config.json``: what was said, and what ``from_hf`` could not use."""
        return {**self.extra, **{name: value for name, value in self.said.items() if value is not None}}

    def validate(self) -> None:
        """Check every value by itself, then the values against each other.

        Raises:
            GenerationError: the message names the option, its value and what would be right.
        """
        for name, (mode, *neutral) in NOT_OFFERED.items():
            value = vars(self).get(name)
            if value is not None and value not in neutral:
                raise GenerationError(
                    f"{name}={value!r} asks for {mode}, which is not offered: generate has greedy decoding, sampling, "
                    f"beam search, beam sampling and assisted greedy decoding. Leave {name} out, or set it to None."
                )
        for name, (right, text) in RANGES.items():
            if name in SAMPLING and not self.do_sample:
                continue
            value = getattr(self, name)
            if value is not None and not right(value):
                raise GenerationError(f"{name} must be {text}, not {value!r}.{REMEDIES.get(name, '')}")
        if self.num_return_sequences > 1:
            if self.num_beams == 1 and not self.do_sample:
                raise GenerationError(
                    f"num_return_sequences={self.num_return_sequences} needs do_sample=True or num_beams > 1: "
                    "greedy decoding has one answer"
                )
            if 1 < self.num_beams < self.num_return_sequences:
                raise GenerationError(
                    f"num_return_sequences={self.num_return_sequences} must not exceed num_beams={self.num_beams}"
                )


def resolve(
    model: GenerationConfig,
    given: GenerationConfig | None,
    options: Mapping[str, Any],
    use_model_defaults: bool | None = None,
) -> GenerationConfig:
    """Merge the three sources of options, the strongest last, and check the result.

    A ``max_length`` that is said in a stronger place sets aside a ``max_new_tokens`` of a weaker one (transformers
    4.57 ignores it, whoever said it); the same for the minimum.

    Args:
        model: the model's own options.
        given: what the caller passed as ``generation_config``.
        options: keyword arguments of the call.
        use_model_defaults: whether ``model`` fills what ``given`` leaves open; without it only the special tokens do.
            By default: unless the model's file was written before transformers 4.50, as there.
    """
    said = model.said
    if given is not None:
        if not isinstance(given, GenerationConfig):
            raise GenerationError(
                f"generation_config must be a GenerationConfig, not {type(given).__name__}; options can also be "
                "passed one by one"
            )
        if use_model_defaults is None:
            use_model_defaults = not _older_than_4_50(model.transformers_version)
        if not use_model_defaults:
            said = {name: value for name, value in said.items() if name in SPECIAL_TOKENS}
        # A special token that was given as None is one that nobody knows, not one that is switched off.
        unsaid = {name for name in SPECIAL_TOKENS if getattr(given, name) is None}
        said = _over(said, {name: value for name, value in given.said.items() if name not in unsaid})
    said = _over(said, options)
    for name, default in DEFAULTS.items():  # None in these places means "not said", not "off"
        if name in said and said[name] is None and name not in NONE_MEANS_OFF:
            said[name] = default
    config = GenerationConfig(**said)
    config.validate()
    ignored = [name for name in SAMPLING if name in options and options[name] not in (None, DEFAULTS[name])]
    if ignored and not config.do_sample:
        warnings.warn(f"without do_sample=True these options have no effect: {', '.join(ignored)}", stacklevel=4)
    return config


def unknown_option(name: str) -> UnknownOptionError:
    """The error for a name that is not an option."""
    if name in ARGUMENTS:
        return UnknownOptionError(f"{name!r} is not an option but an argument of generate(): pass it there")
    return UnknownOptionError(f"generate has no option {name!r}.{did_you_mean(name, [*KNOWN, *ARGUMENTS])}")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if above.get(total) is not None and above.get(new) is None:
            merged.pop(new, None)
    return merged


def _older_than_4_50(version: str | None) -> bool:
    numbers = (version or "").split(".")[:2]
    return len(numbers) == 2 and all(n.isdigit() for n in numbers) and (int(numbers[0]), int(numbers[1])) < (4, 50)


class _Check(Protocol):
    def __call__(self, value: Any) -> bool: ...


def _whole(least: int) -> tuple[_Check, str]:
    return lambda value: _is_int(value) and value >= least, f"a whole number, at least {least}"


def _number(right: Callable[[float], bool], text: str) -> tuple[_Check, str]:
    return lambda value: not isinstance(value, bool) and isinstance(value, Real) and right(float(value)), text


def _ids(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_int(token) and token >= 0 for token in value)


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_bias(value: Any) -> bool:
    pairs = value.items() if isinstance(value, dict) else value
    return (
        bool(value)
        and isinstance(value, (dict, list, tuple))
        and all(
            isinstance(pair, (list, tuple))
            and len(pair) == 2
            and _ids(pair[0])
            and pair[0]
            and isinstance(pair[1], Real)
            for pair in pairs
        )
    )


DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(GenerationConfig)}
SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
OUTPUTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
NONE_MEANS_OFF = frozenset({*SAMPLING, "min_length"})

# Options of transformers 4.57 that we refuse: what they ask for, and the values that ask for nothing.
NOT_OFFERED: dict[str, tuple[Any, ...]] = {
    "num_beam_groups": ("group (diverse) beam search", 1),
    "diversity_penalty": ("group (diverse) beam search", 0.0),
    "constraints": ("constrained beam search",),
    "force_words_ids": ("constrained beam search",),
    "penalty_alpha": ("contrastive search", 0.0),
    "dola_layers": ("DoLa decoding",),
    "guidance_scale": ("classifier-free guidance", 1, 1.0),
    "watermarking_config": ("watermarking",),
    "token_healing": ("token healing", False),
    "low_memory": ("sequential beam search", False),
    "prompt_lookup_num_tokens": ("prompt lookup decoding",),
    "max_matching_ngram_size": ("prompt lookup decoding",),
    "assistant_early_exit": ("early-exit decoding",),
}
# Options that cannot change a result: how memory and kernels are organised there, or for modes that we refuse.
WITHOUT_EFFECT = (
    "cache_implementation",
    "cache_config",
    "return_legacy_cache",
    "prefill_chunk_size",
    "compile_config",
    "disable_compile",
    "assistant_lookbehind",
    "target_lookbehind",
    "is_assistant",
)
KNOWN = frozenset({*DEFAULTS, *NOT_OFFERED, *WITHOUT_EFFECT})
# What else generate takes: no options, so they do not belong into a GenerationConfig.
ARGUMENTS = (
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "assistant_model",
    "streamer",
    "tokenizer",
    "token_type_ids",
    "encoder_outputs",
    "decoder_input_ids",
    "decoder_attention_mask",
    "use_model_defaults",
    "generator",
)

_TOKEN: tuple[_Check, str] = (lambda value: _is_int(value), "a token id")
_TOKENS: tuple[_Check, str] = (lambda value: _is_int(value) or (_ids(value) and value), "a token id or a list of them")
_FLAG: tuple[_Check, str] = (lambda value: isinstance(value, bool), "True or False")
_PROBABILITY = _number(lambda value: 0 <= value <= 1, "a number from 0 to 1")
_POSITIVE = _number(lambda value: value > 0, "a number above 0")
_CUTOFF = _number(lambda value: 0 <= value < 1, "a number from 0 to below 1")
_LIST: tuple[_Check, str] = (_ids, "a list of token ids")

RANGES: dict[str, tuple[_Check, str]] = {
    "max_length": _whole(1),
    "max_new_tokens": _whole(1),
    "min_length": _whole(0),
    "min_new_tokens": _whole(0),
    "max_time": _POSITIVE,
    "stop_strings": (
        lambda value: (
            bool(value)
            and isinstance(value, (str, list, tuple))
            and all(isinstance(text, str) and text for text in value)
        ),
        "a text, or a list of texts, none of them empty",
    ),
    "do_sample": _FLAG,
    "num_beams": _whole(1),
    "num_return_sequences": _whole(1),
    "early_stopping": (lambda value: isinstance(value, bool) or value == "never", 'True, False or "never"'),
    "length_penalty": _number(lambda value: True, "a number"),
    "use_cache": _FLAG,
    "sequence_bias": (_is_bias, "a dict from tuples of token ids to numbers, or a list of [ids, number]"),
    "encoder_repetition_penalty": _POSITIVE,
    "repetition_penalty": _POSITIVE,
    "no_repeat_ngram_size": _whole(0),
    "encoder_no_repeat_ngram_size": _whole(0),
    "bad_words_ids": (
        lambda value: isinstance(value, list) and bool(value) and all(_ids(word) and word for word in value),
        "a list of lists of token ids, none of them empty",
    ),
    "forced_bos_token_id": _TOKEN,
    "forced_eos_token_id": _TOKENS,
    "remove_invalid_values": _FLAG,
    "exponential_decay_length_penalty": (
        lambda value: isinstance(value, (list, tuple)) and len(value) == 2,
        "a pair: number of new tokens after which it starts, factor",
    ),
    "suppress_tokens": _LIST,
    "begin_suppress_tokens": _LIST,
    "temperature": _POSITIVE,
    "top_k": _whole(0),
    "top_p": _PROBABILITY,
    "min_p": _PROBABILITY,
    "typical_p": _number(lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "epsilon_cutoff": _CUTOFF,
    "eta_cutoff": _CUTOFF,
    "renormalize_logits": _FLAG,
    "pad_token_id": _TOKEN,
    "bos_token_id": _TOKEN,
    "eos_token_id": _TOKENS,
    "decoder_start_token_id": _TOKENS,
    "num_assistant_tokens": _whole(1),
    "num_assistant_tokens_schedule": (
        lambda value: value in ("constant", "heuristic", "heuristic_transient"),
        '"constant", "heuristic" or "heuristic_transient"',
    ),
    "assistant_confidence_threshold": _PROBABILITY,
}
REMEDIES = {"temperature": " For the most likely token at every step set do_sample=False."}
