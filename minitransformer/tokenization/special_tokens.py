"""The special tokens of a tokenizer, by role: `pad_token`, `pad_token_id` and their like.

Reference: ``transformers/tokenization_utils_base.py`` (SpecialTokensMixin).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, overload

from tokenizers import AddedToken

from minitransformer.errors import TokenizerError, did_you_mean
from minitransformer.options import shown
from minitransformer.tokenization.bounds import check_token

Token: TypeAlias = str | AddedToken

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The order matters: tokens that the vocabulary lacks get their ids in it."""
LIST_ROLE = "additional_special_tokens"


def as_token(value: Any, what: str) -> Token:
    """A string, an AddedToken, or the dictionary that a file holds of one, as a token.

    Raises:
        TokenizerError: it is none of these; the message begins with ``what``.
    """
    if isinstance(value, (str, AddedToken)):
        check_token(str(value), what)
        return value
    if isinstance(value, Mapping) and isinstance(value.get("content"), str):
        check_token(value["content"], what)
        flags = {name: flag for name, flag in value.items() if name not in ("__type", "id")}
        try:
            return AddedToken(**flags)
        except TypeError as error:
            raise TokenizerError(f"{what} has a flag that tokens do not have: {dict(value)!r:.300}") from error
    raise TokenizerError(f"{what} must be a string or a dictionary with 'content', not {shown(value)}")


class _Role:
    """An attribute that holds one special token, read as a string."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, tokens: None, owner: type) -> _Role: ...

    @overload
    def __get__(self, tokens: SpecialTokens, owner: type) -> str | None: ...

    def __get__(self, tokens: SpecialTokens | None, owner: type) -> _Role | str | None:
        if tokens is None:
            return self
        value = tokens.special_tokens.get(self.name)
        return None if value is None else str(value)

    def __set__(self, tokens: SpecialTokens, value: Token | None) -> None:
        tokens.set_special_token(self.name, value)


class _RoleId:
    """The id of the token in a role, None where the role is empty."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.role = name.removesuffix("_id")

    @overload
    def __get__(self, tokens: None, owner: type) -> _RoleId: ...

    @overload
    def __get__(self, tokens: SpecialTokens, owner: type) -> int | None: ...

    def __get__(self, tokens: SpecialTokens | None, owner: type) -> _RoleId | int | None:
        if tokens is None:
            return self
        value = tokens.special_tokens.get(self.role)
        return None if value is None else tokens.token_to_id(str(value))

    def __set__(self, tokens: SpecialTokens, value: int | None) -> None:
        tokens.set_special_token(self.role, None if value is None else tokens.id_to_token(value))


class SpecialTokens:
    """Special tokens by role; the vocabulary is the subclass's."""

    bos_token, eos_token, unk_token, sep_token = _Role(), _Role(), _Role(), _Role()
    pad_token, cls_token, mask_token = _Role(), _Role(), _Role()
    bos_token_id, eos_token_id, unk_token_id, sep_token_id = _RoleId(), _RoleId(), _RoleId(), _RoleId()
    pad_token_id, cls_token_id, mask_token_id = _RoleId(), _RoleId(), _RoleId()
    pad_token_type_id = 0

    special_tokens: dict[str, Token]
    """Role -> token, as it was given (an AddedToken keeps its flags); roles without a token are left out."""
    additional_special_tokens: list[Token]

    def token_to_id(self, token: str) -> int | None:
        """The id of a token; for a stranger that of the unknown token, or None if there is none."""
        raise NotImplementedError

    def id_to_token(self, index: int) -> str:
        """The token of an id."""
        raise NotImplementedError

    def is_known(self, token: str) -> bool:
        """Whether the vocabulary has the token."""
        raise NotImplementedError

    def set_special_token(self, role: str, value: Token | None) -> None:
        """Give a role to a token of the vocabulary, or empty the role with None.

        Raises:
            TokenizerError: the vocabulary does not have the token.
        """
        if value is None:
            self.special_tokens.pop(role, None)
            return
        if not isinstance(value, (str, AddedToken)):
            raise TokenizerError(f"{role} must be a string that is in the vocabulary, or None, not {shown(value)}")
        if not self.is_known(str(value)):
            raise TokenizerError(
                f"{role} {str(value)!r} is not in the vocabulary: choose a token that is, or add it with "
                f"add_special_tokens({{{role!r}: {str(value)!r}}}) and enlarge the model's embeddings"
            )
        self.special_tokens[role] = value

    def collect_special_tokens(self) -> list[Token]:
        """Every special token once, in the order of `ROLES`, then the additional ones."""
        extra = [role for role in self.special_tokens if role not in ROLES]
        tokens = [self.special_tokens[role] for role in ROLES if role in self.special_tokens]
        tokens += self.additional_special_tokens
        tokens += [self.special_tokens[role] for role in extra]
        first: dict[str, Token] = {}
        for token in tokens:
            first.setdefault(str(token), token)
        return list(first.values())

    @property
    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """Role -> token as string; ``additional_special_tokens`` -> list of strings."""
        roles: dict[str, str | list[str]] = {role: str(token) for role, token in self.special_tokens.items()}
        if self.additional_special_tokens:
            roles[LIST_ROLE] = [str(token) for token in self.additional_special_tokens]
        return roles

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token, once."""
        return [str(token) for token in self.collect_special_tokens()]

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        ids = (self.token_to_id(token) for token in self.all_special_tokens)
        return [i for i in ids if i is not None]

    @property
    def additional_special_tokens_ids(self) -> list[int | None]:
        """The ids of ``additional_special_tokens``."""
        return [self.token_to_id(str(token)) for token in self.additional_special_tokens]


def wrap_tokens(settings: dict[str, Any], roles: Iterable[str], normalized: bool = False) -> None:
    """Make AddedTokens of the plain strings in these roles.

    So the reference builds some families from vocabulary files; these flags win over added_tokens_decoder.
    """
    for role in roles:
        if isinstance(settings.get(role), str):
            settings[role] = AddedToken(settings[role], normalized=normalized, special=True)


def check_roles(names: Iterable[str]) -> None:
    """Raise a TokenizerError for the first name that is no role of a special token."""
    known = (*ROLES, LIST_ROLE)
    for name in names:
        if name not in known:
            raise TokenizerError(
                f"there is no special token {shown(name)}.{did_you_mean(name, known)} The roles are {', '.join(known)}"
            )
