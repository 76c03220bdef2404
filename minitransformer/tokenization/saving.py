"""Writing a tokenizer's files: tokenizer.json, its settings, its special tokens and the vocabulary."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tokenizers
from tokenizers import AddedToken

from minitransformer.errors import TokenizerError
from minitransformer.files import together, write_whole
from minitransformer.tokenization.special_tokens import LIST_ROLE, SpecialTokens


@contextmanager
def whole_folder(folder: Path) -> Iterator[None]:
    """In which a tokenizer's files are written: all of them, or none.

    Raises:
        TokenizerError: ``folder`` is a file.
        SavingError: a file cannot be written; those that were there are as they were.
    """
    if os.path.isfile(folder):
        raise TokenizerError(f"{folder} is a file: save_pretrained takes a folder")
    with together(folder):
        yield


def describe_special_tokens(tokens: SpecialTokens) -> dict[str, Any]:
    """The contents of special_tokens_map.json."""

    def plain(token: Any) -> Any:
        if isinstance(token, AddedToken):
            return {name: flag for name, flag in token.__getstate__().items() if name != "special"}
        return token

    roles: dict[str, Any] = {role: plain(token) for role, token in tokens.special_tokens.items()}
    if tokens.additional_special_tokens:
        roles[LIST_ROLE] = [plain(token) for token in tokens.additional_special_tokens]
    return roles


def copy_file(source: Path, target: Path) -> str:
    """Copy a file, unless it is in its place already; returns where it is."""
    if not (target.exists() and target.samefile(source)):
        write_whole(target, source.read_bytes())
    return str(target)


def save_backend_files(backend: tokenizers.Tokenizer, folder: Path) -> list[str]:
    """The vocabulary files that the ``tokenizers`` library writes, which knows no drafts."""
    with TemporaryDirectory() as temporary:
        paths = map(Path, backend.model.save(temporary))
        return [copy_file(path, folder / path.name) for path in paths]


def write_json(path: Path, content: Any) -> str:
    """Write an indented JSON file; returns its path."""
    return write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> str:
    """Write a file in one step, so that no reader ever sees half of it; returns its path."""
    write_whole(path, text)
    return str(path)
