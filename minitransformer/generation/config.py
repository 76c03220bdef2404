"""Options of ``generate``: their names, defaults, ranges, and where a value comes from when several places give one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from minitransformer.arguments import WRITING, settle, take_repository
from minitransformer.errors import GenerationError, UnknownOptionError, did_you_mean, warn_caller
from minitransformer.files import together, write_whole
from minitransformer.hub import Repository, read_json
from minitransformer.options import (
    Count,
    Natural,
    Only,
    Option,
    Positive,
    Probability,
    Range,
    Rows,
    TokenId,
    declared,
    plain,
    shown,
)

Length = Count
Seconds = Annotated[float, Range(above=0, finite=False)]
Bias = Annotated[float, Range(finite=False)]
TokenIds = Annotated[tuple[TokenId, ...], Only(lambda ids: len(ids) > 0, "a list of token ids that is not empty")]
Ends = Annotated[list[int], Only(lambda ids: len(ids) > 0, "a list of token ids that is not empty")]
Texts = Annotated[
    str | list[str],
    Only(lambda texts: bool(texts) and all(texts), "a text, or a list of texts, none of them empty"),
]


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

    # Length, in tokens.
    max_length: Annotated[
        Length | None, "tokens of a text; counts the prompt of a decoder-only model. Left at 20 it means 20 new tokens"
    ] = 20
    max_new_tokens: Annotated[Length | None, "tokens to write; wins over max_length"] = None
    min_length: Annotated[Natural | None, "as max_length: no end before so many tokens"] = 0
    min_new_tokens: Annotated[Natural | None, "as max_new_tokens: no end before so many tokens"] = None
    max_time: Annotated[Seconds | None, "seconds after which no further token is begun"] = None
    stop_strings: Annotated[Texts | None, "texts that end what is written; needs tokenizer="] = None

    # Strategy: greedy, sampling (do_sample), beam search (num_beams), or both.
    do_sample: Annotated[bool, "draw each token, instead of taking the likeliest"] = False
    num_beams: Annotated[Rows, "how many texts a beam search follows"] = 1
    num_return_sequences: Annotated[Rows, "how many texts to give for each prompt"] = 1
    early_stopping: Annotated[bool | Literal["never"], "of a beam search: when to look for no better text"] = False
    length_penalty: Annotated[float, Range(-99, 99), "beams: score = log probability / length ** this"] = 1.0
    use_cache: Annotated[bool, "remember keys and values, instead of computing them again"] = True

    # Changes of the scores, in the order of application (processors.py).
    sequence_bias: Annotated[
        dict[TokenIds, Bias] | list[tuple[TokenIds, Bias]] | None,
        Only(lambda value: value is None or len(value) > 0, "a dictionary or a list that is not empty"),
        "what is added to the scores of tokens that complete a sequence: {tokens: number}, or [[tokens, number], ...]",
    ] = None
    encoder_repetition_penalty: Annotated[Positive, "above 1: tokens of the prompt or source are likelier"] = 1.0
    repetition_penalty: Annotated[Positive, "above 1: tokens that occurred are less likely"] = 1.0
    no_repeat_ngram_size: Annotated[Natural, "no sequence of so many tokens occurs twice"] = 0
    encoder_no_repeat_ngram_size: Annotated[Natural, "no such sequence of the source occurs"] = 0
    bad_words_ids: Annotated[
        list[TokenIds] | None,
        Only(lambda value: value is None or len(value) > 0, "a list of lists of token ids that is not empty"),
        "sequences of tokens that must not occur",
    ] = None
    forced_bos_token_id: Annotated[TokenId | None, "the first token that is written"] = None
    forced_eos_token_id: Annotated[TokenId | TokenIds | None, "the last token, where max_length ends the text"] = None
    remove_invalid_values: Annotated[bool, "replace scores that are no finite numbers"] = False
    exponential_decay_length_penalty: Annotated[
        tuple[Natural, Annotated[float, Range(above=0, most=1e6)]] | None,
        "(first new token, factor per token): the end grows likelier from there",
    ] = None
    suppress_tokens: Annotated[list[TokenId] | None, "tokens that must not occur"] = None
    begin_suppress_tokens: Annotated[list[TokenId] | None, "tokens that must not be the first"] = None
    temperature: Annotated[Positive | None, "above 1 flattens the distribution, below 1 sharpens it"] = 1.0
    top_k: Annotated[Natural | None, "draw among so many of the likeliest tokens; 0 for all"] = 50
    top_p: Annotated[Probability | None, "draw among the likeliest tokens that have this probability together"] = 1.0
    min_p: Annotated[Probability | None, "draw among tokens at least so likely, relative to the likeliest"] = None
    typical_p: Annotated[
        float | None, Range(above=0, most=1), "draw among the most typical tokens that have this probability together"
    ] = 1.0
    epsilon_cutoff: Annotated[float | None, Range(least=0, below=1), "draw among tokens at least so likely"] = 0.0
    eta_cutoff: Annotated[float | None, Range(least=0, below=1), "the same, less strict in a flat distribution"] = 0.0
    renormalize_logits: Annotated[bool, "make the scores log probabilities again; last, with every strategy"] = False

    # Special tokens.
    pad_token_id: Annotated[int | None, "what fills up a text behind its end"] = None
    bos_token_id: Annotated[int | None, "what a text without a prompt begins with"] = None
    eos_token_id: Annotated[int | Ends | None, "what ends a text: one token, or any of several"] = None
    decoder_start_token_id: Annotated[int | Ends | None, "what an answer begins with; one for each source"] = None

    # What comes back beside the tokens.
    return_dict_in_generate: Annotated[bool, "give an object with the tokens and what is asked for"] = False
    output_scores: Annotated[bool, "with the scores that tokens were chosen by"] = False
    output_logits: Annotated[bool | None, "with the model's own scores"] = None
    output_attentions: Annotated[bool, "with attention weights"] = False
    output_hidden_states: Annotated[bool, "with hidden states"] = False

    # Assisted decoding (assistant_model=).
    num_assistant_tokens: Annotated[Length, "tokens that the assistant proposes at a time"] = 20
    num_assistant_tokens_schedule: Annotated[
        Literal["constant", "heuristic", "heuristic_transient"], "whether that number adapts to what is accepted"
    ] = "constant"
    assistant_confidence_threshold: Annotated[Probability, "below it the assistant stops proposing"] = 0.4

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
            warn_caller(f"generation_config has keys that have no effect here: {', '.join(strangers)}")
        return config

    @classmethod
    def from_pretrained(
        cls,
        id_or_folder: str | Path | Repository,
        config_file_name: str = "generation_config.json",
        **options: Any,
    ) -> GenerationConfig:
        """Read a checkpoint's options for ``generate``.

        Args:
            id_or_folder: a folder (never touches the network) or a model id on the Hub.
            config_file_name: instead of generation_config.json.
            **options: options that shall have another value; and where the file is: ``revision``, ``token``,
                ``subfolder``, ``cache_dir``, ``local_files_only``, ``force_download``.

        Raises:
            MissingFileError: there is no such file.
            HubError: the Hub could not be reached, or refused.
            UnknownOptionError: an option does not exist.
        """
        repository = take_repository(id_or_folder, options)
        config = cls.from_hf(read_json(repository.file(config_file_name)))
        for name, value in cls(**options).said.items():
            setattr(config, name, value)
        return config

    def save_pretrained(
        self, folder: str | Path, config_file_name: str = "generation_config.json", **options: Any
    ) -> None:
        """Write the options into ``folder``, which is made if it does not exist.

        Raises:
            ArgumentError: an option is unknown, or refused.
        """
        settle(options, WRITING, [], "GenerationConfig.save_pretrained")
        with together(Path(folder)):
            text = json.dumps(self.to_hf(), indent=2, ensure_ascii=False, sort_keys=True)
            write_whole(Path(folder) / config_file_name, text + "\n")

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
        return {**self.extra, **{name: plain(value) for name, value in self.said.items() if value is not None}}

    def validate(self) -> None:
        """Check every value by itself, then the values against each other.

        Raises:
            GenerationError: the message names the option, its value and what would be right.
        """
        for name, (mode, *neutral) in NOT_OFFERED.items():
            value = plain(vars(self).get(name))
            if value is not None and not any(type(value) in (int, float, bool) and value == none for none in neutral):
                raise GenerationError(
                    f"{name}={shown(value)} asks for {mode}, which is not offered: generate has greedy decoding, "
                    f"sampling, beam search, beam sampling and assisted greedy decoding. Leave {name} out, or set it "
                    "to None."
                )
        self.do_sample = OPTIONS["do_sample"].read(self.do_sample, GenerationError)
        vars(self).update(read_options(self.said, OPTIONS if self.do_sample else WITHOUT_SAMPLING))
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
        warn_caller(f"without do_sample=True these options have no effect: {', '.join(ignored)}")
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


def _older_than_4_50(version: Any) -> bool:
    numbers = str(version or "").split(".")[:2]
    return len(numbers) == 2 and all(n.isdigit() for n in numbers) and (int(numbers[0]), int(numbers[1])) < (4, 50)


def read_options(options: Mapping[str, Any], table: Mapping[str, Option] | None = None) -> dict[str, Any]:
    """Options by name, as they are declared; None is "not said" for each of them.

    Raises:
        GenerationError: a value is of another type, or out of range.
    """
    read = {}
    for name, value in options.items():
        option = (WITHOUT_SAMPLING if table is None else table).get(name)
        try:
            read[name] = value if value is None or option is None else option.read(value, GenerationError)
        except GenerationError as error:
            raise GenerationError(f"{error}.{REMEDIES[name]}" if name in REMEDIES else str(error)) from None
    return read


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

OPTIONS: dict[str, Option] = declared(GenerationConfig)
"""Every option: its type, range, default, and a line about it."""
OPTIONS |= {
    name: Option(name, Any, None, f"asks for {mode}, and is refused") for name, (mode, *_) in NOT_OFFERED.items()
}
OPTIONS |= {name: Option(name, Any, None, "taken, without effect") for name in WITHOUT_EFFECT}
WITHOUT_SAMPLING = {**OPTIONS, **{name: Option(name, int | float | None) for name in SAMPLING}}
"""The same where nothing is drawn: old files are full of numbers that no sampling could use."""
REMEDIES = {"temperature": " For the most likely token at every step set do_sample=False."}
