"""What the tasks that generate text share: which options of ``generate`` hold when.

From the weakest to the strongest (transformers 4.57, ``pipelines/base.py``):

1. the model's generation_config.json, then the task's own defaults (4.57 really has them in this order, its
   documentation promises the other);
2. ``task_specific_params`` of the model's config.json, for this task;
3. what was typed when the pipeline was made (in 4.57 this is weaker than 2);
4. what is typed at the call.

``max_new_tokens`` beats ``max_length`` where one place sets both, and the tasks' defaults set
``max_new_tokens``. In 4.57 a ``max_length`` typed at the call therefore does nothing; here it counts, because
it was typed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from minitransformer.errors import PipelineError
from minitransformer.generation.config import ARGUMENTS, DEFAULTS, KNOWN, GenerationConfig, resolve
from minitransformer.pipelines.base import Pipeline, Steps
from minitransformer.pipelines.batching import Chunk, chunk_length

if TYPE_CHECKING:
    from minitransformer.models.base import GenerativeModel

GENERATE_OPTIONS = frozenset({*KNOWN, *ARGUMENTS, "generation_config"}) - {
    "transformers_version",
    "use_model_defaults",
}

LOOKS_BACK = (
    "min_length",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
)
"""Settings that look at the tokens of the prompt or count them, so that padding before it would change the
result.
"""


class GeneratingPipeline(Pipeline):
    """Base of the tasks that call ``generate``.

    ``pipe.generation_config`` holds the settings for calls that do not type their own; it may be changed.
    """

    model: GenerativeModel
    task_defaults: ClassVar[Mapping[str, Any]]
    open_options = {"forward": GENERATE_OPTIONS}
    none_counts = GENERATE_OPTIONS
    old_names = frozenset({"stop_sequence", "return_text", "return_type"})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        typed = {name: self.options.pop(name) for name in KNOWN & self.options.keys()}
        of_task = dict((self.model.config.task_specific_params or {}).get(self.task, {}))
        self.prefix: str = of_task.pop("prefix", self.model.config.prefix) or ""
        self.generation_config = self.first_settings(typed, of_task)

    def first_settings(self, typed: dict[str, Any], of_task: dict[str, Any]) -> GenerationConfig:
        """The settings of this pipeline, from the model's, the task's, and the typed ones."""
        of_model = self.model.generation_config.said
        of_model = {name: value for name, value in of_model.items() if value not in (None, DEFAULTS.get(name))}
        settings = {**of_model, **self.task_defaults}
        if self.compat == "transformers":
            settings |= typed
        if settings.get("max_length", 20) != 20 and settings["max_new_tokens"] == self.task_defaults["max_new_tokens"]:
            settings["max_new_tokens"] = of_model.get("max_new_tokens")  # the model says how long its texts are
        settings |= {name: value for name, value in of_task.items() if name in KNOWN}
        settings.pop("transformers_version", None)
        return GenerationConfig(**settings if self.compat == "transformers" else replace_lengths(settings, typed))

    def settings(self, typed: Mapping[str, Any]) -> GenerationConfig:
        """The settings of a call, from what was typed for it.

        Raises:
            GenerationError: an option has a wrong value.
        """
        given = typed.get("generation_config") or self.options.get("generation_config") or self.generation_config
        changes = {name: value for name, value in typed.items() if name in KNOWN}
        if self.compat == "transformers":  # resolve() would let a typed max_length count
            given, changes = GenerationConfig(**{**given.said, **changes}), {}
        config = resolve(self.model.generation_config, given, changes)
        if config.pad_token_id is None and self.tokenizer.pad_token_id is not None:
            config.pad_token_id = self.tokenizer.pad_token_id
        return config

    def budget(self, config: GenerationConfig, prompt: int) -> int | None:
        """``max_new_tokens``; if it is only the task's default, no more than the model has positions left."""
        limit = self.model.config.max_positions
        if limit is None or config.max_new_tokens != self.task_defaults["max_new_tokens"]:
            return config.max_new_tokens
        default: int = self.task_defaults["max_new_tokens"]
        return max(1, min(default, limit + 1 - prompt))  # the last token is never read

    def batch_key(self, chunk: Chunk, steps: Steps) -> Hashable:
        """Prompts share a batch if padding does not change what is generated from them."""
        config = self.settings(steps.forward)
        looks_back = any(getattr(config, name) != DEFAULTS[name] for name in LOOKS_BACK)
        own_code = any(steps.forward.get(name) for name in ARGUMENTS)
        return chunk_length(chunk) if looks_back or own_code else self.prompt_key(config, chunk_length(chunk))

    def prompt_key(self, config: GenerationConfig, prompt: int) -> Hashable:
        """The same for a prompt of that length, when no setting looks back at it."""
        return None

    def run_generate(self, inputs: Chunk, options: Mapping[str, Any], config: GenerationConfig) -> list[Tensor]:
        """Generate; for each row of the batch a tensor (returned sequences, tokens)."""
        extra = {name: value for name, value in options.items() if name in ARGUMENTS}
        if config.max_new_tokens is None and "max_length" in config.said:
            extra["max_length"] = config.max_length  # said by somebody: also 20 counts the prompt
        if config.stop_strings:
            extra.setdefault("tokenizer", self.tokenizer)
        with torch.inference_mode():
            output = self.model.generate(
                inputs["input_ids"].to(self.device),
                attention_mask=inputs["attention_mask"].to(self.device),
                generation_config=config,
                compat=self.compat,
                **extra,
            )
        sequences: Tensor = output if isinstance(output, Tensor) else output.sequences
        return list(sequences.cpu().view(len(inputs["input_ids"]), -1, sequences.shape[-1]))

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn ``stop_sequence`` into settings of ``generate``."""
        known = super().translate(options)
        text = known.pop("stop_sequence", None)
        if text is not None:
            ids = self.tokenizer.encode(self.check_text(text, "stop_sequence"), add_special_tokens=False)
            if self.compat == "transformers":  # each of its tokens ends the text
                known["eos_token_id"] = ids
            elif len(ids) == 1:
                known["eos_token_id"] = ids[0]
            else:
                known["stop_strings"] = [text]
        return known


def replace_lengths(settings: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """``typed`` over ``settings``; a typed length replaces the other way to set that length."""
    merged = {**settings, **typed}
    for name, other in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if typed.get(name) is not None and typed.get(other) is None:
            merged.pop(other, None)
    return merged


def choose_one(options: Mapping[str, Any], *names: str) -> None:
    """Raise if more than one of some options is given.

    Raises:
        PipelineError: naming two of them.
    """
    given = [name for name in names if name in options]
    if len(given) > 1:
        raise PipelineError(f"{given[0]} and {given[1]} exclude each other: pass one of them")


def without_padding(sequences: Tensor, left: int, prompt: int, eos: int | list[int] | None) -> Tensor:
    """The sequences of one prompt, as they would be if it had been alone in its batch.

    Args:
        sequences: (sequences, tokens) token ids.
        left: tokens of padding before the prompt.
        prompt: tokens of the prompt, or of what the decoder starts with.
        eos: ids that end a text, after which there is only padding.
    """
    sequences = sequences[:, left:]
    ends = torch.isin(sequences, torch.tensor([] if eos is None else eos, dtype=sequences.dtype).view(-1))
    ends[:, :prompt] = False
    lengths = [int(row.nonzero()[0]) + 1 if row.any() else sequences.shape[1] for row in ends]
    return sequences[:, : max(lengths)]
