"""A new vocabulary for a tokenizer: learnt from texts, while its rules and its special tokens stay.

Reference: ``transformers/tokenization_utils_fast.py`` (train_new_from_iterator), Chapter 6 of its course.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken, pre_tokenizers, trainers

from minitransformer.errors import TokenizerError, did_you_mean
from minitransformer.tokenization.special_tokens import Token, as_token

_COMMON = {"show_progress", "initial_alphabet"}
_COUNTING = {*_COMMON, "min_frequency"}
_MERGING = {*_COUNTING, "limit_alphabet", "continuing_subword_prefix", "end_of_word_suffix"}
TRAINERS: dict[str, tuple[Any, set[str]]] = {
    "BPE": (trainers.BpeTrainer, {*_MERGING, "max_token_length"}),
    "Unigram": (
        trainers.UnigramTrainer,
        {*_COMMON, "shrinking_factor", "unk_token", "max_piece_length", "n_sub_iterations"},
    ),
    "WordLevel": (trainers.WordLevelTrainer, {*_COUNTING} - {"initial_alphabet"}),
    "WordPiece": (trainers.WordPieceTrainer, _MERGING),
}
"""For each kind of model, its trainer and that one's options, which itself takes no notice of others."""


def retrain(
    backend: tokenizers.Tokenizer,
    texts: Iterable[Any],
    vocab_size: int,
    *,
    length: int | None = None,
    new_tokens: Sequence[Token] = (),
    names: Mapping[str, str] | None = None,
    **options: Any,
) -> tokenizers.Tokenizer:
    """A backend with the rules of another one and a vocabulary of its own.

    Args:
        backend: the other one; is not changed.
        texts: strings, or lists of strings.
        vocab_size: how many tokens to learn, special ones included.
        length: how many texts there are, for the bar that shows progress.
        new_tokens: special tokens to add.
        names: old special token -> new one.
        options: of the trainer in the ``tokenizers`` library (``min_frequency``, ``show_progress``, ...).

    Raises:
        TokenizerError: an option, or a text, that the library does not take.
    """
    renamed = dict(names or {})
    state = json.loads(backend.to_str())
    added, frame, kind = state.pop("added_tokens"), state.pop("post_processor"), state["model"]["type"]
    trainer, known = TRAINERS[kind]
    for name in options.keys() - known:
        raise TokenizerError(f"learning a vocabulary ({kind}) has no option {name!r}.{did_you_mean(name, known)}")
    special = [
        AddedToken(**{**token, "content": renamed.get(token["content"], token["content"])})
        for token in ({name: flag for name, flag in token.items() if name != "id"} for token in added)
        if token["special"] or kind == "Unigram"
    ]
    _forget_vocabulary(state["model"], renamed, options)
    splitter = backend.pre_tokenizer
    if splitter is not None and "ByteLevel" in splitter.__getstate__().decode():
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    trained = tokenizers.Tokenizer.from_str(json.dumps(state))
    try:
        training = trainer(vocab_size=vocab_size, special_tokens=[*special, *new_tokens], **options)
        trained.train_from_iterator(texts, length=length, trainer=training)
    except Exception as error:  # the library raises plain exceptions
        raise TokenizerError(f"no vocabulary of {vocab_size} tokens could be learnt from the texts: {error}") from error
    if frame is None:
        return trained
    state = json.loads(trained.to_str())
    state["post_processor"] = _with_new_ids(frame, renamed, trained)
    return tokenizers.Tokenizer.from_str(json.dumps(state))


def _forget_vocabulary(model: dict[str, Any], renamed: Mapping[str, str], options: dict[str, Any]) -> None:
    """Empty a model's vocabulary; what its trainer must know of it goes into the trainer's options."""
    unknown = model.get("unk_token")
    if model["type"] == "Unigram":
        if model["unk_id"] is not None:
            unknown = model["vocab"][model["unk_id"]][0]
            options.setdefault("unk_token", renamed.get(unknown, unknown))
            model |= {"unk_id": 0, "vocab": [[renamed.get(unknown, unknown), 0.0]]}
        return
    model["vocab"] = {}
    if unknown is not None:
        model["unk_token"] = renamed.get(unknown, unknown)
    if model["type"] == "BPE":
        model["merges"] = []
        for mark in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model[mark] is not None:
                options.setdefault(mark, model[mark])


def _with_new_ids(frame: Any, renamed: Mapping[str, str], trained: tokenizers.Tokenizer) -> Any:
    """A post-processor whose special tokens have new names and ids."""

    def look_up(token: str) -> tuple[str, int]:
        new = renamed.get(token, token)
        index = trained.token_to_id(new)
        if index is None:
            raise TokenizerError(
                f"the frame of texts needs the token {new!r}, which the new vocabulary lacks: pass new_special_tokens"
            )
        return new, index

    frame = dict(frame)
    for part in frame.get("processors", []):
        part |= _with_new_ids(part, renamed, trained)
    for role in ("cls", "sep"):
        if role in frame:
            frame[role] = list(look_up(frame[role][0]))
    if "special_tokens" in frame:
        for entry in frame["special_tokens"].values():
            entry["tokens"], entry["ids"] = map(list, zip(*map(look_up, entry["tokens"]), strict=True))
    return frame


def renamed_token(token: Token, names: Mapping[str, str]) -> Token:
    """A token under its new name, with the flags that it had."""
    content = names.get(str(token), str(token))
    return content if isinstance(token, str) else as_token({**token.__getstate__(), "content": content}, "a token")
