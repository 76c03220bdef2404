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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from minitransformer.errors import PipelineError
from minitransformer.generation import transition_scores
from minitransformer.generation.config import ARGUMENTS, DEFAULTS, KNOWN, GenerationConfig, resolve
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import ACCELERATED, ALONE, Chunk, Sharing, chunk_length
from minitransformer.pipelines.generated import describe_tokens, other_outputs
from minitransformer.pipelines.loading import load_model
from minitransformer.pipelines.options import Steps

if TYPE_CHECKING:
    from minitransformer.models.common.base import GenerativeModel

GENERATE_OPTIONS = frozenset({*KNOWN, *ARGUMENTS, "generation_config"}) - {
    "transformers_version",
    "use_model_defaults",
}
OWN_CODE = frozenset(ARGUMENTS) - {"use_model_defaults", "tokenizer"}
"""Arguments of ``generate`` that see one batch or belong to one: functions of the caller's, tensors, a streamer."""

LOOKS_AT_SOURCE = ("encoder_repetition_penalty", "encoder_no_repeat_ngram_size")
LOOKS_BACK = (
    *LOOKS_AT_SOURCE,
    "min_length",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "sequence_bias",
    "forced_bos_token_id",
)
"""Settings that look at the tokens of the prompt or count them, so that padding before it would change the result. The
prompt of an encoder-decoder is the start token; only the first two look at its source.
"""

AUTO_TOKENS = 8192
"""With ``batch_size="auto"``: the most tokens, read and written, that the caches of one batch may come to hold."""


class GeneratingPipeline(Pipeline):
    """Base of the tasks that call ``generate``.

    ``pipe.generation_config`` holds the settings for calls that do not type their own; it may be changed.
    """

    model: GenerativeModel
    task_defaults: ClassVar[Mapping[str, Any]]
    open_options = {"forward": GENERATE_OPTIONS}
    none_counts = GENERATE_OPTIONS
    old_names = {"stop_sequence": str, "return_text": bool, "return_type": Literal[0, 1, 2]}
    first_stop_only: ClassVar[bool] = False
    """Whether of a ``stop_sequence`` 4.57 heeds the first token only, or ends at any of them."""

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

    # Batches ----------------------------------------------------------------------------------------------

    def sharing(self, steps: Steps) -> Sharing:
        """Prompts share a batch if neither padding nor company changes what is generated from them.

        Samples are drawn in the order of the inputs, one after the other, so that a seed gives the same ones however
        many inputs there are; who wants batches of samples names their size.
        """
        config = self.settings(steps.forward)
        alone = (
            any(steps.forward.get(name) is not None for name in OWN_CODE)
            or bool(config.stop_strings)  # what follows one in a batch does not say so
            or config.return_dict_in_generate
            or config.encoder_repetition_penalty != 1.0  # with beams it goes by places in the batch
        )
        seq2seq = self.model.config.is_encoder_decoder
        looks_back = any(
            getattr(config, name) != DEFAULTS[name] for name in (LOOKS_AT_SOURCE if seq2seq else LOOKS_BACK)
        )
        copies = max(config.num_beams, config.num_return_sequences)

        def key(chunk: Chunk) -> Hashable:
            if alone:
                return ALONE
            length = chunk_length(chunk)
            return (length if looks_back else None, self.new_tokens(config, 1 if seq2seq else length))

        def cost(chunk: Chunk) -> int:
            length = chunk_length(chunk)
            new = self.new_tokens(config, 1 if seq2seq else length)
            return length + copies * new if seq2seq else copies * (length + new)

        in_order = config.do_sample or config.max_time is not None or bool(steps.forward.get("return_token_scores"))
        tokens = AUTO_TOKENS * (1 if self.device.type == "cpu" else ACCELERATED)
        # one batch more costs many steps, so that no padding is too much
        return replace(super().sharing(steps), key=key, cost=cost, tokens=tokens, padding=tokens, in_order=in_order)

    def new_tokens(self, config: GenerationConfig, prompt: int) -> int:
        """The most tokens that can come after a prompt of that length."""
        new = config.max_new_tokens
        if new is None:
            new = (config.max_length or 0) - prompt
        limit = self.model.config.max_positions
        return new if limit is None else min(new, limit + 1 - prompt)  # the last token is never read

    def budget(self, config: GenerationConfig, prompt: int) -> int | None:
        """``max_new_tokens``; if it is only the task's default, no more than the model has positions left."""
        if config.max_new_tokens != self.task_defaults["max_new_tokens"]:
            return config.max_new_tokens
        return max(1, self.new_tokens(config, prompt))

    # Generating -------------------------------------------------------------------------------------------

    def run_generate(
        self, inputs: Chunk, options: Mapping[str, Any], config: GenerationConfig, return_token_scores: bool
    ) -> Chunk:
        """Generate; for each row of the batch "sequences" gets a tensor (returned sequences, tokens).

        "token_scores" gets a list for each of these sequences if they are asked for, "output" what else
        ``return_dict_in_generate`` gives.
        """
        extra = self.arguments(options, config)
        asked = config.return_dict_in_generate
        if return_token_scores:
            config.return_dict_in_generate = config.output_scores = True
        with torch.no_grad():
            output = self.model.generate(
                inputs["input_ids"].to(self.device),
                attention_mask=inputs["attention_mask"].to(self.device),
                generation_config=config,
                compat=self.compat,
                **extra,
            )
        B = len(inputs["input_ids"])
        sequences: Tensor = output if isinstance(output, Tensor) else output.sequences
        results: Chunk = {"sequences": list(sequences.cpu().reshape(B, -1, sequences.shape[-1]))}
        if return_token_scores:
            logprobs = transition_scores(
                sequences, output.scores, output.beam_indices, normalize_logits=config.num_beams == 1
            )
            of_rows = zip(results["sequences"], logprobs.cpu().reshape(B, -1, logprobs.shape[-1]), strict=True)
            results["token_scores"] = [describe_tokens(*row, config.eos_token_id, self.tokenizer) for row in of_rows]
        if asked:
            results["output"] = [output]
        return results

    def arguments(self, options: Mapping[str, Any], config: GenerationConfig) -> dict[str, Any]:
        """What ``generate`` gets beside its settings."""
        extra = {name: value for name, value in options.items() if name in ARGUMENTS}
        if config.max_new_tokens is None and "max_length" in config.said:
            extra["max_length"] = config.max_length  # said by somebody: also 20 counts the prompt
        if config.stop_strings:
            extra.setdefault("tokenizer", self.tokenizer)
        return extra

    def add_asked(self, records: list[dict[str, Any]], outputs: Chunk) -> list[dict[str, Any]]:
        """The results of one input, with the scores and other outputs that were asked for."""
        for row, record in enumerate(records):
            if "token_scores" in outputs:
                record["token_scores"] = outputs["token_scores"][0][row]
            if "output" in outputs and not (self.compat and "generated_text" not in record):
                record |= other_outputs(outputs["output"][0], row, alike=self.compat is not None)
        return records

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn ``stop_sequence`` into settings of ``generate``; load the assistant if it is a folder or an id."""
        known = super().translate(options)
        assistant = known.get("assistant_model")
        if isinstance(assistant, (str, Path)):
            known["assistant_model"] = load_model(assistant, self.auto_class, self.device, self.dtype)
        text = known.pop("stop_sequence", None)
        if text is not None:
            ids = self.tokenizer.encode(self.check_text(text, "stop_sequence"), add_special_tokens=False)
            if self.compat == "transformers":
                known["eos_token_id"] = ids[0] if self.first_stop_only else ids
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
