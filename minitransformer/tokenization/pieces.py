"""Tokenizers whose rules the ``tokenizers`` library does not have: Python cuts the text into pieces.

Everything after that is shared: a backend that looks up whole pieces adds the frame, cuts and pads. Where the
pieces came from in the text is not known, so there are no offsets.

Reference: ``transformers/tokenization_utils.py`` (PreTrainedTokenizer, the "slow" tokenizers).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import build_or_explain, require_tokens
from minitransformer.tokenization.inputs import check_text, check_unicode
from minitransformer.tokenization.strategies import Request


def build_lookup(vocabulary: Mapping[str, int], unknown: str, path: Path) -> tokenizers.Tokenizer:
    """A backend that looks up whole pieces."""
    require_tokens(vocabulary, {"unk_token": unknown}, path)
    return tokenizers.Tokenizer(build_or_explain(lambda: models.WordLevel(dict(vocabulary), unknown), path))


def merge_pairs(symbols: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding: join the neighbours that were learnt first, everywhere, until none is left.

    Places that may be joined wait in a heap, by rank and then from left to right, so that a word of a million letters
    takes seconds, not hours.
    """
    symbols = list(symbols)
    end = len(symbols)
    before, after = [*range(-1, end - 1)], [*range(1, end + 1)]  # the neighbours of each symbol that is still there

    def rank(at: int) -> int | None:
        return ranks.get((symbols[at], symbols[after[at]])) if symbols[at] and after[at] < end else None

    heap = [(known, at) for at in range(end) if (known := rank(at)) is not None]
    heapify(heap)
    while heap:
        lowest = heap[0][0]
        joined = []
        while heap and heap[0][0] == lowest:  # everywhere, before what comes of it
            at = heappop(heap)[1]
            if rank(at) == lowest:
                gone = after[at]
                symbols[at] += symbols[gone]
                symbols[gone] = ""
                after[at] = after[gone]
                if after[at] < end:
                    before[after[at]] = at
                joined.append(at)
        for at in joined:
            for left in {before[at], at} - {-1}:
                if (known := rank(left)) is not None:
                    heappush(heap, (known, left))
    return [symbol for symbol in symbols if symbol]


MOST_KNOWN = 50_000
"""Words whose pieces a tokenizer remembers."""
LONGEST_KNOWN = 100
"""Letters of the longest of them."""


def remember(known: dict[str, list[str]], word: str, pieces: list[str]) -> list[str]:
    """Keep the pieces of a word for the next time; when there are too many, begin anew."""
    if len(word) <= LONGEST_KNOWN:
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[word] = pieces
    return pieces


def lower_case(text: str, kept: Iterable[str]) -> str:
    """Lowercase all but some tokens, letter by letter as the reference does: no final sigma."""
    return re.sub(f"({'|'.join(map(re.escape, kept))})|(.)", lambda match: match[1] or match[2].lower(), text)


def import_sacremoses(whose: str) -> Any:
    """The optional package with the Moses rules.

    Raises:
        TokenizerError: it is not installed.
    """
    try:
        import sacremoses
    except ImportError as error:
        raise TokenizerError(f"{whose} words need the package sacremoses: pip install sacremoses") from error
    return sacremoses


def check_moses_language(code: Any) -> str:
    """A code of a language, which is a part of the name of a file of the Moses rules.

    Raises:
        TokenizerError: it is something else.
    """
    if not isinstance(code, str) or not re.fullmatch("[a-z]{2,3}", code, re.ASCII):
        raise TokenizerError(f"a language must be a code of two or three letters such as 'en', not {code!r:.60}")
    return code


