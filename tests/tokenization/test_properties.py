"""What holds for any text: places in range and in order, rows as if alone, padding on its side, bytes back again."""

from __future__ import annotations

import copy
import math
import pickle
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines.families import TOKENIZERS, Families
from wild_texts import broken, long_texts, wild

import minitransformer.tokenization.long_pairs as long_pairs
from minitransformer import TokenizerError
from minitransformer.tokenization.ctrl import CTRLTokenizer
from minitransformer.tokenization.pieces import MOST_KNOWN, merge_pairs

FAMILIES = sorted(TOKENIZERS.keys() - {"bart"})  # whose files are RoBERTa's
BYTES = ("gpt2", "roberta")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning"),
]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(scope="module", params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest, families: Families) -> Any:
    return families.tokenizer(request.param)


@pytest.fixture
def padded(tokenizer: Any) -> Iterator[Any]:
    """With a pad token, which some families do not have."""
    before = dict(tokenizer.special_tokens)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    yield tokenizer
    tokenizer.special_tokens = before


@given(wild)
def test_places_are_in_the_text_and_in_order(tokenizer: Any, text: str) -> None:
    mask = {"return_special_tokens_mask": True}
    encoding = tokenizer(text, return_offsets_mapping=tokenizer.keeps_offsets, **mask)
    assert all(0 <= i < len(tokenizer) for i in encoding["input_ids"])
    assert isinstance(tokenizer.decode(encoding["input_ids"]), str)
    if tokenizer.keeps_offsets:
        places = zip(encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
        own = [place for place, is_special in places if not is_special]
        assert all(0 <= start <= end <= len(text) for start, end in own)
        assert own == sorted(own)


@given(st.lists(wild, min_size=1, max_size=4), st.sampled_from([None, 4, 9]), st.sampled_from(["left", "right"]))
def test_a_row_of_a_batch_is_the_row_alone(padded: Any, texts: list[str], limit: int | None, side: str) -> None:
    options: dict[str, Any] = {"truncation": limit is not None, "max_length": limit, "return_attention_mask": True}
    rows = [padded(text, **options)["input_ids"] for text in texts]
    assert padded(texts, **options)["input_ids"] == rows
    assert limit is None or max(map(len, rows)) <= limit
    batch = padded(texts, padding=True, padding_side=side, **options)
    longest = max(map(len, rows))
    for row, ids, mask in zip(rows, batch["input_ids"], batch["attention_mask"], strict=True):
        filling = [padded.pad_token_id] * (longest - len(row))
        assert ids == (row + filling if side == "right" else filling + row)
        ones, zeros = [1] * len(row), [0] * len(filling)
        assert mask == (ones + zeros if side == "right" else zeros + ones)


@given(wild)
def test_bytes_come_back(families: Families, text: str) -> None:
    for family in BYTES:
        tokenizer = families.tokenizer(family)
        whole = text.replace("<mask>", "")  # takes the blank before it away
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == whole


@given(broken)
def test_half_a_character_is_named(tokenizer: Any, text: str) -> None:
    for call in (text, [text, "a"], "a"):
        with pytest.raises(TokenizerError, match="not valid Unicode"):
            tokenizer(call, text if call == "a" else None)
    assert tokenizer.convert_tokens_to_ids(text) == tokenizer.unk_token_id


@pytest.mark.parametrize("kind", ["one word", "emoji", "lines"])
def test_a_megabyte(tokenizer: Any, kind: str) -> None:
    """The time grows with the length, not with its square: that would be hours."""
    text = long_texts(100_000 if kind != "one word" else 1_000_000)[kind]
    began = time.monotonic()
    assert len(tokenizer(text, truncation=True, max_length=32)["input_ids"]) <= 32
    assert time.monotonic() - began < 30


def test_two_long_texts_leave_nothing_over(padded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting long pairs another way gives the same rows; what is left over would fill the memory."""
    draw = random.Random(0)
    words = "the queen of hearts, she made naïve tarts 日本! x".split()
    side = padded.truncation_side
    for _ in range(40):
        split = draw.random() < 0.3 and not padded.needs_prefix_space_for_words
        count = draw.randint(1, 3)
        texts: list[list[Any]] = [[draw.choices(words, k=draw.randint(1, 50)) for _ in range(count)] for _ in range(2)]
        if not split:
            texts = [[" ".join(text) for text in column] for column in texts]
        options = {
            "max_length": draw.randint(4, 30),
            "truncation": True,
            "padding": draw.choice([False, True, "max_length"]),
            "padding_side": draw.choice(["left", "right"]),
            "add_special_tokens": draw.random() < 0.8,
            "is_split_into_words": split,
            "return_special_tokens_mask": True,
            "return_token_type_ids": True,
            "return_offsets_mapping": padded.keeps_offsets,
        }
        padded.truncation_side = draw.choice(["left", "right"])
        found = []
        for least in (10**9, 0):
            monkeypatch.setattr(long_pairs, "_LONG", least)
            encoding = padded(*texts, **options)
            rows = range(count if padded.keeps_offsets else 0)
            found.append([dict(encoding), [(encoding.sequence_ids(i), encoding.word_ids(i)) for i in rows]])
        assert found[0] == found[1]
    padded.truncation_side = side
    monkeypatch.undo()
    text = long_texts(300_000)["prose"]
    began = time.monotonic()
    assert len(padded(text, text, truncation=True, max_length=16)["input_ids"]) == 16
    assert time.monotonic() - began < 30


def test_a_limit_below_the_special_tokens(families: Families) -> None:
    tokenizer = families.tokenizer("bert")
    assert tokenizer("a b", truncation=True, max_length=2)["input_ids"] == [
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    ]
    with pytest.raises(TokenizerError, match="max_length 1 is less than the 2 special tokens"):
        tokenizer("a b", truncation=True, max_length=1)
    with pytest.raises(TokenizerError, match="max_length 2 is less than the 3 special tokens"):
        tokenizer("a", "b", truncation=True, max_length=2)
    assert len(tokenizer("a b", truncation=True, max_length=1, add_special_tokens=False)["input_ids"]) == 1


def test_words_that_moses_rules_refuse(families: Families) -> None:
    tokenizer = families.tokenizer("transformer-xl")
    assert len(tokenizer("<eos> " * 1200)["input_ids"]) == 1200
    with pytest.raises(TokenizerError, match="could not be split into words: too many protected tokens"):
        tokenizer("<eos> " * 1200, split_special_tokens=True)


def textbook_merges(symbols: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Algorithm 1 of https://arxiv.org/abs/1508.07909, as it stands."""
    while len(symbols) > 1:
        best = min(zip(symbols, symbols[1:], strict=False), key=lambda pair: ranks.get(pair, math.inf))
        if best not in ranks:
            break
        joined: list[str] = []
        at = 0
        while at < len(symbols):
            step = 2 if tuple(symbols[at : at + 2]) == best else 1
            joined.append("".join(symbols[at : at + step]))
            at += step
        symbols = joined
    return symbols


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12), st.text("abc", max_size=20), st.randoms()
)
def test_merges_are_the_textbooks(pairs: list[tuple[int, int]], word: str, draw: random.Random) -> None:
    tokens, merges = list("abc"), []
    for first, second in pairs:
        merges.append((tokens[first % len(tokens)], tokens[second % len(tokens)]))
        tokens.append("".join(merges[-1]))
    draw.shuffle(merges)  # also orders in which nothing would have been learnt
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    assert merge_pairs(list(word), ranks) == textbook_merges(list(word), ranks)


def test_remembered_words_are_not_too_many(families: Families) -> None:
    tokenizer: CTRLTokenizer = families.tokenizer("ctrl")
    expected = tokenizer.tokenize("the queen")
    for i in range(0, MOST_KNOWN + 2000, 1000):
        tokenizer(" ".join(f"w{n}" for n in range(i, i + 1000)))
    assert len(tokenizer._known) <= MOST_KNOWN
    tokenizer("y" * 5000)
    assert max(map(len, tokenizer._known)) <= 100
    assert tokenizer.tokenize("the queen") == expected


def test_copies(tokenizer: Any) -> None:
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert other("the queen", "hearts")["input_ids"] == tokenizer("the queen", "hearts")["input_ids"]
        other.add_tokens(["hearts of hearts"])
        assert len(other) == len(tokenizer) + 1
