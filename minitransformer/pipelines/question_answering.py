"""question-answering: the stretch of a text that answers a question (extractive, as in SQuAD)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from minitransformer.errors import PipelineError
from minitransformer.options import Count, Natural
from minitransformer.pipelines.base import ChunkPipeline
from minitransformer.pipelines.batching import Chunk
from minitransformer.pipelines.scores import to_numpy
from minitransformer.pipelines.spans import best_spans, find_characters, masked_softmax
from minitransformer.pipelines.streaming import is_stream, listed
from minitransformer.tokenization.strategies import PaddingOption as Padding

Answer = dict[str, Any]
DEFAULT_LENGTH, DEFAULT_STRIDE = 384, 128


class QuestionAnsweringPipeline(ChunkPipeline):
    """``pipe(question=..., context=...)`` -> {"score", "start", "end", "answer"}.

    Also takes {"question", "context"}, or a list of them; a list of questions about one context; or two
    lists. With ``top_k`` there is a list of answers, unless only one is found.

    Options:
        top_k: how many answers to give (1). ``topk`` is its old name.
        max_seq_len: tokens of question and stretch of context together (384, or what the model takes).
        doc_stride: tokens by which stretches of a long context overlap (128, or half of ``max_seq_len``).
        max_answer_len: the most tokens of an answer (15).
        handle_impossible_answer: let "no answer" compete: score of the first token, answer "".
        align_to_words: widen an answer to whole words (True).
        return_token_scores: add "token_scores" to each answer: for each token of its best span {"token", "token_id",
            "start_score", "end_score"}, the probabilities that the answer starts and ends there. The span's own score
            is the first token's "start_score" times the last one's "end_score".
        padding, max_question_len: taken for compatibility. Padding changes no answer, and as in 4.57 no
            question is cut.

    An answer found several times (upper and lower case alike) has its scores added up, so a score may pass 1.
    """

    default_task = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    default_model = "distilbert/distilbert-base-cased-distilled-squad"
    default_revision = "564e9b5"
    too_long_remedy = "a smaller max_seq_len"
    token_outputs = ("start", "end")
    old_names = {"topk": Count}

    def __call__(self, *inputs: Any, question: Any = None, context: Any = None, **options: Any) -> Any:
        """Answer one question, or several; a list of one gives one answer."""
        examples = collect_examples(inputs, question, context, options)
        return super().__call__(
            examples[0] if isinstance(examples, list) and len(examples) == 1 else examples, **options
        )

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn ``topk`` into ``top_k``."""
        known = super().translate(options)
        if "topk" in known:
            known.setdefault("top_k", known.pop("topk"))
        return known

    def preprocess(  # type: ignore[override]
        self,
        inputs: Mapping[str, str],
        *,
        max_seq_len: Count | None = None,
        doc_stride: Natural | None = None,
        max_question_len: Count | None = None,
        padding: Padding | None = None,
    ) -> Iterator[Chunk]:
        """Yield the question with each stretch of the context."""
        question, context = self.check_example(inputs)
        if max_seq_len is None:
            max_seq_len = min(DEFAULT_LENGTH, self.max_tokens or DEFAULT_LENGTH)
        doc_stride = self.check_stride(question, max_seq_len, doc_stride)
        first = self.tokenizer.padding_side == "right"  # which of the two comes first
        encoding = self.encode(
            question if first else context,
            context if first else question,
            truncation="only_second" if first else "only_first",
            max_length=max_seq_len,
            stride=doc_stride,
            return_token_type_ids=True,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for i in range(len(encoding["input_ids"])):
            names = [name for name in self.tokenizer.model_input_names if name in encoding]
            yield {
                **{name: torch.tensor([encoding[name][i]]) for name in names},
                "candidates": self.find_candidates(encoding["input_ids"][i], encoding.sequence_ids(i), int(first)),
                "encoding": encoding[i],
                "sequence": int(first),
                "context": context,
            }

    def check_input(self, item: Any) -> None:
        """Both texts must be there."""
        self.check_example(item)

    def check_example(self, inputs: Any) -> tuple[str, str]:
        """Question and context of an input."""
        if hasattr(inputs, "question_text"):  # a SquadExample
            inputs = {"question": inputs.question_text, "context": inputs.context_text}
        if not isinstance(inputs, Mapping):
            raise PipelineError(f'an input is {type(inputs).__name__}: pass {{"question": ..., "context": ...}}')
        for name in ("question", "context"):
            if name not in inputs:
                raise PipelineError(f'an input has no {name!r}: pass {{"question": ..., "context": ...}}')
        question = self.check_text(inputs["question"], "the question")
        return question, self.check_text(inputs["context"], "the context")

    def check_stride(self, question: str, max_seq_len: int, doc_stride: int | None) -> int:
        """The overlap of stretches, given the room that the question leaves."""
        taken: int = len(self.tokenizer(question, add_special_tokens=False)["input_ids"])
        room: int = max_seq_len - taken - self.tokenizer.backend.num_special_tokens_to_add(True)
        if room < 1:
            raise PipelineError(
                f"the question has {taken} tokens, which leaves no room for the context in "
                f"max_seq_len={max_seq_len}: shorten the question or pass a greater max_seq_len"
            )
        if doc_stride is None:
            return min(DEFAULT_STRIDE, max_seq_len // 2, room - 1)
        if not 0 <= doc_stride < room:
            raise PipelineError(
                f"doc_stride must be 0 to {room - 1}, as the question leaves room for {room}, not {doc_stride!r}"
            )
        return doc_stride

    def find_candidates(self, ids: list[int], sequence_ids: list[int | None], context: int) -> np.ndarray[Any, Any]:
        """Which tokens count: those of the context, and the first [CLS], which stands for "no answer".

        In 4.57 so does a [CLS] that is written in the question; and with a tokenizer that pads on the left, every
        token.
        """
        alike = self.compat == "transformers"
        if alike and context == 0:
            return np.ones(len(ids), dtype=bool)
        cls = self.tokenizer.cls_token_id  # found once: a text may have a million tokens
        return np.array(
            [at == context or (i == cls and (alike or at is None)) for i, at in zip(ids, sequence_ids, strict=True)]
        )

    def forward(self, inputs: Chunk) -> Chunk:  # type: ignore[override]
        """Scores of each token as the start and as the end of the answer: (batch, tokens) each."""
        output = self.call_model(inputs)
        return {**inputs, "start": output.start_logits.cpu(), "end": output.end_logits.cpu()}

    def postprocess(  # type: ignore[override]
        self,
        outputs: Sequence[Chunk],
        *,
        top_k: Count = 1,
        max_answer_len: Count = 15,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
        return_token_scores: bool = False,
    ) -> Answer | list[Answer]:
        """The best answers of all stretches."""
        answers: dict[str, Answer] = {}  # by their text in lower case
        best_score: dict[str, float] = {}  # of the spans that have that text
        no_answer = 1.0
        for output in outputs:
            allowed = output["candidates"] & output["attention_mask"][0].numpy().astype(bool)
            start = masked_softmax(to_numpy(output["start"][0]), allowed)
            end = masked_softmax(to_numpy(output["end"][0]), allowed)
            no_answer = min(no_answer, float(start[0] * end[0]))
            start[0] = end[0] = 0.0
            # widening to words makes answers equal, so look at some more of them
            spans = best_spans(start, end, 2 * top_k + 10 if align_to_words else top_k, max_answer_len)
            for first, last, score in spans:
                if not (allowed[first] and allowed[last]) or (score == 0 and self.compat is None):
                    continue
                begin, stop = find_characters(
                    output["encoding"], first, last, output["sequence"] if align_to_words else None
                )
                text = output["context"][begin:stop]
                known = answers.setdefault(text.lower(), {"score": 0.0, "start": begin, "end": stop, "answer": text})
                known["score"] += score
                if return_token_scores and score > best_score.get(text.lower(), -1.0):
                    best_score[text.lower()] = score
                    known["token_scores"] = self.describe_span(output["input_ids"][0], start, end, first, last)
        found = list(answers.values())
        if handle_impossible_answer:
            nothing: Answer = {"score": no_answer, "start": 0, "end": 0, "answer": ""}
            found.append({**nothing, "token_scores": []} if return_token_scores else nothing)
        if not found:
            raise PipelineError("the context has no tokens to answer with: pass a context with words")
        best = sorted(found, key=lambda answer: -float(answer["score"]))[:top_k]
        return best[0] if len(best) == 1 else best

    def describe_span(
        self, ids: torch.Tensor, start: np.ndarray[Any, Any], end: np.ndarray[Any, Any], first: int, last: int
    ) -> list[dict[str, Any]]:
        """The tokens of a span, each with its probability as the first and as the last of the answer."""
        return [
            {
                "token": self.tokenizer.decode([int(ids[i])]),
                "token_id": int(ids[i]),
                "start_score": float(start[i]),
                "end_score": float(end[i]),
            }
            for i in range(first, last + 1)
        ]


def collect_examples(inputs: tuple[Any, ...], question: Any, context: Any, options: dict[str, Any]) -> Any:
    """The examples of a call, from any of the ways to write them: a list of them, or a generator as it is."""
    if len(inputs) == 2 and all(isinstance(text, str) for text in inputs):
        return [{"question": inputs[0], "context": inputs[1]}]
    given = inputs[0] if len(inputs) == 1 else list(inputs) or options.pop("data", None) or options.pop("X", None)
    given, question, context = listed(given), listed(question), listed(context)
    if given is not None:
        return given if is_stream(given) else list(given) if isinstance(given, (list, tuple)) else [given]
    if question is None or context is None:
        missing = "question" if question is None else "context"
        raise PipelineError(f"{missing} is missing: pass question=... and context=...")
    if isinstance(question, (list, tuple)):
        contexts = [context] * len(question) if isinstance(context, str) else context
        if not isinstance(contexts, (list, tuple)) or len(contexts) != len(question):
            raise PipelineError(
                "question and context must be lists of one length, or context one text for all questions"
            )
        return [{"question": q, "context": c} for q, c in zip(question, contexts, strict=True)]
    return [{"question": question, "context": context}]
