"""Two hundred texts on which tokenizers part: accents, joined emoji, control characters, numbers, long words."""

from __future__ import annotations

import random

PIECES = (
    *("The cat slept because it was tired.", "Isn't it?", "U.S.A. costs $1,234.56!", "x_y-z/w", "a--b"),
    *("``q''", "  two  "),
    *("naïve café", "e\u0301a\u0308o\u0302", "ﬁne ½ ㎒", "İstanbul ı ς ΣΑΣ ß", "Ελλάδα", "Москва", "日本語 漢字かな"),
    *("한국어", "العربية", "עברית", "हिन्दी", "ภาษาไทย", "😀😀", "👩\u200d👩\u200d👧", "🇩🇪🇫🇷", "👍🏽", "☠\ufe0f"),
    *("\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2028", "\x7f", "\u00ad", "\ufffd"),
    *("1234567890", "3.14e-10", "...", "!?!?", "http://a.b/c?d=e&f#g", "me@example.org", "#tag", "C++", "O'Neill"),
    *("antidisestablishmentarianism", "a" * 120, "ABCdefGHI", "don\u2019t", "\u201cquoted\u201d", "—", "½¾", "x²"),
)  # fmt: skip
COUNT = 200


def hard_texts(count: int = COUNT) -> list[str]:
    """The pieces, and mixtures of them; the same each time."""
    draw = random.Random(0)
    texts = list(PIECES)
    while len(texts) < count:
        texts.append(draw.choice((" ", "", " ")).join(draw.choices(PIECES, k=draw.randint(2, 6))))
    return texts[:count]
