"""fill-mask: what a masked language model would put in place of the mask token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from minitransformer.errors import PipelineError
from minitransformer.pipelines.base import TOKENIZER_OPTIONS, Pipeline, check_positive
from minitransformer.pipelines.batching import Chunk


class FillMaskPipeline(Pipeline):
    """Text with one mask token -> list of {"score", "token", "token_str", "sequence"}, the likeliest first.

    With several masks, a list of such lists: each mask is filled on its own, the others staying masked.

    Options:
        top_k: how many fillings to give (5).
        targets: only consider these words. Their scores stay probabilities among the whole vocabulary.
        tokenizer_kwargs: options of the tokenizer's call, as a dictionary ({"truncation": True}).
    """

    default_task = "fill-mask"
    auto_class = "AutoModelForMaskedLM"
    default_model = "distilroberta-base"
    too_long_remedy = 'tokenizer_kwargs={"truncation": True}'
    token_outputs = ("logits",)
    old_names = frozenset({"targets"})

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """As in every pipeline; but a list of one text has its answer not in a list (as in transformers)."""
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, (list, tuple)) and len(inputs) == 1 else results

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Check ``top_k``; look up the ids of ``targets``."""
        known = super().translate(options)
        if self.tokenizer.mask_token_id is None:
            raise PipelineError("the tokenizer has no mask token: fill-mask needs a masked language model's tokenizer")
        if "top_k" in known:
            check_positive("top_k", known["top_k"])
        for name in set(known.get("tokenizer_kwargs", {})) - TOKENIZER_OPTIONS:
            raise PipelineError(f"tokenizer_kwargs has {name!r}, which is no option of the tokenizer")
        if "targets" in known:
            known["target_ids"] = self.find_targets(known.pop("targets"))
        return known

    def find_targets(self, targets: str | list[str]) -> list[int]:
        """Token ids of words; a word of several tokens counts as its first token, with a warning."""
        words = [targets] if isinstance(targets, str) else list(targets)
        vocabulary = self.tokenizer.get_vocab()
        found = set()
        for word in words:
            if not isinstance(word, str):
                raise PipelineError(f"targets must be words, not {word!r}")
            if word in vocabulary:
                found.add(vocabulary[word])
                continue
            pieces = self.tokenizer(word, add_special_tokens=False)["input_ids"]
            if not pieces:
                self.warn_once(f"the target {word!r} has no tokens and is left out")
                continue
            token = self.tokenizer.convert_ids_to_tokens(pieces[0])
            self.warn_once(f"the target {word!r} is not in the vocabulary; its first token {token!r} stands in for it")
            found.add(pieces[0])
        if not found:
            raise PipelineError("targets has no word of the vocabulary: pass at least one, or leave targets out")
        return sorted(found)

    def preprocess(self, text: str, *, tokenizer_kwargs: dict[str, Any] | None = None) -> Chunk:  # type: ignore[override]
        """Tokenize, and see to it that there is a mask."""
        inputs = dict(self.encode(self.check_text(text), return_tensors="pt", **(tokenizer_kwargs or {})))
        if not (inputs["input_ids"] == self.tokenizer.mask_token_id).any():
            raise PipelineError(
                f"the text has no mask token: write {self.tokenizer.mask_token} where a word is missing"
            )
        return inputs

    def forward(self, inputs: Chunk) -> Chunk:  # type: ignore[override]
        """Scores of all words at all places: (batch, tokens, vocabulary)."""
        return {**inputs, "logits": self.call_model(inputs).logits.cpu()}

    def postprocess(  # type: ignore[override]
        self, outputs: Chunk, *, top_k: int = 5, target_ids: list[int] | None = None
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """The likeliest words for each mask, each with its text filled in."""
        ids = outputs["input_ids"][0]  # (T,)
        masks = torch.nonzero(ids == self.tokenizer.mask_token_id).squeeze(-1)
        probabilities = outputs["logits"][0, masks].softmax(dim=-1)  # (masks, V)
        if target_ids is not None:
            probabilities = probabilities[:, target_ids]
        scores, choices = probabilities.topk(min(top_k, probabilities.shape[-1]))
        results = []
        for mask, row, chosen in zip(masks.tolist(), scores.tolist(), choices.tolist(), strict=True):
            answers = []
            for score, choice in zip(row, chosen, strict=True):
                token = choice if target_ids is None else target_ids[choice]
                filled = ids.tolist()
                filled[mask] = token
                filled = [i for i in filled if i != self.tokenizer.pad_token_id]
                # with several masks the special tokens stay in, because the other masks are among them
                sequence = self.tokenizer.decode(filled, skip_special_tokens=len(masks) == 1)
                word = self.tokenizer.decode([token])
                answers.append({"score": score, "token": token, "token_str": word, "sequence": sequence})
            results.append(answers)
        return results[0] if len(results) == 1 else results
