"""The errors that the library raises on purpose, and the helper that names near misses.

Every error is also a built-in one (``ValueError``, ``FileNotFoundError``, ``OSError``), so that code written for other
libraries catches them; ``MinitransformerError`` catches them all.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_MESSAGE = 4000
"""Letters of an error; what it quotes of a file may have millions."""
LONGEST_NAME = 200
"""Of what may be a slip of the pen; to look for neighbours of anything longer takes time."""


class MinitransformerError(Exception):
    """Base of all errors that the library raises on purpose."""

    def __str__(self) -> str:
        text = super().__str__()
        rest = len(text) - LONGEST_MESSAGE
        return text if rest <= 0 else f"{text[: LONGEST_MESSAGE // 2]} [...] {text[-LONGEST_MESSAGE // 2 :]}"


class ConfigError(MinitransformerError, ValueError):
    """A config.json that is missing a key, holds a wrong value, or asks for a variant that is not supported."""


class CheckpointError(MinitransformerError, ValueError):
    """Weights that cannot be used: damaged files, or tensors that do not fit the model."""


class MissingFileError(CheckpointError, FileNotFoundError):
    """A folder or repository lacks a file that is needed."""


class RegistrationError(MinitransformerError, ValueError):
    """A part, architecture, tokenizer or task that cannot be registered; or a change to a model that none explains."""


class HubError(CheckpointError, OSError):
    """The Hub could not be reached, or refused."""


class SavingError(MinitransformerError, OSError):
    """A file that cannot be written: no room, no permission, no such folder. What was there before is as it was."""


class TokenizerError(MinitransformerError, ValueError):
    """Tokenizer files or tokenizer input that cannot be used."""


class GenerationError(MinitransformerError, ValueError):
    """Options of ``generate`` that are unknown, out of range, or contradict each other."""


class ArgumentError(MinitransformerError, TypeError):
    """A keyword argument that is unknown, or that cannot be answered here."""


class InputError(MinitransformerError, ValueError):
    """Tensors that a model cannot take: of another shape or type than it reads."""


class TraceError(MinitransformerError, ValueError):
    """An edit of a trace that gives or does what would change the model's numbers unseen."""


class DataError(MinitransformerError, ValueError):
    """A data file, or a record in it, that cannot be used; names the file and the line."""


class TrainingError(MinitransformerError, ValueError):
    """A recipe, a setting or a state in which training cannot begin or go on."""


class PipelineError(MinitransformerError, ValueError):
    """Input or options that a pipeline cannot answer."""


class UnknownOptionError(PipelineError, GenerationError, TypeError):
    """An option that a pipeline, an evaluation or ``generate`` does not have; names the nearest one."""


class StudyError(MinitransformerError, ValueError):
    """A study that cannot be made: inputs that do not fit each other, or a part that the model has not."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest known name, or an empty string when none is near."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        return ""
    nearest = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def warn_caller(message: str) -> None:
    """Warn with the line outside of this package from which it was called."""
    depth, frame, passed = 2, sys._getframe(1), ("minitransformer", "torch", "contextlib")  # torch's decorators
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in passed:
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=depth)
