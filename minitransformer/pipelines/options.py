"""The options of a task: where their names come from, and how those of one call reach the steps."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from minitransformer.errors import PipelineError, did_you_mean

STEPS = ("preprocess", "forward", "postprocess")

TOKENIZER_OPTIONS = frozenset(
    """
    padding truncation max_length stride add_special_tokens is_split_into_words pad_to_multiple_of
    return_token_type_ids return_attention_mask
    """.split()
)
"""Options of a tokenizer call that make sense inside a pipeline."""


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
    old_names: ClassVar[frozenset[str]] = frozenset()
    """Options that no step takes; `translate` turns them into others."""
    none_counts: ClassVar[frozenset[str]] = frozenset()
    """Options for which None is a value; None for another option means "not given"."""

    options: dict[str, Any]
    """Those typed when the pipeline was made; they hold for calls that do not type their own."""

    @classmethod
    def step_options(cls, step: str) -> frozenset[str]:
        """Names of the options that a step takes: its keyword-only ones, and those it passes on by ``**``."""
        names: set[str] = set()
        for klass in cls.__mro__:  # an override with **options also takes what the method above it takes
            if step in vars(klass):
                parameters = inspect.signature(vars(klass)[step]).parameters.values()
                names |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
                if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                    return frozenset(names)
        return frozenset(names) | cls.open_options.get(step, frozenset())

    @classmethod
    def known_options(cls) -> frozenset[str]:
        """Names of all options of the task."""
        ignored = {"num_workers"}  # told to another library's reader of data
        return frozenset().union(*(cls.step_options(step) for step in STEPS), cls.old_names, ignored)

    @classmethod
    def check_option_names(cls, options: Iterable[str]) -> None:
        """Raise a TypeError for a name that is no option of the task; it has the nearest one that is."""
        known = cls.known_options()
        for name in options:
            if name not in known:
                hint = did_you_mean(name, known)
                raise TypeError(f"{cls.default_task} has no option {name!r}.{hint} It has: {', '.join(sorted(known))}")

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Check the names of options, and turn old names into today's.

        Tasks extend it with checks of the values.
        """
        self.check_option_names(options)
        return {name: value for name, value in options.items() if value is not None or name in self.none_counts}

    def merge(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call over those of the pipeline."""
        return {**self.options, **options}

    def steps(self, options: Mapping[str, Any]) -> Steps:
        """Share out the options of a call, and the pipeline's own, among the steps that take them."""
        merged = self.merge(self.translate(options))
        by_step = (self.step_options(step) for step in STEPS)
        return Steps(*({name: value for name, value in merged.items() if name in names} for names in by_step))


def check_positive(name: str, value: Any) -> None:
    """Raise unless an option is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PipelineError(f"{name} must be an integer of at least 1, not {value!r}")


def check_tokenizer_options(name: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of a tokenizer's call that were given as the dictionary ``name``."""
    if options is not None and not isinstance(options, Mapping):
        raise PipelineError(f"{name} must be a dictionary of options, not {type(options).__name__}")
    for unknown in (options or {}).keys() - TOKENIZER_OPTIONS:
        hint = did_you_mean(unknown, TOKENIZER_OPTIONS)
        raise PipelineError(f"{name} has {unknown!r}, which is no option of the tokenizer.{hint}")
    return dict(options or {})
