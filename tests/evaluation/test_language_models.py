"""Perplexity and masked tokens: against direct loops, and against the losses of transformers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny_folders
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline
from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import evaluate
from minitransformer.evaluation.masked import MaskedTokens
from minitransformer.evaluation.perplexity import Perplexity, cut_windows, encode
from minitransformer.models.common.heads import MaskedLM

TEXT = "the cat sleeps because it is tired . who sleeps ? once upon a time there was a transformer in paris . " * 4
RECORDS = [{"text": text} for text in ("the cat sleeps .", "paris is tired because", TEXT[:90], "a")]
FLOAT64 = {"dtype": torch.float64}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.gpt2(tmp_path_factory.mktemp("gpt2")))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.bert(tmp_path_factory.mktemp("bert")))


@given(st.integers(0, 60), st.integers(2, 20), st.data())
def test_windows_score_every_token_once(length: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size - 1))
    ids = list(range(length))
    windows = list(cut_windows(0, ids, size, stride))
    scored = [i for window in windows for i in window.ids[-window.scored :]]
    assert scored == ids[1:]
    for window in windows:
        assert 1 <= window.scored < len(window.ids) <= size
        context = len(window.ids) - window.scored
        assert context >= min(size - stride, window.ids[-window.scored])  # all there is, or that much


def direct_loss(folder: str, text: str, window: int, stride: int) -> tuple[float, int]:
    """One token at a time, each from as many tokens as its window shows it, by transformers."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
    total = 0.0
    for at in range(1, len(ids)):
        end = window if at < window else window + stride * math.ceil((at + 1 - window) / stride)
        begin = max(0, min(end, len(ids)) - window)
        with torch.no_grad():
            logits = model(torch.tensor([ids[begin:at]])).logits[0, -1]
        total -= float(logits.log_softmax(-1)[ids[at]])
    return total, len(ids) - 1


@pytest.mark.parametrize(("window", "stride"), [(16, 15), (16, 8), (20, 3)])
def test_perplexity_equals_a_direct_loop(gpt2: str, window: int, stride: int) -> None:
    text = TEXT[:150]
    scores = evaluate("text-generation", gpt2, [{"text": text}], window=window, stride=stride, **FLOAT64)
    loss, tokens = direct_loss(gpt2, text, window, stride)
    assert scores["tokens"] == tokens > 2 * window
    assert scores["loss"] == pytest.approx(loss / tokens, rel=1e-12)
    assert scores["perplexity"] == pytest.approx(math.exp(loss / tokens), rel=1e-12)
    assert scores["bits_per_byte"] == pytest.approx(loss / math.log(2) / len(text.encode()), rel=1e-12)


