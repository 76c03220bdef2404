"""The tokenizer of Pegasus: SentencePiece behind a hundred special tokens.

<pad> and </s> come first, then the masks of the pretraining, <mask_1> for a sentence and <mask_2> for a word, then
<unk_2> to <unk_102>, which stand for nothing; the file's pieces follow, ``offset`` (103) ids later than in the file. A
text ends with </s>.

Paper: Zhang et al. 2020, section 3.1. Reference: ``models/pegasus/tokenization_pegasus_fast.py``,
``convert_slow_tokenizer.py`` (PegasusConverter).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers, processors

from minitransformer.errors import TokenizerError
from minitransformer.options import shown
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.bounds import MOST_SENTINELS
from minitransformer.tokenization.sentencepiece import build_unigram, read_model
from minitransformer.tokenization.special_tokens import LIST_ROLE


class PegasusTokenizer(Tokenizer):
    """SentencePiece behind special tokens, and </s> at the end."""

    class_name = "PegasusTokenizer"
    vocabulary_files = ("spiece.model",)
    inputs = ("input_ids", "attention_mask")
    default_tokens = {"eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask_2>", "pad_token": "<pad>"}
    settings = {"mask_token_sent": "<mask_1>", "offset": 103, "sp_model_kwargs": {}}

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        given = {**self.settings, **(settings or {})}
        given[LIST_ROLE] = with_fillers(given.get(LIST_ROLE), given["mask_token_sent"], given["offset"])
        given["added_tokens_decoder"] = {}  # all of them have places of their own
        super().__init__(backend, given, files)

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        path = files["spiece.model"]
        model, offset = read_model(path), check_offset(settings["offset"])
        sentence = settings["mask_token_sent"]
        names = [str(settings["pad_token"]), end := str(settings["eos_token"])]
        if sentence is not None:
            names += [str(mask) for mask in (sentence, settings["mask_token"]) if mask is not None]
        vocabulary = [(name, 0.0) for name in names]
        vocabulary += [(f"<unk_{i}>", -100.0) for i in range(2, offset)]
        vocabulary += [(piece.text, piece.score) for piece in model.pieces[2:]]  # without <pad> and </s>
        unknown = model.unk_id + len(vocabulary) - len(model.pieces)
        backend = build_unigram(model, path, vocabulary, unknown, compat=settings.get("compat"))
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), backend.pre_tokenizer])
        backend.post_processor = processors.TemplateProcessing(
            single=["$A", end], pair=["$A", "$B", end], special_tokens=[(end, names.index(end))]
        )
        return backend


def check_offset(offset: Any) -> int:
    """The setting ``offset``.

    Raises:
        TokenizerError: it is no number, or too large a one.
    """
    if type(offset) is not int or not 0 <= offset <= MOST_SENTINELS:
        raise TokenizerError(f"offset must be an integer from 0 to {MOST_SENTINELS:,}, not {shown(offset)}")
    return offset


def with_fillers(tokens: Any, sentence_mask: Any, offset: Any) -> list[Any]:
    """The additional special tokens: the mask of a sentence, those that are named, and fillers up to ``offset``.

    Raises:
        TokenizerError: some occur twice, as when they name fillers in other places.
    """
    listed = list(tokens or ())
    first = [sentence_mask] if sentence_mask is not None and str(sentence_mask) not in map(str, listed) else []
    listed = [*first, *listed]
    start = 2 if tokens is None else len(listed)
    listed += [f"<unk_{i}>" for i in range(start, check_offset(offset) - (tokens is not None))]
    if len(set(map(str, listed))) != len(listed):
        raise TokenizerError(f"{LIST_ROLE} names a token twice, or <unk_...> tokens in places that are not theirs")
    return listed
