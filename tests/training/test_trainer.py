from __future__ import annotations

import csv
import io
import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from training.toy_run import NextToken, examples, tiny_model, toy_trainer, weights

from minitransformer.errors import PipelineError, TrainingError
from minitransformer.models.common.recomputing import blocks_of, recomputed
from minitransformer.training import Settings, Trainer, logs


@pytest.fixture(autouse=True)
def quick(request):
    if "pictures" not in request.fixturenames:
        request.getfixturevalue("no_pictures")


@pytest.fixture
def pictures():
    """Asked for by tests that look at them."""


def trained(folder, **settings):
    trainer = toy_trainer(folder, valid=False, **{"steps": 4, "precision": "float64", **settings})
    return trainer.train(), weights(trainer.model)


def assert_alike(ours, theirs, tolerance=1e-12):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=tolerance)


def test_it_learns(tmp_path):
    history = toy_trainer(tmp_path, steps=40, learning_rate=0.02, log_every=5).train()
    assert history.stopped == "finished"
    assert history.rows[0]["loss"] == pytest.approx(math.log(23), abs=0.2)
    assert history.rows[-1]["loss"] < 2
    assert history.rows[-1]["valid_loss"] < 2
    assert history.best == min(history.column("valid_loss")[1])
    assert history.examples == 40 * 8


def test_a_step_is_what_it_says(tmp_path):
    """One step against the same thing by hand: mean over the batch's tokens, clipped, AdamW."""
    trainer = toy_trainer(tmp_path, valid=False, steps=1, clip=0.5, warmup=0, precision="float64", log_every=1)
    model = tiny_model().double()
    indices = next(trainer.plan.batches())
    rows = [examples()[i]["input_ids"] for i in indices]
    losses = []
    for row in rows:
        ids = torch.tensor([row])
        logits = model(ids).logits[0, :-1]
        losses.append(nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none"))
    loss = torch.cat(losses).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.01).step()

    history = trainer.train()
    assert history.rows[0]["loss"] == pytest.approx(float(loss.detach()), abs=1e-12)
    assert history.rows[0]["gradient_norm"] == pytest.approx(float(norm), abs=1e-12)
    assert history.rows[0]["gradient_norm"] > 0.5
    assert_alike(weights(trainer.model), weights(model))


@pytest.mark.parametrize("accumulate", [2, 8])
def test_micro_batches_change_nothing(tmp_path, accumulate):
    whole, whole_weights = trained(tmp_path / "whole")
    parts, part_weights = trained(tmp_path / "parts", accumulate=accumulate)
    assert [row["loss"] for row in parts.rows] == pytest.approx([row["loss"] for row in whole.rows], abs=1e-12)
    assert_alike(part_weights, whole_weights, tolerance=1e-10)


def test_chance_differs_from_step_to_step_and_not_from_run_to_run(tmp_path):
    class Draws(NextToken):
        def __init__(self):
            super().__init__()
            self.collated, self.dropped = [], []

        def collate(self, examples, generator):
            self.collated.append(float(torch.rand(1, generator=generator)))
            return super().collate(examples, generator)

        def loss(self, model, batch, counts):
            self.dropped.append(float(torch.rand(1)))
            return super().loss(model, batch, counts)

    first, second, other = Draws(), Draws(), Draws()
    toy_trainer(tmp_path / "first", first, valid=False, steps=4).train()
    torch.manual_seed(7)
    toy_trainer(tmp_path / "second", second, valid=False, steps=4).train()
    toy_trainer(tmp_path / "other", other, valid=False, steps=4, seed=1).train()
    assert (first.collated, first.dropped) == (second.collated, second.dropped)
    drawn = first.collated + first.dropped + other.collated + other.dropped
    assert len(set(drawn)) == len(drawn) == 16


def test_recomputing_blocks_changes_nothing(tmp_path):
    remembered = trained(tmp_path / "remembered", dropout=0.1)
    recomputed_ = trained(tmp_path / "recomputed", dropout=0.1, gradient_checkpointing=True)
    assert_alike(recomputed_[1], remembered[1], tolerance=0)


