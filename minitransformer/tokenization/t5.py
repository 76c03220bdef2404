"""The tokenizer of T5: SentencePiece with a hundred sentinels.

A text ends with </s>. The sentinels <extra_id_0> ... <extra_id_99>, which stand for masked spans, have the
last ids, in descending order.

Paper: Raffel et al. 2020, section 3.1.4. Reference: ``models/t5/tokenization_t5_fast.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, pre_tokenizers, processors

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.bounds import MOST_SENTINELS
from minitransformer.tokenization.sentencepiece import SPACE, build_unigram, read_model
from minitransformer.tokenization.special_tokens import LIST_ROLE, wrap_tokens

PADDED_TO = 128
"""Published models have embeddings for a multiple of this many ids, more than there are tokens."""


class T5Tokenizer(Tokenizer):
    """SentencePiece, sentinels, and </s> at the end."""

    class_name = "T5Tokenizer"
    vocabulary_files = ("spiece.model",)
    inputs = ("input_ids", "attention_mask")
    default_tokens = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    settings = {"extra_ids": 100, "legacy": True, "add_prefix_space": None, "sp_model_kwargs": {}}

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        given = dict(settings or {})
        given[LIST_ROLE] = add_sentinels(given.get(LIST_ROLE), count_sentinels(given.get("extra_ids", 100)))
        super().__init__(backend, given, files)

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        wrap_tokens(settings, ("eos_token", "unk_token", "pad_token"))
        path = files["spiece.model"]
        model = read_model(path)
        vocabulary = [(piece.text, piece.score) for piece in model.pieces]
        vocabulary += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(count_sentinels(settings["extra_ids"])))]
        prefix, compat = choose_prefix(settings), settings.get("compat")
        backend = build_unigram(model, path, vocabulary, model.unk_id, prefix, compat)
        end = backend.token_to_id("</s>")
        if end is None:
            raise TokenizerError(f"{path} has no piece </s>, so it is not T5's")
        backend.post_processor = processors.TemplateProcessing(
            single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", end)]
        )
        return backend

    def configure(self) -> None:
        """A blank before the text, or none, if the settings say so; otherwise as the file has it."""
        if self.options["add_prefix_space"] is not None:
            scheme = choose_prefix(self.options)
            self.backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)
            self.backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)

    def _check_ids(self, ids: Any) -> list[int]:
        """Ids that only the padding of the embeddings has stand for nothing."""
        size = len(self)
        padded = range(size, -(-size // PADDED_TO) * PADDED_TO)
        return super()._check_ids([i for i in ids if i not in padded])


def choose_prefix(settings: Mapping[str, Any]) -> str:
    """Where a blank goes: before the text ("first"), also after each added token ("always"), or nowhere."""
    if settings["add_prefix_space"] is False:
        return "never"
    return "first" if settings["legacy"] is False else "always"


def count_sentinels(count: Any) -> int:
    """The setting ``extra_ids``.

    Raises:
        TokenizerError: it is no number, or too large a one.
    """
    if type(count) is not int or not 0 <= count <= MOST_SENTINELS:
        raise TokenizerError(f"extra_ids must be an integer from 0 to {MOST_SENTINELS:,}, not {count!r:.60}")
    return count


def add_sentinels(tokens: Any, count: int) -> list[Any]:
    """The additional special tokens with the sentinels, unless they name them already.

    Raises:
        TokenizerError: they name another number of sentinels than ``extra_ids``.
    """
    sentinels = [f"<extra_id_{i}>" for i in range(count)]
    if tokens is None:
        return sentinels
    named = [token for token in tokens if "<extra_id_" in str(token)]
    if not named:
        return [*tokens, *sentinels]
    if count > 0 and count != len(named):
        raise TokenizerError(f"extra_ids is {count}, but {LIST_ROLE} has {len(named)} sentinels: make them agree")
    return list(tokens)
