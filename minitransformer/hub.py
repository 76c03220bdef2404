"""Where a checkpoint's files are: in a folder, inside this package, or on the Hub.

A folder never touches the network, nor does a name that begins with ``minitransformer/``: such a checkpoint came with
the package. A model id goes through huggingface_hub: its standard cache, HF_HOME, HF_ENDPOINT,
HF_HUB_OFFLINE, HF_TOKEN and the token of ``hf auth login`` all work as everywhere. A download that breaks off leaves
no file behind that looks whole; the next attempt continues it.
"""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from minitransformer import jsons
from minitransformer.errors import CheckpointError, HubError, MissingFileError, did_you_mean

EMBEDDED = Path(__file__).parent / "checkpoints"
"""A folder for each checkpoint that comes with the package."""
OWNER = "minitransformer/"
"""Begins their names."""
NEITHER = "{} is neither a folder that exists nor a model id (name or owner/name)"


def embedded_names() -> list[str]:
    """The checkpoints that come with the package, as ``from_pretrained`` and ``pipeline`` take them."""
    return list(_checkpoints_in(EMBEDDED))


@cache
def _checkpoints_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(OWNER + path.parent.name for path in folder.glob("*/config.json")))


def embedded_folder(name: str) -> Path | None:
    """The folder of a checkpoint that comes with the package; None for any other name.

    Warns:
        UserWarning: the name lacks only the package's own in front.
    """
    if name in embedded_names():
        return EMBEDDED / name.removeprefix(OWNER)
    if hint := _hint_of_package(name):
        warnings.warn(f"{name!r} is no checkpoint of this package.{hint}", stacklevel=2)
    return None


def _hint_of_package(name: str) -> str:
    """`` Did you mean ...?`` for a name to which only ``minitransformer/`` is missing (or nearly); else nothing."""
    if name.startswith(OWNER) or not EMBEDDED.is_dir():
        return ""
    ours = [known.removeprefix(OWNER) for known in embedded_names()]
    near = get_close_matches(name.rpartition("/")[2], ours, n=1, cutoff=0.85)
    return f" Did you mean {OWNER + near[0]!r}, which comes with this package?" if near else ""


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


@dataclass(frozen=True)
class Repository:
    """A checkpoint's files: a folder, a checkpoint of this package, or a model on the Hub at a revision.

    Args:
        id: a folder, a model id such as "bert-base-uncased" or "facebook/bart-base", or the name of a checkpoint that
            comes with the package, such as "minitransformer/NAME".
        revision: branch, tag or commit on the Hub.
        token: access token for the Hub; by default the one that huggingface_hub finds.
        subfolder: a folder inside of it, in which the files lie.
        cache_dir: where downloads are kept, if not in huggingface_hub's own cache.
        local_files_only: whether the cache is all there is.
        force_download: whether to fetch files anew that are in the cache.

    Raises:
        HubError: ``revision`` or ``subfolder`` is no name of one.
    """

    id: str | Path
    revision: str | None = None
    token: str | bool | None = field(default=None, repr=False)
    subfolder: str = ""
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False

    def __post_init__(self) -> None:
        if self.revision is not None and not _is_revision(self.revision):
            raise HubError(f"revision={self.revision!r} is no name of a branch, tag or commit")
        if self.subfolder and not _is_file_name(self.subfolder):
            raise HubError(f"subfolder={self.subfolder!r} is no folder inside of {self.id}")

    def __str__(self) -> str:
        return f"{self.id}/{self.subfolder}" if self.subfolder else str(self.id)

    @property
    def folder(self) -> Path | None:
        """The folder here that it is, or None for a model of the Hub."""
        folder = as_folder(self.id)
        return None if folder is None else folder / self.subfolder

    def file(self, name: str) -> Path:
        """The path of one file, downloaded if it must be.

        Raises:
            MissingFileError: the folder or the file does not exist.
            HubError: the Hub could not be reached, or refused; or ``name`` leads out of the repository.
        """
        path = self._path(name, required=True)
        assert path is not None
        return path

    def find(self, name: str) -> Path | None:
        """The path of one file, as ``file`` gives it, or None if the repository has no such file."""
        return self._path(name, required=False)

    def read(self, name: str) -> dict[str, Any]:
        """The contents of a JSON file, empty if there is no such file."""
        path = self.find(name)
        return {} if path is None else read_json(path)

    def _path(self, name: str, *, required: bool) -> Path | None:
        if not _is_file_name(name):
            raise HubError(f"{name!r} is no name of a file inside of {self.id}")
        folder = self.folder
        if folder is not None:
            path = folder / name
            if path.is_file():
                return path
            if os.path.lexists(path):
                leads = f"is a link to {os.readlink(path)}, where" if path.is_symlink() else "is there, but"
                raise MissingFileError(f"{path} {leads} no file is: mend it or remove it")
            if not required:
                return None
            if not folder.is_dir():
                raise MissingFileError(
                    f"{self.id} has no folder {self.subfolder}. It holds: {contents(folder.parent)}."
                )
            raise MissingFileError(f"the folder {folder} has no {name}. It holds: {contents(folder)}.")
        if isinstance(self.id, Path) or not _is_id(self.id):
            raise MissingFileError(NEITHER.format(self.id) + _hint_of_package(str(self.id)))
        return _from_hub(self, f"{self.subfolder}/{name}" if self.subfolder else name, required)


