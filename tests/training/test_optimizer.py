from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from training.toy_run import tiny_model

from minitransformer.errors import TrainingError
from minitransformer.layers.norms import RMSNorm
from minitransformer.training.optimizer import decay_groups, gradient_norm, learning_rate, make_optimizer
from minitransformer.training.settings import Settings


def names_by_decay(model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = decay_groups(model.named_parameters(), 0.1)
    return {group["weight_decay"]: sorted(names[id(p)] for p in group["params"]) for group in groups}


def test_biases_and_norms_do_not_decay_and_embeddings_do():
    found = names_by_decay(tiny_model())
    assert "backbone.embeddings.word.weight" in found[0.1]
    assert "backbone.embeddings.position.weight" in found[0.1]
    assert "backbone.decoder.blocks.0.ffn.up.weight" in found[0.1]
    assert "backbone.decoder.blocks.0.ffn.up.bias" in found[0.0]
    assert "backbone.decoder.final_norm.weight" in found[0.0]
    assert len(found[0.0]) + len(found[0.1]) == len(list(tiny_model().parameters()))


def test_other_norms_matrices_of_biases_and_frozen_weights():
    model = nn.ModuleDict({"norm": RMSNorm(3), "frozen": nn.Linear(3, 3), "table": nn.Linear(3, 3)})
    model["frozen"].requires_grad_(False)
    model.register_parameter("content_bias", nn.Parameter(torch.zeros(2, 2)))
    assert names_by_decay(model) == {0.1: ["table.weight"], 0.0: ["content_bias", "norm.weight", "table.bias"]}


def test_decay_groups_are_those_of_the_reference():
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=23, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    reference = object.__new__(Trainer)
    reference.args = TrainingArguments.__new__(TrainingArguments)
    decaying = set(reference.get_decay_parameter_names(theirs))
    size = sum(p.numel() for name, p in theirs.named_parameters() if name in decaying)
    ours = decay_groups(tiny_model().named_parameters(), 0.1)
    assert sum(p.numel() for p in ours[0]["params"]) == size


def test_adamw_is_the_textbooks():
    """Against the formulas of the paper (algorithm 2), written out."""
    settings = Settings(steps=1, weight_decay=0.1, betas=(0.8, 0.9), epsilon=1e-6)
    layer = nn.Linear(3, 2).double()
    start = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = make_optimizer(layer.named_parameters(), settings)
    m = {name: torch.zeros_like(x) for name, x in start.items()}
    v = {name: torch.zeros_like(x) for name, x in start.items()}
    for t in (1, 2, 3):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * t
        for name, p in layer.named_parameters():
            p.grad = torch.sin(p.detach() * t)
            m[name] = 0.8 * m[name] + 0.2 * p.grad
            v[name] = 0.9 * v[name] + 0.1 * p.grad**2
            decay = 0.1 if name == "weight" else 0.0
            update = (m[name] / (1 - 0.8**t)) / ((v[name] / (1 - 0.9**t)).sqrt() + 1e-6)
            start[name] = start[name] - 0.01 * t * (update + decay * start[name])
        optimizer.step()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p.detach(), start[name], rtol=0, atol=1e-12)


def rates(**options):
    settings = Settings(steps=10, learning_rate=2.0, **options)
    return [learning_rate(step, 10, settings) for step in range(10)]


def test_schedules():
    assert rates(warmup=4, schedule="linear") == pytest.approx([0.5, 1, 1.5, 2, 2, 5 / 3, 4 / 3, 1, 2 / 3, 1 / 3])
    assert rates(warmup=0.4, schedule="constant") == pytest.approx([0.5, 1, 1.5, 2, 2, 2, 2, 2, 2, 2])
    cosine = rates(warmup=0, schedule="cosine")
    assert cosine[0] == 2.0
    assert cosine[5] == pytest.approx(1.0)
    assert all(earlier > later > 0 for earlier, later in zip(cosine, cosine[1:], strict=False))
    assert rates(warmup=100, schedule="linear")[-1] == pytest.approx(0.2)  # a warm-up longer than the run


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_are_the_references_but_for_the_wasted_first_step(schedule):
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = get_scheduler(schedule, optimizer, num_warmup_steps=4, num_training_steps=10)
    optimizer.step()
    expected = []
    for _ in range(10):
        expected.append(theirs.get_last_lr()[0])
        theirs.step()
    ours = rates(warmup=4, schedule=schedule)
    assert expected[0] == 0
    assert ours[:4] == pytest.approx(expected[1:5])  # they warm up from 0, we from the first step that learns
    assert ours[4:] == pytest.approx(expected[4:])


def test_gradient_norm_counts_a_shared_weight_once():
    model = tiny_model()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert float(gradient_norm(model)) == pytest.approx(sum(p.numel() for p in model.parameters()) ** 0.5)


def test_settings_are_checked():
    with pytest.raises(
        TrainingError, match=r"the trainer has no option 'learning_rat'.* Did you mean 'learning_rate'\?"
    ):
        Settings.from_dict({"steps": 1, "learning_rat": 0.1})
    with pytest.raises(TrainingError, match="steps must be an integer .*not '10'"):
        Settings.from_dict({"steps": "10"})
    with pytest.raises(TrainingError, match="steps must be an integer .*not True"):
        Settings.from_dict({"steps": True})
    with pytest.raises(TrainingError, match=r"steps must be an integer .*not 10\.5"):
        Settings.from_dict({"steps": 10.5})
    with pytest.raises(TrainingError, match="either steps or epochs is needed; neither is given"):
        Settings()
    with pytest.raises(TrainingError, match="either batch_size or tokens_per_batch is needed; both are given"):
        Settings(steps=1, batch_size=2, tokens_per_batch=3)
    with pytest.raises(TrainingError, match=r"schedule must be .*not 'cosin'.* Did you mean 'cosine'\?"):
        Settings(steps=1, schedule="cosin")
    with pytest.raises(TrainingError, match="learning_rate must be a number above 0.*, not -1.0"):
        Settings(steps=1, learning_rate=-1.0)
    with pytest.raises(TrainingError, match="learning_rate must be a number above 0.*, not nan"):
        Settings(steps=1, learning_rate=float("nan"))
    with pytest.raises(
        TrainingError, match="warmup must be a whole number of steps, or a share of them below 1, not 1.5"
    ):
        Settings(steps=1, warmup=1.5)
    with pytest.raises(TrainingError, match="betas must be a list of 2: a number from 0 to below 1, "):
        Settings(steps=1, betas=(0.9, 1.0))
    with pytest.raises(TrainingError, match="betas must be a list of 2"):
        Settings.from_dict({"steps": 1, "betas": [0.9]})


def test_every_setting_is_explained():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    table = page.partition("## Settings")[2].partition("\n## ")[0]
    keys = [
        key
        for line in table.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(keys) == sorted(Settings(steps=1).to_dict())


def test_settings_come_back_from_what_is_saved():
    settings = Settings.from_dict({"epochs": 2, "betas": [0.8, 0.9], "tokens_per_batch": 4096, "clip": None})
    assert settings.betas == (0.8, 0.9)
    assert settings.batch_size is None
    assert Settings.from_dict(settings.to_dict()) == settings
    assert "minutes" in settings.to_dict()
    assert "minutes" not in settings.identity()
    assert Settings.RESUMABLE <= settings.to_dict().keys()
