"""What callers pass, made uniform: texts as rows of a batch, tensors as lists."""

from __future__ import annotations

from typing import Any

from minitransformer.errors import TokenizerError


def collect_rows(text: Any, text_pair: Any, is_split: bool) -> tuple[list[Any], bool]:
    """The texts of a call as a list of texts or pairs, and whether a list was given.

    Raises:
        TokenizerError: wrong types, an empty list, or two lists of different lengths.
    """
    if is_split:
        is_batch = isinstance(text, (list, tuple)) and bool(text) and isinstance(text[0], (list, tuple))
    else:
        is_batch = isinstance(text, (list, tuple))
    check = check_words if is_split else check_text
    if not is_batch:
        check(text, "the text")
        if not text_pair:  # an empty second text counts as none
            return [text], False
        check(text_pair, "text_pair")
        return [(text, text_pair)], False
    if not text:
        raise TokenizerError("the list of texts is empty: pass at least one text")
    if text_pair is None:
        for i, item in enumerate(text):
            if not is_split and isinstance(item, (list, tuple)) and len(item) == 2:
                check_text(item[0], f"the first text of pair {i}")
                check_text(item[1], f"the second text of pair {i}")
            elif is_split and isinstance(item, (list, tuple)) and item and isinstance(item[0], (list, tuple)):
                for words in item:
                    check_words(words, f"text {i}")
            else:
                check(item, f"text {i}")
        return [tuple(item) if not is_split and isinstance(item, list) else item for item in text], True
    if not isinstance(text_pair, (list, tuple)) or len(text_pair) != len(text):
        count = len(text_pair) if isinstance(text_pair, (list, tuple)) else type(text_pair).__name__
        raise TokenizerError(f"text_pair must be a list as long as text, which has {len(text)} items; it is {count}")
    for i, (first, second) in enumerate(zip(text, text_pair, strict=True)):
        check(first, f"text {i}")
        check(second, f"text_pair {i}")
    return list(zip(text, text_pair, strict=True)), True


def check_text(text: Any, what: str) -> None:
    """Raise a TokenizerError unless the text is a string."""
    if text is None:
        raise TokenizerError(f"{what} is None: pass a string")
    if not isinstance(text, str):
        hint = "; for a list of words pass is_split_into_words=True" if isinstance(text, (list, tuple)) else ""
        raise TokenizerError(f"{what} must be a string, not {type(text).__name__}{hint}")


def check_words(words: Any, what: str) -> None:
    """Raise a TokenizerError unless the text is a list of strings."""
    if isinstance(words, str) or not isinstance(words, (list, tuple)):
        raise TokenizerError(f"{what} must be a list of words (is_split_into_words=True), not {type(words).__name__}")
    for i, word in enumerate(words):
        check_text(word, f"word {i} of {what}")


def check_unicode(texts: Any) -> None:
    """Raise a TokenizerError if a text, or one of several, holds half a character."""
    if isinstance(texts, (list, tuple)):
        for text in texts:
            check_unicode(text)
        return
    try:
        texts.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text holds a character that is not valid Unicode ({error.reason}, at {error.start}): "
            "repair it, for example with text.encode(errors='replace').decode()"
        ) from error


def as_list(value: Any) -> Any:
    """Tensors and arrays, also inside of lists, as lists of Python numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [as_list(item) for item in value]
    return value