def test_perplexity_equals_the_loss_of_transformers(gpt2: str) -> None:
    """A text that fits into one window: the mean cross-entropy that a labelled call gives."""
    text = "the cat sleeps ."
    reference = transformers.AutoModelForCausalLM.from_pretrained(gpt2, dtype=torch.float64).eval()
    ids, _ = encode(AutoTokenizer.from_pretrained(gpt2), text)
    with torch.no_grad():
        loss = reference(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    scores = evaluate("text-generation", gpt2, [{"text": text}], **FLOAT64)
    assert scores["loss"] == pytest.approx(float(loss), rel=1e-7)  # the reference computes this loss in float32


def test_texts_alone_and_joined(gpt2: str) -> None:
    """Alone: each from its own beginning, whatever shares its batch. Joined: one text."""
    alone = evaluate("text-generation", gpt2, RECORDS, join=None, window=24, **FLOAT64)
    losses = [direct_loss(gpt2, record["text"], 24, 12) for record in RECORDS]
    assert alone["loss"] == pytest.approx(sum(loss for loss, _ in losses) / sum(n for _, n in losses), rel=1e-12)
    assert alone["records"] == 4
    one_by_one = evaluate("text-generation", gpt2, RECORDS, join=None, window=24, batch_size=1, **FLOAT64)
    assert one_by_one["loss"] == pytest.approx(alone["loss"], rel=1e-12)
    joined = evaluate("text-generation", gpt2, RECORDS, window=24, **FLOAT64)
    text = "\n\n".join(record["text"] for record in RECORDS)
    assert joined["loss"] == evaluate("text-generation", gpt2, [{"text": text}], window=24, **FLOAT64)["loss"]
    assert joined["bytes"] == len(text.encode()) and joined["records"] == 4


def test_without_a_beginning_the_first_token_does_not_count(gpt2: str) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(gpt2), AutoTokenizer.from_pretrained(gpt2)
    pipe = pipeline("text-generation", model, tokenizer)
    tokenizer.eos_token = tokenizer.bos_token = tokenizer.unk_token = None
    evaluation = Perplexity()
    (found,) = evaluation.predict(pipe, evaluation.prepare([{"text": "paris sleeps"}]))
    ids = tokenizer("paris sleeps")["input_ids"]
    with torch.no_grad():
        loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert found["tokens"] == len(ids) - 1
    assert found["bytes"] == len("paris sleeps") - len(tokenizer.decode(ids[:1]))
    assert found["loss"] / found["tokens"] == pytest.approx(float(loss), rel=1e-5)
    with pytest.raises(DataError, match="no token"):
        evaluation.score(evaluation.predict(pipe, evaluation.prepare([{"text": "a"}])), [])


def test_a_recurrent_model_is_measured_too(gpt2: str) -> None:
    """Transformer-XL has no limit of positions, and its scores are log-probabilities."""
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    sizes = {"d_model": 16, "d_embed": 16, "n_head": 2, "d_head": 8, "d_inner": 24, "n_layer": 2, "mem_len": 8}
    raw = {"model_type": "transfo-xl", "vocab_size": len(tokenizer), "cutoffs": [100, 200], "div_val": 2, **sizes}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_dict(raw)).eval()
    ids, _ = encode(tokenizer, "the cat sleeps .")
    with torch.no_grad():
        loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    scores = evaluate("text-generation", model, [{"text": "the cat sleeps ."}], tokenizer=tokenizer)
    assert scores["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_unigrams(gpt2: str) -> None:
    """The baseline's loss, from counts by hand: each token is seen once more than it is there."""
    train, test = [{"text": "vvx"}], [{"text": "vxz"}]  # letters that the vocabulary has no longer tokens for
    scores = evaluate("text-generation", data=test, train=train, baseline=True, tokenizer=gpt2)
    total = 3 + len(AutoTokenizer.from_pretrained(gpt2))
    expected = -(math.log(3 / total) + math.log(2 / total) + math.log(1 / total)) / 3
    assert scores["loss"] == pytest.approx(expected)
    assert scores["tokens"] == 3 and scores["bytes"] == 3


# Masked tokens -------------------------------------------------------------------------------------------------


def test_masked_tokens_equal_a_direct_loop(bert: str) -> None:
    """The same places, one row at a time, by transformers."""
    scores = evaluate("fill-mask", bert, [{"text": TEXT}], window=20, **FLOAT64)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    reference = transformers.AutoModelForMaskedLM.from_pretrained(bert, dtype=torch.float64).eval()
    evaluation = MaskedTokens(window=20)
    losses, right = [], []
    for row in evaluation.rows(tokenizer, evaluation.prepare([{"text": TEXT}]), 20):
        ids = torch.tensor([row.inputs["input_ids"]])
        labels = torch.full_like(ids, -100)
        labels[0, row.places] = ids[0, row.places]
        ids[0, row.places] = tokenizer.mask_token_id
        with torch.no_grad():
            output = reference(ids, labels=labels)
        losses.append(float(output.loss) * len(row.places))
        right += (output.logits[0, row.places].argmax(-1) == labels[0, row.places]).tolist()
    assert len(losses) > 3
    assert scores["masked"] == len(right)
    assert scores["loss"] == pytest.approx(sum(losses) / len(right), rel=1e-10)
    assert scores["accuracy"] == pytest.approx(100 * sum(right) / len(right))
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))


