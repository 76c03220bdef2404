"""Trivial answers to every task, without a model: what a table of results must be read against.

Each function here is a predictor (from records to predictions, in the form that the task's evaluation scores), or makes
one of training records.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from minitransformer.data.questions import BETWEEN_SENTENCES
from minitransformer.errors import DataError
from minitransformer.evaluation.base import Answerer, Records
from minitransformer.evaluation.squad import normalise

if TYPE_CHECKING:
    from minitransformer.tokenization import Tokenizer


def majority(train: Records) -> Answerer:
    """The commonest label of the training records, for every text."""
    label = most_common(record["label"] for record in train)
    return lambda records: [label] * len(records)


def label_of_word(train: Records) -> Answerer:
    """For each word the label that it has most often; for one never seen, the commonest of all."""
    pairs = [pair for record in train for pair in zip(record["words"], record["labels"], strict=True)]
    seen: dict[str, list[str]] = defaultdict(list)
    for word, label in pairs:
        seen[word].append(label)
    label_of = {word: most_common(labels) for word, labels in seen.items()}
    default = most_common(label for _, label in pairs)
    return lambda records: [[label_of.get(word, default) for word in record["words"]] for record in records]


def nearest_sentence(records: Records) -> list[str]:
    """The sentence of the context that has most words of the question; the first of several."""

    def shared(sentence: str, question: str) -> int:
        return sum((Counter(normalise(sentence).split()) & Counter(normalise(question).split())).values())

    nearest = []
    for record in records:
        known = sentences(record["context"])
        overlaps = [shared(sentence, record["question"]) for sentence in known]
        nearest.append(known[overlaps.index(max(overlaps))])
    return nearest


def copy_source(records: Records) -> list[str]:
    """The text itself."""
    return [record["source"] for record in records]


def first_sentence(records: Records) -> list[str]:
    """The first sentence of the text (lead-1)."""
    return [sentences(record["source"])[0] for record in records]


def shared_words(records: Records) -> list[float]:
    """The cosine of the two texts' word counts."""
    cosines = []
    for record in records:
        a, b = (Counter(normalise(record[name]).split()) for name in ("text", "text_pair"))
        length = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
        cosines.append(sum(a[word] * b[word] for word in a) / length if length else 0.0)
    return cosines


def frequencies(train: Records, tokenizer: Tokenizer, count: Callable[..., dict[str, int | float]]) -> Answerer:
    """A unigram model: the loss of a token is that of its frequency, whatever is before it.

    Args:
        train: texts.
        tokenizer: of the model that is compared.
        count: makes the rest of a prediction of a text and its tokens.
    """
    losses = unigram_losses(train, tokenizer)

    def answer(records: Records) -> list[dict[str, int | float]]:
        predictions = []
        for record in records:
            ids = tokens_of(tokenizer, record["text"])
            loss = math.fsum(losses[i] for i in ids)
            predictions.append({**count(tokenizer, record["text"], ids, first_counts=True), "loss": loss})
        return predictions

    return answer


def hidden_frequencies(
    train: Records, tokenizer: Tokenizer, hidden: Callable[[Records], Iterable[tuple[int, list[int]]]]
) -> Answerer:
    """The same for hidden tokens, whatever is around them; the guess is always the commonest token.

    Args:
        train: texts.
        tokenizer: of the model that is compared.
        hidden: chooses tokens of texts, as (number of the text, tokens).
    """
    losses = unigram_losses(train, tokenizer)
    guess = min(range(len(losses)), key=losses.__getitem__)

    def answer(records: Records) -> list[dict[str, int | float]]:
        sums: list[dict[str, int | float]] = [{"loss": 0.0, "masked": 0, "right": 0} for _ in records]
        for text, ids in hidden(records):
            sums[text]["loss"] += math.fsum(losses[i] for i in ids)
            sums[text]["masked"] += len(ids)
            sums[text]["right"] += ids.count(guess)
        return sums

    return answer


def unigram_losses(train: Records, tokenizer: Tokenizer) -> list[float]:
    """-log of each token's share of the training texts, in nats; every token counts as seen once more than it was."""
    counts = Counter(i for record in train for i in tokens_of(tokenizer, record["text"]))
    total = sum(counts.values()) + len(tokenizer)
    return [math.log(total / (counts[i] + 1)) for i in range(len(tokenizer))]


def tokens_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Without special tokens, of a text of any length."""
    return list(tokenizer(text, add_special_tokens=False, truncation=True, max_length=10**9)["input_ids"])


def sentences(text: str) -> list[str]:
    """A text split after full stops, question and exclamation marks with a blank behind them.

    Raises:
        DataError: the text is empty.
    """
    if not text.strip():
        raise DataError("a text is empty, so that there is no sentence to take")
    return BETWEEN_SENTENCES.split(text.strip())


def most_common(labels: Iterable[Any]) -> Any:
    """The commonest; the first of several in the order of the alphabet, so that runs agree."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))
