"""The settings of tokenizers, by the names that tokenizer_config.json has for them: their types and ranges.

Which of them a family has, and its defaults, the family says (`Tokenizer.common_settings`, ``settings``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from minitransformer.errors import TokenizerError
from minitransformer.options import Natural, Option, Range
from minitransformer.tokenization.strategies import Side

_TYPES: dict[str, Any] = {
    "padding_side": Side,
    "truncation_side": Side,
    "model_input_names": list[str],
    "clean_up_tokenization_spaces": bool,
    "split_special_tokens": bool,
    "add_prefix_space": bool,
    "do_lower_case": bool,
    "lower_case": bool,
    "tokenize_chinese_chars": bool,
    "strip_accents": bool,
    "remove_space": bool,
    "keep_accents": bool,
    "trim_offsets": bool,
    "add_bos_token": bool,
    "separate_vocabs": bool,
    "legacy": bool,
    "extra_ids": Annotated[int, Range(least=0, most=10_000)],
    "errors": str,
    "source_lang": str,
    "target_lang": str,
    "src_lang": str,
    "tgt_lang": str,
    "langs": list[str],
    "language": str,
    "sp_model_kwargs": dict[str, Any],
    "delimiter": str,
    "min_freq": Natural,
    "max_size": Natural,
}
SETTINGS = {name: Option(name, hint | None) for name, hint in _TYPES.items()}


def read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are declared; those that are not here, special tokens among them, as they are.

    Raises:
        TokenizerError: one has a value that it cannot have. A text such as "false" is no boolean.
    """
    return {
        name: SETTINGS[name].read(value, TokenizerError, "the tokenizer's setting ") if name in SETTINGS else value
        for name, value in given.items()
    }
