"""The tokenizers of mBART and mBART-50: SentencePiece with a code for each language.

mBART (cc25) puts the code behind the text, ``X </s> en_XX``; mBART-50 before it, ``en_XX X </s>``. Ids are
fairseq's: <s> <pad> </s> <unk>, the pieces, the codes, <mask>.

Paper: Liu et al. 2020, section 2; Tang et al. 2020. Reference: ``models/mbart/tokenization_mbart_fast.py``,
``models/mbart50/tokenization_mbart50_fast.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from minitransformer.tokenization.languages import ManyLanguages
from minitransformer.tokenization.sentencepiece import build_unigram, read_model
from minitransformer.tokenization.special_tokens import LIST_ROLE

CC25 = tuple(
    """ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM
    ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN""".split()
)
"""The languages of mBART, in the order of their ids."""
ML50 = CC25 + tuple(
    """af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE
    sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI""".split()
)
"""The languages of mBART-50, in the order of their ids."""


class MBartTokenizer(ManyLanguages):
    """SentencePiece; ``X </s> code``."""

    class_name = "MBartTokenizer"
    vocabulary_files = ("sentencepiece.bpe.model",)
    inputs = ("input_ids", "attention_mask")
    default_tokens = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": AddedToken("<mask>", lstrip=True, normalized=False, special=True),
    }
    settings = {"src_lang": None, "tgt_lang": None, "sp_model_kwargs": {}}
    languages = CC25
    first_language, other_language = "en_XX", "ro_RO"
    code_goes_first = False

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        given = dict(settings or {})
        given[LIST_ROLE] = self.order_codes(given.get(LIST_ROLE) or [])
        super().__init__(backend, given, files)

    @classmethod
    def order_codes(cls, tokens: list[Any]) -> list[Any]:
        """The additional special tokens, the languages first."""
        return [*cls.languages, *(token for token in tokens if token not in cls.languages)]

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["sentencepiece.bpe.model"]
        model = read_model(path)
        names = ["<s>", "<pad>", "</s>", "<unk>"]
        vocabulary = [(name, 0.0) for name in names]
        vocabulary += [(piece.text, piece.score) for piece in model.pieces[3:]]  # without <unk> <s> </s>
        vocabulary += [(name, 0.0) for name in (*cls.languages, "<mask>")]
        return build_unigram(model, path, vocabulary, names.index("<unk>"), compat=settings.get("compat"))


class MBart50Tokenizer(MBartTokenizer):
    """SentencePiece; ``code X </s>``."""

    class_name = "MBart50Tokenizer"
    default_tokens = {role: token for role, token in MBartTokenizer.default_tokens.items() if role != "bos_token"}
    languages = ML50
    code_goes_first = True

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        mask = settings["mask_token"]
        if isinstance(mask, str) or mask is cls.default_tokens["mask_token"]:  # unlike with tokenizer.json
            settings["mask_token"] = AddedToken(str(mask), lstrip=True, normalized=True, special=True)
        return super().build(files, settings)

    @classmethod
    def order_codes(cls, tokens: list[Any]) -> list[Any]:
        """The additional special tokens, the languages last."""
        return [*tokens, *(code for code in cls.languages if code not in tokens)]
