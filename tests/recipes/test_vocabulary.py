"""Learning vocabularies: the same every time, of the size that was asked for, and open to transformers too."""

from __future__ import annotations

import errno
import json
import random
import sys
from pathlib import Path

import pytest
import transformers

from minitransformer import AutoTokenizer
from minitransformer.errors import SavingError, TokenizerError, TrainingError
from minitransformer.recipes import vocabulary
from minitransformer.recipes.vocabulary import FAMILIES, Kind, learn_tokenizer, learn_wordpiece

WORDS = """attention encoder decoder layer token query key value position network sequence Transformer translation
summary answer question label sentence naïve Straße café don't well-known 1984 3.14""".split()
SYLLABLES = "ba ke li mo nu ra sten tri vun kla um ing est on der".split()


def make_texts(count: int = 400, seed: int = 0) -> list[str]:
    """Sentences of words, some of them made up."""
    draw = random.Random(seed)

    def word() -> str:
        return draw.choice(WORDS) if draw.random() < 0.6 else "".join(draw.choices(SYLLABLES, k=draw.randint(2, 3)))

    return [" ".join(word() for _ in range(12)) + draw.choice(".!?") for _ in range(count)]


TEXTS = make_texts()
CASES: list[tuple[Kind, str, int]] = [
    ("wordpiece", "bert", 200),
    ("wordpiece", "electra", 200),
    ("byte-bpe", "gpt2", 320),
    ("byte-bpe", "bart", 320),
    ("sentencepiece", "marian", 120),
    ("sentencepiece", "t5", 120),
    ("sentencepiece", "albert", 120),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("kind", "architecture", "size"), CASES)
def test_the_same_texts_give_the_same_files(kind: Kind, architecture: str, size: int, tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second", "third"):
        learn_tokenizer(tmp_path / name, TEXTS, kind=kind, architecture=architecture, vocab_size=size)
        runs.append(contents(tmp_path / name))
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize(("kind", "architecture", "size"), CASES)
def test_transformers_opens_it_and_agrees(kind: Kind, architecture: str, size: int, tmp_path: Path) -> None:
    options = {"model_max_length": 24, "lowercase": kind == "wordpiece"}
    learnt = learn_tokenizer(tmp_path, TEXTS, kind=kind, architecture=architecture, vocab_size=size, **options)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(opened).__name__.removesuffix("Fast") == type(reference).__name__.removesuffix("Fast")
    assert len(learnt) == len(opened) == len(reference)
    assert opened.model_max_length == reference.model_max_length == 24
    assert opened.special_tokens_map == reference.special_tokens_map
    for text in TEXTS[:5] + make_texts(5, seed=1) + ["A word that was never seen: zyx!"]:
        ids = learnt(text, truncation=True)["input_ids"]
        assert ids == opened(text, truncation=True)["input_ids"] == reference(text, truncation=True)["input_ids"]
        assert opened.decode(ids, skip_special_tokens=True) == reference.decode(ids, skip_special_tokens=True)


def test_the_size_is_what_was_asked_for(tmp_path: Path) -> None:
    for kind, architecture, size in CASES:
        folder = tmp_path / architecture
        extra = {"extra_ids": 7} if architecture == "t5" else {}
        learnt = learn_tokenizer(folder, TEXTS, kind=kind, architecture=architecture, vocab_size=size, **extra)
        assert len(learnt) == size + extra.get("extra_ids", 0), architecture


def test_wordpiece_knows_every_letter_and_frequent_words() -> None:
    pieces = learn_wordpiece(TEXTS, 200, lowercase=True)
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(pieces)) == len(pieces) == 200
    assert {"attention", "transformer", "a", "##a"} <= set(pieces)
    assert not any(piece != piece.lower() for piece in pieces[5:])
    assert "Transformer" in learn_wordpiece(TEXTS, 200, lowercase=False)


