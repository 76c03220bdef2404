"""Text while it is generated: streamers for ``generate(..., streamer=)``, and an iterator that needs no thread.

A piece of text is given out when no later token can change it: up to the last space or line break, or up to the last
character in scripts that do without spaces. So no word comes in parts, and no character: decoders put a replacement
character for the first bytes of one, which is neither. Where decoding takes spaces away again, as in "do n ' t", the
last words wait for those that follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import GenerationError
from minitransformer.generation.generate import stream
from minitransformer.generation.stepper import DecodingModel
from minitransformer.generation.stopping import TextOfTokens

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class TextPieces:
    """Turns tokens into pieces of text that are final.

    Args:
        tokenizer: decodes.
        **decode_options: for its ``decode``, such as ``skip_special_tokens=True``.
    """

    def __init__(self, tokenizer: TextOfTokens, **decode_options: Any) -> None:
        self.tokenizer = tokenizer
        self.decode_options = decode_options
        self._ids: list[int] = []  # of this line and the one before, on which its first spaces may depend
        self._line_start = 0
        self._given = ""  # what was given out of the decoded ``_ids``
        joins = getattr(tokenizer, "joins_words", None)
        clean = decode_options.get("clean_up_tokenization_spaces")
        self._open_spaces = 3 if joins is not None and joins(clean) else 1

    def add(self, ids: list[int]) -> str:
        """The text that these tokens make final; may be empty."""
        self._ids.extend(ids)
        text = self._decode()
        end = _final_length(text, self._open_spaces)
        piece = text[len(self._given) : end]
        if piece:
            self._given = text[:end]
        if piece.endswith("\n"):
            self._ids = self._ids[self._line_start :]
            self._line_start = len(self._ids)
            self._given = self._decode()
        return piece

    def end(self) -> str:
        """The rest of the text; then begins anew."""
        rest = self._decode()[len(self._given) :]
        self._ids, self._line_start, self._given = [], 0, ""
        return rest

    def _decode(self) -> str:
        return self.tokenizer.decode(self._ids, **self.decode_options) if self._ids else ""


class TextStreamer:
    """Prints the text of one row while it is generated.

    A subclass may do something else with the pieces in ``on_finalized_text``.

    Args:
        tokenizer: decodes.
        skip_prompt: whether the prompt is left out.
        **decode_options: for the tokenizer's ``decode``.
    """

    def __init__(self, tokenizer: TextOfTokens, skip_prompt: bool = False, **decode_options: Any) -> None:
        self.skip_prompt = skip_prompt
        self._pieces = TextPieces(tokenizer, **decode_options)
        self._is_prompt = True

    def put(self, value: Tensor) -> None:
        """Take the prompt (1, length), then new tokens (1,).

        Raises:
            GenerationError: more than one row.
        """
        if value.shape[0] > 1:
            raise GenerationError(f"{type(self).__name__} shows one text, not a batch of {value.shape[0]}")
        is_prompt, self._is_prompt = self._is_prompt, False
        if not (is_prompt and self.skip_prompt):
            self.on_finalized_text(self._pieces.add(value.flatten().tolist()))

    def end(self) -> None:
        """Give out what is left."""
        self._is_prompt = True
        self.on_finalized_text(self._pieces.end(), stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Do something with a piece of text, which may be empty."""
        print(text, flush=True, end="\n" if stream_end else "")


class TextIteratorStreamer(TextStreamer):
    """Hands the pieces to another thread, which iterates over this object while ``generate`` runs in its own.

    Args:
        tokenizer: decodes.
        skip_prompt: whether the prompt is left out.
        timeout: seconds after which waiting for a piece raises ``queue.Empty``.
        **decode_options: for the tokenizer's ``decode``.
    """

    def __init__(
        self, tokenizer: TextOfTokens, skip_prompt: bool = False, timeout: float | None = None, **decode_options: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_options)
        self.timeout = timeout
        self._queue: Queue[str | None] = Queue()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Queue the piece."""
        self._queue.put(text)
        if stream_end:
            self._queue.put(None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self._queue.get(timeout=self.timeout)
        if piece is None:
            raise StopIteration
        return piece


def stream_text(
    model: DecodingModel,
    tokenizer: TextOfTokens,
    text: str,
    *,
    skip_special_tokens: bool = True,
    **options: Any,
) -> Iterator[str]:
    """Generate from one text, and give out the new text piece by piece.

    Args:
        model: a language model.
        tokenizer: encodes the text, and decodes.
        text: the prompt, or the source.
        skip_special_tokens: whether tokens such as the end are left out.
        **options: as for ``stream``.

    Raises:
        GenerationError: as ``stream``.
    """
    encoded = tokenizer(text)
    ids, mask = (torch.tensor([encoded[name]]) for name in ("input_ids", "attention_mask"))
    tokens = stream(model, ids, mask, tokenizer=tokenizer, **options)
    return _pieces(tokens, TextPieces(tokenizer, skip_special_tokens=skip_special_tokens))


def _pieces(tokens: Iterator[Tensor], pieces: TextPieces) -> Iterator[str]:
    for step in tokens:
        piece = pieces.add(step.tolist())
        if piece:
            yield piece
    rest = pieces.end()
    if rest:
        yield rest


def _final_length(text: str, open_spaces: int) -> int:
    """How much of ``text`` no later token can change; what follows the first of the last ``open_spaces`` spaces may."""
    if text.endswith("\n") or (text and any(low <= ord(text[-1]) <= high for low, high in _IDEOGRAPHS)):
        return len(text)
    end = len(text)
    for _ in range(open_spaces):
        end = text.rfind(" ", 0, max(end, 0))
    return end + 1
