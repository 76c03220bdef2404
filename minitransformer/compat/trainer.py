"""``Trainer`` and ``Seq2SeqTrainer``: transformers' interface over the library's own training step.

::

    trainer = Trainer(model, TrainingArguments("out", num_train_epochs=1), train_dataset=rows, eval_dataset=held_back,
                      processing_class=tokenizer, compute_metrics=measure)
    trainer.train()

The loop, the optimizer, resuming and checkpoints are those of `training/`; a data set is anything that can be indexed
(rows of ``datasets``, a list, a PyTorch ``Dataset``). The order of examples and the dropout of a step follow from the
seed alone, and are other ones than transformers draws from the same seed.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.compat.arguments import Seq2SeqTrainingArguments, TrainingArguments
from minitransformer.compat.callbacks import (
    EVENTS,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from minitransformer.compat.collators import DataCollatorWithPadding, default_data_collator
from minitransformer.compat.predicting import (
    EvalLoopOutput,
    EvalPrediction,
    PredictionOutput,
    TrainOutput,
    gather,
    pad_to,
)
from minitransformer.compat.schedules import set_seed
from minitransformer.errors import ArgumentError, TrainingError, warn_caller
from minitransformer.files import write_whole
from minitransformer.jsons import read_json
from minitransformer.models.common.base import PretrainedModel
from minitransformer.models.common.parts import check_savable
from minitransformer.training.checkpoints import save_model
from minitransformer.weights import load_weights, open_checkpoint

FOLDER = re.compile(r"checkpoint-(\d{1,18})")
LABELS = ("labels", "label", "label_ids", "start_positions", "end_positions", "next_sentence_label")
IGNORED = -100


class Trainer:
    """Trains a model, evaluates it, and predicts with it.

    Args:
        model: one of this library's.
        args: how; ``TrainingArguments()`` by default.
        data_collator: examples -> batch; pads, if there is a tokenizer, else stacks.
        train_dataset: anything with a length that can be indexed.
        eval_dataset: the same, or several by name.
        processing_class: the tokenizer, saved beside the model. Also ``tokenizer``.
        model_init: makes the model, instead of ``model``.
        compute_loss_func: (outputs, labels, num_items_in_batch=...) -> loss, instead of the model's own.
        compute_metrics: ``EvalPrediction`` -> names and numbers.
        callbacks: classes or objects, see ``TrainerCallback``.
        optimizers: an optimizer and a scheduler of the caller's; None for those that ``args`` describe.
        preprocess_logits_for_metrics: (logits, labels) -> what to keep of a batch's logits.

    Raises:
        ArgumentError: arguments that contradict each other, or a model of another library.
    """

    def __init__(
        self,
        model: PretrainedModel | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[Any], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[[], PretrainedModel] | None = None,
        compute_loss_func: Callable[..., Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], Mapping[str, float]] | None = None,
        callbacks: Sequence[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.args = args if args is not None else self._arguments()("trainer_output")
        if not isinstance(self.args, TrainingArguments):
            raise ArgumentError(f"args must be {self._arguments().__name__}, not {type(args).__name__}")
        if (model is None) == (model_init is None):
            raise ArgumentError("a Trainer needs one of model and model_init")
        if processing_class is not None and tokenizer is not None:
            raise ArgumentError("tokenizer is the old name of processing_class: pass one of them")
        set_seed(self.args.seed)
        self.model: Any = model if model is not None else model_init()  # type: ignore[misc]
        if not isinstance(self.model, nn.Module) or not hasattr(self.model, "save_pretrained"):
            raise ArgumentError(
                f"model must have save_pretrained, so that it can be kept; {type(model).__name__} has not"
            )
        if isinstance(self.model, PretrainedModel):
            check_savable(self.model)
        self.model_init = model_init
        self.processing_class = processing_class if processing_class is not None else tokenizer
        pads = hasattr(self.processing_class, "pad")
        default: Any = DataCollatorWithPadding(self.processing_class) if pads else default_data_collator
        self.data_collator = data_collator or default
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_loss_func, self.compute_metrics = compute_loss_func, compute_metrics
        self.preprocess_logits_for_metrics = preprocess_logits_for_metrics
        self.optimizer, self.lr_scheduler_given = optimizers
        if (self.optimizer is None) != (self.lr_scheduler_given is None) and self.lr_scheduler_given is not None:
            raise ArgumentError("optimizers=(None, scheduler): a scheduler belongs to an optimizer; pass both")
        self.state, self.control = TrainerState(), TrainerControl()
        self.callbacks: list[TrainerCallback] = []
        for each in [ProgressCallback, *(callbacks or [])]:
            self.add_callback(each)
        if self.args.fp16:
            warn_caller("fp16=True trains in bfloat16 here, which needs no scaling of the loss: bf16=True says so")
        self.call("init_end")

    @staticmethod
    def _arguments() -> type[TrainingArguments]:
        return TrainingArguments

    # Training ---------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint: str | Path | bool | None = None) -> TrainOutput:
        """Train from the beginning, or go on from a checkpoint.

        Args:
            resume_from_checkpoint: a folder, or True for the latest in ``output_dir``.

        Raises:
            TrainingError: no data, no such checkpoint, or a loss that is no number.
        """
        from minitransformer.compat.loop import Loop

        if self.train_dataset is None:
            raise TrainingError("there is nothing to train on: pass train_dataset to the Trainer")
        resume = resume_from_checkpoint if resume_from_checkpoint is not None else self.args.resume_from_checkpoint
        folder: Path | None = None
        if resume is True:
            folder = get_last_checkpoint(self.args.output_dir)
            if folder is None:
                raise TrainingError(f"{self.args.output_dir} has no checkpoint to go on from: train() begins anew")
        elif resume:
            folder = Path(str(resume))
            if not folder.is_dir():
                raise TrainingError(f"{folder} is no checkpoint: there is no such folder")
        self.state = TrainerState()
        self.control = TrainerControl()
        return Loop(self).run(folder)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> Any:
        """The loss of a batch; override it for another one.

        Args:
            model: to be called.
            inputs: the batch.
            return_outputs: also give the model's output.
            num_items_in_batch: labels in all micro-batches of the step.

        Raises:
            TrainingError: the model gives no loss for these inputs.
        """
        smoothing = self.args.label_smoothing_factor
        own = (smoothing != 0 or self.compute_loss_func is not None) and "labels" in inputs
        labels = inputs["labels"] if own else None
        if own and self.compute_loss_func is not None:
            inputs = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**inputs)
        loss: Any
        if own and self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        elif own and labels is not None:
            loss = smoothed_loss(outputs.logits, labels, smoothing, getattr(self.model, "HEAD", None) == "ForCausalLM")
        else:
            loss = outputs["loss"] if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
        if loss is None:
            raise TrainingError(
                f"{type(self.model).__name__} gave no loss for the inputs {', '.join(inputs)}: the batch needs labels, "
                "or compute_loss must be overridden"
            )
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer; None for AdamW as ``args`` describe it. Override it for another one."""
        if self.optimizer is None and self.args.optim == "sgd":
            from minitransformer.training.optimizer import decay_groups

            groups = decay_groups(self.model.named_parameters(), self.args.weight_decay)
            self.optimizer = torch.optim.SGD(groups, lr=self.args.learning_rate)
        found: torch.optim.Optimizer | None = self.optimizer
        return found

    def make_batch(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Examples as the model takes them: columns that it does not know left out, then the collator."""
        batch = self.data_collator([self._known_columns(example) for example in examples])
        found = {name: value for name, value in dict(batch).items() if value is not None}
        for name, value in found.items():
            if not isinstance(value, Tensor):
                raise TrainingError(
                    f"the collator gave {type(value).__name__} for {name}, which is no tensor: tokenize the texts, or "
                    "pass a data_collator that makes tensors"
                )
        return found

    def loss_of(self, model: Any, batch: dict[str, Any], number: int) -> Tensor:
        """``compute_loss``, which a subclass may have written without ``num_items_in_batch``."""
        takes = inspect.signature(self.compute_loss).parameters
        known = "num_items_in_batch" in takes or any(each.kind is each.VAR_KEYWORD for each in takes.values())
        extra: dict[str, Any] = {"num_items_in_batch": number} if known else {}
        found: Tensor = self.compute_loss(model, dict(batch), **extra)
        return found

    def _known_columns(self, example: Any) -> Any:
        if not self.args.remove_unused_columns or not isinstance(example, Mapping):
            return example
        known = {*self._model().forward_parameters(), *LABELS, *(self.args.label_names or [])}
        kept = {name: value for name, value in example.items() if name in known}
        if not kept:
            raise TrainingError(
                f"no column of the data ({', '.join(map(str, example))}) is an input of {type(self.model).__name__} "
                f"({', '.join(sorted(known))}): tokenize the texts, or set remove_unused_columns=False"
            )
        return kept

    def _model(self) -> Any:
        return self.model

    # Measuring --------------------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
        **options: Any,
    ) -> dict[str, float]:
        """The loss on held-back data, and what ``compute_metrics`` measures; names begin with ``eval_``.

        Args:
            eval_dataset: instead of the trainer's; the name of one of several.
            ignore_keys: outputs of the model that are no predictions.
            metric_key_prefix: instead of "eval".
            **options: for ``generate`` (``Seq2SeqTrainer``).

        Raises:
            TrainingError: there is no data.
        """
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, str):
            data = self.eval_dataset[data]
        if isinstance(data, Mapping) and not hasattr(data, "column_names"):
            found: dict[str, float] = {}
            for name, part in data.items():
                found |= self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}", **options)
            return found
        if data is None:
            raise TrainingError("there is nothing to evaluate on: pass eval_dataset")
        metrics = self._measure(data, ignore_keys, metric_key_prefix, options).metrics or {}
        self.log(metrics)
        self.call("evaluate", metrics=metrics)
        return metrics

    def predict(
        self,
        test_dataset: Any,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "test",
        **options: Any,
    ) -> PredictionOutput:
        """Predictions, labels and metrics for a data set; arguments as for ``evaluate``."""
        found = self._measure(test_dataset, ignore_keys, metric_key_prefix, options)
        self.call("predict", metrics=found.metrics)
        return PredictionOutput(found.predictions, found.label_ids, found.metrics)

    def _measure(
        self, data: Any, ignore_keys: Sequence[str] | None, prefix: str, options: Mapping[str, Any]
    ) -> EvalLoopOutput:
        began, number, size = time.perf_counter(), len(data), self.args.per_device_eval_batch_size
        losses, logits, labels = [], [], []
        was_training = self.model.training
        self.model.to(self.args.device).eval()
        for start in range(0, number, size):
            batch = self.make_batch([data[i] for i in range(start, min(start + size, number))])
            batch = {name: x.to(self.args.device) for name, x in batch.items()}
            loss, batch_logits, batch_labels = self.prediction_step(
                self.model, batch, self.args.prediction_loss_only, ignore_keys, **options
            )
            if loss is not None:
                losses += [float(loss)] * len(next(iter(batch.values())))
            if self.preprocess_logits_for_metrics is not None and batch_logits is not None:
                batch_logits = self.preprocess_logits_for_metrics(batch_logits, batch_labels)
            logits.append(_on_cpu(batch_logits))
            labels.append(_on_cpu(batch_labels))
        self.model.train(was_training)
        predictions, label_ids = gather(logits), gather(labels)
        metrics: dict[str, float] = {}
        if self.compute_metrics is not None and predictions is not None and label_ids is not None:
            metrics = {
                name: value.item() if isinstance(value, np.generic | np.ndarray) else value
                for name, value in self.compute_metrics(EvalPrediction(predictions, label_ids)).items()
            }
        if losses:
            metrics = {f"{prefix}_loss": float(np.mean(losses))} | metrics
        metrics = {name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": v for name, v in metrics.items()}
        seconds = time.perf_counter() - began
        metrics[f"{prefix}_runtime"] = round(seconds, 4)
        metrics[f"{prefix}_samples_per_second"] = round(number / seconds, 3)
        metrics[f"{prefix}_steps_per_second"] = round(math.ceil(number / size) / seconds, 3)
        return EvalLoopOutput(predictions, label_ids, metrics, number)

    @torch.no_grad()
    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: Sequence[str] | None = None,
        **options: Any,
    ) -> tuple[Tensor | None, Any, Any]:
        """Loss, logits and labels of a batch; override it for other predictions."""
        names = self.args.label_names or [name for name in LABELS if name in inputs]
        labels = tuple(inputs[name] for name in names if name in inputs)
        with self._autocast():
            if labels:
                loss, outputs = self.compute_loss(model, dict(inputs), return_outputs=True)
            else:
                loss, outputs = None, model(**inputs)
        if prediction_loss_only:
            return loss, None, None
        left_out = {"loss", "past_key_values", *(ignore_keys or [])}
        given = [(name, value) for name, value in _items(outputs) if value is not None and name not in left_out]
        kept = tuple(value for _, value in given)
        logits = kept[0] if len(kept) == 1 else kept
        return loss, logits, labels[0] if len(labels) == 1 else labels or None

    def _autocast(self) -> Any:
        from contextlib import nullcontext

        halves = self.args.bf16 or self.args.fp16
        return torch.autocast(self.args.device.type, torch.bfloat16) if halves else nullcontext()

    # Keeping ----------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | Path | None = None, _internal_call: bool = False) -> None:
        """Write the model and its tokenizer, in the Hub's format."""
        self.write_model(Path(output_dir or self.args.output_dir), self.model)

    def write_model(self, folder: Path, model: Any) -> None:
        """Write a model and the trainer's tokenizer into a folder."""
        saves = hasattr(self.processing_class, "save_pretrained")
        save_model(model, folder, self.processing_class if saves else None)

    def save_state(self) -> None:
        """Write trainer_state.json into ``output_dir``."""
        self.state.save_to_json(Path(self.args.output_dir) / "trainer_state.json")

    def load_weights(self, folder: Path) -> None:
        """Put the weights of a checkpoint into the model."""
        load_weights(self.model, open_checkpoint(folder), type(self.model).WEIGHTS, dtype=self.model.dtype)
        self.model.to(self.args.device)

    def push_to_hub(self, commit_message: str = "End of training", **options: Any) -> Any:
        """Save the model and send ``output_dir`` to the Hub; see ``PretrainedModel.push_to_hub``."""
        self.save_model()
        return self.model.push_to_hub(
            options.pop("repo_id", Path(self.args.output_dir).absolute().name), commit_message=commit_message, **options
        )

    # Telling ----------------------------------------------------------------------------------------------

    def log(self, logs: Mapping[str, float], start_time: float | None = None) -> None:
        """Add numbers to ``state.log_history``, and tell the callbacks."""
        told = dict(logs)
        if self.state.epoch is not None:
            told["epoch"] = self.state.epoch
        self.state.log_history.append({**told, "step": self.state.global_step})
        self.call("log", logs=told)

    def log_metrics(self, split: str, metrics: Mapping[str, float]) -> None:
        """Print metrics, sorted by name."""
        print(f"***** {split} metrics *****")
        width = max(map(len, metrics), default=0)
        for name in sorted(metrics):
            print(f"  {name:<{width}} = {metrics[name]}")

    def save_metrics(self, split: str, metrics: Mapping[str, float], combined: bool = True) -> None:
        """Write metrics into ``output_dir/SPLIT_results.json``; ``combined`` adds them to all_results.json."""
        folder = Path(self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        told = {f"{split}_results.json": dict(metrics)}
        if combined:
            earlier = folder / "all_results.json"
            told["all_results.json"] = (read_json(earlier) if earlier.exists() else {}) | dict(metrics)
        for name, content in told.items():
            write_whole(folder / name, json.dumps(content, indent=4, sort_keys=True) + "\n")

    def add_callback(self, callback: Any) -> None:
        """Call this one, too; a class is made an object."""
        made = callback() if isinstance(callback, type) else callback
        if not any(hasattr(made, f"on_{event}") for event in EVENTS):
            raise ArgumentError(f"{type(made).__name__} is no callback: it has none of on_{', on_'.join(EVENTS)}")
        self.callbacks.append(made)

    def pop_callback(self, callback: Any) -> Any:
        """Stop calling this one, or the first of this class; give it back."""
        for each in self.callbacks:
            if each is callback or (isinstance(callback, type) and isinstance(each, callback)):
                self.callbacks.remove(each)
                return each
        return None

    def remove_callback(self, callback: Any) -> None:
        """Stop calling this one, or the first of this class."""
        self.pop_callback(callback)

    def call(self, event: str, **more: Any) -> None:
        """Tell all callbacks of an event."""
        told = {
            "model": self.model,
            "processing_class": self.processing_class,
            "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler_given,
            **more,
        }
        for each in self.callbacks:
            function = getattr(each, f"on_{event}", None)
            changed = function(self.args, self.state, self.control, **told) if function is not None else None
            if isinstance(changed, TrainerControl):
                self.control = changed

    def is_world_process_zero(self) -> bool:
        """Whether this is the first of all processes."""
        from minitransformer.training.distributed import rank

        return rank() == 0

    is_local_process_zero = is_world_process_zero

    def get_train_dataloader(self) -> Any:
        """Batches of the training data in their order, for loops of one's own."""
        return self._loader(self.train_dataset, self.args.per_device_train_batch_size, shuffle=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Batches of the held-back data."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._loader(data, self.args.per_device_eval_batch_size, shuffle=False)

    def _loader(self, data: Any, size: int, *, shuffle: bool) -> Any:
        from torch.utils.data import DataLoader

        if data is None:
            raise TrainingError("there is no such data set: pass train_dataset or eval_dataset to the Trainer")
        return DataLoader(data, batch_size=size, shuffle=shuffle, collate_fn=self.make_batch)


class Seq2SeqTrainer(Trainer):
    """The same for models that write: with ``predict_with_generate`` predictions are what ``generate`` gives."""

    @staticmethod
    def _arguments() -> type[TrainingArguments]:
        return Seq2SeqTrainingArguments

    @torch.no_grad()
    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: Sequence[str] | None = None,
        **options: Any,
    ) -> tuple[Tensor | None, Any, Any]:
        """Loss, ids that were written (padded to one length) and labels of a batch."""
        args: Any = self.args
        if not getattr(args, "predict_with_generate", False) or prediction_loss_only:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        asked = {"max_length": args.generation_max_length, "num_beams": args.generation_num_beams}
        asked = {name: value for name, value in asked.items() if value is not None} | options
        if args.generation_config is not None:
            asked.setdefault("generation_config", args.generation_config)
        sources = {name: x for name, x in inputs.items() if name not in (*LABELS, "decoder_input_ids")}
        written = model.generate(**sources, **asked)
        labels, loss = inputs.get("labels"), None
        if labels is not None:
            with self._autocast():
                loss = self.compute_loss(model, dict(inputs))
        config = model.generation_config
        pad = next((i for i in (config.pad_token_id, model.config.pad_token_id, 0) if i is not None), 0)
        # As in the reference, the length is that of the model's config, whatever was asked for.
        longest = config.max_length or (config.max_new_tokens or 0) + 1
        if labels is not None:
            labels = pad_to(labels, longest, pad)
        return loss, pad_to(written, longest, pad), labels


def smoothed_loss(logits: Tensor, labels: Tensor, share: float, shifted: bool) -> Tensor:
    """Cross-entropy with a share of the target spread over all classes; -100 counts nothing.

    Args:
        logits: (batch, class) or (batch, token, class).
        labels: (batch) or (batch, token).
        share: of the target that is spread.
        shifted: whether a token's scores are about the next one.
    """
    if shifted:
        logits, labels = logits[:, :-1], labels[:, 1:]
    flat = logits.reshape(-1, logits.shape[-1])
    return F.cross_entropy(flat, labels.reshape(-1), ignore_index=IGNORED, label_smoothing=share)


def get_last_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint with the highest number in a folder."""
    folder = Path(folder)
    if not folder.is_dir():
        return None
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := FOLDER.fullmatch(path.name))]
    return max(found)[1] if found else None


def _on_cpu(values: Any) -> Any:
    if isinstance(values, tuple | list):
        return tuple(_on_cpu(value) for value in values)
    return values.cpu() if isinstance(values, Tensor) else values


def _items(outputs: Any) -> list[tuple[str, Any]]:
    """Names and values of a model's output, in their order."""
    if isinstance(outputs, Mapping):
        return list(outputs.items())
    if isinstance(outputs, tuple | list):
        return [(str(i), value) for i, value in enumerate(outputs)][1:]
    return list(vars(outputs).items())