def test_recomputing_saves_memory_and_leaves_no_trace():
    model = tiny_model().train()
    names = list(model.state_dict())
    ids = torch.arange(20)[None]

    def remembered_bytes():
        sizes = {}

        def remember(x):
            sizes[x.data_ptr()] = x.numel() * x.element_size()
            return x

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda x: x):
            model(ids).logits.sum().backward()
        return sum(sizes.values())

    before = remembered_bytes()
    with recomputed(blocks_of(model)):
        assert len(blocks_of(model)) == 2
        assert list(model.state_dict()) == names
        assert remembered_bytes() < 0.7 * before
    assert remembered_bytes() == before
    assert "forward" not in vars(blocks_of(model)[0])


def test_bfloat16(tmp_path):
    exact, _ = trained(tmp_path / "exact", precision="float32")
    trainer = toy_trainer(tmp_path / "rough", steps=4, precision="bfloat16")
    seen = set()
    block = blocks_of(trainer.model)[0]
    block.attn.query.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    rough = trainer.train()
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    losses = [row["loss"] for row in rough.rows]
    assert losses == pytest.approx([row["loss"] for row in exact.rows], abs=0.05)
    assert losses != [row["loss"] for row in exact.rows]


class Weighted(NextToken):
    """Gives a chosen step's loss a factor."""

    def __init__(self, step, factor):
        super().__init__()
        self.chosen, self.factor = step, factor

    def loss(self, model, batch, counts):
        loss = super().loss(model, batch, counts)
        return loss * self.factor if self.step == self.chosen and model.training else loss


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number(tmp_path, factor):
    trainer = toy_trainer(tmp_path, Weighted(4, factor), steps=9, save_every=2)
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    message = str(caught.value)
    indices = next(trainer.plan.batches(start=3))
    assert message.startswith("step 4: the loss is ")
    assert f"The batch held the examples {', '.join(map(str, indices))} (counted from 0)" in message
    assert "at learning rate 0.00" in message
    assert f"The last good checkpoint is {tmp_path / 'checkpoints' / 'step-000002'}." in message

    assert all(bool(torch.isfinite(parameter).all()) for parameter in trainer.model.parameters())
    assert toy_trainer(tmp_path, steps=9, save_every=2).train().stopped == "finished"  # from step 2 on


def test_a_gradient_that_is_no_number(tmp_path):
    class Root(NextToken):
        def loss(self, model, batch, counts):
            return super().loss(model, batch, counts) + (0 * model.head.output.weight.sum()).sqrt()

    with pytest.raises(TrainingError, match=r"the loss is 3\.\d+ and the gradient's norm is nan.* no checkpoint"):
        toy_trainer(tmp_path, Root(), steps=2).train()


