"""What a model can learn from: one file for each objective."""

from minitransformer.training.objectives.base import Batch, Example, Objective
from minitransformer.training.objectives.causal_lm import CausalLM
from minitransformer.training.objectives.classification import Classification
from minitransformer.training.objectives.cloze_questions import ClozeQuestions
from minitransformer.training.objectives.denoising import Denoising
from minitransformer.training.objectives.gap_sentences import GapSentences
from minitransformer.training.objectives.masked_lm import MaskedLM
from minitransformer.training.objectives.question_answering import QuestionAnswering
from minitransformer.training.objectives.replaced_tokens import ElectraPair, ReplacedTokens
from minitransformer.training.objectives.seq2seq import Seq2Seq
from minitransformer.training.objectives.span_corruption import SpanCorruption
from minitransformer.training.objectives.token_classification import TokenClassification

OBJECTIVES: dict[str, type[Objective]] = {
    "causal_lm": CausalLM,
    "masked_lm": MaskedLM,
    "span_corruption": SpanCorruption,
    "denoising": Denoising,
    "gap_sentences": GapSentences,
    "cloze_questions": ClozeQuestions,
    "replaced_tokens": ReplacedTokens,
    "seq2seq": Seq2Seq,
    "classification": Classification,
    "token_classification": TokenClassification,
    "question_answering": QuestionAnswering,
}
"""By the names that recipes use."""

__all__ = [
    "OBJECTIVES",
    "Batch",
    "CausalLM",
    "Classification",
    "ClozeQuestions",
    "Denoising",
    "ElectraPair",
    "Example",
    "GapSentences",
    "MaskedLM",
    "Objective",
    "QuestionAnswering",
    "ReplacedTokens",
    "Seq2Seq",
    "SpanCorruption",
    "TokenClassification",
]
