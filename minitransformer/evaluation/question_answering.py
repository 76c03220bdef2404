"""Answers found in a text: exact match and F1 as SQuAD v1.1 counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minitransformer.data import Record
from minitransformer.errors import DataError
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import Answerer, Evaluation, Records, Scores, percent
from minitransformer.evaluation.squad import score_answer

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer


@dataclass(kw_only=True)
class QuestionAnswering(Evaluation):
    """{"question", "context", "answers"}, and "id" to find ready predictions by.

    A question without a prediction counts as answered wrongly; if there are such, ``answered_exact_match`` and
    ``answered_f1`` say what the others alone give.
    """

    task = "question-answering"
    needs = ("question", "context", "answers")
    prediction_type = (str, type(None))

    def predict(self, pipe: Pipeline, records: Records) -> list[str]:
        """The best answer to each question."""
        inputs = ({name: record[name] for name in ("question", "context")} for record in records)
        return [answer["answer"] for answer in self.answers(pipe, inputs, len(records))]

    def score(self, predictions: Sequence[str | None], records: Records) -> Scores:
        """Exact match and F1, against the nearest of the reference answers."""
        pairs = list(zip(predictions, map(self.reference, records), strict=True))
        answered = [score_answer(predicted, answers) for predicted, answers in pairs if predicted is not None]
        unanswered = len(pairs) - len(answered)
        scores = means([*answered, *[(0.0, 0.0)] * unanswered])
        if unanswered:
            scores |= {f"answered_{name}": value for name, value in means(answered).items()}
            scores["unanswered"] = unanswered
        return scores

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """The sentence that shares most words with the question."""
        return baselines.nearest_sentence

    def reference(self, record: Record) -> Any:
        """The texts of its answers, a list of {"text"} (or as the ``datasets`` library has them, {"text": list}).

        Raises:
            DataError: they have another form.
        """
        answers = record["answers"]
        try:
            return list(answers["text"]) if isinstance(answers, Mapping) else [answer["text"] for answer in answers]
        except (KeyError, TypeError) as error:
            raise DataError(f'{record.where()}: the answers are no list of {{"text": ...}}: {answers!r:.60}') from error


def means(scores: Sequence[tuple[float, float]]) -> Scores:
    """Exact match and F1 over questions; none, if there are no questions."""
    columns = zip(*scores, strict=True)
    return {name: percent(column) for name, column in zip(("exact_match", "f1"), columns, strict=False)}
