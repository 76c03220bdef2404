"""Text to ids: what a call of a tokenizer does, and padding of what it has made.

What the options of lengths mean is in `strategies.py`, which shapes of text there are in `inputs.py`, and what
comes back in `encoding.py`. Reference: ``transformers/tokenization_utils_fast.py`` (_batch_encode_plus,
set_truncation_and_padding), ``transformers/tokenization_utils_base.py`` (__call__, pad).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import NoneType
from typing import Any, ClassVar, Literal

import tokenizers

from minitransformer.errors import TokenizerError, did_you_mean
from minitransformer.options import Natural, declared
from minitransformer.tokenization.encoding import Encoding
from minitransformer.tokenization.inputs import as_list, check_unicode, collect_rows
from minitransformer.tokenization.long_pairs import encode_rows, is_pair
from minitransformer.tokenization.strategies import (
    Lengths,
    Longest,
    Multiple,
    PaddingOption,
    Request,
    Side,
    TruncationOption,
    check_side,
    logger,
    pad_rows,
    resolve_lengths,
)
from minitransformer.tokenization.vocabulary import Vocabulary

FLAGS = {bool, NoneType}


class UnknownOptionError(TokenizerError, TypeError):
    """An option that a tokenizer's call does not have."""


class TextToIds(Vocabulary):
    """The part of a `Tokenizer` that encodes; the settings are the subclass's."""

    class_name: ClassVar[str]
    needs_prefix_space_for_words: ClassVar[bool]
    keeps_offsets: ClassVar[bool]

    options: dict[str, Any]
    model_max_length: int
    model_input_names: list[str]
    split_special_tokens: bool
    _warned_of_length: bool

    @property
    def padding_side(self) -> Side:
        """Where a row is filled up: "left" or "right"."""
        return self._padding_side

    @padding_side.setter
    def padding_side(self, side: Side) -> None:
        self._padding_side = check_side(side, "padding_side")

    @property
    def truncation_side(self) -> Side:
        """Where a row is cut: "left" or "right"."""
        return self._truncation_side

    @truncation_side.setter
    def truncation_side(self, side: Side) -> None:
        self._truncation_side = check_side(side, "truncation_side")

    @property
    def add_prefix_space(self) -> bool:
        """Whether a blank goes before the text."""
        return bool(self.options["add_prefix_space"])

    # Languages, of which most tokenizers have no notion ------------------------------------------------------

    languages: tuple[str, ...] = ()
    """Codes of the languages between which it must be told: ``src_lang`` and ``tgt_lang``."""
    src_lang: str
    """The code of the language that the model reads."""

    def check_language(self, code: Any, name: str) -> None:
        """Raise a TokenizerError, which lists the languages, unless the code given as ``name`` is one of them."""
        if code not in self.languages:
            same = [known for known in self.languages if known[:2] == str(code)[:2]]
            hint = f" Did you mean {same[0]!r}?" if same else did_you_mean(str(code), self.languages)
            raise TokenizerError(f"{name} {code!r} is not known.{hint} Known are {', '.join(self.languages)}")

    def language_id(self, code: str) -> int:
        """The id of a language's token."""
        raise TokenizerError("this tokenizer knows no languages")

    @contextmanager
    def reading(self, code: str) -> Iterator[None]:
        """Set ``src_lang``, and let no other thread set it or encode before the block ends."""
        with self._lock:
            self.src_lang = code
            yield

    def use_source_language(self) -> None:
        """Prepare for text that a model reads; the two modes differ in translation models only."""

    def use_target_language(self) -> None:
        """Prepare for text that a model writes (``text_target``)."""

    # Encoding, as it is asked for ---------------------------------------------------------------------------

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        *,
        add_special_tokens: bool = True,
        padding: PaddingOption = False,
        truncation: TruncationOption = None,
        max_length: Longest | None = None,
        stride: Natural = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: Multiple | None = None,
        padding_side: Side | None = None,
        return_tensors: Literal["pt", "np"] | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
        **unknown: Any,
    ) -> Encoding:
        """Encode a text, a pair of texts, or a list of either.

        Args:
            text: a string, or a list of them (of words, with ``is_split_into_words``; of lists of words).
            text_pair: the second texts.
            text_target: what a translation model shall write; its ids are returned as ``labels``.
            text_pair_target: the second texts of these.
            add_special_tokens: put the model's special tokens around the text.
            padding: False; True or "longest"; "max_length".
            truncation: False; True or "longest_first"; "only_first"; "only_second".
            max_length: tokens of a row, special ones included; default ``model_max_length``.
            stride: with overflow, how many tokens a row repeats of the row before it.
            is_split_into_words: the texts are lists of words.
            pad_to_multiple_of: round the padded length up.
            padding_side: instead of the tokenizer's own.
            return_tensors: "pt", "np", or None for lists.
            return_token_type_ids: default: if the model takes them.
            return_attention_mask: default: if the model takes it.
            return_overflowing_tokens: what was cut makes rows of its own; ``overflow_to_sample_mapping``
                tells whose.
            return_special_tokens_mask: 1 where a token was added.
            return_offsets_mapping: the (start, end) of each token in the text.
            return_length: the number of tokens of each row.
            split_special_tokens: treat the text of special tokens as any text.
            verbose: say so when a text is longer than the model takes.
            unknown: must be empty.

        Returns:
            An `Encoding`; a single text without tensors and overflow has no batch axis.

        Raises:
            TokenizerError: wrong types, an empty list, padding without a pad token, or options that
                contradict.
            UnknownOptionError: an option that does not exist; the message has the nearest name.
        """
        for name in unknown:
            raise UnknownOptionError(f"a tokenizer's call has no option {name!r}.{did_you_mean(name, CALL_OPTIONS)}")
        lengths = resolve_lengths(
            padding,
            truncation,
            max_length,
            stride,
            pad_to_multiple_of,
            self.padding_side if padding_side is None else check_side(padding_side, "padding_side"),
            self.model_max_length,
        )
        if (
            not {
                type(add_special_tokens),
                type(is_split_into_words),
                type(return_token_type_ids),
                type(return_attention_mask),
                type(return_overflowing_tokens),
                type(return_special_tokens_mask),
                type(return_offsets_mapping),
                type(return_length),
                type(split_special_tokens),
                type(verbose),
            }
            <= FLAGS
        ):
            options = {name: value for name, value in locals().items() if name in CALL_OPTIONS and value is not None}
            read = {
                name: option.read(options[name], TokenizerError)
                for name, option in CALL_OPTIONS.items()
                if name in options
            }
            return self(text, text_pair, text_target, text_pair_target, **read)
        if return_tensors is not None:
            return_tensors = CALL_OPTIONS["return_tensors"].read(return_tensors, TokenizerError)
        wanted = {
            "input_ids": True,
            "token_type_ids": self._takes("token_type_ids", return_token_type_ids),
            "attention_mask": self._takes("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        request = Request(
            names=tuple(name for name, is_wanted in wanted.items() if is_wanted),
            lengths=lengths,
            add_special_tokens=add_special_tokens,
            are_words=is_split_into_words,
            split_special=self.split_special_tokens if split_special_tokens is None else split_special_tokens,
            overflow=return_overflowing_tokens,
            tensors=return_tensors,
            warns=verbose,
        )
        if text is None and text_target is None:
            raise TokenizerError("the text is None: pass a string or a list of strings")
        if text_target is None:
            return self._encode(text, text_pair, request)
        result = None if text is None else self._encode(text, text_pair, request)
        with self.as_target_tokenizer():  # some families tell the backend about the language
            target = self._encode(text_target, text_pair_target, request)
        if result is None:
            return target
        result["labels"] = target["input_ids"]
        return result

    def _takes(self, name: str, asked: bool | None) -> bool:
        return name in self.model_input_names if asked is None else asked

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The ids of a text (of a pair of texts); options as in a call."""
        return self(text, text_pair, **options)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> Encoding:
        """The old name of a call with one text, or one pair of texts."""
        return self(text, text_pair, **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> Encoding:
        """The old name of a call with a list of texts, or of pairs of texts.

        Raises:
            TokenizerError: as a call, and for what is no list.
        """
        if not isinstance(batch_text_or_text_pairs, (list, tuple)):
            kind = type(batch_text_or_text_pairs).__name__
            raise TokenizerError(f"batch_encode_plus takes a list of texts or of pairs of texts, not {kind}")
        return self(batch_text_or_text_pairs, **options)

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """Inside of the block, texts are encoded as what the model writes; ``text_target`` is shorter."""
        with self._lock:
            self.use_target_language()
            try:
                yield
            finally:
                self.use_source_language()

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of a text."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    # Encoding, step by step ---------------------------------------------------------------------------------

    def _encode(self, text: Any, text_pair: Any, request: Request) -> Encoding:
        rows, is_batch = collect_rows(text, text_pair, request.are_words)
        if request.are_words and self.needs_prefix_space_for_words and not self.add_prefix_space:
            raise TokenizerError(
                "words of is_split_into_words=True need blanks before them in this vocabulary: load the "
                "tokenizer with AutoTokenizer.from_pretrained(..., add_prefix_space=True)"
            )
        if request.lengths.padding and self.pad_token_id is None:
            raise TokenizerError(
                "padding needs a pad token and the tokenizer has none: set one, for example "
                "tokenizer.pad_token = tokenizer.eos_token, or add one with "
                "add_special_tokens({'pad_token': '[PAD]'})"
            )
        if "offset_mapping" in request.names and not self.keeps_offsets:
            raise TokenizerError(f"{self.class_name} keeps no offsets: leave return_offsets_mapping out")
        encodings, samples = [], []
        for sample, encoding in enumerate(self._run_backend(rows, request)):
            pieces = [encoding, *encoding.overflowing] if request.overflow else [encoding]
            encodings += pieces
            samples += [sample] * len(pieces)
        if request.warns:
            self._warn_of_length(encodings, request.lengths)
        columns = {name: [self._column(name, encoding, request) for encoding in encodings] for name in request.names}
        if request.overflow:
            columns["overflow_to_sample_mapping"] = samples
        sources = encodings if self.keeps_offsets else None
        if not is_batch and request.tensors is None and not request.overflow:
            alone = {name: rows if name == "length" else rows[0] for name, rows in columns.items()}
            return Encoding(alone, sources)
        return Encoding(columns, sources).convert_to_tensors(request.tensors)

    def _column(self, name: str, encoding: tokenizers.Encoding, request: Request) -> Any:
        """One row of what the call returns under a name."""
        match name:
            case "input_ids":
                return encoding.ids
            case "token_type_ids":
                return encoding.type_ids
            case "offset_mapping":
                return encoding.offsets
            case "length":
                return len(encoding)
        return getattr(encoding, name)

    def _run_backend(self, rows: list[Any], request: Request) -> list[tokenizers.Encoding]:
        """Encode rows under one setting of padding and truncation, both of which the backend keeps."""
        with self._lock:
            self._set_truncation(request, any(is_pair(row, request.are_words) for row in rows))
            self._set_padding(request.lengths)
            if self.backend.encode_special_tokens != request.split_special:
                self.backend.encode_special_tokens = request.split_special
            try:
                return encode_rows(self.backend, rows, request)
            except (KeyboardInterrupt, SystemExit, MemoryError):
                raise
            except BaseException as error:  # the library raises plain exceptions, and panics
                check_unicode(rows)
                raise TokenizerError(f"the text could not be encoded: {error}") from error

    def _set_truncation(self, request: Request, with_pairs: bool) -> None:
        lengths = request.lengths
        if lengths.truncation is None:
            if self.backend.truncation is not None:
                self.backend.no_truncation()
            return
        assert lengths.max_length is not None
        special = self.num_special_tokens_to_add(with_pairs) if request.add_special_tokens else 0
        room = lengths.max_length - special
        if room < 0:  # the library would not cut at all
            raise TokenizerError(
                f"max_length {lengths.max_length} is less than the {special} special tokens: pass a greater one, or "
                "add_special_tokens=False"
            )
        if lengths.stride and lengths.stride >= room:
            raise TokenizerError(
                f"stride {lengths.stride} must be less than {room}, which max_length {lengths.max_length} "
                "leaves beside the special tokens"
            )
        wanted = {
            "max_length": lengths.max_length,
            "stride": lengths.stride,
            "strategy": lengths.truncation,
            "direction": self.truncation_side,
        }
        if self.backend.truncation != wanted:
            self.backend.enable_truncation(**wanted)

    def _set_padding(self, lengths: Lengths) -> None:
        if lengths.padding is None:
            if self.backend.padding is not None:
                self.backend.no_padding()
            return
        wanted = {
            "length": lengths.max_length if lengths.padding == "max_length" else None,
            "direction": lengths.side,
            "pad_id": self.pad_token_id,
            "pad_token": self.pad_token,
            "pad_type_id": self.pad_token_type_id,
            "pad_to_multiple_of": lengths.multiple,
        }
        if self.backend.padding != wanted:
            self.backend.enable_padding(**wanted)

    def _warn_of_length(self, encodings: list[tokenizers.Encoding], lengths: Lengths) -> None:
        longest = max((len(encoding) for encoding in encodings), default=0)
        if lengths.max_length is None and longest > self.model_max_length and not self._warned_of_length:
            self._warned_of_length = True
            logger.warning(
                f"a text has {longest} tokens, more than the {self.model_max_length} that the model takes: "
                "pass truncation=True"
            )

    # Padding of rows that are already encoded ---------------------------------------------------------------

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Side | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> Encoding:
        """Fill up rows that are already encoded: a dictionary of lists, or a list of dictionaries.

        Raises:
            TokenizerError: there are no ``input_ids``, or the tokenizer has no pad token.
        """
        encoded = encoded_inputs
        if isinstance(encoded, (list, tuple)):
            if not encoded or not all(isinstance(row, Mapping) and "input_ids" in row for row in encoded):
                raise TokenizerError("pad takes encodings with input_ids, and at least one of them")
            encoded = {name: [row[name] for row in encoded] for name in encoded[0]}
        if not isinstance(encoded, Mapping) or "input_ids" not in encoded:
            raise TokenizerError("pad takes an encoding with input_ids, or a list of them")
        first = encoded["input_ids"][0] if len(encoded["input_ids"]) else 0
        if return_tensors is None and not isinstance(first, (int, list, tuple)):
            return_tensors = "np" if type(first).__module__ == "numpy" else "pt"
        columns = {name: as_list(value) for name, value in encoded.items()}
        if self.pad_token_id is None and padding:
            raise TokenizerError(
                "padding needs a pad token: set one, for example tokenizer.pad_token = tokenizer.eos_token"
            )
        if not columns["input_ids"]:
            return Encoding(columns)
        single = not isinstance(columns["input_ids"][0], list)
        if single:
            columns = {name: [value] for name, value in columns.items()}
        if self._takes("attention_mask", return_attention_mask):
            columns.setdefault("attention_mask", [[1] * len(ids) for ids in columns["input_ids"]])
        lengths = resolve_lengths(
            padding,
            False,
            max_length,
            0,
            pad_to_multiple_of,
            self.padding_side if padding_side is None else check_side(padding_side, "padding_side"),
            self.model_max_length,
        )
        fill = {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        columns = pad_rows(columns, fill, lengths)
        if single and return_tensors is None:
            columns = {name: rows[0] for name, rows in columns.items()}
        return Encoding(columns).convert_to_tensors(return_tensors)


CALL_OPTIONS = declared(TextToIds.__call__)
"""The options of a tokenizer's call, as they are declared there."""
