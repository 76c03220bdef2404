"""The tokenizer of M2M100: SentencePiece with a code for each of a hundred languages.

vocab.json gives the pieces their ids; behind them come the languages, ``__af__`` to ``__zu__``, and a few ids that
stand for nothing. The code stands before the text, ``__en__ X </s>``.

Paper: https://arxiv.org/abs/2010.11125. Reference: ``models/m2m_100/tokenization_m2m_100.py`` (there is no fast
tokenizer).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from minitransformer.errors import TokenizerError, did_you_mean
from minitransformer.options import shown
from minitransformer.tokenization.files import read_vocabulary_json, require_tokens
from minitransformer.tokenization.languages import ManyLanguages
from minitransformer.tokenization.pieces import PieceTokenizer, build_lookup
from minitransformer.tokenization.sentencepiece import BPE, UNIGRAM, PieceModel
from minitransformer.tokenization.special_tokens import LIST_ROLE

LANGUAGES = {
    "m2m100": tuple(
        """
        af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi
        hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns
        oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh
        zu
        """.split()
    ),
    "wmt21": tuple("en ha is ja cs ru zh de".split()),
}
"""The languages of a kind of checkpoint (the setting ``language_codes``), in the order of their ids."""


class M2M100Tokenizer(ManyLanguages, PieceTokenizer):
    """SentencePiece; ``__code__ X </s>``."""

    class_name = "M2M100Tokenizer"
    vocabulary_files = ("vocab.json", "sentencepiece.bpe.model")
    inputs = ("input_ids", "attention_mask")
    default_tokens = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
    }
    settings = {
        "src_lang": None,
        "tgt_lang": None,
        "language_codes": "m2m100",
        "num_madeup_words": 8,
        "sp_model_kwargs": {},
    }
    first_language, other_language = "en", "ro"

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        given, kind = dict(settings or {}), (settings or {}).get("language_codes", "m2m100")
        if kind not in LANGUAGES:
            hint = did_you_mean(str(kind), LANGUAGES)
            raise TokenizerError(f"language_codes must be one of {', '.join(LANGUAGES)}, not {shown(kind)}.{hint}")
        self.languages = LANGUAGES[kind]
        codes = [self.language_token(code) for code in self.languages]
        given[LIST_ROLE] = [*codes, *(token for token in given.get(LIST_ROLE) or () if str(token) not in codes)]
        self.model = PieceModel((files or {})["sentencepiece.bpe.model"], (UNIGRAM, BPE))
        backend.add_special_tokens(codes)  # before all others: their ids follow the vocabulary's
        super().__init__(backend, given, files)

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["vocab.json"]
        vocabulary = read_vocabulary_json(path)
        require_tokens(vocabulary, {role: settings[role] for role in ("eos_token", "pad_token")}, path)
        return build_lookup(vocabulary, str(settings["unk_token"]), path)

    def language_token(self, code: str) -> str:
        """The token of a language."""
        return f"__{code}__"

    get_lang_token = language_token

    def get_lang_id(self, lang: str) -> int:
        """The id of a language's token, as transformers calls `language_id`."""
        return self.language_id(lang)

    def split(self, text: str) -> list[str]:
        """The pieces of a text."""
        return self.model.encode(text)

    def _check_ids(self, ids: Any) -> list[int]:
        """Ids behind the languages that a model has to fill its table stand for nothing known."""
        size, unknown = len(self), self.unk_token_id
        made_up = range(size, size + int(self.options["num_madeup_words"]))
        return super()._check_ids([unknown if i in made_up else i for i in ids])

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of pieces; special tokens stand apart from what follows."""
        special = set(self.all_special_tokens)
        text, run = "", list[str]()
        for token in tokens:
            if token in special:
                text += self.model.decode(run) + token
                run = []
            else:
                run.append(token)
        return (text + self.model.decode(run)).strip()
