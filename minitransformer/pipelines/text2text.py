"""text2text-generation, summarization and translation: one text in, another out, by an encoder-decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from minitransformer.errors import PipelineError
from minitransformer.generation.config import GenerationConfig
from minitransformer.pipelines.batching import Chunk
from minitransformer.pipelines.generated import without_padding
from minitransformer.pipelines.generating import GeneratingPipeline, choose_one
from minitransformer.pipelines.streaming import listed
from minitransformer.pipelines.tasks import languages
from minitransformer.tokenization.strategies import TruncationOption


class Text2TextGenerationPipeline(GeneratingPipeline):
    """Text -> list of {"generated_text"}, one for each returned sequence; a list of texts -> one flat list.

    Unless the model or you say otherwise: up to 256 new tokens, by beam search with 4 beams. A text that
    the model's config wants in front of every input (T5's "summarize: ") is put there.

    Options:
        return_tensors: give {"generated_token_ids"} instead of text.
        clean_up_tokenization_spaces: join punctuation to the word before it (False).
        truncation: cut an input that is too long for the model.
        stop_sequence: end at this text.
        return_token_scores: add "token_scores" to each result: {"token", "token_id", "logprob"} of each token that
            was generated.
        any option of ``generate``: max_length, min_length, num_beams, do_sample, num_return_sequences, ...
    """

    default_task = "text2text-generation"
    auto_class = "AutoModelForSeq2SeqLM"
    default_model = "google-t5/t5-base"
    default_revision = "a9723ea"
    task_defaults = {"max_new_tokens": 256, "num_beams": 4}
    first_stop_only = True
    result_name: ClassVar[str] = "generated"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """As in every pipeline; for a list of texts with one answer each, the answers themselves."""
        inputs = listed(inputs)
        results = super().__call__(inputs, **options)
        if isinstance(inputs, (list, tuple)) and all(len(answers) == 1 for answers in results):
            return [answers[0] for answers in results]
        return results

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the old ways to choose a result into today's."""
        known = super().translate(options)
        known.pop("return_text", None)
        if "return_type" in known:  # transformers' enumeration: 0 tensors, 1 text
            choose_one(known, "return_type", "return_tensors")
            known["return_tensors"] = known.pop("return_type") == 0
        return known

    def preprocess(self, text: str, *, truncation: TruncationOption = None) -> Chunk:  # type: ignore[override]
        """Tokenize the text, with the model's prefix before it."""
        text = self.prefix + self.check_text(text)
        inputs = dict(self.encode(text, return_tensors="pt", truncation=truncation or False))
        inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
        return inputs

    def forward(self, inputs: Chunk, *, return_token_scores: bool = False, **options: Any) -> Chunk:
        """Generate; "sequences" gets, for each text, a tensor (returned sequences, tokens)."""
        config = self.settings(options)
        self.compare_lengths(inputs["input_ids"].shape[1], config, options)
        config.max_new_tokens = self.budget(config, prompt=1)
        results = self.run_generate(inputs, options, config, return_token_scores)
        if len(results["sequences"]) > 1:
            eos = config.eos_token_id
            results["sequences"] = [without_padding(rows, left=0, prompt=1, eos=eos) for rows in results["sequences"]]
        return {**inputs, **results}

    def compare_lengths(self, source: int, config: GenerationConfig, typed: Mapping[str, Any]) -> None:
        """Warn where ``max_length``, if somebody has said it, fits a text of so many tokens badly.

        (4.57 compares its default, too, and where ``max_new_tokens`` was typed.)
        """
        unsaid = "max_length" not in config.said or typed.get("max_new_tokens") is not None
        if config.max_length is None or (self.compat is None and unsaid):
            return
        if (hint := self.length_hint(source, config.max_length)) is not None:
            self.warn_once(hint)

    def length_hint(self, source: int, longest: int) -> str | None:
        """What to say of a text of ``source`` tokens and at most ``longest`` to come, where they do not fit."""
        return None

    def postprocess(  # type: ignore[override]
        self, outputs: Chunk, *, return_tensors: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> list[dict[str, Any]]:
        """Decode each sequence."""
        sequences = outputs["sequences"][0]
        if return_tensors:
            return self.add_asked([{f"{self.result_name}_token_ids": ids} for ids in sequences], outputs)
        texts = [
            self.tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
            )
            for ids in sequences.tolist()
        ]
        return self.add_asked([{f"{self.result_name}_text": text} for text in texts], outputs)


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Text -> list of {"summary_text"}; options as for text2text-generation."""

    default_task = "summarization"
    default_model = "sshleifer/distilbart-cnn-12-6"
    default_revision = "a4f8f3e"
    result_name = "summary"

    def length_hint(self, source: int, longest: int) -> str | None:
        """A summary is meant to be shorter than the text."""
        if source >= longest:
            return None
        return (
            f"max_length is {longest}, and the text has only {source} tokens: a summary that is to be shorter needs a "
            f"smaller one, such as max_length={source // 2}"
        )


class TranslationPipeline(Text2TextGenerationPipeline):
    """Text -> list of {"translation_text"}; further options as for text2text-generation.

    The task may name the languages: ``pipeline("translation_en_to_fr")``. A model for one pair of
    languages needs no more than that (T5 finds its prefix under this name in ``task_specific_params``).

    Options:
        src_lang, tgt_lang: the languages, for a tokenizer that knows several (mBART: "en_XX", "ro_RO").
    """

    default_task = "translation"
    default_model = "google-t5/t5-base"
    default_revision = "a9723ea"
    result_name = "translation"

    def length_hint(self, source: int, longest: int) -> str | None:
        """A translation is about as long as the text."""
        if source <= 0.9 * longest:
            return None
        return (
            f"max_length is {longest}, and the text has {source} tokens: its translation may be cut off; pass a "
            "greater one, such as max_length=400"
        )

    def merge(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call; where none of them is a language, those that the task names.

        Raises:
            PipelineError: the tokenizer knows several languages, and is not told which.
            TokenizerError: it does not know the one that it is told.
        """
        merged = super().merge(options)
        if not self.tokenizer.languages:
            return merged  # a model for one pair of languages does not look at them
        if "src_lang" not in merged and "tgt_lang" not in merged and (pair := languages(self.task)):
            merged["src_lang"], merged["tgt_lang"] = pair
        for name in ("src_lang", "tgt_lang"):
            if name not in merged:
                known = ", ".join(self.tokenizer.languages)
                raise PipelineError(
                    f"{name} is missing: the model knows several languages, so pass {name}=... Known are {known}"
                )
            self.tokenizer.check_language(merged[name], name)
        return merged

    def preprocess(  # type: ignore[override]
        self, text: str, *, truncation: TruncationOption = None, src_lang: str | None = None
    ) -> Chunk:
        """Tokenize the text, as one of the source language."""
        if src_lang is None or not self.tokenizer.languages:
            return super().preprocess(text, truncation=truncation)
        with self.tokenizer.reading(src_lang):
            return super().preprocess(text, truncation=truncation)

    def forward(self, inputs: Chunk, *, tgt_lang: str | None = None, **options: Any) -> Chunk:
        """Generate; the first token says the target language, where there are several."""
        if tgt_lang is not None and self.tokenizer.languages:
            options.setdefault("forced_bos_token_id", self.tokenizer.language_id(tgt_lang))
        return super().forward(inputs, **options)
