"""The trainer computes what transformers' own computes, and keeps the library's promises: resuming, whole files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import minitransformer
from minitransformer import MinitransformerError
from minitransformer.compat.trainer import get_last_checkpoint
from minitransformer.hub import embedded_folder

BERT = embedded_folder("minitransformer/bert-books")
MARIAN = embedded_folder("minitransformer/marian-fr-en")
TEXTS = ["She was happy.", "He was sad.", "They laughed.", "It rained.", "joy and sun", "grief", "good", "bad", "fine"]
QUIET: dict[str, Any] = {"report_to": "none", "use_cpu": True, "disable_tqdm": True}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def rows(library: Any = minitransformer) -> list[dict[str, Any]]:
    tokenizer = library.AutoTokenizer.from_pretrained(BERT)
    return [dict(tokenizer(text)) | {"label": i % 2, "text": text} for i, text in enumerate(TEXTS)]


def accuracy(prediction: Any) -> dict[str, float]:
    logits, labels = prediction
    return {"accuracy": (logits.argmax(-1) == labels).mean()}


def make(
    library: Any,
    folder: Path,
    *,
    model: Any = None,
    callbacks: Any = None,
    given: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    torch.manual_seed(0)
    if model is None:
        model = library.AutoModelForSequenceClassification.from_pretrained(BERT, num_labels=2, **NO_DROPOUT)
        head = getattr(model, "head", None) or model.classifier
        weights = [p for p in head.parameters() if p.shape[0] == 2]
        for parameter in weights:  # both heads alike
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    args = library.TrainingArguments(str(folder), **{"save_strategy": "no", **QUIET, **options})
    data = rows(library)
    return library.Trainer(
        model,
        args,
        train_dataset=data,
        eval_dataset=data,
        processing_class=library.AutoTokenizer.from_pretrained(BERT),
        compute_metrics=accuracy,
        callbacks=callbacks,
        **(given or {}),
    )


@pytest.mark.filterwarnings("ignore:.*start from random numbers", "ignore::UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.3},
        {"weight_decay": 0.5, "max_grad_norm": 0.1, "warmup_steps": 2, "learning_rate": 1e-3},
        {"label_smoothing_factor": 0.2},
        {"max_steps": 3},
        {"optim": "sgd", "learning_rate": 0.05},
    ],
)
def test_losses_and_rates_are_those_of_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    """All examples in one batch, without dropout, so that the order of examples does not matter."""
    common = {"num_train_epochs": 5, "per_device_train_batch_size": 9, "logging_steps": 1, **options}
    histories = []
    for library in (minitransformer, transformers):
        trainer = make(library, tmp_path / library.__name__, **common)
        result = trainer.train()
        histories.append(trainer.state.log_history)
        assert result.global_step == len(histories[-1]) - 1
    for ours, theirs in zip(*histories, strict=True):
        assert set(ours) == set(theirs)
        for name in ("loss", "grad_norm", "learning_rate", "epoch", "step", "train_loss"):
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=2e-3, abs=2e-4), name


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("batch, accumulate, epochs, drop", [(4, 1, 2, False), (2, 2, 3, False), (4, 1, 2.5, True)])
def test_steps_are_counted_as_in_transformers(
    batch: int, accumulate: int, epochs: float, drop: bool, tmp_path: Path
) -> None:
    steps = []
    for library in (minitransformer, transformers):
        trainer = make(
            library,
            tmp_path / library.__name__,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulate,
            num_train_epochs=epochs,
            dataloader_drop_last=drop,
        )
        trainer.train()
        steps.append((trainer.state.global_step, trainer.state.max_steps, trainer.state.epoch))
    assert steps[0] == pytest.approx(steps[1])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_evaluation_and_prediction_are_those_of_transformers(tmp_path: Path) -> None:
    found = []
    for library in (minitransformer, transformers):
        trainer = make(library, tmp_path / library.__name__, per_device_eval_batch_size=4)
        found.append((trainer.evaluate(), trainer.predict(rows(library))))
    (ours, our_predictions), (theirs, their_predictions) = found
    assert list(ours) == [name for name in theirs if name not in ("epoch", "eval_model_preparation_time")]
    for name in ("eval_loss", "eval_accuracy"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    np.testing.assert_allclose(our_predictions.predictions, their_predictions.predictions, atol=1e-5)
    np.testing.assert_array_equal(our_predictions.label_ids, their_predictions.label_ids)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    class Stop(minitransformer.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 4

    options = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 4}
    whole = make(minitransformer, tmp_path / "whole", **options)
    whole.train()
    make(minitransformer, tmp_path / "parts", callbacks=[Stop], **options).train()
    assert get_last_checkpoint(tmp_path / "parts") == tmp_path / "parts" / "checkpoint-4"
    parts = make(minitransformer, tmp_path / "parts", **options)
    parts.train(resume_from_checkpoint=True)
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    losses = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (whole, parts)]
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_checkpoints_are_folders_that_both_libraries_open(tmp_path: Path) -> None:
    trainer = make(
        minitransformer,
        tmp_path,
        save_strategy="epoch",
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        save_total_limit=1,
    )
    trainer.train()
    kept = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    best = Path(trainer.state.best_model_checkpoint)
    assert best.name in kept and len(kept) <= 2
    assert json.loads((best / "trainer_state.json").read_text())["global_step"] == int(best.name.split("-")[1])
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(best).eval()
    batch = trainer.make_batch(rows()[:3])
    with torch.no_grad():
        torch.testing.assert_close(trainer.model.eval()(**batch).logits, theirs(**batch).logits, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_callbacks_hear_everything_and_may_end_the_training(tmp_path: Path) -> None:
    heard: list[str] = []

    class Ears(minitransformer.TrainerCallback):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("on_"):
                heard.append(name)
            return super().__getattribute__(name)

    stopper = minitransformer.EarlyStoppingCallback(early_stopping_patience=1, early_stopping_threshold=10.0)
    options = {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "num_train_epochs": 6,
        "load_best_model_at_end": True,
    }
    trainer = make(minitransformer, tmp_path, callbacks=[Ears(), stopper], **options)
    trainer.train()
    assert trainer.state.epoch == 2
    assert {"on_train_begin", "on_epoch_begin", "on_step_end", "on_evaluate", "on_save", "on_log"} <= set(heard)
    assert trainer.pop_callback(minitransformer.EarlyStoppingCallback) is stopper


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_generate_writes_is_measured_as_in_transformers(tmp_path: Path) -> None:
    pairs = [("Elle dort.", "She sleeps."), ("Il veut partir demain.", "He wants to leave tomorrow.")]
    found = []
    for library in (minitransformer, transformers):
        tokenizer = library.AutoTokenizer.from_pretrained(MARIAN)
        model = library.AutoModelForSeq2SeqLM.from_pretrained(MARIAN)
        data = [dict(tokenizer(source, text_target=target)) for source, target in pairs]
        args = library.Seq2SeqTrainingArguments(
            str(tmp_path), predict_with_generate=True, generation_max_length=20, generation_num_beams=2, **QUIET
        )
        trainer = library.Seq2SeqTrainer(
            model,
            args,
            eval_dataset=data,
            data_collator=library.DataCollatorForSeq2Seq(tokenizer, model=model),
            processing_class=tokenizer,
            compute_metrics=lambda p: {"length": (p.predictions != -100).sum(-1).mean()},
        )
        found.append((trainer.evaluate(), trainer.predict(data)))
    (ours, our_ids), (theirs, their_ids) = found
    assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], rel=1e-4)
    np.testing.assert_array_equal(our_ids.predictions, their_ids.predictions)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_trainer_of_transformers_trains_our_models(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    model = minitransformer.AutoModelForSequenceClassification.from_pretrained(BERT, num_labels=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    args = transformers.TrainingArguments(str(tmp_path), max_steps=2, save_strategy="no", **QUIET)
    collator = transformers.DataCollatorWithPadding(transformers.AutoTokenizer.from_pretrained(BERT))
    trainer = transformers.Trainer(model, args, train_dataset=rows(transformers), data_collator=collator)
    trainer.train()
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters())


def _arguments(**options: Any) -> Any:
    return lambda: minitransformer.TrainingArguments("x", **options)


@pytest.mark.parametrize(
    "call, says",
    [
        (_arguments(learning_rte=1e-3), "learning_rate"),
        (_arguments(eval_strategy="epochs"), "epoch"),
        (_arguments(per_device_train_batch_size=0), "per_device_train_batch_size"),
        (_arguments(num_train_epochs="3"), "num_train_epochs"),
        (_arguments(lr_scheduler_type="linaer"), "linear"),
        (_arguments(load_best_model_at_end=True), "eval_strategy"),
        (_arguments(push_to_hub=True), "push_to_hub"),
        (_arguments(bf16=True, fp16=True), "choose one"),
        (lambda: minitransformer.Trainer(), "model"),
        (lambda: minitransformer.Trainer(torch.nn.Linear(1, 1)), "save_pretrained"),
    ],
)
def test_arguments_that_make_no_sense_are_named(call: Any, says: str) -> None:
    with pytest.raises(MinitransformerError, match=says):
        call()


def test_arguments_without_a_meaning_say_so() -> None:
    with pytest.warns(UserWarning, match="logging_dir"):
        minitransformer.TrainingArguments("x", logging_dir="logs")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_that_cannot_be_learnt_from_is_named(tmp_path: Path) -> None:
    trainer = make(minitransformer, tmp_path)
    trainer.train_dataset = [{"sentence": "a"}]
    with pytest.raises(MinitransformerError, match="tokenize"):
        trainer.train()
    trainer.train_dataset = None
    with pytest.raises(MinitransformerError, match="train_dataset"):
        trainer.train()
    with pytest.raises(MinitransformerError, match="no checkpoint"):
        make(minitransformer, tmp_path / "empty").train(resume_from_checkpoint=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_metrics_are_kept_apart_and_together(tmp_path: Path) -> None:
    trainer = make(minitransformer, tmp_path)
    trainer.save_metrics("train", {"train_loss": 1.0})
    trainer.save_metrics("eval", {"eval_loss": 2.0})
    trainer.save_metrics("test", {"test_loss": 3.0}, combined=False)
    kept = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*_results.json")}
    assert kept["all_results.json"] == {"train_loss": 1.0, "eval_loss": 2.0}
    assert kept["test_results.json"] == {"test_loss": 3.0}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_that_is_passed_is_swallowed(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="resume_from_chekpoint"):
        make(minitransformer, tmp_path).train(resume_from_chekpoint=True)
    with pytest.raises(TypeError, match="max_length"):
        minitransformer.DynamicCache(max_length=3)
