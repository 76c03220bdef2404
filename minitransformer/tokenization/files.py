"""Reading a tokenizer's files: its settings and its vocabulary.

Reference: ``transformers/tokenization_utils_base.py`` (_from_pretrained), which says what overrides what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from minitransformer import jsons
from minitransformer.errors import TokenizerError
from minitransformer.hub import Repository, check_no_pointer, read_json
from minitransformer.jsons import LARGEST_FILE
from minitransformer.tokenization.bounds import call_library, check_added, check_backend_file, check_token
from minitransformer.tokenization.settings import read_settings
from minitransformer.tokenization.special_tokens import LIST_ROLE, ROLES, as_token


def load_backend(path: Path) -> tokenizers.Tokenizer:
    """Read a tokenizer.json.

    Raises:
        CheckpointError: the file is no JSON.
        TokenizerError: the file is JSON, but no tokenizer that the installed ``tokenizers`` knows.
    """
    check_backend_file(path)
    try:
        return call_library(
            lambda: tokenizers.Tokenizer.from_file(str(path)),
            f"{path} is not a tokenizer that tokenizers {tokenizers.__version__} can read (is the file whole, or made "
            "by a newer version?)",
        )
    except TokenizerError:
        read_json(path)  # says more, where the file is no JSON at all
        raise


def collect_settings(
    source: Repository,
    config: Mapping[str, Any],
    overrides: Mapping[str, Any],
    backend: tokenizers.Tokenizer | None,
) -> dict[str, Any]:
    """Everything that the files and the caller say about a tokenizer.

    tokenizer_config.json, over it the caller's overrides. Files written before 2023 (no
    ``added_tokens_decoder`` in tokenizer_config.json) have their special tokens in special_tokens_map.json
    and their added tokens in added_tokens.json as well.

    Args:
        source: where the files are.
        config: contents of tokenizer_config.json.
        overrides: what the caller passed.
        backend: the tokenizer of tokenizer.json, if there is one.
    """
    settings = read_settings({**config, **overrides})
    for name in (
        "tokenizer_class",
        "tokenizer_file",
        "name_or_path",
        "special_tokens_map_file",
        "vocab_file",
    ):
        settings.pop(name, None)
    if "max_len" in settings:  # its name before 2020
        settings.setdefault("model_max_length", settings.pop("max_len"))
    added: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in settings:
        listed = settings["added_tokens_decoder"]
        for index, token in _entries(listed, "added_tokens_decoder of tokenizer_config.json").items():
            added[_as_index(index, f"added token {index!r:.40}")] = _as_added(as_token(token, f"added token {index}"))
    else:
        _read_special_tokens_map(source.read("special_tokens_map.json"), settings, overrides)
        special = _special_names(settings)
        for name, index in source.read("added_tokens.json").items():
            is_special = name in special
            token = AddedToken(check_token(name, "a token of added_tokens.json"), normalized=not is_special)
            token.special = is_special
            added[_as_index(index, f"the id of {name!r:.40} in added_tokens.json")] = token
        if backend is not None:
            added |= backend.get_added_tokens_decoder()
    by_name = {token.content: token for token in added.values()}
    for role in ROLES:
        if settings.get(role) is not None:
            token = as_token(settings[role], role)
            settings[role] = by_name.get(str(token), token)
    check_added(added.values(), "the tokenizer")
    settings["added_tokens_decoder"] = added
    _check_names(settings)
    return settings


def _entries(value: Any, what: str) -> Mapping[Any, Any]:
    """A mapping of a settings file."""
    if not isinstance(value, Mapping):
        raise TokenizerError(f"{what} must be an object, not {type(value).__name__}")
    return value


def _as_index(value: Any, what: str) -> int:
    """The id of an added token, which JSON may have as a string of digits."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value
    if type(number) is not int or not 0 <= number < 2**31:
        raise TokenizerError(f"{what} is {value!r:.60}: an id must be an integer from 0")
    return number


def _check_names(settings: Mapping[str, Any]) -> None:
    """See that settings which hold tokens or names hold nothing else."""
    extra = settings.get("extra_special_tokens")
    if extra is not None:
        for role, token in _entries(extra, "extra_special_tokens").items():
            as_token(token, f"extra_special_tokens, {role!r:.40}")
    _as_tokens(settings.get(LIST_ROLE), LIST_ROLE)
    names = settings.get("model_input_names")
    if names is not None and not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        raise TokenizerError(f"model_input_names must be a list of names, not {names!r:.100}")


