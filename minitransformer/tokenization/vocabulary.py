"""The vocabulary of a tokenizer: tokens to ids and back, and tokens that are added to it.

Reference: ``transformers/tokenization_utils_fast.py``, ``transformers/tokenization_utils_base.py``
(SpecialTokensMixin.add_tokens).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken

from minitransformer.errors import TokenizerError
from minitransformer.tokenization.frames import Part, fill, find_frame
from minitransformer.tokenization.inputs import as_list
from minitransformer.tokenization.special_tokens import LIST_ROLE, SpecialTokens, Token, as_token, check_roles


class Vocabulary(SpecialTokens):
    """The part of a `Tokenizer` that knows the tokens."""

    backend: tokenizers.Tokenizer
    _lock: threading.RLock  # whoever changes the backend, be it for one call, holds it
    is_fast = True
    """Whether the `tokenizers` library does all of the work, so that offsets are known."""

    @property
    def backend_tokenizer(self) -> tokenizers.Tokenizer:
        """The ``tokenizers.Tokenizer`` that does the work; another name of ``backend``."""
        return self.backend

    _tokenizer = backend_tokenizer
    """The same, as scripts reach for it in transformers' tokenizers."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens without the added ones."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        """Number of tokens with the added ones."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Token -> id, added tokens included."""
        return self.backend.get_vocab(with_added_tokens=True)

    @property
    def vocab(self) -> dict[str, int]:
        """Token -> id, added tokens included."""
        return self.get_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id -> added token."""
        return self.backend.get_added_tokens_decoder()

    def get_added_vocab(self) -> dict[str, int]:
        """Added token -> id."""
        return {token.content: i for i, token in sorted(self.added_tokens_decoder.items(), key=_by_index)}

    def is_known(self, token: str) -> bool:
        return self._find(token) is not None

    def _find(self, token: str) -> int | None:
        try:
            return self.backend.token_to_id(token)
        except UnicodeEncodeError:  # half a character is in no vocabulary
            return None

    def token_to_id(self, token: str) -> int | None:
        index = self._find(token)
        unknown = self.special_tokens.get("unk_token")
        return self.backend.token_to_id(str(unknown)) if index is None and unknown is not None else index

    def id_to_token(self, index: int) -> str:
        token = self.backend.id_to_token(index) if index >= 0 else None
        if token is None:
            raise TokenizerError(
                f"there is no token with id {index}: ids go from 0 to {len(self) - 1}. "
                "Do model and tokenizer belong together?"
            )
        return token

    # Adding tokens ------------------------------------------------------------------------------------------

    def add_tokens(self, new_tokens: Token | Sequence[Token], special_tokens: bool = False) -> int:
        """Add tokens that are never split, with the next free ids; returns how many were new.

        The model's embeddings must be enlarged to match.
        """
        several = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens)
        for token in several:
            as_token(token, "a token to add")
        with self._lock:
            return self.backend.add_special_tokens(several) if special_tokens else self.backend.add_tokens(several)

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Give roles to tokens, adding those that are new to the vocabulary; returns how many were new.

        Args:
            special_tokens_dict: role (``pad_token``, ``additional_special_tokens``, ...) -> token, or tokens.
            replace_additional_special_tokens: put them in the place of those that have the role now, not beside them.
        """
        check_roles(special_tokens_dict)
        new = 0
        for role, value in special_tokens_dict.items():
            tokens = [as_token(token, role) for token in (value if role == LIST_ROLE else [value])]
            new += self.add_tokens([_as_added_token(token, True) for token in tokens], special_tokens=True)
            if role != LIST_ROLE:
                self.special_tokens[role] = tokens[0]
            elif replace_additional_special_tokens:
                self.additional_special_tokens = tokens
            else:
                old = {str(token) for token in self.additional_special_tokens}
                self.additional_special_tokens += [token for token in tokens if str(token) not in old]
        return new

    def _register_tokens(self, added: Mapping[Any, Any]) -> None:
        """Tell the backend which tokens must never be split: the added and the special ones.

        Those that the vocabulary lacks get the next free ids. A token that is an AddedToken is told again
        even if it is known, so that its flags win over those of tokenizer.json.
        """
        known = set(self.backend.get_added_tokens_decoder().values())  # equal only with equal flags
        listed = [as_token(token, f"added token {index}") for index, token in sorted(added.items(), key=_by_index)]
        tokens = dict.fromkeys(token for token in listed if token not in known)
        names = {str(token) for token in (*known, *tokens)}
        for token in self.collect_special_tokens():
            if isinstance(token, AddedToken) or token not in names:
                tokens[token] = None
        special = set(self.all_special_tokens)
        self.backend.add_tokens([_as_added_token(token, str(token) in special) for token in tokens])

    # Between tokens and ids ---------------------------------------------------------------------------------

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or the ids of several; strangers get the unknown token's id."""
        if isinstance(tokens, str):
            return self.token_to_id(tokens)
        return [self.token_to_id(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the tokens of several.

        Raises:
            TokenizerError: an id that the vocabulary does not have.
        """
        ids = as_list(ids)
        if isinstance(ids, int):
            return self.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.id_to_token(i) for i in ids if i not in skipped]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair of texts, gets."""
        return self.backend.num_special_tokens_to_add(pair)

    # Framing ids ------------------------------------------------------------------------------------------------

    def _framed(self, ids: Sequence[int], pair: Sequence[int] | None) -> list[tuple[int, Part]]:
        with self._lock:
            return fill(find_frame(self.backend, pair is not None), [ids] if pair is None else [ids, pair])

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """The ids of a text, or of a pair of texts, with the special tokens around them that a call puts there."""
        return [token_id for token_id, _ in self._framed(token_ids_0, token_ids_1)]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """The token types of these ids and of the special tokens around them."""
        return [part.type_id for _, part in self._framed(token_ids_0, token_ids_1)]

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for special tokens, 0 for others.

        Args:
            token_ids_0: ids of a text.
            token_ids_1: ids of a second one.
            already_has_special_tokens: the ids are framed; every id of a special token counts, wherever it stands.
                Otherwise the mask is that of these ids and the frame that they get.

        Raises:
            TokenizerError: two texts that already are framed.
        """
        if not already_has_special_tokens:
            return [int(part.text is None) for _, part in self._framed(token_ids_0, token_ids_1)]
        if token_ids_1 is not None:
            raise TokenizerError("ids that have their special tokens are one list: pass token_ids_0 only")
        special = set(self.all_special_ids)
        return [int(token_id in special) for token_id in as_list(token_ids_0)]


def _as_added_token(token: Token, special: bool) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=special)
    copy = AddedToken(token.content)
    copy.__setstate__(token.__getstate__())
    copy.special = bool(token.special or special)
    return copy


def _by_index(item: tuple[Any, Any]) -> int:
    return int(item[0])
