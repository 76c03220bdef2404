"""text-generation: continue a text with a causal language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from minitransformer.errors import PipelineError
from minitransformer.generation.config import GenerationConfig
from minitransformer.generation.generate import TokenStream, stream
from minitransformer.options import Count
from minitransformer.pipelines.batching import Chunk, Side
from minitransformer.pipelines.generated import without_padding
from minitransformer.pipelines.generating import GeneratingPipeline, choose_one
from minitransformer.pipelines.options import check_tokenizer_options
from minitransformer.tokenization.strategies import PaddingOption, TruncationOption


class TextGenerationPipeline(GeneratingPipeline):
    """Prompt -> list of {"generated_text"}, one for each returned sequence.

    Unless the model or you say otherwise: up to 256 new tokens, sampled at a temperature of 0.7.

    Options:
        return_full_text: whether the prompt is part of the text (True).
        return_tensors: give {"generated_token_ids"}, the prompt's included, instead of text.
        prefix: text before every prompt that is not shown (default: the one in the model's config, if any).
        handle_long_generation: "hole" cuts a prompt on the left to make room for what is to come.
        stop_sequence: end at this text.
        clean_up_tokenization_spaces, skip_special_tokens: how tokens become text (True, True).
        truncation, max_length, padding, add_special_tokens: for the tokenizer; ``max_length`` also for
            ``generate``.
        max_new_tokens: how many tokens to write (256).
        tokenizer_encode_kwargs: further options of the tokenizer's call, as a dictionary.
        return_token_scores: add "token_scores" to each result: {"token", "token_id", "logprob"} of each token that
            was generated.
        any option of ``generate``: do_sample, num_beams, num_return_sequences, ...

    An empty prompt starts from nothing. Prompts of a batch are padded on the left, whatever the tokenizer's
    side (4.57 follows the tokenizer, and then continues the padding).
    """

    default_task = "text-generation"
    auto_class = "AutoModelForCausalLM"
    default_model = "openai-community/gpt2"
    default_revision = "607a30d"
    too_long_remedy = 'handle_long_generation="hole" (with max_new_tokens), or truncation=True with max_length'
    task_defaults = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the old ways to choose a result into today's."""
        known = super().translate(options)
        choose_one(known, "return_full_text", "return_tensors", "return_text")
        known.pop("return_text", None)
        if self.compat == "transformers" and "return_tensors" in known:
            known["return_tensors"] = True  # there, also False gives token ids
        if "return_type" in known:  # transformers' enumeration: 0 tensors, 1 new text, 2 full text
            kind = known.pop("return_type")
            known |= {"return_tensors": kind == 0, "return_full_text": kind == 2}
        name = "tokenizer_encode_kwargs"
        if name in known:
            known[name] = check_tokenizer_options(name, known[name])
        return known

    @property
    def padding_side(self) -> Side:
        """On the left, so that every row goes on where its prompt ends."""
        return self.tokenizer.padding_side if self.compat == "transformers" else "left"

    def check_input(self, item: Any) -> None:
        """A prompt may be empty."""
        if not (isinstance(item, str) and item == ""):
            self.check_text(item, "the prompt")

    def preprocess(  # type: ignore[override]
        self,
        prompt: str,
        *,
        prefix: str | None = None,
        handle_long_generation: Literal["hole"] | None = None,
        truncation: TruncationOption = None,
        max_length: Count | None = None,
        max_new_tokens: Count | None = None,
        padding: PaddingOption | None = None,
        add_special_tokens: bool | None = None,
        tokenizer_encode_kwargs: dict[str, Any] | None = None,
    ) -> Chunk:
        """Tokenize prefix and prompt."""
        self.check_input(prompt)
        if truncation is None and max_length is not None and self.compat == "transformers":
            truncation = True  # what its tokenizers do on seeing a max_length
        tokenizing: dict[str, Any] = {
            "padding": padding,
            "add_special_tokens": add_special_tokens,
            "truncation": truncation,
        }
        if truncation:
            tokenizing["max_length"] = max_length
        tokenizing = {name: value for name, value in tokenizing.items() if value is not None}
        before = self.prefix if prefix is None else prefix
        inputs = dict(
            self.encode(before + prompt, return_tensors="pt", **{**tokenizing, **(tokenizer_encode_kwargs or {})})
        )
        if handle_long_generation == "hole":
            typed = {"max_length": max_length, "max_new_tokens": max_new_tokens}
            self.cut_left(inputs, self.settings({name: value for name, value in typed.items() if value is not None}))
        inputs["prompt"] = prompt
        inputs["prompt_ids"] = inputs["input_ids"][0].tolist()
        inputs["prefix_length"] = len(self.tokenizer.encode(before, add_special_tokens=bool(add_special_tokens)))
        if not inputs["prompt_ids"]:
            inputs["input_ids"] = torch.tensor([[self.first_token()]])
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))  # not every tokenizer makes one
        return inputs

    def cut_left(self, inputs: Chunk, config: GenerationConfig) -> None:
        """Shorten a prompt so that the model has positions for the new tokens."""
        length = inputs["input_ids"].shape[1]
        new = config.max_new_tokens if config.max_new_tokens is not None else (config.max_length or 0) - length
        if self.max_tokens is None or length + new <= self.max_tokens:
            return
        keep = self.max_tokens - new
        if new < 0 or keep <= 0:
            raise PipelineError(
                f"handle_long_generation='hole' cannot make room for {new} new tokens after a prompt of {length}, "
                f"with {self.max_tokens} in all: pass a smaller max_new_tokens"
            )
        for name in self.tokenizer.model_input_names:
            if name in inputs:
                inputs[name] = inputs[name][:, -keep:]

    def first_token(self) -> int:
        """What a text starts with if there is no prompt."""
        bos = self.settings({}).bos_token_id
        bos = self.tokenizer.bos_token_id if bos is None else bos
        if bos is None:
            raise PipelineError("the prompt is empty, and the model has no bos token to start with: pass a prompt")
        return bos

    def settle(self, inputs: Chunk, options: Mapping[str, Any], longest: int) -> GenerationConfig:
        """The settings of a call, with lengths for these prompts, the longest of so many tokens."""
        config = self.settings(options)
        prefix = inputs["prefix_length"]
        prefix = prefix[0] if isinstance(prefix, list) else prefix  # the same for all prompts
        if prefix and config.max_new_tokens is None and config.max_length is not None:
            config.max_length += prefix
        if prefix and config.min_new_tokens is None and options.get("min_length"):
            config.min_length = options["min_length"] + prefix
        config.max_new_tokens = self.budget(config, longest)
        return config

    def stream(self, inputs: Chunk, **options: Any) -> TokenStream:
        """`forward` for the chunk of one prompt, token by token; to stop asking is to stop generating.

        Raises:
            GenerationError: as ``generate``, and with beams, whose winner is known only at the end.
        """
        config = self.settle(inputs, options, inputs["input_ids"].shape[1])
        ids, mask = (inputs[name].to(self.device) for name in ("input_ids", "attention_mask"))
        arguments = self.arguments(options, config)
        return stream(self.model, ids, mask, generation_config=config, compat=self.compat, **arguments)

    def forward(self, inputs: Chunk, *, return_token_scores: bool = False, **options: Any) -> Chunk:
        """Generate; "sequences" gets, for each prompt, a tensor (returned sequences, tokens)."""
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        config = self.settle(inputs, options, max(lengths))
        results = self.run_generate(inputs, options, config, return_token_scores)
        if len(results["sequences"]) > 1:
            width = inputs["input_ids"].shape[1]
            results["sequences"] = [
                without_padding(rows, width - own if self.padding_side == "left" else 0, own, config.eos_token_id)
                for rows, own in zip(results["sequences"], lengths, strict=True)
            ]
        return {**inputs, **results}

    def postprocess(  # type: ignore[override]
        self,
        outputs: Chunk,
        *,
        return_full_text: bool = True,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = True,
        skip_special_tokens: bool = True,
    ) -> list[dict[str, Any]]:
        """Cut the prompt off each sequence, and put the original one in front."""
        sequences = outputs["sequences"][0].tolist()
        if return_tensors:
            return self.add_asked([{"generated_token_ids": ids} for ids in sequences], outputs)

        def decode(ids: list[int]) -> str:
            return self.tokenizer.decode(
                ids,
                skip_special_tokens=skip_special_tokens,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )

        start = len(decode(outputs["prompt_ids"])) if outputs["prompt_ids"] else 0
        tails = [decode(ids)[start:] for ids in sequences]
        texts = [outputs["prompt"] + tail if return_full_text else tail for tail in tails]
        return self.add_asked([{"generated_text": text} for text in texts], outputs)