def as_repository(source: str | Path | Repository) -> Repository:
    """A repository, of which perhaps only the folder or the model id is given."""
    return source if isinstance(source, Repository) else Repository(source)


# ------------------------------------------------------- the gate: what may be said to the Hub's client, and what came

_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_ODD = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")  # git-check-ref-format(1): no name of a branch or tag has these


def _is_id(name: str) -> bool:
    """Whether this can be a model id: two plain names at most, which lead nowhere else."""
    return _ID.fullmatch(name) is not None and len(name) <= 96 and not any(odd in name for odd in ("..", "--"))


def _is_revision(name: Any) -> bool:
    """Whether git takes this as the name of a branch, tag or commit (it becomes a file's name in the cache)."""
    if not isinstance(name, str) or not 0 < len(name) <= 255 or name.startswith("-") or "@{" in name:
        return False
    parts = name.split("/")
    return not _ODD.search(name) and all(part and not part.startswith(".") and ".." not in part for part in parts)


def _is_file_name(name: Any) -> bool:
    """Whether this names a file inside of a folder, and nothing beside or above it."""
    if not isinstance(name, str) or not 0 < len(name) <= 1000 or re.search(r"[\x00-\x1f\x7f\\:]", name):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


_PLAIN = re.compile(r"[\w+=-][\w.+=-]*", re.ASCII)


def _check_answer(etag: Any, commit: Any, what: str) -> None:
    """Refuse an answer of a server whose words would become paths outside of the cache."""
    for kind, word in (("ETag", etag), ("commit", commit)):
        if word is not None and not (isinstance(word, str) and len(word) <= 200 and _PLAIN.fullmatch(word)):
            raise HubError(
                f"the Hub answers with the {kind} {word!r} for {what}, which is no name: nothing was written"
            )


def _check_written(path: Path, repository: Repository, name: str) -> Path:
    """The path that the client gave, if it and what it points to lie in the cache's folder for this model.

    Raises:
        HubError: they do not: an answer of the server led the client elsewhere.
    """
    from huggingface_hub import constants

    cache = Path(repository.cache_dir or constants.HF_HUB_CACHE).expanduser()
    home = cache / f"models--{str(repository.id).replace('/', '--')}"
    inside, true_home = Path(os.path.abspath(path)), home.resolve()
    pointer = inside.is_relative_to(os.path.abspath(home / "snapshots")) and inside.as_posix().endswith(f"/{name}")
    if pointer and path.resolve().is_relative_to(true_home) and path.resolve().is_file():
        return path
    raise HubError(
        f"the Hub's answer made its client write {name} of {repository.id} to {path.resolve()}, outside of the cache "
        f"{home}: do not trust this server, and look at that file"
    )


