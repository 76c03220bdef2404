"""README.md of a checkpoint: a model card in the Hub's form, made of evaluation.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from minitransformer.pipelines.tasks import own_name
from releasing.entries import Entry
from releasing.tables import better, number, rows

CARD = """\
---
{metadata}
---

# minitransformer/{name}

A **toy**: it {what}, as well as {parameters} parameters and {minutes} minutes of training on {cores} allow.
It comes inside the Python package minitransformer, so that its task can be tried and looked into without any download.
For real work name a model of the Hub instead.

```python
from minitransformer import pipeline

pipe = pipeline("{task}", model="minitransformer/{name}")
print(pipe({example}))
```

transformers opens the same folder: `minitransformer.hub.embedded_folder("minitransformer/{name}")` says where it is.

## Architecture

{architecture}

## Data

{data}

## Training

{training}

## Measured

{measured}

`evaluation.json` has these numbers, and what they were measured on.{caveats}

## Limits

It has read very little, repeats what was in its data, prejudice included, and is often wrong. Nothing that it says is
to be relied on.{weaknesses}

## Licence

The weights: {license}. The texts they were learnt from have their own licences, above; please name their authors.
"""


def metadata(entry: Entry, evaluation: Mapping[str, Any]) -> str:
    """The card's head, in YAML."""
    results = [
        EvalResult(
            task_type=result["task"],
            dataset_type=result["files"][0].partition("/")[0],
            dataset_name=result["data"],
            dataset_config=result["data"],  # what tells two measurements on one data set apart
            metric_type=metric,
            metric_value=value,
        )
        for result in evaluation["results"]
        for metric, value in result["model"].items()
    ]
    data = ModelCardData(
        language=entry.language,
        license=entry.license,
        library_name="minitransformer",
        pipeline_tag=own_name(entry.task),
        tags=["toy", "education"],
        datasets=sorted({one["hub"] for one in evaluation["data"] if one["hub"]}),
        model_name=entry.name,
        eval_results=results,
    )
    return data.to_yaml()


def card(entry: Entry, evaluation: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The whole card.

    Args:
        entry: what the checkpoint is for.
        evaluation: contents of evaluation.json.
        config: contents of config.json.
    """
    runs = evaluation["runs"]
    minutes, cores = sum(run["minutes"] for run in runs), runs[-1]["cores"]
    return CARD.format(
        metadata=metadata(entry, evaluation).strip(),
        name=entry.name,
        what=entry.what,
        task=entry.task,
        example=entry.example,
        parameters=f"{evaluation['parameters']:,}",
        minutes=round(minutes),
        cores="one processor core" if cores == 1 else f"{cores} processor cores",
        architecture=architecture(config, evaluation),
        data=rows(
            ("data", "licence", "by"),
            [(f"[{one['name']}]({one['source']})", one["license"], one["by"]) for one in evaluation["data"]],
        ),
        training="\n\n".join(map(training, runs)),
        measured=measured(evaluation),
        caveats="".join(map(caveat, evaluation["results"])),
        weaknesses="".join(map(weakness, evaluation["results"])),
        license=entry.license,
    )


def architecture(config: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """What is inside, in a sentence."""
    shapes = {name: config[name] for name in SIZES if config.get(name) is not None}
    told = ", ".join(f"{name} {value:,}" for name, value in shapes.items())
    return (
        f"{evaluation['class']}, {evaluation['parameters']:,} parameters: {told}. The file holds them in float16 "
        f"({evaluation['bytes'] / 1e6:.1f} MB with its tokenizer); minitransformer computes in float32."
    )


SIZES = (
    "vocab_size",
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"),
    *("n_embd", "n_layer", "n_head", "n_positions"),
    *("d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim"),
)
"""Keys of config.json that say how large a model is."""


def training(run: Mapping[str, Any]) -> str:
    """One run: its command and what it took."""
    kept = f", of which step {run['kept_step']:,} was the best" if run["kept_step"] != run["steps"] else ""
    cores = "one core" if run["cores"] == 1 else f"{run['cores']} cores"
    return (
        f"```console\n{run['command']}\n```\n\n"
        f"Seed {run['seed']}, {run['steps']:,} steps{kept}, {run['minutes']:g} minutes on {cores}."
    )


def measured(evaluation: Mapping[str, Any]) -> str:
    """All numbers, as a table."""
    twin = any("twin" in result for result in evaluation["results"])
    head = ("data", "metric", "this model", "trivial baseline", *(("without pretraining",) if twin else ()))
    lines = []
    for result in evaluation["results"]:
        for metric, value in result["model"].items():
            others = [number(result["baseline"][metric], metric)]
            others += [number(result["twin"][metric], metric) if "twin" in result else ""] if twin else []
            what = f"{result['data']}, {result['task']}, {result['records']:,} records"
            lines.append((what, metric, number(value, metric), *others))
    baselines = dict.fromkeys(f"{result['baseline_is']} ({result['task']})" for result in evaluation["results"])
    return rows(head, lines) + f"\n\nThe trivial baseline: {'; '.join(baselines)}."


def caveat(result: Mapping[str, Any]) -> str:
    """What makes a number look better than it is."""
    told = ""
    if result["validated_with"]:
        told += (
            f" Of the {result['records']:,} records of “{result['data']}”, {result['validated_with']:,} were also used "
            "to choose the best step of the training."
        )
    if result["learnt_from"]:
        told += f" {result['learnt_from']:,} records of “{result['data']}” read as ones that it was trained on."
    return told


def weakness(result: Mapping[str, Any]) -> str:
    """A test that shows what it cannot do."""
    if not result["weakness"]:
        return ""
    metric = next(iter(result["model"]))
    than = "better" if better(metric, result["model"][metric], result["baseline"][metric]) else "no better"
    return (
        f" On {result['data']}, its {metric} of {number(result['model'][metric], metric)} is {than} than the "
        f"{number(result['baseline'][metric], metric)} of {result['baseline_is']}."
    )
