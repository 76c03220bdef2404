"""Whatever text comes, a pipeline answers or raises an error that the library names; it never hangs."""

from __future__ import annotations

import faulthandler
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pipelines.families import LANGUAGES, Families
from wild_texts import broken, is_valid, long_texts, not_texts, wild

from minitransformer.errors import MinitransformerError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*new tokens were asked for:UserWarning"),
]

READ = ("text-classification", "token-classification", "question-answering", "zero-shot-classification")
WRITE = ("summarization", "translation", "text2text-generation")
COMBINATIONS = [
    *(
        (task, family)
        for task in (*READ, "fill-mask", "feature-extraction")
        for family in ("bert", "roberta", "albert")
    ),
    *(("text-classification", family) for family in ("gpt2", "gpt", "ctrl", "bart", "t5")),
    *((task, "t5") for task in ("token-classification", "question-answering")),
    *(("feature-extraction", family) for family in ("gpt2", "gpt", "ctrl", "transformer-xl", "mbart")),
    *(("text-generation", family) for family in ("gpt2", "gpt", "ctrl", "transformer-xl")),
    *zip(WRITE, ("bart", "marian", "t5"), strict=True),
    *(("translation", family) for family in ("fsmt", "mbart")),
]
ONE_EACH = {task: family for task, family in reversed(COMBINATIONS)}
REASONS = (
    "is empty", "are empty", "has no tokens", "no tokens to answer with", "tokens, and the model has positions for",
    "leaves no room", "no bos token", "no mask token", "could not be encoded: Truncation error", "is of type",
)  # fmt: skip


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


