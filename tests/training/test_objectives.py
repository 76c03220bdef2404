"""What all objectives keep to: losses are the models' own, and shares of a step add up, however it is cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from training.objectives import generator, gradients, make_model, make_objective, records

from minitransformer.errors import TrainingError

SHORT = {"max_length": 24}
WINDOWS = {"max_question_length": 12, "max_length": 32, "doc_stride": 4}
CASES: dict[str, tuple[str, str, str, dict[str, Any], dict[str, Any]]] = {
    # objective, architecture, records, options, changes of the config
    "mlm-bert": ("masked_lm", "bert", "text", SHORT, {}),
    "mlm-distilbert": ("masked_lm", "distilbert", "text", SHORT, {}),
    "mlm-words": ("masked_lm", "bert", "text", {**SHORT, "whole_word": True, "packing": False}, {}),
    "clm-gpt2": ("causal_lm", "gpt2", "text", SHORT, {}),
    "clm-gpt2-parts": ("causal_lm", "gpt2", "text", {**SHORT, "at_once": 7}, {}),
    "clm-gpt2-lines": ("causal_lm", "gpt2", "labels", {**SHORT, "packing": False}, {}),
    "clm-transfo-xl": ("causal_lm", "transfo-xl", "text", SHORT, {}),
    "seq2seq-bart": ("seq2seq", "bart", "pairs", {}, {}),
    "seq2seq-t5": ("seq2seq", "t5", "pairs", {}, {}),
    "seq2seq-marian": ("seq2seq", "marian", "pairs", {}, {}),
    "seq2seq-mbart": ("seq2seq", "mbart", "pairs", {}, {}),
    "seq2seq-smooth": ("seq2seq", "marian", "pairs", {"label_smoothing": 0.1}, {}),
    "spans-t5": ("span_corruption", "t5", "text", SHORT, {}),
    "denoising-bart": ("denoising", "bart", "text", SHORT, {}),
    "gaps-bart": ("gap_sentences", "bart", "text", SHORT, {}),
    "cloze-bert": ("cloze_questions", "bert", "text", {"max_length": 40, "max_question_length": 16}, {}),
    "cloze-bart": ("cloze_questions", "bart", "text", {"max_length": 40, "max_question_length": 16}, {}),
    "electra": ("replaced_tokens", "electra", "text", SHORT, {}),
    "label-bert": ("classification", "bert", "labels", {}, {}),
    "label-electra": ("classification", "electra", "labels", {}, {}),
    "label-gpt2": ("classification", "gpt2", "labels", {}, {"pad_token_id": 1}),
    "labels-bert": ("classification", "bert", "labels", {}, {"problem_type": "multi_label_classification"}),
    "number-bert": ("classification", "bert", "labels", {}, {"id2label": {0: "score"}}),
    "tags-bert": ("token_classification", "bert", "words", {}, {"id2label": {0: "O", 1: "B", 2: "I"}}),
    "answer-bert": ("question_answering", "bert", "questions", WINDOWS, {}),
    "answer-bart": ("question_answering", "bart", "questions", {**WINDOWS, "max_length": 64}, {}),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory) -> tuple[str, Any, Any, dict[str, torch.Tensor]]:
    name, architecture, kind, options, config = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    objective = make_objective(name, architecture, folder, config=config, **options)
    examples = objective.examples(records(kind))
    assert len(examples) > 2
    return request.param, objective, make_model(objective), objective.collate(examples, generator())


def own_loss(name: str, objective: Any, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss as the model itself computes it."""
    if name == "electra":
        return electra_loss(objective, model, batch)
    extra = {"label_smoothing": 0.1} if name == "seq2seq-smooth" else {}
    return model(**batch, **extra).loss


