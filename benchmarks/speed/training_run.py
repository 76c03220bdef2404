"""A few steps of training with one library's trainer: ``python -m speed.training_run ORDER``, alone or under torchrun.

The order is a JSON object; each process writes ``rank-N.json`` into its ``out`` folder: seconds at the end of steps,
the loss, and its own peak memory. Model, data, batch, optimizer (AdamW), schedule and clipping are the same for both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

RATE, DECAY, CLIP, SEED = 1e-4, 0.01, 1.0, 0


def examples_of(order: dict[str, Any]) -> list[dict[str, list[int]]]:
    """Random tokens: enough for all steps."""
    from speed.works import token_ids

    rows = order["steps"] * order["batch"]
    ids = token_ids({"rows": rows, "length": order["length"], "vocabulary": order["vocabulary"]})
    return [{"input_ids": row} for row in ids]


def ours(order: dict[str, Any]) -> dict[str, Any]:
    import minitransformer
    from minitransformer import AutoTokenizer
    from minitransformer.training import Settings, Trainer
    from minitransformer.training.objectives.causal_lm import CausalLM
    from minitransformer.training.objectives.masked_lm import MaskedLM

    head, objective_class = {
        "masked": ("AutoModelForMaskedLM", MaskedLM),
        "causal": ("AutoModelForCausalLM", CausalLM),
    }[order["objective"]]
    model = getattr(minitransformer, head).from_pretrained(order["folder"])
    objective = objective_class(
        AutoTokenizer.from_pretrained(order["folder"]), model.config, max_length=order["length"]
    )
    settings = Settings(
        steps=order["steps"],
        batch_size=order["batch"],
        learning_rate=RATE,
        warmup=0,
        weight_decay=DECAY,
        clip=CLIP,
        precision=order["dtype"],
        seed=SEED,
        log_every=1,
        save_every=order["steps"],
    )
    history = Trainer(model, objective, examples_of(order), settings, Path(order["out"]) / "run").train()
    return {
        "seconds": [row["seconds"] for row in history.rows],
        "losses": [row["loss"] for row in history.rows],
    }


def theirs(order: dict[str, Any]) -> dict[str, Any]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(order["folder"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    head = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM"}[order["objective"]]
    model = getattr(transformers, head).from_pretrained(order["folder"])
    ends: list[float] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    settings = transformers.TrainingArguments(
        output_dir=str(Path(order["out"]) / "run"),
        max_steps=order["steps"],
        per_device_train_batch_size=order["batch"] // int(os.environ.get("WORLD_SIZE", "1")),
        learning_rate=RATE,
        weight_decay=DECAY,
        max_grad_norm=CLIP,
        bf16=order["dtype"] == "bfloat16",
        use_cpu=True,
        seed=SEED,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=order["objective"] == "masked")
    trainer = transformers.Trainer(
        model=model,
        args=settings,
        train_dataset=examples_of(order),
        data_collator=collator,
        callbacks=[Clock],
    )
    trainer.train()
    trainer.save_model()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {"seconds": ends, "losses": losses}


def main() -> None:
    order = json.loads(sys.argv[1])
    import torch

    torch.set_num_threads(order["threads"])
    result = {"ours": ours, "theirs": theirs}[order["trainer"]](order)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    rank = os.environ.get("RANK", "0")
    (Path(order["out"]) / f"rank-{rank}.json").write_text(json.dumps(result | {"peak": peak}))


if __name__ == "__main__":
    main()
