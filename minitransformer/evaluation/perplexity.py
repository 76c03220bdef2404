"""How well a causal language model foresees a text: perplexity a token, and bits a byte.

The perplexity of two models compares only if they share a vocabulary; bits per byte always compares, because the text
is the same number of bytes for all (as long as the vocabulary can spell it: unknown tokens are counted).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.data import Record
from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import Answerer, Evaluation, Records, Scores, need_train
from minitransformer.layers import fast_linear
from minitransformer.options import Count, Range

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer

DEFAULT_WINDOW = 1024
"""Tokens that a model reads at once if neither it nor its tokenizer names a limit."""
MOST_LOGITS = 2**26
"""Of one batch: 256 MiB in float32."""


@dataclass(frozen=True)
class Window:
    """A stretch of a text: its tokens, of which the last ``scored`` are to be foreseen, the others are context."""

    text: int
    ids: list[int]
    scored: int


@dataclass(kw_only=True)
class LanguageModelling(Evaluation):
    r"""What the evaluations of both kinds of language models share: {"text"} joined to one text.

    Options:
        join: what stands between the texts of two records, which are read as one ("\n\n"); None reads each alone.
        window: tokens that the model reads at once; by default all that it has positions for.
        batch_size: windows that run together at most.
    """

    join: str | None = "\n\n"
    window: Annotated[int, Range(least=2)] | None = None
    batch_size: Count = 32

    needs = ("text",)
    prediction_type = (dict,)
    uses_pipeline = False

    def prepare(self, records: Iterable[Mapping[str, Any]]) -> Records:
        """One record, unless each is to be read alone."""
        prepared = super().prepare(records)
        return prepared if self.join is None else [Record({"text": self.join.join(r["text"] for r in prepared)})]

    def window_for(self, pipe: Pipeline) -> int:
        """Tokens that the model reads at once.

        Raises:
            PipelineError: more are asked for than it has positions for.
        """
        limit = pipe.model.config.max_positions
        if self.window is not None and limit is not None and self.window > limit:
            raise PipelineError(f"window={self.window} is more than the model's {limit} positions")
        return self.window or pipe.max_tokens or DEFAULT_WINDOW


@dataclass(kw_only=True)
class Perplexity(LanguageModelling):
    """{"text"}: loss in nats a token, its exponential, and bits a byte.

    Windows overlap, so that each token is foreseen from at least ``window - stride`` tokens before it (but at the
    beginning of a text); each is counted once. A text starts after the vocabulary's token for that (bos, else eos);
    where there is none, its first token has nothing to be foreseen from and does not count.

    Options:
        stride: tokens by which the window moves on; half of the window by default.
        join, window, batch_size: see `LanguageModelling`.
    """

    stride: int | None = None

    task = "text-generation"

    def predict(self, pipe: Pipeline, records: Records) -> list[dict[str, int | float]]:
        """For each text the sum of its tokens' losses in nats, how many they are, of how many bytes."""
        size = self.window_for(pipe)
        stride = size // 2 if self.stride is None else self.stride
        if not 0 < stride < size:
            raise PipelineError(f"stride must be an integer from 1 to {size - 1}, less than the window, not {stride!r}")
        predictions: list[dict[str, int | float]] = []
        windows: list[Window] = []
        for number, record in enumerate(records):
            ids, known = encode(pipe.tokenizer, record["text"])
            windows += cut_windows(number, ids, size, stride)
            predictions.append(count(pipe.tokenizer, record["text"], ids[known:], first_counts=known > 0))
        windows.sort(key=lambda w: (-len(w.ids), w.scored))  # alike ones share a batch; the longest show memory first
        done = 0
        while done < len(windows):
            batch = windows[done : done + self.batch_size]
            batch = batch[: most_rows(pipe, max(len(batch[0].ids) - len(w.ids) + w.scored + 1 for w in batch))]
            for window, loss in zip(batch, window_losses(pipe, batch), strict=True):
                predictions[window.text]["loss"] += loss
            done += len(batch)
            self.progress(done, len(windows))
        return predictions

    def score(self, predictions: Sequence[dict[str, Any]], records: Records) -> Scores:
        """Over all texts: each token counts the same."""
        sums = {name: sum(p[name] for p in predictions) for name in ("loss", "tokens", "bytes", "unknown")}
        if not sums["tokens"]:
            raise DataError("the text has no token that could be foreseen: pass more text")
        loss = sums["loss"] / sums["tokens"]
        return {
            "perplexity": exponential(loss),
            "bits_per_byte": sums["loss"] / math.log(2) / sums["bytes"],
            "loss": loss,
            **{name: sums[name] for name in ("tokens", "bytes", "unknown")},
        }

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """Each token's frequency, whatever is before it."""
        need_train(train, self.task)
        if tokenizer is None:
            raise PipelineError(
                "perplexity is counted in tokens: say of which vocabulary, with tokenizer=... or model=..."
            )
        return baselines.frequencies(train, tokenizer, count)