class PieceTokenizer(Tokenizer):
    """A tokenizer with rules of its own, in `split`."""

    uses_tokenizer_json = False
    keeps_offsets = False
    is_fast = False

    def split(self, text: str) -> list[str]:
        """The pieces of a text without special tokens."""
        raise NotImplementedError

    def prepare(self, text: str) -> str:
        """Change a text before special tokens are looked for in it."""
        return text

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of a text; pieces that the vocabulary lacks appear as they are."""
        if add_special_tokens or options:
            ids = self(text, pair, add_special_tokens=add_special_tokens, **options)["input_ids"]
            return list(self.convert_ids_to_tokens(ids))
        check_text(text, "the text")
        return [piece for part in filter(None, (text, pair)) for piece in self._cut(part, self.split_special_tokens)]

    def _run_backend(self, rows: list[Any], request: Request) -> list[tokenizers.Encoding]:
        def cut(text: Any) -> list[str]:
            parts = text if request.are_words else [text]
            return [piece for part in parts for piece in self._cut(part, request.split_special)]

        cut_rows: list[Any] = []
        for row in rows:
            if isinstance(row, tuple):
                first, second = (cut(text) for text in row)
                cut_rows.append(self._shorten(first, second, request))
            else:
                cut_rows.append(cut(row))
        return super()._run_backend(cut_rows, replace(request, are_words=True))

    def _shorten(self, first: list[str], second: list[str], request: Request) -> tuple[list[str], list[str]]:
        """Cut a pair where it is longest; the ``tokenizers`` library rounds the halves differently."""
        limit = request.lengths.max_length
        if request.lengths.truncation != "longest_first" or limit is None:
            return first, second
        special = self.num_special_tokens_to_add(pair=True) if request.add_special_tokens else 0
        excess = len(first) + len(second) + special - limit
        if excess <= 0:
            return first, second
        level = min(abs(len(first) - len(second)), excess)  # goes from the longer, the rest from both
        less, more = (excess - level) // 2, excess - level - (excess - level) // 2
        cuts = (level + less, more) if len(first) > len(second) else (less, level + more)
        if self.truncation_side == "left":
            return first[cuts[0] :], second[cuts[1] :]
        return first[: max(0, len(first) - cuts[0])], second[: max(0, len(second) - cuts[1])]

    def _column(self, name: str, encoding: tokenizers.Encoding, request: Request) -> Any:
        """Without a frame, the texts of a pair share one type."""
        if name == "token_type_ids" and not request.add_special_tokens:
            return [0] * len(encoding)
        return super()._column(name, encoding, request)

    def _cut(self, text: str, split_special: bool) -> list[str]:
        """Pieces of a text, in which added and special tokens are whole."""
        check_unicode(text)
        text = self.prepare(text)
        added = {token.content: token for token in self.added_tokens_decoder.values()}
        if split_special or not added:
            return self.split(text)
        longest_first = sorted(filter(None, added), key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)  # text, token, text, token, ..., text
        for at in range(1, len(parts), 2):
            token = added[parts[at]]
            if token.lstrip:
                parts[at - 1] = parts[at - 1].rstrip()
            if token.rstrip:
                parts[at + 1] = parts[at + 1].lstrip()
        pieces: list[str] = []
        for at, part in enumerate(parts):
            pieces += [part] if at % 2 else self.split(part) if part else []
        return pieces

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        """Added tokens that are not special stand apart, with blanks around them."""
        special = set(self.all_special_tokens)
        late = {str(t) for t in self.additional_special_tokens if (self.token_to_id(str(t)) or 0) >= self.vocab_size}
        apart = (set(self.get_added_vocab()) - special) | late
        texts: list[str] = []
        run: list[str] = []
        for token in self.convert_ids_to_tokens(ids, skip_special_tokens=skip_special_tokens):
            if token not in apart:
                run.append(token)
                continue
            if run and (text := self.convert_tokens_to_string(run)):
                texts.append(text)
            texts.append(token)
            run = []
        if run:
            texts.append(self.convert_tokens_to_string(run))
        return " ".join(texts)


class TwoSidedTokenizer(PieceTokenizer):
    """A tokenizer of translation: what the model writes is cut and looked up otherwise than what it reads.

    Which side it works for is each thread's own affair.
    """

    source_backend: tokenizers.Tokenizer
    target_backend: tokenizers.Tokenizer

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self._side = threading.local()
        super().__init__(backend, settings, files)

    @property
    def is_writing(self) -> bool:
        """Whether this thread has called `use_target_language`."""
        return getattr(self._side, "is_target", False)

    def use_source_language(self) -> None:
        self._side.is_target = False

    def use_target_language(self) -> None:
        self._side.is_target = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside of the block, this thread works for the side that the model writes."""
        before = self.is_writing
        self.use_target_language()
        try:
            yield
        finally:
            self._side.is_target = before

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The vocabulary of the side that this thread works for."""
        return self.target_backend if self.is_writing else self.source_backend

    @backend.setter
    def backend(self, backend: tokenizers.Tokenizer) -> None:
        self.source_backend = self.target_backend = backend

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_side"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._side = threading.local()
        super().__setstate__(state)