def test_early_stopping_keeps_the_best(tmp_path):
    scores = iter([0.1, 0.2, 0.5, 0.4, 0.3, 0.9])  # the first one before the training, to see that it works
    found = {}

    def metric(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        score = next(scores)
        found[score] = weights(model)
        return {"accuracy": score}

    trainer = toy_trainer(tmp_path, steps=50, evaluate_every=3, best="accuracy", patience=2)
    trainer.validation.metric = metric
    history = trainer.train()
    assert (history.stopped, history.step, history.best, history.best_step) == ("patience", 12, 0.5, 6)
    best = type(trainer.model).from_pretrained(tmp_path / "best")
    final = type(trainer.model).from_pretrained(tmp_path / "final")
    assert_alike(weights(best), found[0.5], tolerance=0)
    assert_alike(weights(final), found[0.3], tolerance=0)
    assert history.column("accuracy") == ([3, 6, 9, 12], [0.2, 0.5, 0.4, 0.3])
    assert toy_trainer(tmp_path, steps=50, evaluate_every=3, best="accuracy", patience=2).train().step == 12


def test_a_metric_that_fails_does_so_before_the_first_step(tmp_path):
    def trainer(metric, best, **options):
        made = toy_trainer(tmp_path, NextToken(fail_at=1), steps=1, best=best, **options)
        made.validation.metric = metric
        return made

    def broken(_model):
        raise PipelineError("the model does not know the label 'x'")

    with pytest.raises(PipelineError, match="does not know the label"):
        trainer(broken, "loss").train()
    message = r"best is 'accurate', which nothing measures. Measured: loss, accuracy. Did you mean 'accuracy'\?"
    with pytest.raises(TrainingError, match=message):
        trainer(lambda _model: {"accuracy": 1.0}, "accurate").train()
    with pytest.raises(TrainingError, match="best is 'accuracy', which nothing measures. Measured: nothing"):
        trainer(None, "accuracy", valid=False).train()
    with pytest.raises(InterruptedError):  # the first step
        trainer(lambda _model: {"accuracy": 1.0}, "accuracy").train()


def test_lower_losses_and_perplexities_are_better(tmp_path):
    for best, better in (("loss", True), ("perplexity", True), ("eval_perplexity", True), ("f1", False)):
        validation = toy_trainer(tmp_path, steps=1, best=best).validation
        assert validation.is_better({best: 1.0}, 2.0) is better
        assert validation.is_better({best: 1.0}, None)
        assert not validation.is_better({best: math.nan}, 2.0)


def test_the_validation_loss_is_the_mean_over_all_tokens(tmp_path):
    history = toy_trainer(tmp_path, steps=1, learning_rate=1e-30, precision="float64").train()
    model = tiny_model().double().eval()
    losses = []
    for example in examples()[:11]:
        ids = torch.tensor([example["input_ids"]])
        losses.append(nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none"))
    assert history.rows[0]["valid_loss"] == pytest.approx(float(torch.cat(losses).detach().mean()), abs=1e-12)


def test_the_log(tmp_path, pictures):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Tokenizer:
        def save_pretrained(self, folder):
            (folder / "vocab.txt").write_text("a")

    trainer = toy_trainer(tmp_path, steps=6, log_every=2, evaluate_every=3)
    trainer.save_with = Tokenizer()
    history = trainer.train()
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "3", "4", "6"]
    assert [bool(row["valid_loss"]) for row in rows] == [False, True, False, True]
    assert float(rows[-1]["loss"]) == history.rows[-1]["loss"]
    assert float(rows[0]["epoch"]) == pytest.approx(16 / 120)
    assert all(float(row["tokens_per_second"]) > 0 for row in rows)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    for name in ("loss", "valid_loss", "learning_rate"):
        steps, values = history.column(name)
        assert [scalar.step for scalar in board.Scalars(name)] == steps
        assert [scalar.value for scalar in board.Scalars(name)] == pytest.approx(values, rel=1e-6)  # kept in float32
    for name in ("best", "final"):
        assert {"config.json", "model.safetensors", "vocab.txt"} <= {p.name for p in (tmp_path / name).iterdir()}


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_for_terminals(tmp_path, monkeypatch, terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    toy_trainer(tmp_path, steps=2, valid=False).train()
    assert ("2/2" in stream.getvalue() and "loss" in stream.getvalue()) is terminal


def test_without_the_optional_packages(tmp_path, monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert logs._tensorboard(tmp_path, 0) is None
    toy_trainer(tmp_path, steps=1).train()
    assert not (tmp_path / "curve.png").exists()


def test_bad_requests_fail_before_the_training(tmp_path):
    with pytest.raises(TrainingError, match="Linear has no save_pretrained"):
        Trainer(nn.Linear(2, 2), NextToken(), examples(), Settings(steps=1), tmp_path)
    with pytest.raises(TrainingError, match="nothing to train on"):
        Trainer(tiny_model(), NextToken(), [], Settings(steps=1), tmp_path)
    with pytest.raises(TrainingError, match="cannot be split evenly over 3"):
        toy_trainer(tmp_path, steps=1, accumulate=3)
    with pytest.raises(TrainingError, match="patience needs something to measure"):
        toy_trainer(tmp_path, steps=1, patience=2, valid=False)
    with pytest.raises(TrainingError, match="set best to a name of the metric"):
        Trainer(tiny_model(), NextToken(), examples(), Settings(steps=1), tmp_path, metric=lambda _model: {"f1": 1.0})
    with pytest.raises(TrainingError, match=r"best is 'lost', which nothing measures.* Did you mean 'loss'\?"):
        toy_trainer(tmp_path, steps=1, best="lost").train()


def test_importing_the_package_is_light():
    code = "import sys, minitransformer.training; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