def test_wordpiece_gives_the_rarest_letters_up(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["aaab aab ab", "aac", "ö"]
    assert {"ö", "##c"} <= set(learn_wordpiece(texts, 30, lowercase=False))
    monkeypatch.setattr(vocabulary, "LETTERS", 2)
    assert {"a", "##a", "##b"} <= set(pieces := learn_wordpiece(texts, 30, lowercase=False))
    assert not {"ö", "##c"} & set(pieces)


def test_a_small_vocabulary_may_have_fewer_letters(tmp_path: Path) -> None:
    """What a letter costs are two pieces, with which frequent words can be written."""
    texts = ["aaab aab ab", "aac", "ö"]
    pieces = learn_wordpiece(texts, 30, lowercase=False, letters=2)
    assert {"a", "##a", "b", "##b"} <= set(pieces) and not {"ö", "c", "##c"} & set(pieces)
    for name, letters, knows in (("all", None, True), ("few", 2, False)):
        folder = tmp_path / name
        tokenizer = learn_tokenizer(
            folder, texts, kind="wordpiece", architecture="bert", vocab_size=30, letters=letters
        )
        assert (tokenizer.unk_token_id not in tokenizer("ö")["input_ids"]) is knows
        assert tokenizer.unk_token_id not in tokenizer("aaab")["input_ids"]
    with pytest.raises(TrainingError, match=r"vocab_size = 40 has no room for the \d\d letters"):
        learn_wordpiece(TEXTS, 40, lowercase=True)
    assert len(learn_wordpiece(TEXTS, 40, lowercase=True, letters=10)) == 40


def test_byte_level_vocabularies_know_every_text(tmp_path: Path) -> None:
    tokenizer = learn_tokenizer(tmp_path, TEXTS, kind="byte-bpe", architecture="gpt2", vocab_size=300)
    text = "日本語 \x00 é"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token_id == 0 and tokenizer.pad_token is None


@pytest.mark.parametrize("joint", [True, False])
def test_marian_may_cut_source_and_target_apart(joint: bool, tmp_path: Path) -> None:
    source, target = TEXTS, [text.upper() for text in TEXTS]
    tokenizer = learn_tokenizer(
        tmp_path,
        source + target if joint else source,
        target_texts=None if joint else target,
        kind="sentencepiece",
        architecture="marian",
        vocab_size=150,
    )
    ids = json.loads((tmp_path / "vocab.json").read_text())
    assert ids["</s>"] == 0 and ids["<unk>"] == 1 and ids["<pad>"] == len(ids) - 1 == tokenizer.pad_token_id
    assert ((tmp_path / "source.spm").read_bytes() == (tmp_path / "target.spm").read_bytes()) == joint
    assert len(ids) == 150 if joint else 150 < len(ids) < 300
    target_ids = tokenizer(text_target="ATTENTION LAYER.")["input_ids"]
    assert tokenizer.decode(target_ids, skip_special_tokens=True) == "ATTENTION LAYER."
    assert (len(tokenizer("ATTENTION LAYER.")["input_ids"]) > len(target_ids)) != joint


def test_t5_and_its_sentinels(tmp_path: Path) -> None:
    tokenizer = learn_tokenizer(
        tmp_path, TEXTS, kind="sentencepiece", architecture="t5", vocab_size=100, extra_ids=3, lowercase=True
    )
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.convert_tokens_to_ids(["<extra_id_2>", "<extra_id_1>", "<extra_id_0>"]) == [100, 101, 102]
    assert tokenizer("Attention")["input_ids"] == tokenizer("attention")["input_ids"]


def test_long_lines_are_learnt_from(tmp_path: Path) -> None:
    """SentencePiece would drop lines of more than 4,192 bytes without a word."""
    book = " ".join(TEXTS)
    assert len(book) > 10_000
    tokenizer = learn_tokenizer(tmp_path, [book], kind="sentencepiece", architecture="t5", vocab_size=100)
    assert tokenizer.unk_token_id not in tokenizer("attention sequence")["input_ids"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "gpt2"}, "kind 'wordpiece' does not suit the architecture 'gpt2': use 'byte-bpe'"),
        ({"architecture": "ctrl"}, "'ctrl': take a tokenizer from a folder"),
        ({"texts": []}, "no text to learn a vocabulary from"),
        ({"texts": ["", " \n"]}, "no text to learn a vocabulary from"),
        ({"vocab_size": 20}, r"vocab_size = 20 has no room for the \d\d letters"),
        ({"kind": "byte-bpe", "architecture": "gpt2", "vocab_size": 256}, "no room for the 257 letters"),
        ({"kind": "byte-bpe", "architecture": "gpt2", "lowercase": True}, "keeps case: leave lowercase out"),
        (
            {"kind": "byte-bpe", "architecture": "gpt2", "vocab_size": 300, "letters": 9},
            "letters belongs to .*'byte-bpe'",
        ),
        ({"kind": "sentencepiece", "architecture": "t5", "vocab_size": 5}, "could not learn 5 pieces"),
        ({"do_lowercase": True}, "Did you mean 'do_lower_case'"),
    ],
)
def test_what_cannot_be_learnt(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    arguments = {"texts": TEXTS, "kind": "wordpiece", "architecture": "bert", "vocab_size": 200, **changes}
    with pytest.raises((TrainingError, TokenizerError), match=said):
        learn_tokenizer(tmp_path, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "architecture", "size"), CASES[::2])
def test_files_appear_together_or_not_at_all(
    kind: Kind, architecture: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_tokenizer(tmp_path / "a", TEXTS[:50], kind=kind, architecture=architecture, vocab_size=size)
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_room)
    for folder in ("a", "b"):
        with pytest.raises(SavingError, match="No space left"):
            learn_tokenizer(tmp_path / folder, TEXTS, kind=kind, architecture=architecture, vocab_size=size)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    assert not (tmp_path / "b").exists()


def test_without_the_sentencepiece_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(TrainingError, match=r"pip install 'minitransformer\[train\]'"):
        learn_tokenizer(tmp_path, TEXTS, kind="sentencepiece", architecture="t5", vocab_size=100)


def test_every_family_can_be_learnt() -> None:
    """A name in the table that no tokenizer has would only fail when it is used."""
    from minitransformer.tokenization.auto import CLASSES

    for families in FAMILIES.values():
        for name in families.values():
            assert CLASSES[name.removesuffix("Fast")].class_name == name
