"""Lists, streams and batches: what is read ahead, held, run together, and in which order results come."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from pipelines.checkpoints import LONG, TEXTS, same

from minitransformer.errors import PipelineError
from minitransformer.pipelines import pipeline
from minitransformer.pipelines.batching import (
    ALONE,
    AUTO_PADDING,
    AUTO_ROWS,
    AUTO_TOKENS,
    Sharing,
    collate,
    plan_batches,
)
from minitransformer.pipelines.streaming import AUTO_WINDOW, FIRST_WINDOW, stream


def test_generators_stay_lazy(pair):
    mine, theirs = pair("text-classification", "bert-cls")
    read = []

    def source():
        for i in range(10**9):
            read.append(i)
            yield TEXTS[i % len(TEXTS)]

    answers = mine(source(), batch_size=1)
    assert read == []
    first = [next(answers) for _ in range(3)]
    same(first, theirs(TEXTS[:3]))
    assert len(read) == 3
    answers = mine(source(), batch_size=4)
    read.clear()
    next(answers)
    assert len(read) == 4


def test_auto_reads_ahead_little_at_first_and_never_beyond_a_window():
    read = []

    def source():
        for i in range(10**9):
            read.append(i)
            yield i

    def prepare(item, number):
        return [{"input_ids": torch.zeros(1, 1 + item % 7), "of": item}]

    held = []

    def run(chunks):
        held.append(len(chunks))
        return chunks

    answers = stream(
        source(), "auto", prepare=prepare, run=run, finish=lambda rows: rows[0]["of"], sharing=Sharing(), lazy=True
    )
    ahead = []
    for i in range(5 * AUTO_WINDOW):
        assert next(answers) == i
        ahead.append(len(read) - i)
    assert ahead[0] == FIRST_WINDOW and max(ahead) == AUTO_WINDOW and max(held) <= AUTO_ROWS
    assert ahead[FIRST_WINDOW] == 2 * FIRST_WINDOW


def test_outputs_are_given_up_as_soon_as_a_result_is_there():
    class Output:
        pass

    alive = weakref.WeakSet()

    def run(chunks):
        outputs = []
        for chunk in chunks:
            outputs.append({**chunk, "output": Output()})
            alive.add(outputs[-1]["output"])
        return outputs

    counts = []

    def finish(rows):
        counts.append(len(alive))
        return rows[0]["of"]

    def prepare(item, number):
        return [{"input_ids": torch.zeros(1, 64), "of": item}]

    assert list(stream(range(400), "auto", prepare=prepare, run=run, finish=finish, sharing=Sharing())) == list(
        range(400)
    )
    assert max(counts) <= AUTO_TOKENS // 64  # one batch, of the 400 that were read ahead


def test_results_before_a_failure_come_first(pair):
    mine, _ = pair("text-classification", "bert-cls")

    def source():
        yield from TEXTS[:3]
        yield None

    answers, got = mine(source()), []
    with pytest.raises(PipelineError, match="input 3: the text is None"):
        for answer in answers:
            got.append(answer)
    same(got, mine(TEXTS[:3]))


def test_datasets_are_streams(pair):
    class Texts(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(TEXTS)

        def __getitem__(self, i: int) -> str:
            return TEXTS[i]

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(TEXTS)

    class ByIndex(Texts):
        def __getitem__(self, i: int) -> str:
            return TEXTS[i % len(TEXTS)]  # never says where it ends

    mine, theirs = pair("text-classification", "bert-cls")
    from transformers.pipelines.pt_utils import KeyDataset

    for inputs in (
        Texts(),
        Stream(),
        ByIndex(),
        KeyDataset([{"text": text} for text in TEXTS], "text"),
        set(TEXTS[:1]),
    ):
        expected = theirs(TEXTS[:1] if isinstance(inputs, set) else TEXTS)
        same(list(mine(inputs, batch_size=2)), expected)
        same(list(mine(inputs)), expected)


def of_lengths(*lengths):
    return [{"input_ids": torch.zeros(1, n)} for n in lengths]


def test_plan_packs_like_lengths_together():
    lengths = [3, 500, 4, 480, 5] + [100] * 60
    batches = plan_batches(of_lengths(*lengths), "auto", Sharing())
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        total = len(batch) * max(lengths[i] for i in batch)
        assert total <= AUTO_TOKENS and total - sum(lengths[i] for i in batch) <= AUTO_PADDING
    assert batches[0] == [1, 3] and batches[-1] == [4, 2, 0]
    assert plan_batches(of_lengths(9, 5, 7), 2, Sharing()) == [[0, 1], [2]]
    assert plan_batches(of_lengths(9, 5, 9), 2, Sharing(key=lambda chunk: chunk["input_ids"].shape)) == [[0, 2], [1]]
    assert plan_batches(of_lengths(9, 5, 9), 3, Sharing(key=lambda chunk: ALONE)) == [[0], [1], [2]]
    assert plan_batches(of_lengths(AUTO_TOKENS + 1, 1), "auto", Sharing()) == [[0], [1]]
    assert [len(batch) for batch in plan_batches(of_lengths(*[1] * 300), "auto", Sharing())] == [128, 128, 44]
    assert plan_batches(of_lengths(1, 2, 3), "auto", Sharing(cost=lambda chunk: 10, tokens=20)) == [[0, 1], [2]]
    assert plan_batches(of_lengths(9, 5, 5), "auto", Sharing(padding=4)) == [[0, 1], [2]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_collate(side):
    chunks = [
        {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long), "note": ids}
        for ids in ([5, 6, 7], [8])
    ]
    batch = collate(chunks, 1, side)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 1, 1] if side == "right" else [1, 1, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0] if side == "right" else [0, 0, 1]]
    assert batch["note"] == [[5, 6, 7], [8]]
    without = [{"input_ids": chunk["input_ids"]} for chunk in chunks]
    assert collate(without, 1, side)["attention_mask"].tolist() == batch["attention_mask"].tolist()


def test_stream_keeps_the_order_of_inputs_with_several_chunks():
    def prepare(item: int, number: int) -> list[dict[str, Any]]:
        assert item == number
        return [{"input_ids": torch.zeros(1, 1 + (item * 7) % 5), "of": item} for _ in range(1 + item % 3)]

    for size in (1, 2, 5, "auto"):
        batches = []

        def run(chunks: list[dict[str, Any]], batches: list[int] = batches) -> list[dict[str, Any]]:
            batches.append(len(chunks))
            return chunks

        steps = {"prepare": prepare, "run": run, "finish": lambda rows: [row["of"] for row in rows]}
        results = list(stream(range(20), size, **steps, sharing=Sharing()))
        assert results == [[i] * (1 + i % 3) for i in range(20)]
        assert sum(batches) == 39 and (size == "auto" or max(batches) <= size)


def test_lists_are_checked_before_any_work(pair):
    mine, _ = pair("text-classification", "bert-cls", fresh=True)
    mine.forward = None
    with pytest.raises(PipelineError, match="input 2: the text is None"):
        mine([TEXTS[0], TEXTS[1], None])


def test_batch_size_is_checked(pair):
    mine, _ = pair("text-classification", "bert-cls")
    for bad in (0, -1, True, "all", 2.0):
        with pytest.raises(PipelineError, match="batch_size must be"):
            mine(TEXTS, batch_size=bad)
    same(mine(TEXTS, num_workers=2), mine(TEXTS))


class Calls:
    """Counts a model's forward passes, and their rows."""

    def __init__(self, pipe: Any) -> None:
        self.rows: list[int] = []
        self.handle = pipe.model.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, model: Any, args: Any, kwargs: Any) -> None:
        ids = args[0] if args else kwargs.get("input_ids", kwargs.get("decoder_input_ids"))
        self.rows.append(len(ids))

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *error: Any) -> None:
        self.handle.remove()