def encode(tokenizer: Tokenizer, text: str) -> tuple[list[int], int]:
    """The tokens of a text, and how many of them (1 or 0) stand before it: bos, else eos, else nothing."""
    ids = list(tokenizer(text, add_special_tokens=False, truncation=True, max_length=10**9)["input_ids"])
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return (ids, 0) if start is None else ([start, *ids], 1)


def count(tokenizer: Tokenizer, text: str, ids: list[int], *, first_counts: bool) -> dict[str, int | float]:
    """What the loss of a text is divided by, and its unknown tokens.

    Args:
        tokenizer: which made the ids.
        text: of which they were made.
        ids: its tokens.
        first_counts: whether the first of them is foreseen too.
    """
    size = len(text.encode())
    if not first_counts:
        size -= len(str(tokenizer.decode(ids[:1])).encode())
        ids = ids[1:]
    unknown = {tokenizer.unk_token_id} - {tokenizer.eos_token_id}  # GPT-2 spells everything, and says eos for both
    return {"loss": 0.0, "tokens": len(ids), "bytes": size, "unknown": sum(i in unknown for i in ids)}


def cut_windows(text: int, ids: list[int], size: int, stride: int) -> Iterator[Window]:
    """Windows over a text in which every token but the first is scored once.

    Args:
        text: its number.
        ids: its tokens.
        size: of a window.
        stride: how far a window goes beyond the one before it; less than ``size``.
    """
    done = 1  # the first has nothing before it
    while done < len(ids):
        end = min(len(ids), max(size, done + stride))
        yield Window(text, ids[max(0, end - size) : end], end - done)
        done = end


def window_losses(pipe: Pipeline, windows: Sequence[Window]) -> list[float]:
    """For each window, the sum of the losses of its scored tokens in nats."""
    T = max(len(window.ids) for window in windows)
    keep = max(T - len(window.ids) + window.scored for window in windows) + 1  # logits of the last so many places
    input_ids = torch.zeros(len(windows), T, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    targets = torch.full_like(input_ids, -100)
    for row, window in enumerate(windows):  # padding is on the right, where no token looks
        length = len(window.ids)
        input_ids[row, :length] = torch.tensor(window.ids)
        attention_mask[row, :length] = 1
        targets[row, length - window.scored : length] = input_ids[row, length - window.scored : length]
    inputs: dict[str, Any] = {"input_ids": input_ids.to(pipe.device), "attention_mask": attention_mask.to(pipe.device)}
    targets = targets[:, T - keep + 1 :].to(pipe.device)
    with torch.inference_mode(), fast_linear():
        logits = pipe.model(**inputs, logits_to_keep=keep).logits  # (B, keep, V), each compared with the token after it
        return [row_loss(scores[:-1], row) for scores, row in zip(logits, targets, strict=True)]


def row_loss(logits: Tensor, targets: Tensor) -> float:
    """The sum of the losses in nats; -100 does not count. Row by row, so that no batch of logits is copied."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return float(F.cross_entropy(wide, targets, reduction="none").double().sum())


def most_rows(pipe: Pipeline, places: int) -> int:
    """How many rows of so many places fit into a batch, by the logits that they need."""
    return max(1, MOST_LOGITS // (places * pipe.model.config.vocab_size))


def exponential(loss: float) -> float:
    """e to the power of a mean loss; infinite where a float ends."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
