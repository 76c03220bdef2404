"""The tokenizer that every family shares: a ``tokenizers.Tokenizer`` and what the files say about its use.

A family's file (`bert.py`, `gpt2.py`, ...) tells how the backend is built from a vocabulary, which tokens are
special and which settings there are. What a tokenizer does is in four files, one for each part of it::

    special_tokens.py   pad_token, pad_token_id, all_special_ids ...
    vocabulary.py       vocab_size, convert_tokens_to_ids, add_tokens ...
    text_to_ids.py      calling it, encode, tokenize, pad
    ids_to_text.py      decode, batch_decode, convert_tokens_to_string

Here they are put together, and set up. Equal to transformers 4.57's fast tokenizers
(``tokenization_utils_base.py``, ``tokenization_utils_fast.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, ClassVar

import tokenizers
from tokenizers import AddedToken, models, pre_tokenizers
from typing_extensions import Self

from minitransformer.arguments import WRITING, settle
from minitransformer.errors import TokenizerError
from minitransformer.options import shown
from minitransformer.tokenization.forking import fork_safe_lock
from minitransformer.tokenization.ids_to_text import IdsToText
from minitransformer.tokenization.retraining import renamed_token, retrain
from minitransformer.tokenization.saving import (
    copy_file,
    describe_special_tokens,
    save_backend_files,
    whole_folder,
    write_json,
    write_text,
)
from minitransformer.tokenization.special_tokens import LIST_ROLE, ROLES, Token, as_token
from minitransformer.tokenization.strategies import NO_LIMIT, Request
from minitransformer.tokenization.text_to_ids import TextToIds

__all__ = ["Request", "Tokenizer"]


class Tokenizer(TextToIds, IdsToText):
    """Text to ids and back.

    Args:
        backend: the ``tokenizers.Tokenizer`` that does the work.
        settings: special tokens by role, the settings of `common_settings` and of the family; names that are
            neither are kept in ``unused_settings`` and written back by `save_pretrained`.
        files: the vocabulary files that the backend was built from, by name.
    """

    class_name: ClassVar[str] = "PreTrainedTokenizerFast"
    """The name that tokenizer_config.json gives to this family, without ``Fast``."""
    vocabulary_files: ClassVar[tuple[str, ...]] = ()
    """The files that `build` needs where there is no tokenizer.json."""
    optional_files: ClassVar[tuple[str, ...]] = ()
    """Files that `build` can use."""
    name_or_path: str = ""
    """Where it was loaded from."""
    uses_tokenizer_json: ClassVar[bool] = True
    """Whether a tokenizer.json, if there is one, replaces the vocabulary files."""
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "attention_mask")
    """What a model of the family takes; the default of ``model_input_names``."""
    default_tokens: ClassVar[Mapping[str, Token]] = {}
    """Role -> token, where the files are silent."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """The family's own settings and their defaults."""
    common_settings: ClassVar[Mapping[str, Any]] = {
        "model_max_length": NO_LIMIT,
        "padding_side": "right",
        "truncation_side": "right",
        "model_input_names": None,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {},
    }
    """Settings of every family and their defaults."""
    needs_prefix_space_for_words: ClassVar[bool] = False
    """Whether words of ``is_split_into_words`` need ``add_prefix_space``."""
    keeps_offsets: ClassVar[bool] = True
    """Whether encodings know where their tokens came from."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        given = dict(settings or {})
        self.backend = backend
        self.files = dict(files or {})
        self._take_over_lengths(given)
        self.special_tokens = {}
        self.additional_special_tokens = []
        extra = given.get("extra_special_tokens") or {}
        for role in (*ROLES, *extra):
            default = self.default_tokens.get(role)
            value = given.get(role, extra.get(role, default))
            if isinstance(value, str) and isinstance(default, AddedToken):
                # with the family's flags: a mask still swallows the blank before it
                value = {**default.__getstate__(), "content": value}
            if value is not None:
                self.special_tokens[role] = as_token(value, role)
        self.additional_special_tokens = [as_token(token, LIST_ROLE) for token in given.get(LIST_ROLE) or ()]
        known = {**self.common_settings, **self.settings}
        self.options = {name: given.get(name, default) for name, default in known.items()}
        self.unused_settings = {
            name: value for name, value in given.items() if name not in known and name not in (*ROLES, LIST_ROLE)
        }
        self.model_max_length = self._read_limit(given)
        self.padding_side = self.options["padding_side"]
        self.truncation_side = self.options["truncation_side"]
        self.model_input_names: list[str] = list(self.options["model_input_names"] or self.inputs)
        self.clean_up_tokenization_spaces = bool(self.options["clean_up_tokenization_spaces"])
        self.split_special_tokens = bool(self.options["split_special_tokens"])
        self._warned_of_length = False
        self._lock = fork_safe_lock(self)  # the backend holds padding and truncation of the call that runs
        self._register_tokens(self.options.pop("added_tokens_decoder") or {})
        self._set_prefix_space(bool(self.options["add_prefix_space"]))
        self.configure()

    # What a family adds -------------------------------------------------------------------------------------

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        """Make the backend from vocabulary files; ``settings`` (defaults included) may be amended."""
        raise TokenizerError(f"a {cls.class_name} can be read from tokenizer.json only")

    def configure(self) -> None:
        """Let the settings override what the backend says; runs once, at the end of construction."""

    # Translation models also override use_source_language and use_target_language (text_to_ids.py).

    # Construction, step by step -----------------------------------------------------------------------------

    def _take_over_lengths(self, given: dict[str, Any]) -> None:
        """Sides (and the pad token) that a tokenizer.json carries; the lengths are for a call to say."""
        truncation, padding = self.backend.truncation, self.backend.padding
        if truncation is not None:
            given.setdefault("truncation_side", truncation["direction"])
            self.backend.no_truncation()
        if padding is not None:
            given.setdefault("pad_token", padding["pad_token"])
            given.setdefault("padding_side", padding["direction"])
            self.backend.no_padding()

    def _read_limit(self, given: Mapping[str, Any]) -> int:
        limit = given.get("model_max_length", self.options["model_max_length"])
        if limit is None:
            return NO_LIMIT
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < inf:
            raise TokenizerError(f"model_max_length must be a positive number, not {shown(limit)}")
        return int(limit)

    def _set_prefix_space(self, wanted: bool) -> None:
        """A blank before the text, or none; of byte-level vocabularies, over what tokenizer.json says."""
        if not isinstance(self.backend.pre_tokenizer, pre_tokenizers.ByteLevel):
            return
        state = json.loads(self.backend.pre_tokenizer.__getstate__())
        if state.pop("add_prefix_space") != wanted:
            state.pop("type")
            self.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=wanted, **state)

    # Files --------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, **options: Any) -> tuple[str, ...]:
        """Write files that this library and transformers open; returns their paths.

        docs/loading.md lists the options that transformers has; none has a use here.
        """
        settle(options, WRITING, (), f"{type(self).__name__}.save_pretrained")
        folder = Path(folder)
        with whole_folder(folder):
            written = [
                write_json(folder / "tokenizer_config.json", self._describe()),
                write_json(folder / "special_tokens_map.json", describe_special_tokens(self)),
            ]
            if self.uses_tokenizer_json:
                with self._lock:
                    self.backend.no_truncation()
                    self.backend.no_padding()
                    written.append(write_text(folder / "tokenizer.json", self.backend.to_str(pretty=True)))
            return (*written, *self.save_vocabulary(folder))

    def _describe(self) -> dict[str, Any]:
        """The contents of tokenizer_config.json."""
        config = {**self.unused_settings, **self.options, **self.special_tokens_map, **self._changed_settings()}
        config["added_tokens_decoder"] = {str(i): t.__getstate__() for i, t in self.added_tokens_decoder.items()}
        config["tokenizer_class"] = self.class_name
        if config.get("model_input_names") is None:
            config.pop("model_input_names", None)
        return config

    def save_vocabulary(self, folder: str | Path) -> list[str]:
        """Write the vocabulary files, beside tokenizer.json: those it was built from, or made anew."""
        folder = Path(folder)
        if self.files:
            return [copy_file(path, folder / name) for name, path in self.files.items()]
        if not self.vocabulary_files or isinstance(self.backend.model, models.Unigram):
            return []  # a SentencePiece file cannot be made from tokenizer.json
        return save_backend_files(self.backend, folder)

    # A new vocabulary --------------------------------------------------------------------------------------

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[Any],
        vocab_size: int,
        length: int | None = None,
        new_special_tokens: Sequence[Token] | None = None,
        special_tokens_map: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Self:
        """A tokenizer with the rules and the special tokens of this one, and a vocabulary learnt from texts.

        Args:
            text_iterator: texts, or lists of texts.
            vocab_size: how many tokens to learn, special ones included.
            length: how many texts there are, for the bar that shows progress.
            new_special_tokens: further special tokens.
            special_tokens_map: old special token -> new one.
            options: of the trainer in the ``tokenizers`` library (``min_frequency``, ``show_progress``, ...).

        Raises:
            TokenizerError: the rules are not those of the ``tokenizers`` library, or nothing could be learnt.
        """
        if not self.uses_tokenizer_json:
            raise TokenizerError(f"{self.class_name} has rules of its own, for which no vocabulary can be learnt here")
        names, new = dict(special_tokens_map or {}), list(new_special_tokens or ())
        with self._lock:
            backend = retrain(
                self.backend, text_iterator, vocab_size, length=length, new_tokens=new, names=names, **options
            )
        settings = {**self.unused_settings, **self.options, **self._changed_settings()}
        settings |= {role: renamed_token(token, names) for role, token in self.special_tokens.items()}
        settings[LIST_ROLE] = [*(renamed_token(token, names) for token in self.additional_special_tokens), *new]
        return type(self)(backend, settings)

    def _changed_settings(self) -> dict[str, Any]:
        """The settings that may be set at any time, as they are now."""
        return {
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "split_special_tokens": self.split_special_tokens,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = fork_safe_lock(self)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)} tokens, model_max_length={self.model_max_length}, "
            f"padding_side={self.padding_side!r}, special_tokens={self.special_tokens_map})"
        )
