"""zero-shot-classification: labels that the model was never trained on, by natural language inference.

Each label makes a hypothesis ("This example is sports."), and a model trained on pairs of premise and
hypothesis says whether the text entails it (Yin, Hay and Roth 2019, https://arxiv.org/abs/1909.00161).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from minitransformer.errors import PipelineError
from minitransformer.options import Only
from minitransformer.pipelines.base import ChunkPipeline
from minitransformer.pipelines.batching import Chunk, Sharing
from minitransformer.pipelines.options import Steps
from minitransformer.pipelines.scores import softmax, to_numpy
from minitransformer.pipelines.text_classification import apart_by_ends

if TYPE_CHECKING:
    from minitransformer.tokenization import Encoding


def has_one_place(template: str) -> bool:
    """Whether a template is a sentence with one place for the label."""
    try:
        return template.format("x") != template
    except (IndexError, KeyError, ValueError, AttributeError):  # further places, names, single braces
        return False


Template = Annotated[str, Only(has_one_place, "a sentence with {} for the label")]


class ZeroShotClassificationPipeline(ChunkPipeline):
    """Text -> {"sequence", "labels", "scores"}, the likeliest label first.

    Options:
        candidate_labels: a list of labels, or one string with commas between them. Also the second argument.
        hypothesis_template: a sentence with {} for the label ("This example is {}.").
        multi_label: score each label on its own (entailment against contradiction), so that several may be
            true, instead of sharing out a probability of 1 among them.
        multi_class: the old name of ``multi_label``.

    The text is cut if it is too long together with the hypothesis. "Contradiction" is the label of that name;
    4.57 takes the first label (the last if the first is entailment).
    """

    default_task = "zero-shot-classification"
    auto_class = "AutoModelForSequenceClassification"
    default_model = "facebook/bart-large-mnli"
    default_revision = "d7645e1"
    too_long_remedy = "a shorter text or hypothesis_template"
    old_names = {"multi_class": bool}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self._label_id("entail") is None:
            labels = ", ".join(self.model.config.id2label.values())
            self.warn_once(
                f"none of the model's labels ({labels}) starts with 'entail': the last is taken for entailment. "
                "Is this a model for natural language inference?"
            )

    def __call__(self, inputs: Any, candidate_labels: Any = None, **options: Any) -> Any:
        """As in every pipeline; the labels may be the second argument."""
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().__call__(inputs, **options)

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Split a string of labels."""
        known = super().translate(options)
        if "multi_class" in known:
            known.setdefault("multi_label", known.pop("multi_class"))
        if "candidate_labels" in known:
            known["candidate_labels"] = split_labels(known["candidate_labels"])
        return known

    def preprocess(  # type: ignore[override]
        self,
        text: str,
        *,
        candidate_labels: str | list[str] | None = None,
        hypothesis_template: Template = "This example is {}.",
    ) -> Iterator[Chunk]:
        """Yield a pair of text and hypothesis for each label."""
        self.check_text(text)
        if not candidate_labels:
            raise PipelineError('no candidate_labels: pass the labels to choose from, candidate_labels=["a", "b"]')
        hypotheses = [hypothesis_template.format(label) for label in candidate_labels]
        encoding = self.encode_pairs([text] * len(hypotheses), hypotheses)
        for i, label in enumerate(candidate_labels):
            yield {
                **{name: torch.tensor(rows[i : i + 1]) for name, rows in encoding.items()},
                "label": label,
                "sequence": text,
            }

    def encode_pairs(self, texts: list[str], hypotheses: list[str]) -> Encoding:
        """Tokenize pairs; the text is cut if both together are too long, unless nothing would be left of it."""
        cut = True
        if self.max_tokens is not None:
            room = self.max_tokens - self.tokenizer.num_special_tokens_to_add(pair=True)
            lengths = map(len, self.tokenizer(hypotheses, add_special_tokens=False, verbose=False)["input_ids"])
            cut = max(lengths) < room
        return self.encode(texts, hypotheses, truncation="only_first" if cut else False)

    def sharing(self, steps: Steps) -> Sharing:
        """As in every pipeline, but see `apart_by_ends`."""
        return apart_by_ends(super().sharing(steps), self.model.config)

    def forward(self, inputs: Chunk) -> Chunk:  # type: ignore[override]
        """Scores of the model's own labels: (batch, labels)."""
        return {**inputs, "logits": self.call_model(inputs).logits.cpu()}

    def postprocess(self, outputs: Sequence[Chunk], *, multi_label: bool = False) -> dict[str, Any]:  # type: ignore[override]
        """Compare the entailment of the labels."""
        labels = [output["label"] for output in outputs]
        logits = np.concatenate([to_numpy(output["logits"]) for output in outputs])  # (labels, model's labels)
        if multi_label or len(labels) == 1:
            scores = softmax(logits[:, [self.contradiction_id, self.entailment_id]])[:, 1]
        else:
            scores = softmax(logits[:, self.entailment_id])
        order = scores.argsort(kind="stable")[::-1]
        return {
            "sequence": outputs[0]["sequence"],
            "labels": [labels[i] for i in order],
            "scores": scores[order].tolist(),
        }

    @property
    def entailment_id(self) -> int:
        """The model's label for "the text entails the hypothesis"."""
        found = self._label_id("entail")
        return -1 if found is None else found

    @property
    def contradiction_id(self) -> int:
        """The model's label for "the text contradicts the hypothesis"."""
        found = self._label_id("contradict") if self.compat is None else None
        return found if found is not None else (-1 if self.entailment_id == 0 else 0)

    def _label_id(self, start: str) -> int | None:
        labels = self.model.config.label2id
        return next((i for label, i in labels.items() if label.lower().startswith(start)), None)


def split_labels(labels: Any) -> list[str]:
    """A list of labels, from a list or from a string with commas."""
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",") if label.strip()]
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        raise PipelineError(f"candidate_labels must be a list of strings, or a string with commas, not {labels!r}")
    if not labels:
        raise PipelineError("candidate_labels is empty: pass at least one label")
    return list(labels)
