"""Ids to text: what a tokenizer decodes.

Reference: ``transformers/tokenization_utils_base.py`` (decode, clean_up_tokenization),
``transformers/tokenization_utils_fast.py`` (_decode).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.inputs import as_list
from minitransformer.tokenization.vocabulary import Vocabulary

CLEAN_UP = {
    **{f" {mark}": mark for mark in ".?!,"},
    " ' ": "'",
    **{f" {end}": end for end in ("n't", "'m", "'s", "'ve", "'re")},
}
"""What ``clean_up_tokenization_spaces`` replaces, in this order."""


class IdsToText(Vocabulary):
    """The part of a `Tokenizer` that decodes; the settings are the subclass's."""

    clean_up_tokenization_spaces: bool

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """The text of ids: a list, a tensor or array of one axis, or one id.

        Args:
            token_ids: what to decode.
            skip_special_tokens: leave special tokens out.
            clean_up_tokenization_spaces: remove the blanks before punctuation; default: the tokenizer's
                setting.

        Raises:
            TokenizerError: an id that the vocabulary does not have.
        """
        ids = as_list(token_ids)
        ids = [ids] if isinstance(ids, int) else ids
        text = self._decode(self._check_ids(ids), skip_special_tokens)
        clean = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        return self.clean_up_tokenization(text) if clean else text

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    @cached_property
    def _known_ids(self) -> int:
        """How many ids there were when first asked: counting takes the backend long; later ones are looked up."""
        return len(self)

    def _check_ids(self, ids: Any) -> list[int]:
        if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
            raise TokenizerError(f"decode takes the ids of one text, a list of integers, not {ids!r}; see batch_decode")
        if ids and (min(ids) < 0 or max(ids) >= self._known_ids):
            for index in ids:
                self.id_to_token(index)
        return ids

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """`decode` for each of several rows of ids."""
        return [self.decode(ids, skip_special_tokens, clean_up_tokenization_spaces) for ids in as_list(sequences)]

    def joins_words(self, clean_up_tokenization_spaces: bool | None = None) -> bool:
        """Whether a later token may take away a blank that `decode` has put, also before the last word ("do n ' t").

        Args:
            clean_up_tokenization_spaces: as for `decode`.
        """
        own = self.clean_up_tokenization_spaces
        return own if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens."""
        decoder = self.backend.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Remove the blanks that splitting English into words has put before punctuation."""
        for spaced, tight in CLEAN_UP.items():
            text = text.replace(spaced, tight)
        return text
