"""Tokenizers of models that know many languages: each has a code, which stands before a text or behind it.

Which code it is, is told by ``src_lang`` for what the model reads and by ``tgt_lang`` for what it writes
(``text_target``); both may be set at any time.
"""

from __future__ import annotations

from typing import ClassVar

from tokenizers import processors

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.base import Tokenizer


class ManyLanguages(Tokenizer):
    """A tokenizer that frames a text by its language: ``code X </s>``, or ``X </s> code``."""

    first_language: ClassVar[str]
    """What ``src_lang`` is where nobody says it."""
    other_language: ClassVar[str]
    """An example of a ``tgt_lang``."""
    code_goes_first: bool = True
    """Whether the code stands before the text."""

    def configure(self) -> None:
        self.src_lang = self.options["src_lang"] or self.first_language
        self.tgt_lang = self.options["tgt_lang"]

    def language_token(self, code: str) -> str:
        """The token of a language."""
        return code

    def language_id(self, code: str) -> int:
        """The id of a language's token, which a model is told as ``forced_bos_token_id``.

        Raises:
            TokenizerError: the language is not known; the message lists those that are.
        """
        self.check_language(code, "the language")
        return self.backend.token_to_id(self.language_token(code))

    @property
    def lang_code_to_id(self) -> dict[str, int]:
        """Code -> id."""
        return {code: self.language_id(code) for code in self.languages}

    @property
    def src_lang(self) -> str:
        """The code of the language that the model reads."""
        return str(self.options["src_lang"])

    @src_lang.setter
    def src_lang(self, code: str) -> None:
        self.check_language(code, "src_lang")
        with self._lock:
            self.options["src_lang"] = code
            self._frame(code)

    @property
    def tgt_lang(self) -> str | None:
        """The code of the language that the model writes."""
        code = self.options["tgt_lang"]
        return None if code is None else str(code)

    @tgt_lang.setter
    def tgt_lang(self, code: str | None) -> None:
        if code is not None:
            self.check_language(code, "tgt_lang")
        self.options["tgt_lang"] = code

    def use_source_language(self) -> None:
        self._frame(self.src_lang)

    def use_target_language(self) -> None:
        if self.tgt_lang is None:
            example = f"set tokenizer.tgt_lang, for example to {self.other_language!r}"
            raise TokenizerError(f"text_target needs a language: {example}")
        self._frame(self.tgt_lang)

    def _frame(self, code: str) -> None:
        token, end = self.language_token(code), str(self.eos_token)
        before, after = ([token], [end]) if self.code_goes_first else ([], [end, token])
        template = processors.TemplateProcessing(
            single=[*before, "$A", *after],
            pair=[*before, "$A", "$B", *after],
            special_tokens=[(token, self.backend.token_to_id(token)) for token in (*before, *after)],
        )
        with self._lock:
            self.backend.post_processor = template