def electra_loss(objective: Any, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Section 3.1 of the paper, with the two models' own losses."""
    noise, labels = batch["noise"], batch["labels"]
    named = {name: batch[name] for name in ("input_ids", "attention_mask")}
    guess = model.generator(**named, labels=labels)
    original = torch.where(labels == -100, batch["input_ids"], labels)
    cumulated = guess.logits.detach().softmax(-1).cumsum(-1)
    drawn = (cumulated < noise.double()[..., None]).sum(-1)
    ids = torch.where(labels == -100, original, drawn)
    told = model.discriminator(ids, batch["attention_mask"], labels=(ids != original).long())
    return guess.loss + 50 * told.loss


def test_the_loss_is_the_models_own_and_so_are_its_gradients(case):
    name, objective, model, batch = case
    loss = objective.loss(model, batch, objective.counts(batch))
    ours = gradients(model, loss)
    reference = own_loss(name, objective, model, batch)
    theirs = gradients(model, reference)
    torch.testing.assert_close(loss, reference, atol=1e-12, rtol=1e-12)
    assert ours.keys() == theirs.keys()
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient, atol=1e-12, rtol=1e-10, msg=key)
    assert sum(float(g.abs().sum()) for g in ours.values()) > 0


def test_shares_add_up_however_a_step_is_cut(case):
    _, objective, model, batch = case
    counts = objective.counts(batch)
    whole = objective.loss(model, batch, counts)
    expected = gradients(model, whole)
    parts = [{key: value[rows] for key, value in batch.items()} for rows in (slice(0, 1), slice(1, None))]
    own = [objective.counts(part) for part in parts]
    assert counts == {key: sum(part[key] for part in own) for key in counts}
    model.zero_grad()
    losses = [objective.loss(model, part, counts) for part in parts]
    for share in losses:
        share.backward()
    torch.testing.assert_close(sum(losses), whole, atol=1e-12, rtol=1e-12)
    for key, parameter in model.named_parameters():
        if key in expected:
            torch.testing.assert_close(parameter.grad, expected[key], atol=1e-12, rtol=1e-10, msg=key)


def test_the_generator_alone_decides_what_is_in_a_batch(case):
    name, objective, _, batch = case
    examples = objective.examples(records(CASES[name][2]))
    again = objective.collate(examples, generator())
    assert all(torch.equal(again[key], batch[key]) for key in batch)
    assert all(len(value) == len(examples) for value in batch.values())
    other = objective.collate(examples, generator(1))
    drawn = ("masked_lm", "span_corruption", "denoising", "gap_sentences", "cloze_questions", "replaced_tokens")
    random = CASES[name][0] in drawn
    same = all(batch[key].shape == other[key].shape and torch.equal(batch[key], other[key]) for key in batch)
    assert same != random


def test_in_bfloat16_the_loss_is_summed_in_float32(case):
    name, objective, _, batch = case
    if name == "clm-transfo-xl":
        pytest.skip("Transformer-XL has no autocast: its parts differ in type")
    model = make_model(objective).float()
    counts = objective.counts(batch)
    exact = objective.loss(model, batch, counts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective.loss(model, batch, counts)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    if name != "electra":  # where other words may be drawn
        assert abs(loss.item() - exact.item()) < 0.05 * abs(exact.item()) + 0.05


def test_label_smoothing_is_that_of_the_reference(tmp_path):
    from transformers.trainer_pt_utils import LabelSmoother

    objective = make_objective("seq2seq", "marian", tmp_path, label_smoothing=0.1)
    batch = objective.collate(objective.examples(records("pairs")), generator())
    assert (batch["labels"] == -100).any()
    model = make_model(objective)
    loss = objective.loss(model, batch, objective.counts(batch))
    output = model(**batch)
    expected = LabelSmoother(epsilon=0.1)({"logits": output.logits}, batch["labels"])
    torch.testing.assert_close(loss, expected.double(), atol=0, rtol=1e-6)  # a part of it is summed in float32 there
    assert abs(loss.item() - output.loss.item()) > 1e-2


@pytest.mark.parametrize("name", ["masked_lm", "causal_lm", "seq2seq"])
def test_the_vocabulary_head_runs_only_where_something_is_asked(name, tmp_path, monkeypatch):
    architecture = {"masked_lm": "bert", "causal_lm": "gpt2", "seq2seq": "bart"}[name]
    objective = make_objective(name, architecture, tmp_path)
    kind = "pairs" if name == "seq2seq" else "text"
    batch = objective.collate(objective.examples(records(kind)), generator())
    model, seen = make_model(objective), []
    head = model.head.output if name == "masked_lm" else model.head
    head.register_forward_hook(lambda module, inputs, output: seen.append(output.numel() // output.shape[-1]))
    objective.loss(model, batch, objective.counts(batch))
    assert (
        seen == [objective.counts(batch)["tokens"]] and seen[0] < batch["input_ids"].numel() + batch["labels"].numel()
    )
    if name == "masked_lm":
        assert seen[0] < 0.2 * batch["input_ids"].numel()


def test_rows_without_labels_cost_nothing_and_still_reach_every_parameter(tmp_path):
    """One process of several may have none; the others wait for its gradients."""
    objective = make_objective("masked_lm", "bert", tmp_path)
    batch = objective.collate(objective.examples(records("text")), generator())
    batch["labels"] = torch.full_like(batch["labels"], -100)
    model = make_model(objective)
    loss = objective.loss(model, batch, {"tokens": 0})
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_batch_can_be_scored_in_parts_with_less_memory(tmp_path):
    objective = make_objective("causal_lm", "gpt2", tmp_path, max_length=32, at_once=5)
    batch = objective.collate(objective.examples(records("text")), generator())
    model, sizes = make_model(objective), []
    model.head.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[1]))
    loss = objective.loss(model, batch, objective.counts(batch))
    assert max(sizes) == 5 and len(sizes) == -(-objective.counts(batch)["tokens"] // 5)
    logits = model(batch["input_ids"]).logits[:, :-1]
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten()))


