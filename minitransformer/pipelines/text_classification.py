"""text-classification (sentiment-analysis): the label of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch

from minitransformer.errors import PipelineError
from minitransformer.options import ANY_CASE, INTERNAL, Count, read_value
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import Chunk, Sharing
from minitransformer.pipelines.options import TOKENIZER_OPTIONS, Steps
from minitransformer.pipelines.scores import sigmoid, softmax, to_numpy
from minitransformer.pipelines.streaming import listed

if TYPE_CHECKING:
    from minitransformer.config import ModelConfig


class TextClassificationPipeline(Pipeline):
    """Text, or {"text", "text_pair"} -> {"label", "score"}.

    One text gives a list of one answer; with ``top_k`` a list of answers, the best first. A list gives a
    list.

    Options:
        top_k: how many labels to give; None for all.
        function_to_apply: "softmax", "sigmoid" or "none", from logits to scores; "default" goes by the
            model's ``problem_type`` and number of labels.
        return_all_scores: the old name of ``top_k=None``, with the labels in the model's order.
        any option of the tokenizer's call, such as ``truncation`` or ``max_length``.
    """

    default_task = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    default_model = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"
    default_revision = "714eb0f"
    open_options = {"preprocess": TOKENIZER_OPTIONS}
    old_names = {"return_all_scores": bool}
    none_counts = frozenset({"top_k"})

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """As in every pipeline; but one text without ``top_k`` has its answer in a list (as in transformers)."""
        inputs = listed(inputs)
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn ``return_all_scores`` into ``top_k``."""
        known = super().translate(options)
        old = known.pop("return_all_scores", None)
        if old is None:
            of_model = self.model.config.extra.get("return_all_scores")
            old = read_value("return_all_scores in config.json", of_model, bool | None, PipelineError)
        if "top_k" in known:
            known["ranked"] = True
        elif old is not None:
            known["top_k"] = None if old else 1
        return known

    def preprocess(self, inputs: Any, **options: Any) -> Chunk:
        """Tokenize a text, or a pair in a dictionary."""
        text, pair = inputs, None
        if isinstance(inputs, dict):
            for name in inputs.keys() - {"text", "text_pair"}:
                raise PipelineError(f"an input has the key {name!r}: it takes 'text' and 'text_pair'")
            text, pair = inputs.get("text"), inputs.get("text_pair")
        elif isinstance(inputs, list):  # [[text, pair]], how pairs were written once
            if len(inputs) != 1 or not isinstance(inputs[0], (list, tuple)) or len(inputs[0]) != 2:
                raise PipelineError('an input is a list: for a pair of texts pass {"text": ..., "text_pair": ...}')
            text, pair = inputs[0]
        self.check_text(text)
        if pair is not None:
            self.check_text(pair, "the second text of the pair")
        return dict(self.encode(text, pair, return_tensors="pt", **options))

    def sharing(self, steps: Steps) -> Sharing:
        """As in every pipeline, but see `apart_by_ends`."""
        return apart_by_ends(super().sharing(steps), self.model.config)

    def forward(self, inputs: Chunk) -> Chunk:  # type: ignore[override]
        """Scores of the labels: (batch, labels)."""
        return {**inputs, "logits": self.call_model(inputs).logits.cpu()}

    def postprocess(  # type: ignore[override]
        self,
        outputs: Chunk,
        *,
        top_k: Count | None = 1,
        function_to_apply: Annotated[Literal["default", "softmax", "sigmoid", "none"], ANY_CASE] = "default",
        ranked: Annotated[bool, INTERNAL] = False,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """From logits to labels with scores; ``ranked`` gives a list, the best first."""
        logits = to_numpy(outputs["logits"][0])  # (labels,)
        function = self.default_function() if function_to_apply == "default" else function_to_apply
        scores = logits if function == "none" else softmax(logits) if function == "softmax" else sigmoid(logits)
        labels = self.model.config.id2label
        if top_k == 1 and not ranked:
            return {"label": labels[int(scores.argmax())], "score": float(scores.max())}
        order = np.argsort(-scores, kind="stable")[:top_k] if ranked else range(len(scores))
        return [{"label": labels[int(i)], "score": float(scores[i])} for i in order]

    def default_function(self) -> str:
        """What the model's config says about its scores."""
        config = self.model.config
        if config.problem_type == "regression":
            return "none"
        if config.problem_type == "multi_label_classification" or config.num_labels == 1:
            return "sigmoid"
        return "softmax"


def apart_by_ends(sharing: Sharing, config: ModelConfig) -> Sharing:
    """Keep texts apart that have different numbers of end tokens, for encoder-decoders.

    These read their answer at the last end token, and take no texts together that have different numbers of them (which
    the text of one, written in an input, makes).
    """
    if not config.is_encoder_decoder:
        return sharing
    eos = torch.tensor(config.eos_token_id)
    return replace(sharing, key=lambda chunk: int(torch.isin(chunk["input_ids"], eos).sum()))
