"""Writing a tokenizer's files: tokenizer.json, its settings, its special tokens and the vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken

from minitransformer.errors import TokenizerError
from minitransformer.files import together, write_whole
from minitransformer.tokenization.special_tokens import LIST_ROLE

if TYPE_CHECKING:
    from minitransformer.tokenization.base import Tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> tuple[str, ...]:
    """Write all files of a tokenizer; returns their paths.

    Raises:
        TokenizerError: ``folder`` is a file.
        SavingError: a file cannot be written; those that were there are as they were.
    """
    if folder.is_file():
        raise TokenizerError(f"{folder} is a file: save_pretrained takes a folder")
    with together(folder):
        return _save_files(tokenizer, folder)


def _save_files(tokenizer: Tokenizer, folder: Path) -> tuple[str, ...]:
    written = [
        write_json(folder / "tokenizer_config.json", describe_tokenizer(tokenizer)),
        write_json(folder / "special_tokens_map.json", describe_special_tokens(tokenizer)),
    ]
    if tokenizer.uses_tokenizer_json:
        with tokenizer._lock:
            tokenizer.backend.no_truncation()
            tokenizer.backend.no_padding()
            path = folder / "tokenizer.json"
            write_text(path, tokenizer.backend.to_str(pretty=True))
        written.append(str(path))
    return (*written, *tokenizer.save_vocabulary(folder))


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """The contents of tokenizer_config.json."""
    config = {**tokenizer.unused_settings, **tokenizer.options, **tokenizer.special_tokens_map}
    config |= tokenizer._changed_settings()
    config |= {
        "added_tokens_decoder": {str(i): t.__getstate__() for i, t in tokenizer.added_tokens_decoder.items()},
        "tokenizer_class": tokenizer.class_name,
    }
    if config.get("model_input_names") is None:
        config.pop("model_input_names", None)
    return config


def describe_special_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    """The contents of special_tokens_map.json."""

    def plain(token: Any) -> Any:
        if isinstance(token, AddedToken):
            return {name: flag for name, flag in token.__getstate__().items() if name != "special"}
        return token

    roles: dict[str, Any] = {role: plain(token) for role, token in tokenizer.special_tokens.items()}
    if tokenizer.additional_special_tokens:
        roles[LIST_ROLE] = [plain(token) for token in tokenizer.additional_special_tokens]
    return roles


def copy_file(source: Path, target: Path) -> str:
    """Copy a file, unless it is in its place already; returns where it is."""
    if not (target.exists() and target.samefile(source)):
        write_whole(target, source.read_bytes())
    return str(target)


def save_backend_files(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """The vocabulary files that the ``tokenizers`` library writes, which knows no drafts."""
    with TemporaryDirectory() as temporary:
        paths = map(Path, tokenizer.backend.model.save(temporary))
        return [copy_file(path, folder / path.name) for path in paths]


def write_json(path: Path, content: Any) -> str:
    """Write an indented JSON file; returns its path."""
    return write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> str:
    """Write a file in one step, so that no reader ever sees half of it; returns its path."""
    write_whole(path, text)
    return str(path)