# -------------------------------------------------------------------------------------------------------- the Hub


def _from_hub(repository: Repository, name: str, required: bool) -> Path | None:
    from huggingface_hub import errors, hf_hub_download

    repo, revision, token = str(repository.id), repository.revision, repository.token
    at = f" at revision {revision!r}" if revision else ""
    where: dict[str, Any] = {"revision": revision, "cache_dir": repository.cache_dir}
    try:
        if not repository.local_files_only:
            _ask_a_stranger_first(repo, name, revision, token)
        found = hf_hub_download(
            repo,
            name,
            token=token,
            local_files_only=repository.local_files_only,
            force_download=repository.force_download,
            **where,
        )
        return _check_written(Path(found), repository, name)
    except HubError:
        raise
    except errors.LocalEntryNotFoundError as error:  # not in the cache, and nobody to ask
        if not required and _known_to_be_absent(repository, name):
            return None
        _refuse_without_hub(f"{name} of {repo}{at}", error, repository)
    except errors.EntryNotFoundError as error:
        if not required:
            return None
        raise MissingFileError(f"{repo}{at} on the Hub has no {name}") from error
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
            f"{_hint_of_package(repo)}"
        ) from error
    except errors.HFValidationError as error:  # what our gate lets through, but theirs does not
        raise MissingFileError(f"{NEITHER.format(repo)}: {error}") from error
    except Exception as error:  # huggingface_hub 0.x speaks through requests, 1.x through httpx: no base in common
        if _status(error) in (401, 403):
            raise HubError(f"the Hub refuses {name} of {repo}{at}: check token= or HF_TOKEN. ({error})") from error
        raise HubError(
            f"{name} of {repo}{at} could not be fetched whole: {error}. Try again: the download goes on where it "
            "broke off."
        ) from error


def _ask_a_stranger_first(repo: str, name: str, revision: str | None, token: str | bool | None) -> None:
    """Look at the answer of a server that is not the Hub itself before the client makes file names of it.

    Raises:
        HubError: the answer would lead the client out of its cache.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    if constants.HF_HUB_OFFLINE or constants.ENDPOINT == "https://huggingface.co":
        return
    try:
        found = get_hf_file_metadata(hf_hub_url(repo, name, revision=revision), token=token)
    except Exception:  # the client is about to run into the same, and says so
        return
    _check_answer(found.etag, found.commit_hash, f"{name} of {repo}")


def _status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, if there is one."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _known_to_be_absent(repository: Repository, name: str) -> bool:
    """Whether the cache knows that the repository lacks this file, or is by the user's word all there is."""
    from huggingface_hub import _CACHED_NO_EXIST, constants, try_to_load_from_cache

    repo, where = str(repository.id), {"revision": repository.revision, "cache_dir": repository.cache_dir}
    if try_to_load_from_cache(repo, name, **where) is _CACHED_NO_EXIST:  # type: ignore[arg-type]
        return True
    # Only on request: a connection that fails between two files must not pass for a repository without the second.
    alone = constants.HF_HUB_OFFLINE or repository.local_files_only
    return alone and isinstance(try_to_load_from_cache(repo, "config.json", **where), str)  # type: ignore[arg-type]


def _refuse_without_hub(what: str, error: Exception, repository: Repository) -> NoReturn:
    from huggingface_hub import constants

    if repository.local_files_only:
        why = "local_files_only=True forbids asking the Hub. Leave it out"
    elif constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE forbids asking the Hub. Unset it"
    else:
        status, kind = _status(error.__cause__), type(error.__cause__ or error).__name__
        reason = f"HTTP status {status}" if status else kind
        why = (
            f"the Hub at {constants.ENDPOINT} does not answer ({reason}). Connect and try again, or set "
            "HF_HUB_OFFLINE=1 to take the cache for all there is"
        )
    raise HubError(
        f"{what} is not in the cache {repository.cache_dir or constants.HF_HUB_CACHE}, and {why}, or give a folder "
        f"that holds the files.{_hint_of_package(str(repository.id))}"
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
