"""How well a masked language model guesses hidden tokens: loss and accuracy over a fixed choice of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor

from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import baselines
from minitransformer.evaluation.base import Answerer, Records, Scores, need_train
from minitransformer.evaluation.perplexity import LanguageModelling, exponential, most_rows, row_loss
from minitransformer.layers import fast_linear
from minitransformer.options import Only, Range

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer


@dataclass(frozen=True)
class Row:
    """A stretch of a text with its special tokens, and the places of the tokens that are hidden."""

    text: int
    inputs: dict[str, list[int]]
    places: list[int]

    @property
    def targets(self) -> list[int]:
        """The tokens that are hidden."""
        return [self.inputs["input_ids"][place] for place in self.places]


@dataclass(kw_only=True)
class MaskedTokens(LanguageModelling):
    """{"text"}: of 15 % of the tokens, all hidden behind the mask token, the loss in nats and the share guessed right.

    The choice depends on the seed, the vocabulary and the window alone, not on the model.

    Options:
        share: of the tokens that are hidden (0.15).
        seed: of the choice (0).
        one_by_one: hide every token once, with all others in sight, instead of a share of them. The exponential of
            this loss is the pseudo-perplexity (Salazar et al. 2020, https://arxiv.org/abs/1910.14659). Slow: one
            row for each token.
        join, window, batch_size: see `LanguageModelling`.
    """

    share: Annotated[float, Range(above=0, below=1), Only(lambda share: 0 < share < 1, "a number between 0 and 1")] = (
        0.15
    )
    seed: int = 0
    one_by_one: bool = False

    task = "fill-mask"

    def predict(self, pipe: Pipeline, records: Records) -> list[dict[str, int | float]]:
        """For each text the sum of the losses in nats, the number of hidden tokens, and of those guessed right."""
        predictions: list[dict[str, int | float]] = [{"loss": 0.0, "masked": 0, "right": 0} for _ in records]
        rows = list(self.rows(pipe.tokenizer, records, self.window_for(pipe)))
        rows.sort(key=lambda row: -len(row.inputs["input_ids"]))
        done = 0
        while done < len(rows):
            batch = rows[done : done + min(self.batch_size, most_rows(pipe, len(rows[done].inputs["input_ids"])))]
            logits = mask_logits(pipe, batch)  # (hidden tokens of all rows, V)
            for row, scores in zip(batch, torch.split(logits, [len(row.places) for row in batch]), strict=True):
                targets = torch.tensor(row.targets, device=scores.device)
                sums = predictions[row.text]
                sums["loss"] += row_loss(scores, targets)
                sums["masked"] += len(row.places)
                sums["right"] += int((scores.argmax(dim=-1) == targets).sum())
            done += len(batch)
            self.progress(done, len(rows))
        return predictions

    def rows(self, tokenizer: Tokenizer, records: Records, window: int) -> Iterator[Row]:
        """The texts in stretches, with the places to hide."""
        generator = torch.Generator().manual_seed(self.seed)
        for number, record in enumerate(records):
            encoding = tokenizer(
                record["text"],
                truncation=True,
                max_length=window,
                return_overflowing_tokens=True,
                return_special_tokens_mask=True,
            )
            names = [name for name in tokenizer.model_input_names if name in encoding]
            for i, special in enumerate(encoding["special_tokens_mask"]):
                inputs = {name: encoding[name][i] for name in names}
                ordinary = [place for place, is_special in enumerate(special) if not is_special]
                if self.one_by_one:
                    yield from (Row(number, inputs, [place]) for place in ordinary)
                elif ordinary:
                    order = torch.randperm(len(ordinary), generator=generator).tolist()
                    chosen = order[: max(1, round(self.share * len(ordinary)))]
                    yield Row(number, inputs, sorted(ordinary[j] for j in chosen))

    def score(self, predictions: Sequence[dict[str, Any]], records: Records) -> Scores:
        """Over all texts: each hidden token counts the same."""
        sums = {name: sum(p[name] for p in predictions) for name in ("loss", "masked", "right")}
        if not sums["masked"]:
            raise DataError("the text has no token that could be hidden: pass more text")
        loss = sums["loss"] / sums["masked"]
        name = "pseudo_perplexity" if self.one_by_one else "perplexity"
        accuracy = 100 * sums["right"] / sums["masked"]
        return {"accuracy": accuracy, "loss": loss, name: exponential(loss), "masked": sums["masked"]}

    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """Each token's frequency, whatever is around it."""
        need_train(train, self.task)
        if tokenizer is None:
            raise PipelineError("tokens are hidden: say of which vocabulary, with tokenizer=... or model=...")
        limit = tokenizer.model_max_length
        window = self.window or (limit if limit < 10**9 else 512)
        return baselines.hidden_frequencies(
            train, tokenizer, lambda records: ((row.text, row.targets) for row in self.rows(tokenizer, records, window))
        )


def mask_logits(pipe: Pipeline, rows: Sequence[Row]) -> Tensor:
    """The scores of all words at the hidden places of all rows, (places, vocabulary)."""
    from minitransformer.models.common.heads import MaskedLM
    from minitransformer.pipelines.batching import collate

    mask = torch.tensor(pipe.tokenizer.mask_token_id)
    chunks = []
    for row in rows:
        chunk = {name: torch.tensor([values]) for name, values in row.inputs.items()}
        chunk["input_ids"][0, row.places] = mask
        chunks.append(chunk)
    batch = collate(chunks, pipe.tokenizer.pad_token_id, "right")
    taken = pipe.model.forward_parameters()
    inputs = {name: value.to(pipe.device) for name, value in batch.items() if name in taken}
    at = [i for i, row in enumerate(rows) for _ in row.places], [place for row in rows for place in row.places]
    with torch.inference_mode(), fast_linear():
        if isinstance(pipe.model, MaskedLM) and type(pipe.model).forward is MaskedLM.forward:
            hidden = pipe.model.backbone(**inputs).last_hidden_state  # (B, T, D)
            logits = pipe.model.head(hidden[at][None])[0]  # the head is the greater part of a small model's work
        else:
            logits = pipe.model(**inputs).logits[at]
    return logits
