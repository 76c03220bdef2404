"""SentencePiece model files, read without the sentencepiece and protobuf packages.

A file is one protobuf message. What matters in it: the pieces with their scores (log-probabilities of a
unigram language model), and a table of character replacements. `build_unigram` makes a ``tokenizers`` backend
of it.

Paper: Kudo 2018 (unigram); Kudo and Richardson 2018. Reference: ``sentencepiece_model.proto`` of
SentencePiece, ``transformers/convert_slow_tokenizer.py`` (SpmConverter).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from minitransformer.errors import TokenizerError
from minitransformer.hub import check_no_pointer
from minitransformer.jsons import LARGEST_FILE
from minitransformer.tokenization.bounds import LONGEST_PIECE, MOST_PIECES, call_library
from minitransformer.tokenization.files import build_or_explain

SPACE = "▁"
"""Stands for a blank in pieces."""
UNIGRAM, BPE = 1, 2
MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


class Kind(IntEnum):
    """What a piece is."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """A piece, its log-probability, and what it is."""

    text: str
    score: float
    kind: int


@dataclass
class SentencePieceModel:
    """What a model file holds.

    Attributes:
        pieces: by id.
        model_type: `UNIGRAM` or `BPE`.
        unk_id: the id of the unknown piece.
        charsmap: the table of character replacements, in SentencePiece's own format; empty for none.
        add_dummy_prefix: a blank goes before the text.
        remove_extra_whitespaces: runs of blanks become one, those at both ends go.
    """

    pieces: list[Piece] = field(default_factory=list)
    model_type: int = UNIGRAM
    unk_id: int = 0
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def read_model(path: Path, kinds: Collection[int] = (UNIGRAM,)) -> SentencePieceModel:
    """Read a SentencePiece file.

    Args:
        path: the file.
        kinds: the types of model that the family has.

    Raises:
        TokenizerError: the file is truncated, no SentencePiece file, or its model is of another type.
    """
    check_no_pointer(path)
    model, known = SentencePieceModel(), set[str]()
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
        for number, value in read_message(data):
            if number == 1:
                if len(model.pieces) == MOST_PIECES:
                    raise ValueError(f"it has more than {MOST_PIECES:,} pieces")
                piece = _read_piece(value)
                if piece.text in known:
                    raise ValueError(f"it has the piece {piece.text[:80]!r} twice")
                known.add(piece.text)
                model.pieces.append(piece)
            elif number == 2:
                _read_trainer(value, model)
            elif number == 3:
                _read_normalizer(value, model)
        check_charsmap(model.charsmap)
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        raise TokenizerError(f"{path} is truncated, or no SentencePiece model: {error}") from error
    if not model.pieces:
        raise TokenizerError(f"{path} is no SentencePiece model: it has no pieces")
    if model.model_type not in kinds:
        kind = MODEL_TYPES.get(model.model_type, model.model_type)
        accepted = " and ".join(MODEL_TYPES[each] for each in kinds)
        raise TokenizerError(f"{path} is a SentencePiece model of type {kind}; only {accepted} models are supported")
    if not 0 <= model.unk_id < len(model.pieces):
        raise TokenizerError(f"{path} names {model.unk_id} as unknown piece, but has {len(model.pieces)} pieces")
    return model


def read_message(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: (number, integer or bytes).

    Raises:
        ValueError: the message is cut off, or has a field of a kind that does not exist.
    """
    at = 0
    while at < len(data):
        key, at = (data[at], at + 1) if data[at] < 0x80 else _read_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == 2:
            short = at < len(data) and data[at] < 0x80
            size, at = (data[at], at + 1) if short else _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field {number} is of kind {kind}")
        if at + size > len(data):
            raise ValueError(f"field {number} wants {size} bytes, and {len(data) - at} are left")
        yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it ends inside of a number" if shift <= 63 else "it has a number of more than 64 bits")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _read_piece(data: bytes) -> Piece:
    values: dict[int, Any] = dict(read_message(data))
    score = struct.unpack("<f", values[2])[0] if 2 in values else 0.0
    text, kind = values.get(1, b""), values.get(3, Kind.NORMAL)
    if not text or len(text) > LONGEST_PIECE:
        raise ValueError(f"a piece has {len(text)} bytes; it may have 1 to {LONGEST_PIECE}")
    if not -1e30 < score < 1e30:
        raise ValueError(f"the score of a piece is {score}")
    if not 1 <= kind <= 6:
        raise ValueError(f"a piece is of the kind {kind}; known are 1 to 6")
    return Piece(text.decode("utf-8"), score, kind)


def _read_trainer(data: bytes, model: SentencePieceModel) -> None:
    values: dict[int, Any] = dict(read_message(data))
    model.model_type = values.get(3, UNIGRAM)
    model.unk_id = values.get(40, 0)


def _read_normalizer(data: bytes, model: SentencePieceModel) -> None:
    values: dict[int, Any] = dict(read_message(data))
    model.charsmap = values.get(2, b"")
    model.add_dummy_prefix = bool(values.get(3, 1))
    model.remove_extra_whitespaces = bool(values.get(4, 1))


