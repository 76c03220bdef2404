"""Our reader of SentencePiece files against the sentencepiece package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenization import vocabularies as make
from tokenization.comparison import HARD

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.sentencepiece import (
    BPE,
    UNIGRAM,
    Kind,
    Normalizer,
    PieceModel,
    read_message,
    read_model,
)


@pytest.fixture(scope="module", params=["nmt_nfkc", "nfkc_cf", "identity"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    path = make.spm(folder / "x.model", normalization_rule_name=request.param, control_symbols=["<sep>"])
    return path, sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_pieces(model: tuple[Path, Any]) -> None:
    path, reference = model
    pieces = read_model(path).pieces
    assert len(pieces) == reference.get_piece_size()
    for i, piece in enumerate(pieces):
        assert piece.text == reference.id_to_piece(i)
        assert piece.score == reference.get_score(i)
        assert (piece.kind == Kind.CONTROL) == reference.is_control(i)
        assert (piece.kind == Kind.UNKNOWN) == reference.is_unknown(i)


def test_normalization(model: tuple[Path, Any]) -> None:
    path, reference = model
    normalize = Normalizer(read_model(path))
    for line in [*make.LINES[:50], *HARD]:
        assert normalize(line) == reference.normalize(line), line


def test_encoding_and_decoding(model: tuple[Path, Any]) -> None:
    path, reference = model
    ours = PieceModel(path)
    for line in [*make.LINES, *HARD]:
        pieces = reference.encode(line, out_type=str)
        if ".." not in line:  # ".. ." and ". .." score the same
            assert ours.encode(line) == pieces, line
        for some in (pieces, pieces[1:], ["▁", *pieces, "<sep>", "<unk>", "▁stranger"]):
            assert ours.decode(some) == reference.decode_pieces(some), some


@pytest.mark.parametrize("rule", ["nmt_nfkc", "identity"])
def test_byte_pairs(rule: str, tmp_path: Path) -> None:
    """A model of byte-pair encoding holds no merges: they follow from the pieces' scores."""
    path = make.spm(tmp_path / "x.model", model_type="bpe", normalization_rule_name=rule)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = PieceModel(path, (UNIGRAM, BPE))
    for line in [*make.LINES, *HARD, "日日x日", "aaaaaaa"]:
        pieces = reference.encode(line, out_type=str)
        assert ours.encode(line) == pieces, line
        assert ours.decode(pieces) == reference.decode_pieces(pieces), line
    with pytest.raises(TokenizerError, match="of type bpe; only unigram models are supported"):
        PieceModel(path)


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"\x08\x96\x01", [(1, 150)]),
        (b"\x12\x03abc\x08\x01", [(2, b"abc"), (1, 1)]),
        (b"\x1d\x00\x00\x80\x3f", [(3, b"\x00\x00\x80\x3f")]),
        (b"\x21" + bytes(8), [(4, bytes(8))]),
        (b"\xa0\x06\x01", [(100, 1)]),
    ],
)
def test_wire_format(data: bytes, fields: list[Any]) -> None:
    assert list(read_message(data)) == fields
    with pytest.raises(ValueError):
        list(read_message(data[:-1]))
