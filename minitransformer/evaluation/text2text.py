"""Texts made of texts: translations by BLEU and chrF, with the library that defines them; summaries by ROUGE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from minitransformer.data import Record
from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import Answerer, Evaluation, Records, Scores, library, percent
from minitransformer.evaluation.rouge import ROUGE, rouge, words_of

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer


@dataclass(kw_only=True)
class Text2Text(Evaluation):
    """{"source", "target"}, or {"source", "references"}, a list of texts that are all right."""

    needs = ("source",)
    default_options = {"truncation": True}

    def prepare_record(self, record: Record) -> Record:
        """With references, also if there is only one."""
        record = super().prepare_record(record)
        texts = record["references"] if "references" in record else [record.need_text("target")]
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{record.where()}: 'references' must be a list of texts, not {texts!r:.60}")
        record["references"] = texts
        return record

    def predict(self, pipe: Pipeline, records: Records) -> list[str]:
        """The first text that the model makes of each source."""
        sources = (record["source"] for record in records)
        return [next(iter(answers[0].values())) for answers in self.answers(pipe, sources, len(records))]

    def reference(self, record: Record) -> Any:
        """Its references."""
        return record["references"]


@dataclass(kw_only=True)
class Translation(Text2Text):
    """{"source", "target" or "references"}, by sacrebleu (Post 2018, https://arxiv.org/abs/1804.08771).

    Options:
        tokenize: how BLEU splits words ("13a"; others as sacrebleu knows them, but for those that it fetches).
    """

    tokenize: Literal["13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab"] = "13a"

    task = "translation"

    def libraries(self, records: Records) -> tuple[str, ...]:
        """BLEU's."""
        return ("sacrebleu.metrics",)

    def score(self, predictions: Sequence[str], records: Records) -> Scores:
        """BLEU and chrF of the whole corpus, with their signatures."""
        sacrebleu = library("sacrebleu.metrics")
        references = [record["references"] for record in records]
        # the first references of all records, the second ones, ...; None where a record has no more of them
        columns = [[r[i] if i < len(r) else None for r in references] for i in range(max(map(len, references)))]
        scores: Scores = {}
        try:
            bleu = sacrebleu.BLEU(tokenize=self.tokenize)
        except (ImportError, RuntimeError, ValueError) as error:
            raise PipelineError(f"tokenize={self.tokenize!r} cannot be used by sacrebleu here: {error}") from error
        for name, metric in (("bleu", bleu), ("chrf", sacrebleu.CHRF())):
            scores[name] = float(metric.corpus_score(list(predictions), columns).score)
            scores[f"{name}_signature"] = str(metric.get_signature())
        return scores

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """The source, untranslated."""
        return baselines.copy_source


@dataclass(kw_only=True)
class Summarization(Text2Text):
    """{"source", "target" or "references"}, by ROUGE with stemming (Lin 2004, https://aclanthology.org/W04-1013)."""

    task = "summarization"

    def libraries(self, records: Records) -> tuple[str, ...]:
        """What stems words for ROUGE."""
        return ("nltk.stem.porter",)

    def score(self, predictions: Sequence[str], records: Records) -> Scores:
        """The F of ROUGE-1, ROUGE-2 and ROUGE-L, each against the nearest reference, averaged over the records."""
        stem = library("nltk.stem.porter").PorterStemmer().stem
        found = [
            rouge(words_of(predicted, stem), [words_of(reference, stem) for reference in record["references"]])
            for predicted, record in zip(predictions, records, strict=True)
        ]
        return {name: percent(scores[name] for scores in found) for name in ROUGE}

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """The first sentence."""
        return baselines.first_sentence
