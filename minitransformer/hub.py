"""Where a checkpoint's files are: in a folder, inside this package, or on the Hub.

A folder never touches the network, nor does a name that begins with ``minitransformer/``: such a checkpoint came with
the package. A model id goes through huggingface_hub: its standard cache, HF_HOME, HF_ENDPOINT,
HF_HUB_OFFLINE, HF_TOKEN and the token of ``hf auth login`` all work as everywhere. A download that breaks off leaves
no file behind that looks whole; the next attempt continues it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from minitransformer import jsons
from minitransformer.errors import CheckpointError, HubError, MissingFileError, did_you_mean

EMBEDDED = Path(__file__).parent / "checkpoints"
"""A folder for each checkpoint that comes with the package."""
OWNER = "minitransformer/"
"""Begins their names."""
NEITHER = "{} is neither a folder that exists nor a model id (name or owner/name)"

_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?", re.ASCII)


def embedded_names() -> list[str]:
    """The checkpoints that come with the package, as ``from_pretrained`` and ``pipeline`` take them."""
    return sorted(OWNER + path.parent.name for path in EMBEDDED.glob("*/config.json"))


def embedded_folder(name: str) -> Path | None:
    """The folder of a checkpoint that comes with the package; None for any other name."""
    return EMBEDDED / name.removeprefix(OWNER) if name in embedded_names() else None


def as_folder(id_or_folder: str | Path) -> Path | None:
    """The folder that this names, or None if there is none of that name.

    The text ``minitransformer/NAME`` is a checkpoint of this package, whatever the working directory holds, so that it
    means the same everywhere. A folder of that name is meant by a ``Path``, or with ``./`` in front; and also without,
    where the package has no such checkpoint.

    Raises:
        TypeError: neither text nor a path.
        MissingFileError: no text, or a file; or begins with ``minitransformer/``, and is nothing.
    """
    if not isinstance(id_or_folder, str | Path):
        raise TypeError(f"a folder or a model id should be str or Path, not {type(id_or_folder).__name__}")
    if not str(id_or_folder).strip():
        raise MissingFileError("the name of a folder or a model id is empty")
    ours = isinstance(id_or_folder, str) and id_or_folder.startswith(OWNER)
    if ours and (embedded := embedded_folder(str(id_or_folder))) is not None:
        return embedded
    try:
        folder = Path(id_or_folder).expanduser()
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except (OSError, RuntimeError, ValueError):  # a name that no file can have: too long, ~ of no user, a zero byte
        return None
    if is_file:
        raise MissingFileError(f"{folder} is a file; give the folder that it lies in")
    if ours and not is_folder:
        names = embedded_names()
        raise MissingFileError(
            f"no checkpoint {id_or_folder!r} comes with this package.{did_you_mean(str(id_or_folder), names)} "
            f"Those that do: {', '.join(names) or 'none'}."
        )
    return folder if is_folder else None


def contents(folder: Path, limit: int = 20) -> str:
    """What is in a folder, in words."""
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "nothing"


def resolve_file(
    id_or_folder: str | Path,
    filename: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    required: bool = True,
) -> Path | None:
    """The path of one file of a checkpoint, downloaded if it must be.

    Args:
        id_or_folder: a folder, a model id such as "bert-base-uncased" or "facebook/bart-base", or the name of a
            checkpoint that comes with the package, such as "minitransformer/NAME".
        filename: its name in there.
        revision: branch, tag or commit on the Hub.
        token: access token for the Hub; by default the one that huggingface_hub finds.
        required: whether a missing file is an error; otherwise it is None.

    Raises:
        MissingFileError: the folder or the file does not exist.
        HubError: the Hub could not be reached, or refused.
    """
    folder = as_folder(id_or_folder)
    if folder is not None:
        path = folder / filename
        if path.is_file():
            return path
        if not required:
            return None
        raise MissingFileError(f"the folder {folder} has no {filename}. It holds: {contents(folder)}.")
    if isinstance(id_or_folder, Path) or not _ID.fullmatch(id_or_folder) or len(id_or_folder) > 96:
        raise MissingFileError(NEITHER.format(id_or_folder))
    return _from_hub(id_or_folder, filename, revision, token, required)


def _from_hub(repo: str, filename: str, revision: str | None, token: str | None, required: bool) -> Path | None:
    from huggingface_hub import errors, hf_hub_download

    at = f" at revision {revision!r}" if revision else ""
    try:
        return Path(hf_hub_download(repo, filename, revision=revision, token=token))
    except errors.LocalEntryNotFoundError as error:  # not in the cache, and nobody to ask
        if not required and _known_to_be_absent(repo, filename, revision):
            return None
        _refuse_without_hub(f"{filename} of {repo}{at}", error)
    except errors.EntryNotFoundError as error:
        if not required:
            return None
        raise MissingFileError(f"{repo}{at} on the Hub has no {filename}") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo} on the Hub has no revision {revision!r}: no branch, tag or commit") from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{repo} is gated: accept its terms on its page on the Hub, then pass token= or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        given = "the token that was used may not see it" if token else "for a private one pass token= or set HF_TOKEN"
        raise HubError(
            f"{repo} is neither a folder here nor a model on the Hub that can be seen. Check the spelling; {given}."
        ) from error
    except errors.HFValidationError as error:  # such as a--b
        raise MissingFileError(f"{NEITHER.format(repo)}: {error}") from error
    except Exception as error:  # huggingface_hub 0.x speaks through requests, 1.x through httpx: no base in common
        if _status(error) in (401, 403):
            raise HubError(f"the Hub refuses {filename} of {repo}{at}: check token= or HF_TOKEN. ({error})") from error
        raise HubError(
            f"{filename} of {repo}{at} could not be fetched whole: {error}. Try again: the download goes on where it "
            "broke off."
        ) from error


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, if there is one."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _known_to_be_absent(repo: str, filename: str, revision: str | None) -> bool:
    """Whether the cache knows that the repository lacks this file, or is by the user's word all there is."""
    from huggingface_hub import _CACHED_NO_EXIST, constants, try_to_load_from_cache

    if try_to_load_from_cache(repo, filename, revision=revision) is _CACHED_NO_EXIST:
        return True
    # Only on request: a connection that fails between two files must not pass for a repository without the second.
    return constants.HF_HUB_OFFLINE and isinstance(try_to_load_from_cache(repo, "config.json", revision=revision), str)


def _refuse_without_hub(what: str, error: Exception) -> NoReturn:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE forbids asking the Hub. Unset it"
    else:
        status, kind = _status(error.__cause__), type(error.__cause__ or error).__name__
        reason = f"HTTP status {status}" if status else kind
        why = (
            f"the Hub at {constants.ENDPOINT} does not answer ({reason}). Connect and try again, or set "
            "HF_HUB_OFFLINE=1 to take the cache for all there is"
        )
    raise HubError(
        f"{what} is not in the cache {constants.HF_HUB_CACHE}, and {why}, or give a folder that holds the files."
    ) from error


def check_no_pointer(path: Path) -> None:
    """Raise a CheckpointError if the file is a git-lfs pointer instead of what it points to."""
    with open(path, "rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise CheckpointError(f"{path} is a git-lfs pointer, not the file itself: run `git lfs pull` in its folder")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: it is not JSON, or not an object; the message names the line.
    """
    check_no_pointer(path)
    values = jsons.read_json(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} should hold a JSON object, not {type(values).__name__}")
    return values
