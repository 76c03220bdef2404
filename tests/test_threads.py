"""One model and one tokenizer, called from eight threads: the answers are those of one thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import pytest
import torch
from pipelines.families import LANGUAGES, Families

from minitransformer.generation import TextIteratorStreamer, stream, stream_text
from minitransformer.layers import fast_linear, linear
from minitransformer.layers.taps import trace

THREADS = 8
TEXTS = [
    "The queen of hearts, she made some tarts.",
    "All on a summer's day!",
    "A rabbit said: which of the doors, from a little table?",
    "Who?",
    "London and Paris, 3,000 of them",
    "the caterpillar had a mushroom in the house of the king " * 2,
]
WRITING = {"max_new_tokens": 6, "do_sample": False}
CALLS: dict[tuple[str, str], Callable[[Any, str], Any]] = {
    ("text-classification", "bert"): lambda pipe, text: pipe([text, "queen"], top_k=None),
    ("text-classification", "t5"): lambda pipe, text: pipe(text),
    ("token-classification", "bert"): lambda pipe, text: pipe(text * 6, aggregation_strategy="first", stride=4),
    ("question-answering", "roberta"): lambda pipe, text: pipe(question="Who?", context=text, top_k=3),
    ("fill-mask", "roberta"): lambda pipe, text: pipe(f"{text} <mask> and <mask>"),
    ("zero-shot-classification", "albert"): lambda pipe, text: pipe(text, candidate_labels=["queens", "kings"]),
    ("feature-extraction", "bert"): lambda pipe, text: pipe([text, "queen"]),
    ("text-generation", "gpt2"): lambda pipe, text: pipe([text[:20], text[:9]], **WRITING),
    ("text-generation", "gpt"): lambda pipe, text: pipe(text[:20], num_beams=3, **WRITING),
    ("text-generation", "transformer-xl"): lambda pipe, text: pipe(text[:20], **WRITING),
    ("summarization", "bart"): lambda pipe, text: pipe([text, "queen"], **WRITING, num_beams=2),
    ("text2text-generation", "t5"): lambda pipe, text: pipe(text, **WRITING, num_beams=1),
    ("translation", "marian"): lambda pipe, text: pipe(text, **WRITING),
    ("translation", "fsmt"): lambda pipe, text: pipe(text, **WRITING),
    ("translation", "mbart"): lambda pipe, text: pipe(
        text, **WRITING, tgt_lang="ro_RO", src_lang="en_XX" if len(text) % 2 else "fr_XX"
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Let threads interrupt each other at every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of all tasks, run by eight threads that begin at once."""
    begin = threading.Barrier(min(THREADS, len(tasks)))

    def run(number: int, task: Callable[[], Any]) -> Any:
        if number < begin.parties:
            begin.wait(60)
        return task()

    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result(120) for future in [pool.submit(run, i, task) for i, task in enumerate(tasks)]]


@pytest.mark.parametrize(("task", "family"), CALLS)
def test_answers(task: str, family: str, families: Families) -> None:
    pipe, call = families.pipeline(task, family), CALLS[task, family]
    serial = [call(pipe, text) for text in TEXTS]
    assert len({str(answer) for answer in serial}) > 1, "the texts should have different answers"
    assert together([lambda text=text: call(pipe, text) for text in TEXTS * 2]) == serial * 2


@pytest.mark.parametrize("family", ["gpt2", "transformer-xl", "bart"])
def test_tokens_as_they_come(family: str, families: Families) -> None:
    """Streams of several threads, each taken token by token, and one thread that takes from two in turn."""
    pipe = families.pipeline("summarization" if family == "bart" else "text-generation", family)
    model, tokenizer, options = pipe.model, pipe.tokenizer, {"max_new_tokens": 8, "do_sample": False, "num_beams": 1}
    prompts = [torch.tensor([tokenizer(text[:20])["input_ids"]]) for text in TEXTS]

    def tokens(prompt: torch.Tensor) -> list[int]:
        return [int(token) for token in stream(model, prompt, **options)]

    def in_turn() -> list[list[int]]:
        pairs = list(zip(*(stream(model, prompt, eos_token_id=None, **options) for prompt in prompts[:2]), strict=True))
        return [[int(pair[i]) for pair in pairs] for i in (0, 1)]

    serial, alternating = [tokens(prompt) for prompt in prompts], in_turn()
    tasks = [lambda prompt=prompt: tokens(prompt) for prompt in prompts]
    assert together([*tasks, in_turn] * 3) == [*serial, alternating] * 3


def test_text_as_it_comes(families: Families) -> None:
    pipe = families.pipeline("text-generation", "gpt2")
    texts = [text[:30] for text in TEXTS]
    options = {"max_new_tokens": 10, "do_sample": False}

    def by_streamer(text: str) -> str:
        streamer = TextIteratorStreamer(pipe.tokenizer, skip_prompt=True, timeout=60, skip_special_tokens=True)
        prompt = torch.tensor([pipe.tokenizer(text)["input_ids"]])
        thread = threading.Thread(target=pipe.model.generate, args=(prompt,), kwargs={"streamer": streamer, **options})
        thread.start()
        pieces = "".join(streamer)
        thread.join()
        return pieces

    serial = ["".join(stream_text(pipe.model, pipe.tokenizer, text, **options)) for text in texts]
    assert together([lambda text=text: by_streamer(text) for text in texts * 2]) == serial * 2