def test_labels_of_all_texts_share_batches(pair):
    mine, _ = pair("zero-shot-classification", "bert-nli")
    labels = [f"label {i}" for i in range(10)]
    with Calls(mine) as calls:
        mine(["the dog", "the brown fox", "the sea shore"], labels)
    assert calls.rows == [30]
    with Calls(mine) as calls:
        mine("the dog", labels)  # those of one text too
    assert calls.rows == [10]
    with Calls(mine) as calls:
        mine(["the dog", "the fox"], labels, batch_size=4)
    assert calls.rows == [4] * 5


def test_stretches_of_all_contexts_share_batches(pair):
    mine, _ = pair("question-answering", "bert-qa")
    options = {"max_seq_len": 30, "doc_stride": 4}
    inputs = [{"question": "who?", "context": context} for context in (LONG, TEXTS[0], LONG)]
    chunks = sum(len(list(mine.preprocess(example, **options))) for example in inputs)
    assert chunks > 20
    with Calls(mine) as calls:
        mine(inputs, **options)
    assert sum(calls.rows) == chunks and len(calls.rows) == 1
    mine, _ = pair("ner", "bert-ner")
    with Calls(mine) as calls:
        mine([LONG, TEXTS[0], LONG], stride=3, aggregation_strategy="simple")
    assert len(calls.rows) < 3 < sum(calls.rows)


def test_sources_share_batches_and_samples_do_not(pair):
    mine, _ = pair("summarization", "bart")
    options = {"max_new_tokens": 3, "min_length": 2, "no_repeat_ngram_size": 2}
    with Calls(mine) as calls:
        mine(["a dog", "the brown fox", "by the sea shore"], **options)
    assert set(calls.rows) <= {3, 12}  # three sources, four beams of each
    mine, _ = pair("text-generation", "gpt2")
    with Calls(mine) as calls:
        mine(["a dog", "the brown fox"], max_new_tokens=3, do_sample=True)
    assert calls.rows == [1] * 6
    with Calls(mine) as calls:
        mine(["a dog", "the brown fox"], max_new_tokens=3, do_sample=True, batch_size=2)
    assert calls.rows == [2] * 3


def test_the_default_is_auto_and_may_be_changed(pair, checkpoint):
    mine, _ = pair("text-classification", "bert-cls")
    assert mine.batch_size == "auto"
    with Calls(mine) as calls:
        mine(TEXTS[:3])
    assert calls.rows == [3]
    with Calls(mine) as calls:
        mine(TEXTS[:3], batch_size=1)
    assert calls.rows == [1, 1, 1]
    assert pipeline("text-classification", checkpoint("bert-cls"), batch_size=4).batch_size == 4
    alike, _ = pair("text-classification", "bert-cls", compat="transformers")
    assert alike.batch_size == 1
