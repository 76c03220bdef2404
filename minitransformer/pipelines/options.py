"""The options of a task: the keyword-only parameters of its steps, and how those of one call reach the steps.

Each is declared where it is used, with its type and range (minitransformer/options.py); the lists in the docstrings of
the tasks say what each means. ``pipeline_options(task)`` puts both together for documentation, servers and tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from minitransformer.errors import GenerationError, PipelineError, TokenizerError, UnknownOptionError
from minitransformer.generation.config import WITHOUT_SAMPLING, GenerationConfig
from minitransformer.generation.generate import OBJECTS
from minitransformer.options import Option, declared, documented, read_all, unknown_name
from minitransformer.tokenization.text_to_ids import CALL_OPTIONS

STEPS = ("preprocess", "forward", "postprocess")

TOKENIZER_OPTIONS = frozenset(
    """
    padding truncation max_length stride add_special_tokens is_split_into_words pad_to_multiple_of
    return_token_type_ids return_attention_mask
    """.split()
)
"""Options of a tokenizer call that make sense inside a pipeline."""
IGNORED = {"num_workers": Option("num_workers", int | None, None, "told to another library's reader of data")}


@dataclass(frozen=True)
class Steps:
    """The options of one call, by the step that they go to."""

    preprocess: dict[str, Any]
    forward: dict[str, Any]
    postprocess: dict[str, Any]


class Options:
    """The part of a pipeline that knows its options: the keyword-only parameters of its three steps."""

    default_task: ClassVar[str]
    """The task's name."""
    open_options: ClassVar[Mapping[str, frozenset[str]]] = {}
    """For a step that takes ``**options``: their names."""
    old_names: ClassVar[Mapping[str, Any]] = {}
    """Options that no step takes, with their types; `translate` turns them into others."""
    none_counts: ClassVar[frozenset[str]] = frozenset()
    """Options for which None is a value; None for another option means "not given"."""

    options: dict[str, Any]
    """Those typed when the pipeline was made; they hold for calls that do not type their own."""

    @classmethod
    def step_options(cls, step: str) -> frozenset[str]:
        """Names of the options that a step takes: its keyword-only ones, and those it passes on by ``**``."""
        return _once(_names, cls, step)

    @classmethod
    def declared_options(cls) -> Mapping[str, Option]:
        """All options of the task, and what callers may not type (``internal``) but others are turned into."""
        return _once(_table, cls)

    @classmethod
    def known_options(cls) -> frozenset[str]:
        """Names of all options of the task."""
        return frozenset(name for name, option in _once(_table, cls).items() if not option.internal)

    @classmethod
    def check_option_names(cls, options: Iterable[str]) -> None:
        """Raise an UnknownOptionError (a TypeError) for a name that is no option of the task; it has the nearest."""
        table = _once(_table, cls)
        for name in options:
            if name not in table or table[name].internal:
                raise UnknownOptionError(unknown_name(name, table, cls.default_task))

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Read options as they are declared, and turn old names into today's.

        Tasks extend it with what more than one option says together.
        """
        self.check_option_names(options)
        table, none_counts = self.declared_options(), self.none_counts
        return {
            name: table[name].read(value, kind_of_error(name, table[name]))
            for name, value in options.items()
            if value is not None or name in none_counts
        }

    def merge(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call over those of the pipeline."""
        return {**self.options, **options}

    def steps(self, options: Mapping[str, Any]) -> Steps:
        """Share out the options of a call, and the pipeline's own, among the steps that take them."""
        merged = self.merge(self.translate(options))
        by_step = (self.step_options(step) for step in STEPS)
        return Steps(*({name: value for name, value in merged.items() if name in names} for names in by_step))


def kind_of_error(name: str, option: Option) -> type[PipelineError | GenerationError | TokenizerError]:
    """What a wrong value raises: what the part of the library raises whose option it is."""
    if option is OF_ANY_GENERATE.get(name):
        return GenerationError
    return TokenizerError if option is CALL_OPTIONS.get(name) else PipelineError


_known: dict[Any, Any] = {}


def _once(make: Callable[..., Any], cls: type[Options], *more: Any) -> Any:
    """What a function makes of a class, made once: signatures take long to read."""
    key = (make, cls, *more)
    if key not in _known:
        _known[key] = make(cls, *more)
    return _known[key]


def _names(cls: type[Options], step: str) -> frozenset[str]:
    names: set[str] = set()
    for klass in cls.__mro__:  # an override with **options also takes what the method above it takes
        if step in vars(klass):
            parameters = inspect.signature(vars(klass)[step]).parameters.values()
            names |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                return frozenset(names)
    return frozenset(names) | cls.open_options.get(step, frozenset())


def _table(cls: type[Options]) -> dict[str, Option]:
    docs: dict[str, str] = {}
    for klass in reversed(cls.__mro__):
        docs |= documented(klass.__doc__)
    table: dict[str, Option] = {}
    for step in STEPS:
        for klass in cls.__mro__:
            if step in vars(klass):
                own = declared(vars(klass)[step], docs=docs)
                table = {**own, **table}
                if not _is_open(vars(klass)[step]):
                    break
        for name in cls.open_options.get(step, ()):
            table.setdefault(name, OF_ANY_GENERATE.get(name) or CALL_OPTIONS[name])
    old = {name: Option(name, hint, None, docs.get(name, "an old name")) for name, hint in cls.old_names.items()}
    return {**IGNORED, **table, **old}


def _is_open(function: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


OF_ANY_GENERATE: dict[str, Option] = {
    "generation_config": Option(
        "generation_config", GenerationConfig | None, None, "options of generate, as an object"
    ),
    **WITHOUT_SAMPLING,  # whether a call draws, and so what ranges hold, only the call itself can say
    **OBJECTS,
    "assistant_model": Option(
        "assistant_model", str | Path | OBJECTS["assistant_model"].hint, None, OBJECTS["assistant_model"].doc
    ),
}


def check_tokenizer_options(name: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of a tokenizer's call that were given as the dictionary ``name``."""
    table = {each: CALL_OPTIONS[each] for each in TOKENIZER_OPTIONS}
    return read_all(options or {}, table, PipelineError, owner="the tokenizer", place=f"{name}: ")
