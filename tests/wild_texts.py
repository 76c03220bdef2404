"""Texts that break things: strategies for hypothesis, and very long ones."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

SNIPPETS = (
    *("", " ", "  ", "\n", "\r\n", "\t", "\v\f", "\u00a0", "\u3000", "\u2028", "\u2029", "\u200b", "\ufeff"),
    *("\0", "\x01", "\x1b[0m", "\x7f", "\x85", "\u00ad", "\ufffd", "\ufffe", "\U0010ffff", "\ue000"),
    *("\u202eabc\u202c", "\u2066x\u2069", "\u200fעברית", "العربية", "\u061c"),
    *("👩\u200d👩\u200d👧\u200d👦", "🇩🇪🇫🇷", "👍🏽", "😀😀", "☠\ufe0f", "1\ufe0f\u20e3", "\U000e0001"),
    *("e\u0301", "o\u0308\u0304\u0323" * 3, "\u0301", "\u1e9b\u0323", "ﬁ", "½", "㎒", "İI ı ς Σ ß", "한국어", "각"),
    *("日本語", "漢字かな", "ภาษา", "हिन्दी", "Ελλάδα", "Москва", "naïve café"),
    *("a" * 300, "1" * 50, "." * 40, "don't", "3,000.5", "x@y.z", "http://a.b/c?d=e&f#g", "a--b", "``q''", "@-@ @,@"),
    *("The", " rabbit", " said", " hello.", " Queen", " of", " hearts", "{}", "{0.x}", "%s", "\\", "'", '"', ">>fr<<"),
    *("##a", "a@@", "b</w>", "▁", "Ġ", "Ċ", "<0x0A>", "[unused0]", "en_XX"),
)
SPECIAL = (
    *("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"),
    *("<extra_id_0>", "<eos>", "<formula>"),
)
HALVES = ("\ud800", "\udfff", "\udc80x", "\ude00\ud83d")

wild: st.SearchStrategy[str] = st.one_of(
    st.lists(st.sampled_from([*SNIPPETS, *SPECIAL]), max_size=8).map("".join),
    st.text(max_size=30),
    st.lists(st.sampled_from(SPECIAL), max_size=5).map(" ".join),
    st.text(st.sampled_from(" \n\t\u00a0\u3000\u200b"), max_size=5),
)
"""Valid Unicode, the empty text included."""

broken: st.SearchStrategy[str] = st.tuples(wild, st.sampled_from(HALVES), wild).map("".join)
"""With half of a surrogate pair, as files decoded with ``surrogateescape`` have."""

not_texts: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=5), st.just(object()), st.just(len),
    st.dictionaries(st.sampled_from(["text", "context", "a"]), st.none() | st.integers(), max_size=2),
    st.lists(st.none() | st.integers() | st.lists(st.integers(), max_size=2), min_size=1, max_size=2),
)  # fmt: skip


def is_valid(text: str) -> bool:
    """Whether the text can be written down."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def long_texts(size: int) -> dict[str, str]:
    """Texts of about so many characters."""
    draw = random.Random(0)
    words = "the queen of hearts she made some tarts all on a summer day".split()
    return {
        "prose": " ".join(draw.choices(words, k=size // 4))[:size],
        "one word": "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=size)),
        "one letter": "a" * size,
        "spaces": " " * size,
        "zeros": "\0" * size,
        "emoji": "😀" * size,
        "marks": "e" + "\u0301" * (size - 1),
        "masks": "[MASK]<mask>" * (size // 12),
        "lines": "a.\n" * (size // 3),
    }