@pytest.mark.parametrize(
    ("name", "architecture", "options", "message"),
    [
        ("masked_lm", "bert", {"max_length": 513}, "the model has 512 positions"),
        ("masked_lm", "bert", {"max_length": 2}, "max_length must be a whole number of at least 3"),
        ("masked_lm", "bert", {"mask_rate": 15}, "mask_rate must be a number from 0 to 1, not 15"),
        ("masked_lm", "bert", {"mask_share": 0.9, "random_share": 0.2}, "random_share"),
        ("masked_lm", "gpt2", {}, "a tokenizer with a mask token"),
        ("causal_lm", "bert", {}, "an end token between texts"),
        ("causal_lm", "gpt2", {"at_once": 0}, "at_once must be"),
        ("span_corruption", "bert", {}, "end token"),
        ("span_corruption", "t5", {"max_length": 1000}, "sentinels"),
        ("denoising", "bart", {"mask_rate": 0.6}, "from 0 to 0.5"),
        ("denoising", "gpt2", {}, "mask token"),
        ("gap_sentences", "gpt2", {}, "mask token"),
        ("gap_sentences", "bart", {"keep": 1.5}, "keep must be a number from 0 to 1"),
        ("seq2seq", "bert", {}, "no end token behind a target"),
        ("seq2seq", "bart", {"label_smoothing": 2}, "label_smoothing"),
        ("seq2seq", "bart", {"max_target_length": "64"}, "max_target_length must be a whole number"),
        ("question_answering", "bert", {"no_answer": "skip"}, "no_answer must be"),
        ("question_answering", "bert", {"max_length": 100, "doc_stride": 60}, "doc_stride is 60, but"),
        ("question_answering", "gpt2", {"max_length": 200, "doc_stride": 8}, "no_answer = 'drop'"),
        ("replaced_tokens", "electra", {"generator_size": 2}, "generator_size"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(name, architecture, options, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        make_objective(name, architecture, tmp_path, **options)


def test_model_and_tokenizer_must_fit(tmp_path):
    with pytest.raises(TrainingError, match="vocab_size is 50"):
        make_objective("masked_lm", "bert", tmp_path, config={"vocab_size": 50})
    objective = make_objective("masked_lm", "bert", tmp_path)
    batch = objective.collate(objective.examples(records("text")), generator())
    model = make_model(make_objective("classification", "bert", tmp_path))
    with pytest.raises(TrainingError, match="BertForSequenceClassification is no model ForMaskedLM"):
        objective.loss(model, batch, objective.counts(batch))
