"""Texts that are written token by token: for streams, and for answers that tell about each token.

What is sent of a text is final: the pieces that a stream sends, put together, are the text of the answer. A piece is
held back only while a later token could change it: half of a character, or a space that the clean-up of the tokenizer
may take away (tokens.text has the piece; ``special`` tokens show none).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import PipelineError
from minitransformer.generation.generate import TokenStream
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.text_generation import TextGenerationPipeline
from minitransformer.serve.checks import check_numbers
from minitransformer.serve.errors import ApiError, failed
from minitransformer.serve.work import cutting, sampling, settle_sampling

Event = dict[str, Any]

CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What the clean-up of tokenization spaces looks for (transformers, ``clean_up_tokenization``)."""
_BEGINNINGS = {pattern[:n] for pattern in CLEANED for n in range(1, len(pattern))}


class Writing:
    """One text on its way.

    Args:
        pipe: gives the pipeline; called in the model's thread.
        prompt: what is continued.
        options: of the pipeline.
        emit: gets each event; called in the model's thread. The last one has ``generated_text`` and ``details``, or is
            an ``ApiError``.
        full_text: whether ``generated_text`` begins with the prompt.
        seed: of the sampling.
        top_tokens: how many of the likeliest tokens come with each.
        prefill: whether the last event has the tokens of the prompt.
        truncate: read the last so many tokens of the prompt.
        penalties: (frequency, presence) of tokens that were written.
        deadline: ``time.monotonic()`` at which it is given up, if it has not begun.
    """

    def __init__(
        self,
        pipe: Callable[[], Pipeline],
        prompt: str,
        options: dict[str, Any],
        emit: Callable[[Event | ApiError], None],
        *,
        full_text: bool = False,
        seed: int | None = None,
        top_tokens: int = 0,
        prefill: bool = False,
        truncate: int | None = None,
        penalties: tuple[float, float] = (0.0, 0.0),
        deadline: float = float("inf"),
    ) -> None:
        self.get_pipe, self.prompt, self.options, self.emit = pipe, prompt, options, emit
        self.full_text, self.seed, self.top_tokens, self.prefill = full_text, seed, top_tokens, prefill
        self.truncate, self.penalties, self.deadline = truncate, penalties, deadline
        self.left = False
        self.notes: list[str] = []
        self.arrived, self.queued, self.inference = time.monotonic(), 0.0, 0.0
        self.ids: list[int] = []

    def begin(self) -> None:
        """Read the prompt, and check the options."""
        self.queued = time.monotonic() - self.arrived
        pipe = self.get_pipe()
        if not isinstance(pipe, TextGenerationPipeline):
            raise PipelineError("only text-generation writes token by token: leave stream and details out")
        options = settle_sampling(pipe, self.options, self.notes)
        if self.truncate is not None:
            options["tokenizer_encode_kwargs"] = {"truncation": True, "max_length": self.truncate}
        steps = sampling(pipe, pipe.steps(options), self.seed)
        generator = steps.forward.get("generator")
        self.seed = generator.initial_seed() if generator is not None else None
        with cutting(pipe, "left" if self.truncate is not None else None):
            self.chunk = pipe.prepare(self.prompt, steps.preprocess)[0]
        processors: list[Any] = [check_numbers]
        self.pipe, length = pipe, self.chunk["input_ids"].shape[1]
        if any(self.penalties):
            processors.insert(0, penalize(length, *self.penalties))
        forward = {name: value for name, value in steps.forward.items() if name != "return_token_scores"}
        self.tokens: TokenStream = pipe.stream(self.chunk, **forward, logits_processor=processors)
        if self.tokens.config.num_return_sequences > 1:
            raise PipelineError("texts are written one at a time here: leave num_return_sequences out")
        eos = self.tokens.config.eos_token_id
        self.ends = {eos} if isinstance(eos, int) else set(eos or ())
        self.text = Pieces(pipe, self.chunk["prompt_ids"], steps.postprocess)

    def step(self) -> bool:
        """Write one token; False after the last."""
        began = time.monotonic()
        token = self._next()
        self.inference += time.monotonic() - began
        if token is None or self.tokens.finished:
            self._end(token)
            return False
        self.emit({"index": len(self.ids), "token": token, **self._tops(), "generated_text": None, "details": None})
        return True

    def fail(self, error: BaseException) -> None:
        """The last event: what went wrong."""
        self.emit(error if isinstance(error, ApiError) else failed("Inference failed"))

    def _next(self) -> Event | None:
        ids = next(self.tokens, None)
        if ids is None:
            return None
        number = int(ids[0])
        assert self.tokens.scores is not None
        self.logprobs = self.tokens.scores[0].float().log_softmax(dim=-1)
        self.ids.append(number)
        special = number in self.pipe.tokenizer.all_special_ids
        logprob = finite(float(self.logprobs[number]))
        return {"id": number, "text": self.text.add(number), "logprob": logprob, "special": special}

    def _end(self, token: Event | None) -> None:
        rest = self.text.rest()
        if token is not None:
            token["text"] += rest
        new = self.text.given
        details: Event = {
            "finish_reason": self._reason(new),
            "generated_tokens": len(self.ids),
            "input_length": int(self.chunk["input_ids"].shape[1]),
            "seed": self.seed,
        }
        if self.prefill:
            details["prefill"] = self._prefill()
        self.emit(
            {
                "index": len(self.ids),
                "token": token,
                **(self._tops() if token is not None else {}),
                "generated_text": self.prompt + new if self.full_text else new,
                "details": details,
            }
        )

    def _reason(self, text: str) -> str:
        return finish_reason(self.ids, self.ends, text, self.tokens.config.stop_strings)

    def _tops(self) -> Event:
        if not self.top_tokens:
            return {}
        values, ids = self.logprobs.topk(min(self.top_tokens, len(self.logprobs)))
        pairs = [(i, value) for i, value in zip(ids.tolist(), values.tolist(), strict=True) if value > float("-inf")]
        return {"top_tokens": [describe(self.pipe, number, value) for number, value in pairs]}

    def _prefill(self) -> list[Event]:
        """The prompt's tokens, each with its log probability after those before it; the first has none."""
        ids = self.chunk["input_ids"][0].tolist()
        logprobs: Tensor = self.pipe.call_model(self.chunk).logits[0].float().log_softmax(dim=-1)
        values = [None, *(finite(float(logprobs[i, token])) for i, token in enumerate(ids[1:]))]
        texts = (self.pipe.tokenizer.decode([token]) for token in ids)
        return [
            {"id": token, "text": text, "logprob": value} for token, text, value in zip(ids, texts, values, strict=True)
        ]


