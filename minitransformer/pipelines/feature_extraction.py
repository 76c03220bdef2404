"""feature-extraction: the hidden states of the last layer, one vector a token."""

from __future__ import annotations

from typing import Any

import torch

from minitransformer.errors import PipelineError
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import Chunk
from minitransformer.pipelines.options import check_tokenizer_options
from minitransformer.pipelines.scores import to_numpy
from minitransformer.tokenization.strategies import TruncationOption


class FeatureExtractionPipeline(Pipeline):
    """Text -> nested list of shape [1][tokens][hidden_size], special tokens included.

    Options:
        truncation: cut a text that is too long for the model.
        tokenize_kwargs: options of the tokenizer's call, as a dictionary.
        return_tensors: give a tensor (1, tokens, hidden_size) instead of lists.

    Padding is cut off, also in batches; 4.57 leaves it in.
    """

    default_task = "feature-extraction"
    auto_class = "AutoModel"
    default_model = "distilbert/distilbert-base-cased"
    default_revision = "6ea8117"

    def preprocess(  # type: ignore[override]
        self,
        text: str,
        *,
        truncation: TruncationOption = None,
        tokenize_kwargs: dict[str, Any] | None = None,
    ) -> Chunk:
        """Tokenize."""
        options = check_tokenizer_options("tokenize_kwargs", tokenize_kwargs)
        if truncation is not None:
            if "truncation" in options:
                raise PipelineError("truncation is given twice: as an option and in tokenize_kwargs")
            options["truncation"] = truncation
        return dict(self.encode(self.check_text(text), return_tensors="pt", **options))

    def forward(self, inputs: Chunk) -> Chunk:  # type: ignore[override]
        """The first output of the model: hidden states, or the logits if it has a head."""
        try:
            output = self.call_model(inputs)
        except ValueError as error:  # an encoder-decoder whose decoder wants a text of its own
            raise PipelineError(
                f"the model has no features of one text by itself ({error}): take an encoder"
            ) from error
        return {**inputs, "features": output[0].cpu()}

    @property
    def token_outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """4.57 leaves padding in."""
        return () if self.compat == "transformers" else ("features",)

    def postprocess(self, outputs: Chunk, *, return_tensors: bool = False) -> torch.Tensor | list[Any]:  # type: ignore[override]
        """Lists, or the tensor itself."""
        features: torch.Tensor = outputs["features"]
        return features if return_tensors else to_numpy(features).tolist()
