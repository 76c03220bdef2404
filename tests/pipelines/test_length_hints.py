"""A longest text that does not fit the source is worth a hint, where and as 4.57 gives one; another one is not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

SHORT, LONG = "The fox.", "The little brown fox jumped over the lazy dog; the dog did not mind. " * 2


def hints(pipe: Any, caplog: pytest.LogCaptureFixture, text: str, **options: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        pipe(text, num_beams=1, do_sample=False, **options)
    records = [r.getMessage() for r in caplog.records if r.name.startswith(("minitransformer", "transformers"))]
    return [message for message in records if "max_length" in message and "input_length" not in message] + [
        message for message in records if "input_length" in message
    ]


CASES = [
    ("summarization", SHORT, {"max_length": 40}, True),
    ("summarization", LONG, {"max_length": 10}, False),
    ("translation", LONG, {"max_length": 20}, True),
    ("translation", SHORT, {"max_length": 40}, False),
    ("text2text-generation", LONG, {"max_length": 10}, False),
]


@pytest.mark.parametrize(("task", "text", "options", "hinted"), CASES)
@pytest.mark.parametrize("compat", [None, "transformers"])
def test_a_typed_length_that_does_not_fit(
    pair: Any,
    caplog: pytest.LogCaptureFixture,
    task: str,
    text: str,
    options: dict[str, Any],
    hinted: bool,
    compat: str | None,
) -> None:
    mine, theirs = pair(task, "bart", compat=compat, fresh=True)
    mine.model.generation_config.max_new_tokens = theirs.model.generation_config.max_new_tokens = 4
    theirs.generation_config.max_new_tokens = mine.generation_config.max_new_tokens = 4
    found = hints(mine, caplog, text, min_length=0, **options)
    assert bool(found) == hinted
    assert bool([m for m in hints(theirs, caplog, text, min_length=0, **options) if "input_length" in m]) == hinted
    if hinted:
        length = len(mine.tokenizer(text)["input_ids"])
        assert str(length) in found[0] and str(options["max_length"]) in found[0]
        assert not hints(mine, caplog, text, min_length=0, **options), "once is enough"


def test_the_length_that_the_model_says_counts_too(pair: Any, caplog: pytest.LogCaptureFixture) -> None:
    """``bart-params`` says 8 for translations; what is nobody's word, or not what counts, is worth no hint."""
    mine, _ = pair("translation_en_to_fr", "bart-params", fresh=True)
    assert hints(mine, caplog, "The little brown fox jumped.")
    mine, _ = pair("summarization", "bart", fresh=True)
    assert not hints(mine, caplog, SHORT, max_new_tokens=5)
    assert not hints(mine, caplog, SHORT)
