"""Tokenizers by the names that transformers has for them: ``BertTokenizerFast.from_pretrained(...)``.

A name stands for a family of this library. Calling it builds a tokenizer from vocabulary files or from a tokenizer of
the ``tokenizers`` library; ``from_pretrained`` reads a checkpoint's, whatever family its config names, as this family;
``isinstance`` tells whether a tokenizer is of the family. ``Fast`` names mean the same: there is one implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from minitransformer.compat.names import HOMES
from minitransformer.errors import TokenizerError
from minitransformer.hub import Repository
from minitransformer.tokenization.auto import CLASSES, AutoTokenizer, check_overrides
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.encoding import Encoding as BatchEncoding
from minitransformer.tokenization.files import load_backend

__all__ = ["BatchEncoding", "PreTrainedTokenizer", "PreTrainedTokenizerFast"]

FILES: Mapping[str, tuple[str, ...]] = {
    "vocab_file": ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "vocab.pkl"),
    "merges_file": ("merges.txt",),
    "src_vocab_file": ("vocab-src.json",),
    "tgt_vocab_file": ("vocab-tgt.json",),
    "spm_file": ("sentencepiece.bpe.model",),
    "source_spm": ("source.spm",),
    "target_spm": ("target.spm",),
    "vocab": ("vocab.json",),
}
"""Argument of a constructor -> the file of ours that it may give, the first that the family reads."""


class Family(type):
    """The class of the names: what calls and checks of them do."""

    family: type[Tokenizer]

    def __call__(
        cls,
        *files: str | Path,
        tokenizer_object: tokenizers.Tokenizer | None = None,
        tokenizer_file: str | Path | None = None,
        **settings: Any,
    ) -> Tokenizer:
        """A tokenizer.

        Args:
            *files: the family's vocabulary files, in the order of its ``vocabulary_files``.
            tokenizer_object: a tokenizer of the ``tokenizers`` library, trained or loaded.
            tokenizer_file: a tokenizer.json.
            **settings: special tokens (``pad_token="[PAD]"``), ``model_max_length``, the family's own settings; files
                by name (``vocab_file=``, ``merges_file=``).

        Raises:
            TokenizerError: nothing to build from, a file is missing, or an unknown setting.
        """
        family = cls.family
        given = dict(zip(family.vocabulary_files, files, strict=False))
        for argument in [name for name in FILES if name in settings]:
            path = settings.pop(argument)
            name = next((each for each in FILES[argument] if each in family.vocabulary_files), None)
            if path is not None and name is not None:
                given[name] = path
        if len(files) > len(family.vocabulary_files):
            raise TokenizerError(f"{cls.__name__} reads {len(family.vocabulary_files)} files, not {len(files)}")
        check_overrides(family, settings)
        if tokenizer_object is not None or tokenizer_file is not None:
            backend = load_backend(Path(tokenizer_file)) if tokenizer_file is not None else tokenizer_object
            if not isinstance(backend, tokenizers.Tokenizer):
                raise TokenizerError(f"tokenizer_object must be a tokenizers.Tokenizer, not {type(backend).__name__}")
            return family(tokenizers.Tokenizer.from_str(backend.to_str()), dict(settings))
        paths = {name: Path(path) for name, path in given.items()}
        missing = [name for name in family.vocabulary_files if name not in paths]
        if missing or not paths:
            needed = " and ".join(family.vocabulary_files) or "nothing else"
            raise TokenizerError(
                f"{cls.__name__} is built from tokenizer_object=, tokenizer_file= or its files ({needed}); "
                f"to read a checkpoint's tokenizer write {cls.__name__}.from_pretrained(id_or_folder)"
            )
        complete: Mapping[str, Any] = {
            **family.common_settings, **family.default_tokens, **family.settings, **settings
        }  # fmt: skip
        return family(family.build(paths, dict(complete)), dict(complete), paths)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.family)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(getattr(subclass, "family", subclass), cls.family)


class PreTrainedTokenizerFast(metaclass=Family):
    """Any tokenizer: what all families share."""

    family = Tokenizer

    @classmethod
    def from_pretrained(cls, id_or_folder: str | Path | Repository, *inputs: Any, **overrides: Any) -> Tokenizer:
        """Read a checkpoint's tokenizer, as this family; arguments as for ``AutoTokenizer.from_pretrained``."""
        if cls.family is not Tokenizer:
            overrides.setdefault("tokenizer_class", cls.family.class_name)
        return AutoTokenizer.from_pretrained(id_or_folder, *inputs, **overrides)


PreTrainedTokenizer = PreTrainedTokenizerFast


def __getattr__(name: str) -> Any:
    if name not in HOMES or HOMES[name][0] != __name__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    family = CLASSES[name.removesuffix("Fast")]
    door = Family(
        name, (PreTrainedTokenizerFast,), {"family": family, "__module__": __name__, "__doc__": family.__doc__}
    )
    globals()[name] = door
    return door