def _as_tokens(value: Any, what: str) -> list[str | AddedToken]:
    """A list of tokens; empty for None."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise TokenizerError(f"{what} must be a list of tokens, not {type(value).__name__} ({value!r:.60})")
    check_added(value, what)
    return [as_token(token, what) for token in value]


def _read_special_tokens_map(roles: Mapping[str, Any], settings: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for role, value in roles.items():
        if overrides.get(role):
            continue
        if role == LIST_ROLE and isinstance(value, list):
            listed = [as_token({**item, "special": True} if isinstance(item, dict) else item, role) for item in value]
            check_added(listed, LIST_ROLE)
            settings[role] = list(dict.fromkeys([*_as_tokens(settings.get(role), role), *listed]))
        else:
            settings[role] = as_token({**value, "special": True}, role) if isinstance(value, dict) else value


def _special_names(settings: Mapping[str, Any]) -> set[str]:
    given = [(role, settings[role]) for role in ROLES if settings.get(role) is not None]
    given += [(LIST_ROLE, token) for token in _as_tokens(settings.get(LIST_ROLE), LIST_ROLE)]
    return {str(as_token(token, role)) for role, token in given}


def _as_added(token: str | AddedToken) -> AddedToken:
    return AddedToken(token) if isinstance(token, str) else token


# Vocabularies -----------------------------------------------------------------------------------------------


def _read_text(path: Path) -> str:
    """A text file with plain line feeds at the ends of lines.

    Raises:
        TokenizerError: it is not UTF-8, or not the file itself, or has more than `LARGEST_FILE` bytes.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST_FILE + 1)
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is not UTF-8 text ({error}): is it another kind of file?") from error
    if len(text) > LARGEST_FILE:
        raise TokenizerError(f"{path} has more than {LARGEST_FILE:,} letters")
    if text.startswith("version https://git-lfs"):
        raise TokenizerError(f"{path} is a git-lfs pointer, not the file itself: run `git lfs pull` in its folder")
    return text


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without a last empty one.

    Raises:
        TokenizerError: the file is not UTF-8, or empty.
    """
    lines = _read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise TokenizerError(f"{path} is empty")
    return lines


def read_vocabulary_lines(path: Path) -> dict[str, int]:
    """A vocabulary of one token a line; the id is the number of the line.

    Raises:
        TokenizerError: a token occurs twice.
    """
    vocabulary: dict[str, int] = {}
    for index, token in enumerate(read_lines(path)):
        if token in vocabulary:
            raise TokenizerError(
                f"{path} has the token {token!r} twice, on lines {vocabulary[token] + 1} and {index + 1}: "
                "each id needs a token of its own"
            )
        vocabulary[token] = index
    return vocabulary


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, in which a key may occur twice."""


def read_vocabulary_json(path: Path) -> dict[str, int]:
    """A vocabulary of the form ``{token: id}``.

    Raises:
        TokenizerError: a token or an id occurs twice, or the ids have a hole.
        CheckpointError: the file is no JSON.
    """
    check_no_pointer(path)
    pairs = jsons.read_json(path, pairs=_Pairs)
    if not isinstance(pairs, _Pairs):
        raise TokenizerError(f"{path} should hold a JSON object of tokens and ids, not {type(pairs).__name__}")
    tokens: dict[int, str] = {}
    seen: set[str] = set()
    for token, index in pairs:
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            raise TokenizerError(f"{path}: the id of {token!r} must be an integer from 0, not {index!r}")
        if index in tokens:
            raise TokenizerError(f"{path} gives the id {index} twice, to {tokens[index]!r} and {token!r}")
        if token in seen:
            raise TokenizerError(f"{path} has the token {token!r} twice")
        tokens[index] = token
        seen.add(token)
    if not tokens:
        raise TokenizerError(f"{path} has no tokens")
    if max(tokens) != len(tokens) - 1:
        hole = next(index for index in range(len(tokens)) if index not in tokens)
        raise TokenizerError(
            f"{path} has {len(tokens)} tokens, but none with the id {hole}: the ids must have no holes"
        )
    return {token: index for index, token in tokens.items()}


def read_merges(path: Path, any_space: bool = False, counts: bool = False) -> list[tuple[str, str]]:
    """The merges of a BPE vocabulary, best first.

    The first line is a version and does not count, nor does a last line without a line break (so the
    reference reads such files).

    Args:
        path: the file.
        any_space: split lines at no-break spaces and the like too, and leave out those that are not two
            tokens then; the reference reads CTRL's file so.
        counts: the form of fastBPE: the first line counts too, and a line may go on with how often the merge was seen.

    Raises:
        TokenizerError: a line is not two tokens, or there are no merges.
    """
    lines = _read_text(path).split("\n")[0 if counts else 1 : -1]
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1 if counts else 2):
        parts = line.split()[:2] if counts else line.split() if any_space else line.split(" ")
        if len(parts) != 2 or not all(parts):
            if any_space:
                continue
            raise TokenizerError(f"line {number} of {path} should be two tokens with a blank between, not {line!r}")
        merges.append((parts[0], parts[1]))
    if not merges:
        raise TokenizerError(f"{path} has no merges: is it the file that belongs to the vocabulary?")
    return merges


def require_tokens(vocabulary: Mapping[str, int], tokens: Mapping[str, Any], path: Path) -> None:
    """Raise a TokenizerError unless the vocabulary has these special tokens (role -> token)."""
    missing = {role: str(token) for role, token in tokens.items() if str(token) not in vocabulary}
    if missing:
        named = ", ".join(f"{role} {token!r}" for role, token in missing.items())
        raise TokenizerError(
            f"{path} lacks {named}: pass the tokens that it has instead, such as {next(iter(missing))}=..."
        )


def build_or_explain(build: Callable[[], Any], path: Path) -> Any:
    """Call a constructor of the ``tokenizers`` library, whose exceptions are plain."""
    return call_library(build, f"{path} makes no vocabulary")