def check_charsmap(charsmap: Any) -> None:
    """See that a table of character replacements leads nowhere out of itself, whatever the text.

    Raises:
        ValueError: it does.
    """
    if not charsmap:
        return
    size = int.from_bytes(charsmap[:4], "little")
    units = np.frombuffer(charsmap, "<u4", size // 4, 4) if size + 4 <= len(charsmap) else np.empty(0, "<u4")
    replacements = charsmap[4 + size :]
    if size % 4 or not len(units) or not replacements.endswith(b"\0"):
        raise ValueError("its table of character replacements is cut off")
    is_value = units >> 31 == 1
    next_nodes = np.arange(len(units), dtype=np.uint32) ^ (units >> 10 << ((units & 0x200) >> 6))
    inner = next_nodes[~is_value]
    ends = next_nodes[~is_value & (units >> 8 & 1 == 1)]
    if (inner | 0xFF).max(initial=0) >= len(units) or (units[ends] & 0x7FFFFFFF).max(initial=0) >= len(replacements):
        raise ValueError("its table of character replacements leads out of itself")
    if max(map(len, replacements.split(b"\0"))) > LONGEST_PIECE:
        raise ValueError("a character is replaced by too long a text")


def build_unigram(
    model: SentencePieceModel,
    path: Path,
    vocabulary: list[tuple[str, float]],
    unk_id: int,
    prepend: str = "always",
    compat: str | None = None,
) -> tokenizers.Tokenizer:
    """A backend from a model's pieces, as transformers' fast tokenizers have it.

    But for pieces that a user has defined, which are SentencePiece's: wherever they stand they are chosen, and what is
    around them stays as it is. 4.57 makes added tokens of them, and puts a blank behind each.

    Args:
        model: the file's contents.
        path: the file, for messages.
        vocabulary: (piece, score) by id: the family's rearrangement of the model's pieces.
        unk_id: the unknown piece's place in the vocabulary.
        prepend: "always": a blank before the text and after each added token; "first": before the text only.
        compat: "transformers" for pieces that a user has defined as in 4.57.
    """
    defined = {} if compat == "transformers" else score_defined(model)
    vocabulary = [(text, defined.get(text, score)) for text, score in vocabulary]
    backend = tokenizers.Tokenizer(build_or_explain(lambda: make_model(model, vocabulary, unk_id), path))
    kinds = (Kind.CONTROL, Kind.USER_DEFINED)
    control = [piece for piece in model.pieces if piece.kind in kinds and piece.text not in defined]
    backend.add_tokens(
        [AddedToken(piece.text, normalized=False, special=piece.kind == Kind.CONTROL) for piece in control]
    )
    tidy = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), SPACE)]
    backend.normalizer = normalizers.Sequence(replace_characters(model, path, defined, tidy))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=prepend)
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=prepend)
    return backend


def make_model(model: SentencePieceModel, vocabulary: list[tuple[str, float]], unk_id: int) -> Any:
    """The backend's model of these pieces and scores."""
    if model.model_type == UNIGRAM:
        return models.Unigram(vocabulary, unk_id)
    order = {piece.text: i for i, piece in enumerate(model.pieces)}
    merges = merges_by_score(dict(vocabulary), order)
    return models.BPE(
        {text: i for i, (text, _) in enumerate(vocabulary)}, merges, unk_token=vocabulary[unk_id][0], fuse_unk=True
    )