def rows_of(bert: str, **options: Any) -> list[Any]:
    evaluation = MaskedTokens(**options)
    return list(evaluation.rows(AutoTokenizer.from_pretrained(bert), evaluation.prepare([{"text": TEXT}]), 20))


def test_choice_of_masked_tokens(bert: str) -> None:
    rows = rows_of(bert)
    specials = set(AutoTokenizer.from_pretrained(bert).all_special_ids)
    for row in rows:
        assert len(row.places) == max(1, round(0.15 * (len(row.inputs["input_ids"]) - 2)))
        assert not specials & set(row.targets)
    assert rows == rows_of(bert)
    assert [row.places for row in rows] != [row.places for row in rows_of(bert, seed=1)]
    assert sum(len(row.places) for row in rows_of(bert, share=0.5)) > 2 * sum(len(row.places) for row in rows)


def test_pseudo_perplexity(bert: str) -> None:
    """Every token is hidden once, alone."""
    text = "the cat sleeps because it is tired ."
    scores = evaluate("fill-mask", bert, [{"text": text}], one_by_one=True, batch_size=3)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(bert), AutoTokenizer.from_pretrained(bert)
    ids = tokenizer(text)["input_ids"]
    total = 0.0
    for at in range(1, len(ids) - 1):
        hidden = torch.tensor([ids])
        hidden[0, at] = tokenizer.mask_token_id
        with torch.no_grad():
            total += float(F.cross_entropy(model(hidden).logits[0, at], torch.tensor(ids[at])))
    assert scores["masked"] == len(ids) - 2
    assert scores["pseudo_perplexity"] == pytest.approx(math.exp(total / (len(ids) - 2)), rel=1e-5)


def test_head_on_chosen_places_equals_head_on_all(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForMaskedLM.from_pretrained(bert)
    few = evaluate("fill-mask", model, RECORDS, join=None, tokenizer=bert)
    original = MaskedLM.forward
    whole_calls = []

    def forward(self: Any, input_ids: Any, attention_mask: Any = None, **options: Any) -> Any:
        whole_calls.append(1)
        return original(self, input_ids, attention_mask, **options)

    monkeypatch.setattr(type(model), "forward", forward)  # now it has a forward of its own
    whole = evaluate("fill-mask", model, RECORDS, join=None, tokenizer=bert)
    assert whole_calls
    assert whole["loss"] == pytest.approx(few["loss"], rel=1e-5)
    assert whole["accuracy"] == few["accuracy"]


def test_commonest_token(bert: str) -> None:
    """The baseline guesses the commonest token for all; its loss is that of the shares."""
    train, test = [{"text": "cat cat cat paris"}], [{"text": "cat cat paris tired cat"}]
    scores = evaluate("fill-mask", data=test, train=train, baseline=True, tokenizer=bert, one_by_one=True)
    total = 4 + len(AutoTokenizer.from_pretrained(bert))
    expected = -(3 * math.log(4 / total) + math.log(2 / total) + math.log(1 / total)) / 5
    assert scores["accuracy"] == pytest.approx(60)
    assert scores["loss"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("text-generation", {"window": 65}, "64 positions"),
        ("text-generation", {"window": 1}, "at least 2"),
        ("text-generation", {"stride": 64}, "1 to 63"),
        ("text-generation", {"stride": 0}, "1 to 63"),
        ("text-generation", {"batch_size": 0}, "batch_size"),
        ("fill-mask", {"share": 15}, "between 0 and 1"),
    ],
)
def test_wrong_options_are_named(task: str, options: dict[str, Any], said: str, gpt2: str, bert: str) -> None:
    with pytest.raises(PipelineError, match=said):
        evaluate(task, gpt2 if task == "text-generation" else bert, RECORDS, **options)


def test_baselines_say_what_they_need(gpt2: str) -> None:
    for task in ("text-generation", "fill-mask"):
        with pytest.raises(PipelineError, match="--train"):
            evaluate(task, data=RECORDS, baseline=True, tokenizer=gpt2)
        with pytest.raises(PipelineError, match="tokenizer="):
            evaluate(task, data=RECORDS, baseline=True, train=RECORDS)
