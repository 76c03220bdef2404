"""Errors as the clients read them: a status, one sentence, and sometimes a type."""

from __future__ import annotations

import re
from collections.abc import Mapping


class ApiError(Exception):
    """An answer that is no result.

    Args:
        status: the HTTP status.
        message: one sentence for the caller.
        kind: ``error_type``, by which huggingface_hub chooses the exception: "validation", "generation", "overloaded",
            "timeout", "incomplete_generation", "healthcheck".
        headers: of the answer.
        **more: further keys of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.headers = dict(headers or {})
        self.more = more

    def body(self) -> dict[str, object]:
        """The JSON."""
        kind = {} if self.kind is None else {"error_type": self.kind}
        return {"error": self.message, **kind, **self.more}


def wrong(message: str) -> ApiError:
    """The request makes no sense: 400."""
    return ApiError(400, message)


def invalid(message: str) -> ApiError:
    """An option is unknown or out of range, or a text too long: 422."""
    return ApiError(422, message, "validation")


def failed(message: str) -> ApiError:
    """The model gave no answer: 424."""
    return ApiError(424, message, "generation")


_PATH = re.compile(r"(?<![\w.:/<])(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\[^\s'\"]+")


def without_paths(message: str) -> str:
    """A message without the places of files on this machine, of which callers are told nothing."""
    return _PATH.sub("...", message)