def merges_by_score(scores: Mapping[str, float], order: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges that lead to the pieces of a model of byte-pair encoding, which holds none: best piece first.

    Args:
        scores: of the pieces.
        order: the pieces' ids; who comes first where one piece is made in several ways.
    """
    merges: list[tuple[float, int, int, str, str]] = []
    for piece, score in scores.items():
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        known = sorted(
            (order[left], order[right], left, right) for left, right in halves if left in order and right in order
        )
        merges += [(score, len(left), len(right), left, right) for _, _, left, right in known]
    merges.sort(key=lambda merge: merge[:3], reverse=True)
    return [(left, right) for *_, left, right in merges]


def precompiled(model: SentencePieceModel, path: Path) -> Any:
    """The backend's normalizer by a model's table of character replacements."""
    return call_library(lambda: normalizers.Precompiled(model.charsmap), f"{path} replaces no characters")


def score_defined(model: SentencePieceModel) -> dict[str, float]:
    """The pieces that a user has defined, with the scores by which SentencePiece sees to it that they are chosen.

    (``unigram_model.cc``, EncodeOptimized.) Those with blanks inside are left out: texts are split there.
    """
    best = max((piece.score for piece in model.pieces if piece.kind == Kind.NORMAL), default=0.0)
    texts = [piece.text for piece in model.pieces if piece.kind == Kind.USER_DEFINED]
    return {text: len(text.encode()) * best - 0.1 for text in texts if SPACE not in text and " " not in text}


def replace_characters(model: SentencePieceModel, path: Path, kept: Iterable[str], tidy: Sequence[Any]) -> list[Any]:
    """The steps that replace characters by the model's table, but for the pieces to be ``kept``, and then ``tidy``."""
    if not model.charsmap:
        return list(tidy)
    table = precompiled(model, path)
    changed = sorted((text for text in kept if table.normalize_str(text) != text), key=len, reverse=True)
    marks = [(text, chr(_PRIVATE + i)) for i, text in enumerate(changed)]
    hide = [normalizers.Replace(text, mark) for text, mark in marks]
    return [*hide, table, *tidy, *(normalizers.Replace(mark, text) for text, mark in marks)]


_PRIVATE = 0xF0000
"""From here on characters have no meaning of their own."""


class Normalizer:
    """SentencePiece's own normalization: replaces characters, orders blanks, writes them as `SPACE`.

    transformers' fast tokenizers approximate it (`build_unigram`); this is what SentencePiece itself does.
    The table is a trie of byte strings (a Darts double array: one 32-bit unit a node), whose values point at
    the replacements.

    Args:
        model: the file's contents.
    """

    def __init__(self, model: SentencePieceModel) -> None:
        self.model = model
        size = struct.unpack_from("<I", model.charsmap)[0] if model.charsmap else 0
        self.units = struct.unpack_from(f"<{size // 4}I", model.charsmap, 4) if size else ()
        self.replacements = model.charsmap[4 + size :]

    def __call__(self, text: str) -> str:
        """The text as the unigram model sees it; empty if there are but blanks."""
        data = text.encode("utf-8")
        replaced, at = [], 0
        while at < len(data):
            replacement, at = self._replace_prefix(data, at)
            replaced.append(replacement)
        result = b"".join(replaced).decode("utf-8", errors="replace")
        if self.model.remove_extra_whitespaces:
            result = _BLANKS.sub(" ", result).strip(" ")
        if not result:
            return ""
        if self.model.add_dummy_prefix:
            result = " " + result
        result = result.replace(" ", SPACE)
        return result.rstrip(SPACE) if self.model.remove_extra_whitespaces else result

    def _replace_prefix(self, data: bytes, at: int) -> tuple[bytes, int]:
        """What the longest known byte string at a place becomes, else its character; and the next place."""
        best, end = -1, at
        if self.units:
            unit = self.units[0]
            node = _offset(unit)
            for place in range(at, len(data)):
                node ^= data[place]
                unit = self.units[node]
                if unit & 0x800000FF != data[place]:
                    break
                node ^= _offset(unit)
                if unit >> 8 & 1:  # a value hangs here
                    best, end = self.units[node] & 0x7FFFFFFF, place + 1
        if best >= 0:
            return self.replacements[best : self.replacements.index(0, best)], end
        end = at + _UTF8_LENGTHS[data[at] >> 4]
        return data[at:end], end


_BLANKS = re.compile(" {2,}")
_UTF8_LENGTHS = (1,) * 12 + (2, 2, 3, 4)


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


class PieceModel:
    """Text to pieces and back, as SentencePiece does it.

    Args:
        path: a SentencePiece file.
        kinds: the types of model that the family has.
    """

    def __init__(self, path: Path, kinds: Collection[int] = (UNIGRAM,)) -> None:
        model = read_model(path, kinds)
        if any(piece.kind in (Kind.USER_DEFINED, Kind.BYTE) for piece in model.pieces):
            raise TokenizerError(f"{path} has user-defined pieces or bytes, which are not supported here")
        self.normalize = Normalizer(model)
        self.control = {piece.text for piece in model.pieces if piece.kind == Kind.CONTROL}
        self.unknown = model.pieces[model.unk_id].text
        known = [(piece.text, piece.score) for piece in model.pieces if piece.kind == Kind.NORMAL]
        self.known = {text for text, _ in known}
        lowest = min((score for _, score in known), default=0.0)  # what unknown characters are measured by
        vocabulary = [*known, (" ", lowest)]  # the unknown piece is found nowhere: blanks are `SPACE` by then
        unknown = len(vocabulary) - 1
        self.backend = tokenizers.Tokenizer(build_or_explain(lambda: make_model(model, vocabulary, unknown), path))

    def encode(self, text: str) -> list[str]:
        """The pieces of a text; unknown characters are pieces of their own, neighbours together."""
        normal = self.normalize(text)
        data = normal.encode()  # where the tokens are told to be
        tokens = self.backend.model.tokenize(normal) if normal else []
        return [data[slice(*token.offsets)].decode() for token in tokens]

    def decode(self, pieces: list[str]) -> str:
        """The text of pieces: blanks at the start go, control pieces stand for nothing."""
        text = ""
        for piece in pieces:
            if piece in self.control:
                continue
            if piece == self.unknown:
                text += " ⁇ "
            elif piece in self.known:
                text += (piece if text else piece.removeprefix(SPACE)).replace(SPACE, " ")
            else:
                text += piece  # a stranger stays as it is
        return text
