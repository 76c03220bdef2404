"""What a tokenizer returns: a dictionary of ids and masks that still knows where each token came from."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tokenizers

from minitransformer.errors import TokenizerError
from minitransformer.options import shown


class Span(NamedTuple):
    """From ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Encoding(UserDict[str, Any]):
    """Lists, arrays or tensors by name: ``input_ids``, ``attention_mask`` and what else was asked for.

    Values can be read as items and as attributes. The methods relate tokens, words and characters; they take
    ``(row, index)``, or the index alone, which then belongs to the first row.

    Args:
        data: values by name.
        encodings: the ``tokenizers.Encoding`` of each row, or None where none exists.
    """

    def __init__(
        self, data: Mapping[str, Any] | None = None, encodings: Sequence[tokenizers.Encoding] | None = None
    ) -> None:
        super().__init__(data or {})
        self._encodings = None if encodings is None else list(encodings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "data" or name not in self.data:
            raise AttributeError(f"the encoding has no {name!r}")
        return self.data[name]

    def __getitem__(self, key: Any) -> Any:
        """A value by name; a row's ``tokenizers.Encoding`` by number; a slice of every value."""
        if isinstance(key, str):
            return self.data[key]
        if self._encodings is not None:
            return self._encodings[key]
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.data.items()}
        raise KeyError(f"an encoding has names as keys, or numbers of rows where it knows them, not {key!r}")

    @property
    def encodings(self) -> list[tokenizers.Encoding] | None:
        """The ``tokenizers.Encoding`` of each row, or None."""
        return self._encodings

    @property
    def is_fast(self) -> bool:
        """Whether the rows still know where their tokens came from."""
        return self._encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """1 for single texts, 2 for pairs, None if unknown."""
        return self._encodings[0].n_sequences if self._encodings else None

    def _row(self, row: int) -> tokenizers.Encoding:
        if self._encodings is None:
            raise TokenizerError(
                "this encoding does not know where its tokens came from: its tokenizer keeps no offsets"
            )
        return self._encodings[row]

    def _place(self, row: int, index: int | None) -> tuple[tokenizers.Encoding, int]:
        if index is None:
            row, index = 0, row
        encoding = self._row(row)
        return encoding, index + len(encoding) if index < 0 else index

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row."""
        return self._row(batch_index).tokens

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row: 0 for the first text, 1 for the second, None for special tokens."""
        return self._row(batch_index).sequence_ids

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row: the number of its word, None for special tokens."""
        return self._row(batch_index).word_ids

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Which text (0 or 1) a token belongs to."""
        encoding, index = self._place(batch_or_token_index, token_index)
        return encoding.token_to_sequence(index)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """Which word a token belongs to."""
        encoding, index = self._place(batch_or_token_index, token_index)
        return encoding.token_to_word(index)

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> Span | None:
        """The characters that a token stands for."""
        encoding, index = self._place(batch_or_token_index, token_index)
        span = encoding.token_to_chars(index)
        return None if span is None else Span(*span)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> Span | None:
        """The tokens of a word."""
        encoding, index = self._place(batch_or_word_index, word_index)
        span = encoding.word_to_tokens(index, sequence_index)
        return None if span is None else Span(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> Span | None:
        """The characters of a word."""
        encoding, index = self._place(batch_or_word_index, word_index)
        span = encoding.word_to_chars(index, sequence_index)
        return None if span is None else Span(*span)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token that stands for a character; None for a character that no token covers."""
        encoding, index = self._place(batch_or_char_index, char_index)
        return encoding.char_to_token(index, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word that a character belongs to."""
        encoding, index = self._place(batch_or_char_index, char_index)
        return encoding.char_to_word(index, sequence_index)

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> Encoding:
        """Turn the lists into PyTorch tensors (``"pt"``) or NumPy arrays (``"np"``), in place.

        Args:
            tensor_type: which of them; None leaves the lists.
            prepend_batch_axis: put each value into a batch of one.

        Raises:
            TokenizerError: another kind, or rows of unequal length.
        """
        if tensor_type is None:
            return self
        kind = str(getattr(tensor_type, "value", tensor_type))
        for name, value in self.data.items():
            self.data[name] = as_tensor([value] if prepend_batch_axis else value, kind, name)
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> Encoding:
        """Move all tensors to a device, in place."""
        for name, value in self.data.items():
            if hasattr(value, "to"):
                self.data[name] = value.to(device=device, non_blocking=non_blocking)
        return self


def as_tensor(value: Any, kind: str, name: str) -> Any:
    """Nested lists of numbers as a tensor or array; int64 if empty."""
    if kind not in ("pt", "np"):
        raise TokenizerError(f"return_tensors must be 'pt', 'np' or None, not {shown(kind)}")
    try:
        if kind == "pt":
            import torch  # the only place here that needs it

            return torch.tensor(value, dtype=None if _has_numbers(value) else torch.int64)
        import numpy as np

        return np.array(value, dtype=None if _has_numbers(value) else np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise TokenizerError(
            f"the rows of {name} have different lengths and make no tensor: pass padding=True, "
            "and truncation=True to cut what is too long"
        ) from error


def _has_numbers(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_numbers(item) for item in value)
    return True
