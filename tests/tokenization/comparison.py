"""The oracle: everything that two tokenizers can be asked, asked of both."""

from __future__ import annotations

import random
from typing import Any

HARD = [
    "",
    " ",
    "\n\t  ",
    "hello  world   x",
    "a\tb\nc\r\nd",
    "   leading and trailing   ",
    "😀😃 👩‍👩‍👧‍👦 flag 🇩🇪",
    "日本語のテキスト 漢字かな交じり",
    "mixed日本English漢字",
    "e\u0301 n\u0303 \u1e9b\u0323 \ufb01 combining",
    "Ünïcödé ÀÉÎ ß İI ı ς Σ",
    "\x00\x01\x7f\x85\xa0 control",
    "zero\u200bwidth\u200djoin\ufeffbom\u2060 \u00ad",
    "a" * 10_000,
    "1234567890,9,000.55 9, 10,",
    "don't can't I'm it's we've they're .. ? ! , n't",
    "[CLS] text [SEP] [MASK] [PAD] [UNK]",
    "<s> text </s> <mask> <pad> <unk>",
    "<|endoftext|>x<|endoftext|> y",
    "a<mask>b  <mask>  c [MASK]. d[MASK]e",
    "``quoted'' ''x``",
    "▁ ▁▁ under▁score",
    "<extra_id_0> and <extra_id_9><extra_id_1>",
    "##a ##b @@ a@@ b</w>",
    "\u202eRTL עברית العربية",
    "ﬃ ½ ㎒ ① Ａｂｃ",
    "\ufffd \U0010ffff",
    "en_XX de_DE text",
    ">>fr<< hello >>de<< x",
    "\u3000ideographic\u3000space line\u2028sep\u2029para",
    "한국어 ไทย ภาษา हिन्दी",
]
"""Texts on which tokenizers are known to differ."""

ATTRIBUTES = """vocab_size model_max_length padding_side truncation_side model_input_names all_special_ids
all_special_tokens special_tokens_map clean_up_tokenization_spaces pad_token pad_token_id mask_token_id
unk_token_id bos_token_id eos_token_id cls_token_id sep_token_id""".split()


class Comparison:
    """Counts what was compared and collects the differences."""

    def __init__(self, ours: Any, theirs: Any) -> None:
        self.ours, self.theirs = ours, theirs
        self.count = 0
        self.differences: list[str] = []
        self.extra = {"return_special_tokens_mask": True, "return_offsets_mapping": theirs.is_fast}

    def check(self, what: str, ours: Any, theirs: Any) -> None:
        self.count += 1
        if ours != theirs:
            self.differences.append(f"{what}: ours {str(ours)[:200]} theirs {str(theirs)[:200]}")

    def attributes(self) -> None:
        for name in ATTRIBUTES:
            self.check(name, getattr(self.ours, name), getattr(self.theirs, name))
        self.check("len", len(self.ours), len(self.theirs))
        self.check("vocabulary", self.ours.get_vocab(), self.theirs.get_vocab())
        self.check("added", set(self.ours.added_tokens_decoder), set(self.theirs.added_tokens_decoder))

    def texts(self, lines: list[str]) -> None:
        """Ids, masks, offsets, words and decoding of single texts and of pairs."""
        ours, theirs = self.ours(lines, **self.extra), self.theirs(lines, **self.extra)
        self.check("names", set(ours), set(theirs))
        for i, line in enumerate(lines):
            for name in theirs:
                self.check(f"{name} of {line[:60]!r}", ours[name][i], theirs[name][i])
            if self.theirs.is_fast:
                self.check(f"words of {line[:60]!r}", ours.word_ids(i), theirs.word_ids(i))
            ids = theirs["input_ids"][i]
            self.check("tokens", self.ours.convert_ids_to_tokens(ids), self.theirs.convert_ids_to_tokens(ids))
            for options in ({}, {"skip_special_tokens": True}, {"clean_up_tokenization_spaces": True}):
                decoded = self.ours.decode(ids, **options), self.theirs.decode(ids, **options)
                self.check(f"decoding {options} of {line[:60]!r}", *decoded)
        pairs = lines[1:] + lines[:1]
        ours, theirs = self.ours(lines, pairs, **self.extra), self.theirs(lines, pairs, **self.extra)
        for name in theirs:
            self.check(f"{name} of pairs", ours[name], theirs[name])

    def calls(self, lines: list[str], count: int) -> None:
        """Random options: truncation, padding, stride, overflow, pairs, both sides."""
        draw = random.Random(0)
        side = self.theirs.truncation_side
        fast = self.theirs.is_fast
        for _ in range(count):
            texts = [line[:400] for line in draw.sample(lines, 3)]
            pairs = [line[:300] for line in draw.sample(lines, 3)] if draw.random() < 0.5 else None
            ways: list[bool | str] = [True, False, "only_first", "longest_first"]
            ways += ["only_second"] if pairs else []
            options: dict[str, Any] = {
                "truncation": draw.choice(ways),
                "max_length": draw.choice([8, 16, 32]),
                "padding": draw.choice([False, True, "max_length"]) if self.theirs.pad_token else False,
                "pad_to_multiple_of": draw.choice([None, None, 8]),
                "padding_side": draw.choice([None, "left", "right"]),
                "add_special_tokens": draw.random() < 0.8,
                "return_overflowing_tokens": fast and draw.random() < 0.5,
                "stride": draw.choice([0, 0, 2]) if fast and not pairs else 0,
                **self.extra,
            }
            self.ours.truncation_side = self.theirs.truncation_side = draw.choice(["left", "right"])
            try:
                ours: Any = dict(self.ours(texts, pairs, **options))
            except ValueError as error:
                ours = str(error)
            try:
                theirs: Any = dict(self.theirs(texts, pairs, **options))
            except Exception as error:
                theirs = str(error)
            if isinstance(ours, str) and (isinstance(theirs, str) or not fast):
                continue  # the slow tokenizers log what the fast ones and ours refuse
            self.check(f"{options} of {texts} {pairs}", ours, theirs)
        self.ours.truncation_side = self.theirs.truncation_side = side

    def words(self) -> None:
        """Texts that are split into words."""
        rows = [["Hello", "wörld!", "日本"], ["a", "b  c"]]
        ours, theirs = (t(rows, is_split_into_words=True) for t in (self.ours, self.theirs))
        self.check("split into words", dict(ours), dict(theirs))

    def everything(self, lines: list[str], calls: int = 40) -> Comparison:
        self.attributes()
        self.texts(lines)
        self.calls(lines, calls)
        if not getattr(self.ours, "needs_prefix_space_for_words", False) or self.ours.add_prefix_space:
            self.words()
        return self

    def equal(self) -> bool:
        assert not self.differences, "\n".join(
            [f"{len(self.differences)} of {self.count} differ", *self.differences[:8]]
        )
        return self.count > 0