def test_a_trace_is_about_its_own_thread(families: Families) -> None:
    """Other threads are not recorded and not edited, and keep the fused kernel."""
    model = families.pipeline("text-classification", "bert").model
    ids = torch.arange(10, 30)[None]
    plain, name = model(ids).logits, "encoder.blocks.1.attn.pattern"
    with trace(model, edit={name: torch.zeros_like}):
        changed = model(ids).logits
    assert not torch.equal(plain, changed)

    inside, asked = threading.Event(), threading.Event()

    def traced() -> tuple[torch.Tensor, int]:
        with trace(model, name, edit={name: torch.zeros_like}) as t:
            inside.set()
            assert asked.wait(60)
            result = model(ids).logits
            return result, len(t.calls(name))

    def bystander() -> torch.Tensor:
        assert inside.wait(60)
        assert not any(tap.watched for tap in model.modules() if hasattr(tap, "watched"))
        result = model(ids).logits
        asked.set()
        return result

    (mine, recorded), other = together([traced, bystander])
    assert torch.equal(mine, changed) and recorded == 1
    assert torch.equal(other, plain)
    assert not any(tap.watched for tap in model.modules() if hasattr(tap, "watched"))


def test_intermediates_beside_plain_calls(families: Families) -> None:
    model = families.pipeline("text-classification", "bert").model
    ids = torch.arange(10, 30)[None]
    plain, attentions = model(ids).logits, model(ids, output_attentions=True).attentions

    def see() -> bool:
        found = model(ids, output_attentions=True).attentions
        return len(found) == len(attentions) and all(map(torch.equal, found, attentions))

    assert all(together([see, lambda: torch.equal(model(ids).logits, plain)] * 20))


def test_fast_products_are_the_threads_own() -> None:
    layer, x = torch.nn.Linear(600, 600), torch.randn(3, 600)
    with torch.no_grad():
        exact = torch.nn.functional.linear(x, layer.weight, layer.bias)
        with fast_linear():
            fast = linear(layer, x)
        inside, done = threading.Event(), threading.Event()

        def quick() -> torch.Tensor:
            with torch.no_grad(), fast_linear():
                inside.set()
                assert done.wait(60)
                return linear(layer, x)

        def careful() -> torch.Tensor:
            assert inside.wait(60)
            with torch.no_grad():
                result = linear(layer, x)
            done.set()
            return result

        first, second = together([quick, careful])
        assert torch.equal(first, fast) and torch.equal(second, exact)


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "ctrl", "marian"])
def test_tokenizers_with_different_lengths(family: str, families: Families) -> None:
    """The backend holds truncation and padding of one call at a time."""
    tokenizer = families.tokenizer(family)
    fill = {"padding": "max_length"} if tokenizer.pad_token else {}
    ways: list[dict[str, Any]] = [
        {"truncation": True, "max_length": 5, **fill},
        {"truncation": True, "max_length": 20, "padding_side": "left", **fill},
        {"padding": bool(fill)},
        {"add_special_tokens": False},
        {"split_special_tokens": True},
    ]
    texts = [text + " <s> [SEP] " * 2 for text in TEXTS]
    serial = [dict(tokenizer(texts, **way)) for way in ways]
    decoded = tokenizer.batch_decode(serial[2]["input_ids"])
    tasks = [lambda way=way: dict(tokenizer(texts, **way)) for way in ways]
    decode = [lambda: tokenizer.batch_decode(serial[2]["input_ids"])]
    assert together([*tasks, *decode] * 15) == [*serial, decoded] * 15


def test_tokens_added_while_others_are_read(families: Families) -> None:
    tokenizer = families.tokenizer("bert")
    before, size = tokenizer(TEXTS)["input_ids"], len(tokenizer)
    tasks: list[Callable[[], Any]] = list(
        chain.from_iterable(
            [lambda i=i: tokenizer.add_tokens(f"@@new{i}"), lambda: tokenizer(TEXTS)] for i in range(40)
        )
    )
    results = together(tasks)
    assert sum(results[::2]) == 40 and len(tokenizer) == size + 40
    assert all(encoding["input_ids"] == before for encoding in results[1::2])


@pytest.mark.parametrize("family", ["marian", "fsmt", "mbart"])
def test_sides_of_a_translation(family: str, families: Families) -> None:
    """What is read, what is written, and what is decoded have vocabularies or frames of their own."""
    tokenizer, texts = families.tokenizer(family), [*TEXTS, "the queen said: when then mushroom"]
    if family == "mbart":
        tokenizer.tgt_lang = LANGUAGES["tgt_lang"]
        tokenizer.src_lang = LANGUAGES["src_lang"]
    source, target = tokenizer(texts)["input_ids"], tokenizer(text_target=texts)["input_ids"]
    assert source != target
    text = tokenizer.batch_decode(target)
    tasks: list[Callable[[], Any]] = [
        lambda: tokenizer(texts)["input_ids"],
        lambda: tokenizer(text_target=texts)["input_ids"],
        lambda: tokenizer(texts, text_target=texts)["labels"],
        lambda: tokenizer.batch_decode(target),
        lambda: tokenizer.pad_token_id,
    ]
    assert together(tasks * 12) == [source, target, target, text, tokenizer.pad_token_id] * 12


def test_languages_of_two_pipelines(families: Families) -> None:
    """Both set the language in the one tokenizer that they share."""
    pipes = [families.pipeline("translation", "mbart", **WRITING, src_lang=code, tgt_lang="ro_RO") for code in
             ("en_XX", "fr_XX")]  # fmt: skip
    assert pipes[0].tokenizer is pipes[1].tokenizer
    serial = [pipe(text) for text in TEXTS for pipe in pipes]
    assert serial[::2] != serial[1::2]
    assert together([lambda text=text, pipe=pipe: pipe(text) for text in TEXTS for pipe in pipes] * 3) == serial * 3
