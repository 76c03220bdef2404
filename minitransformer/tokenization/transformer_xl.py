"""The tokenizer of Transformer-XL: whole words, split as WikiText-103 is.

Punctuation is normalized and split off by the Moses rules, dashes inside of words become ``@-@``, and numbers
are split at points and commas: ``23,000`` is ``23 @,@ 000``. Needs the package sacremoses.

The vocabulary is vocab.pkl, a pickle, which is read without running anything that it asks for; or vocab.txt,
one word a line.

Paper: Dai et al. 2019, section 4.1. Reference: ``models/deprecated/transfo_xl/tokenization_transfo_xl.py``
(there is no fast tokenizer).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import tokenizers

from minitransformer.errors import MissingFileError, TokenizerError
from minitransformer.hub import check_no_pointer
from minitransformer.jsons import LARGEST_FILE
from minitransformer.pickles import PickleError, RefusedNameError, read_pickle
from minitransformer.tokenization.files import read_lines
from minitransformer.tokenization.pieces import (
    PieceTokenizer,
    build_lookup,
    check_moses_language,
    import_sacremoses,
    lower_case,
)
from minitransformer.tokenization.saving import write_text

_INSIDE_NUMBER = re.compile(r"(?<=\d)[,.](?=\d)")


class TransfoXLTokenizer(PieceTokenizer):
    """Words by the Moses rules."""

    class_name = "TransfoXLTokenizer"
    optional_files = ("vocab.pkl", "vocab.txt")
    inputs = ("input_ids",)
    default_tokens = {"unk_token": "<unk>", "eos_token": "<eos>"}
    settings = {
        "lower_case": False,
        "delimiter": None,
        "language": "en",
        "never_split": None,
        "special": None,
        "min_freq": 0,
        "max_size": None,
    }

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        given = {"additional_special_tokens": ["<formula>"], **(settings or {})}
        super().__init__(backend, given, files)
        sacremoses = import_sacremoses("Transformer-XL's")
        language = check_moses_language(self.options["language"])
        check_patterns(self.options["never_split"])
        self._normalizer = sacremoses.MosesPunctNormalizer(language)
        self._moses = sacremoses.MosesTokenizer(language)
        self._detokenizer = sacremoses.MosesDetokenizer(language)

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        if "vocab.txt" in files:
            path = files["vocab.txt"]
            words = [line.split()[0] if line.strip() else "" for line in read_lines(path)]
        elif "vocab.pkl" in files:
            path = files["vocab.pkl"]
            words = read_pickled_words(path)
        else:
            raise MissingFileError("no vocabulary for a TransfoXLTokenizer, which needs vocab.pkl or vocab.txt")
        vocabulary = {word: i for i, word in enumerate(words)}
        if len(vocabulary) < len(words) or "" in vocabulary:
            _name_odd_word(words, path)
        unknown = str(settings["unk_token"])
        if unknown not in vocabulary and "<UNK>" in vocabulary:
            settings["unk_token"] = unknown = "<UNK>"
        return build_lookup(vocabulary, unknown, path)

    def prepare(self, text: str) -> str:
        """Lowercase, if the model does, all but special tokens."""
        if not self.options["lower_case"]:
            return text
        return lower_case(text, self.all_special_tokens)

    def split(self, text: str) -> list[str]:
        """Words, punctuation and the parts of numbers."""
        text = text.strip()
        if self.options["delimiter"] == "":
            return list(text)
        try:
            words = self._moses.tokenize(
                self._normalizer.normalize(text),
                aggressive_dash_splits=True,
                escape=False,
                protected_patterns=self.options["never_split"] or self.all_special_tokens,
            )
        except ValueError as error:  # too many matches of the patterns
            raise TokenizerError(f"the text could not be split into words: {error}") from error
        return [part for word in words for part in _INSIDE_NUMBER.sub(r" @\g<0>@ ", word).split()]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Text with punctuation and numbers put together again."""
        text: str = self._detokenizer.detokenize(tokens)
        return text.replace(" @,@ ", ",").replace(" @.@ ", ".").strip()

    def joins_words(self, clean_up_tokenization_spaces: bool | None = None) -> bool:
        """Numbers are put together when their next part is there: "3", "3 @,@", "3,000"."""
        return True

    def save_vocabulary(self, folder: str | Path) -> list[str]:
        """Write vocab.txt, which needs no trust to be read."""
        words = sorted(self.backend.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
        return [write_text(Path(folder) / "vocab.txt", "".join(word + "\n" for word, _ in words))]


def check_patterns(patterns: Any) -> None:
    """Raise a TokenizerError unless these are regular expressions, of which a text is not split."""
    try:
        if patterns is not None and not isinstance(patterns, list | tuple):
            raise TypeError(f"a {type(patterns).__name__}")
        for pattern in patterns or ():
            re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        raise TokenizerError(f"never_split must be a list of regular expressions, which it is not: {error}") from error


def _name_odd_word(words: list[str], path: Path) -> NoReturn:
    """Raise the error for an empty or repeated word, which would shift the ids of all that follow."""
    first: dict[str, int] = {}
    for i, word in enumerate(words):
        if not word:
            raise TokenizerError(f"{path} has an empty word, number {i + 1}: each id needs a word of its own")
        if word in first:
            raise TokenizerError(
                f"{path} has the word {word[:80]!r} twice, as numbers {first[word] + 1} and {i + 1}: each id needs a "
                "word of its own"
            )
        first[word] = i
    raise AssertionError("no word is odd")


_NAMED = frozenset({"re", "sacremoses", "tokenizers", "transformers"})
"""Packages of the rules that transformers saves along with a vocabulary; they are left where they are."""


def read_pickled_words(path: Path) -> list[str]:
    """The words of a vocab.pkl, by id.

    Raises:
        TokenizerError: the pickle asks for more than plain containers, or holds no words.
    """
    check_no_pointer(path)
    with open(path, "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    try:
        if len(data) > LARGEST_FILE:
            raise PickleError(f"it has more than {LARGEST_FILE:,} bytes")
        contents, _ = read_pickle(data, lambda name: name.split(".")[0] in _NAMED)
    except RefusedNameError as error:
        raise TokenizerError(
            f"{path} is a pickle that holds more than words (it asks for {error}), and such code is never run: make a "
            "vocab.txt of it, one word a line, where you trust it"
        ) from error
    except PickleError as error:
        raise TokenizerError(f"{path} is no pickle that can be read: {error}") from error
    words = contents.get("idx2sym") if isinstance(contents, dict) else None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise TokenizerError(f"{path} is no vocabulary of Transformer-XL: it has no list of words named idx2sym")
    return words