@pytest.fixture(autouse=True)
def stop_what_hangs() -> Iterator[None]:
    """Show where, and end the process: a test that waits for ever would not say which it is."""
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def question(task: str, pipe: Any, text: Any, other: Any, short: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with which a task is asked about a text, and a second one where it takes two."""
    if task == "question-answering":
        return (), {"question": other, "context": text, "handle_impossible_answer": short}
    if task == "zero-shot-classification":
        return (text,), {"candidate_labels": ["hearts", other], "multi_label": short}
    if task == "token-classification":
        return (text,), {"aggregation_strategy": "first" if short else "average"} | ({"stride": 2} if short else {})
    if task == "fill-mask":
        text = text + pipe.tokenizer.mask_token if isinstance(text, str) else text
        return (text,), {"tokenizer_kwargs": {"truncation": short}}
    if task == "text-classification":
        return ({"text": text, "text_pair": other} if isinstance(other, str) else text,), {"truncation": short}
    if task == "feature-extraction":
        return (text,), {"truncation": short}
    languages = LANGUAGES if hasattr(pipe.tokenizer, "lang_code_to_id") and task == "translation" else {}
    limits = {} if task == "text-generation" and short else {"truncation": short}
    hole = {"handle_long_generation": "hole"} if task == "text-generation" and short else {}
    return (text,), {"max_new_tokens": 3, **languages, **limits, **hole}


def check(task: str, text: str, other: str, answer: Any) -> None:
    """Whether an answer can be one: of the right form, finite, and about this text."""
    if task == "question-answering":
        assert math.isfinite(answer["score"]) and answer["score"] >= 0
        assert answer["answer"] == text[answer["start"] : answer["end"]]
    elif task == "zero-shot-classification":
        assert answer["sequence"] == text and sorted(answer["labels"]) == sorted(["hearts", other])
        assert all(0 <= score <= 1 for score in answer["scores"])
    elif task == "text-classification":
        best = answer[0] if isinstance(answer, list) else answer
        assert best["label"] in ("bad", "good", "so-so") and 0 <= best["score"] <= 1
    elif task == "token-classification":
        places = [(entity["start"], entity["end"]) for entity in answer]
        assert all(0 <= start <= end <= len(text) for start, end in places) and places == sorted(places)
        assert all(0 <= entity["score"] <= 1 for entity in answer)
    elif task == "feature-extraction":
        assert len(answer) == 1 and len(answer[0]) > 0 and {len(vector) for vector in answer[0]} == {24}
    elif task == "fill-mask":
        for filling in answer if isinstance(answer[0], dict) else sum(answer, []):
            assert 0 <= filling["score"] <= 1 and isinstance(filling["sequence"], str)
    elif task == "text-generation":
        assert answer[0]["generated_text"].startswith(text)
    else:
        assert all(isinstance(value, str) for value in answer[0].values())


def ask(task: str, pipe: Any, text: Any, other: Any, short: bool) -> Any:
    arguments, options = question(task, pipe, text, other, short)
    return pipe(*arguments, **options)


@pytest.mark.parametrize(("task", "family"), COMBINATIONS)
@given(text=wild, other=wild, short=st.booleans())
def test_any_text(task: str, family: str, families: Families, text: str, other: str, short: bool) -> None:
    pipe = families.pipeline(task, family)
    if task == "text-classification" and not other:
        other = None  # type: ignore[assignment]
    try:
        answer = ask(task, pipe, text, other, short)
    except MinitransformerError as error:
        assert any(reason in str(error) for reason in REASONS), error
        tried = f"{text}{other}"
        assert not text or not other or len(tried) > 15 or not tried.isalnum(), f"refused without need: {error}"
    else:
        check(task, text + (pipe.tokenizer.mask_token if task == "fill-mask" else ""), other, answer)


@pytest.mark.parametrize("task", ONE_EACH)
@given(text=broken, at=st.integers(0, 2))
def test_half_a_character(task: str, families: Families, text: str, at: int) -> None:
    pipe = families.pipeline(task, ONE_EACH[task])
    texts = ["hello", "the queen of hearts"]
    with pytest.raises(MinitransformerError, match="valid Unicode"):
        if at == 0 and task in ("question-answering", "zero-shot-classification", "text-classification"):
            ask(task, pipe, texts[0], text, short=False)
        else:
            ask(task, pipe, text, texts[1], short=False)
    assert not is_valid(text)


@pytest.mark.parametrize("task", ONE_EACH)
@given(item=not_texts, other=st.one_of(not_texts, wild))
def test_what_is_no_text(task: str, families: Families, item: Any, other: Any) -> None:
    pipe = families.pipeline(task, ONE_EACH[task])
    for call in (
        lambda: ask(task, pipe, item, "hello", short=False),
        lambda: ask(task, pipe, "hello", other, short=False),
        lambda: pipe([item]),
        lambda: pipe({"text": item, "question": other}),
        lambda: list(pipe(iter([item]))),
    ):
        with_named_errors(call)


@pytest.mark.parametrize("task", ONE_EACH)
@pytest.mark.parametrize("empty", [torch.empty(2, device="meta"), torch.eye(2).to_sparse()], ids=["meta", "sparse"])
def test_an_array_without_values(task: str, empty: torch.Tensor, families: Families) -> None:
    pipe = families.pipeline(task, ONE_EACH[task])
    for call in (
        lambda: ask(task, pipe, empty, "hello", short=False),
        lambda: ask(task, pipe, "hello", empty, short=False),
        lambda: pipe([empty]),
    ):
        with_named_errors(call)


def with_named_errors(call: Callable[[], Any]) -> None:
    """Wrong types may be a TypeError, too."""
    try:
        call()
    except (MinitransformerError, TypeError) as error:
        assert str(error)


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.floats(), wild, broken, not_texts,
    st.sampled_from(["simple", "longest", "max_length", "only_second", "softmax", "left", "auto"]),
    st.lists(wild, max_size=3), st.lists(st.integers(-2, 50), max_size=3),
    st.dictionaries(st.sampled_from(["truncation", "max_length", "padding"]), st.booleans() | st.integers(-1, 9)),
)  # fmt: skip
NOT_DRAWN = {  # what calls back, waits, or returns another thing; and how long texts become
    "streamer", "max_time", "assistant_model", "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn",
    "max_new_tokens", "max_length", "return_dict_in_generate", "target_ids", "target_words",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("task", ONE_EACH)
@given(data=st.data())
def test_any_value_of_any_option(task: str, families: Families, data: st.DataObject) -> None:
    pipe = families.pipeline(task, ONE_EACH[task])
    names = sorted(pipe.known_options() - NOT_DRAWN)
    drawn = data.draw(st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=2))
    arguments, options = question(task, pipe, "the queen of hearts", "who?", short=False)
    with_named_errors(lambda: pipe(*arguments, **{**options, **drawn}))


LONG = {
    "text-classification": ("emoji", "zeros"),
    "token-classification": ("prose",),
    "question-answering": ("prose",),
    "zero-shot-classification": ("prose",),
    "fill-mask": ("masks", "marks"),
    "feature-extraction": ("lines",),
    "text-generation": ("spaces",),
    "summarization": ("prose",),
    "translation": ("lines",),
    "text2text-generation": ("one word",),
}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "kind"), [(task, kind) for task, kinds in LONG.items() for kind in kinds])
@pytest.mark.parametrize("short", [True, False])
def test_a_megabyte(task: str, kind: str, short: bool, families: Families) -> None:
    """Cut, read in stretches, or refused: in a time that grows with the length, not with its square."""
    family = {"text2text-generation": "bart", "translation": "bart", "summarization": "bart"}.get(task, ONE_EACH[task])
    pipe = families.pipeline(task, family, positions=512)
    reads_all = task == "question-answering" or (task == "token-classification" and short)
    text = long_texts(1_000_000)[kind]
    began = time.process_time()  # what else the machine does is no matter
    try:
        answer = ask(task, pipe, text, "the queen", short)
    except MinitransformerError as error:
        assert not short or "mask" in str(error) or "no tokens" in str(error), error
    else:
        assert short or reads_all or kind in ("zeros", "emoji", "marks") or task in READ
        if task != "text-generation":
            check(task, text, "the queen", answer)
    assert time.process_time() - began < 60


def test_long_texts_in_pairs(families: Families) -> None:
    """The tokenizers library would make millions of leftovers."""
    text = long_texts(200_000)["prose"]
    pipe = families.pipeline("text-classification", "bert")
    began = time.monotonic()
    pipe({"text": text, "text_pair": text}, truncation=True)
    assert time.monotonic() - began < 30


def test_two_hundred_thousand_words(families: Families) -> None:
    pipe = families.pipeline("token-classification", "bert")
    began = time.monotonic()
    pipe(["the", "queen"] * 100_000, is_split_into_words=True)
    assert time.monotonic() - began < 30