def finite(logprob: float) -> float:
    """The log probability of a token itself.

    Raises:
        ApiError: it is none, as penalties and biases beyond all measure make it.
    """
    if not math.isfinite(logprob):
        raise failed("Inference failed: the probability of a token is no number")
    return logprob


def describe(pipe: Pipeline, number: int, logprob: float) -> Event:
    """A token by itself."""
    special = number in pipe.tokenizer.all_special_ids
    return {"id": number, "text": pipe.tokenizer.decode([number]), "logprob": logprob, "special": special}


def finish_reason(ids: list[int], ends: set[int], text: str, stops: str | list[str] | None) -> str:
    """Why a text ended: "eos_token", "stop_sequence" or "length"."""
    if ids and ids[-1] in ends:
        return "eos_token"
    stops = [stops] if isinstance(stops, str) else stops or []
    return "stop_sequence" if any(stop in text for stop in stops) else "length"


class Pieces:
    """The text of a continuation, in pieces that are final.

    Args:
        pipe: decodes, as its ``postprocess`` does.
        prompt_ids: tokens of the prompt.
        options: of ``postprocess``.
    """

    def __init__(self, pipe: Pipeline, prompt_ids: list[int], options: dict[str, Any]) -> None:
        self.tokenizer = pipe.tokenizer
        self.ids = list(prompt_ids)
        self.skip = options.get("skip_special_tokens", True)
        self.clean = options.get("clean_up_tokenization_spaces", True)
        self.start = len(self._decode(self.clean)) if prompt_ids else 0
        self.raw_start = len(self._decode(False)) if prompt_ids else 0
        self.given = ""

    def _decode(self, clean: bool) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=self.skip, clean_up_tokenization_spaces=clean)

    def add(self, number: int) -> str:
        """What is final now, beyond what was before."""
        self.ids.append(number)
        raw = self._decode(False)[self.raw_start :]
        held = len(raw) - len(raw.rstrip("\ufffd"))
        if self.clean:
            held = max(held, max((n for n in range(1, 5) if raw[-n:] in _BEGINNINGS), default=0))
        text = self._decode(self.clean)[self.start :]
        return self._give(text[: len(text) - held] if held else text)

    def rest(self) -> str:
        """What was held back."""
        return self._give(self._decode(self.clean)[self.start :])

    def _give(self, text: str) -> str:
        if not text.startswith(self.given):
            return ""
        piece, self.given = text[len(self.given) :], text
        return piece


def penalize(prompt_length: int, frequency: float, presence: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A change of scores: tokens that were written lose ``frequency`` each time, and ``presence`` once."""

    def change(ids: Tensor, scores: Tensor) -> Tensor:
        changed = scores.clone()
        for row, written in enumerate(ids[:, prompt_length:].tolist()):
            for token, times in Counter(written).items():
                changed[row, token] -= frequency * times + presence
        return changed

    return change


def likeliest(candidates: list[list[Event]]) -> int:
    """Which of some texts has the greatest sum of log probabilities."""
    sums = [sum(event["token"]["logprob"] for event in events if event["token"]) for events in candidates]
    return int(torch.tensor(sums).argmax())
