"""The tokenizer of Llama, Llama 2 and Mistral: SentencePiece's byte-pair encoding, with bytes for what is unknown.

The blank is a letter of its own, ``▁``, and one stands before the text; a letter without a piece becomes its UTF-8
bytes, ``<0xE2>`` and so on, so that nothing is lost. A text begins with ``<s>``. (Llama 3 and later have a
tokenizer.json.)

Reference: ``models/llama/tokenization_llama_fast.py`` and ``LlamaConverter`` in ``convert_slow_tokenizer.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.files import build_or_explain
from minitransformer.tokenization.sentencepiece import (
    BPE,
    SPACE,
    UNIGRAM,
    Kind,
    SentencePieceModel,
    merges_by_score,
    read_model,
)
from minitransformer.tokenization.special_tokens import wrap_tokens


class LlamaTokenizer(Tokenizer):
    """SentencePiece with bytes; ``<s> X``, and padding on the left."""

    class_name = "LlamaTokenizer"
    vocabulary_files = ("tokenizer.model",)
    inputs = ("input_ids", "attention_mask")
    default_tokens = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    common_settings = {**Tokenizer.common_settings, "padding_side": "left", "add_prefix_space": None}
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": True,
        "sp_model_kwargs": {},
        "spaces_between_special_tokens": False,
        "use_default_system_prompt": False,
    }

    @classmethod
    def build(cls, files: Mapping[str, Path], settings: dict[str, Any]) -> tokenizers.Tokenizer:
        wrap_tokens(settings, ("unk_token", "bos_token", "eos_token"))
        path, has_prefix = files["tokenizer.model"], settings["add_prefix_space"] is not False
        model = read_model(path, (UNIGRAM, BPE))
        backend = tokenizers.Tokenizer(build_or_explain(lambda: with_bytes(model), path))
        backend.add_tokens(
            [
                AddedToken(piece.text, normalized=False, special=piece.kind == Kind.CONTROL)
                for piece in model.pieces
                if piece.kind in (Kind.CONTROL, Kind.USER_DEFINED)
            ]
        )
        if settings["legacy"] is False:  # a blank before the text alone, and not before what follows a special token
            scheme = "first" if has_prefix else "never"
            backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
        else:
            first = [normalizers.Prepend(SPACE)] if has_prefix else []
            backend.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", SPACE)])
        last = [decoders.Strip(" ", 1, 0)] if has_prefix else []
        backend.decoder = decoders.Sequence(
            [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *last]
        )
        return backend

    def configure(self) -> None:
        """The frame of special tokens is made of the settings, whatever the file says."""
        frame: dict[str, tuple[str, int]] = {}
        for role in ("bos", "eos"):
            if self.options[f"add_{role}_token"]:
                token = self.special_tokens.get(f"{role}_token")
                index = None if token is None else self.backend.token_to_id(str(token))
                if index is None:
                    raise TokenizerError(f"add_{role}_token is set, but there is no {role}_token in the vocabulary")
                frame[role] = (str(token), index)

        def text(name: str, kind: int) -> list[str]:
            around = [[f"{frame[role][0]}:{kind}"] if role in frame else [] for role in ("bos", "eos")]
            return [*around[0], f"${name}:{kind}", *around[1]]

        self.backend.post_processor = processors.TemplateProcessing(
            single=text("A", 0), pair=[*text("A", 0), *text("B", 1)], special_tokens=list(dict(frame.values()).items())
        )


def with_bytes(model: SentencePieceModel) -> Any:
    """The backend's model, which falls back on bytes."""
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    if model.model_type == UNIGRAM:
        return models.Unigram(pieces, 0, byte_fallback=True)
    ids = {piece.text: i for i, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.unk_id].text
    return models.BPE(ids, merges_by_score(dict(pieces), ids), unk_token=unknown, fuse_unk=True, byte_fallback=True)
