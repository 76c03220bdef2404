"""What the page offers to try: for the package's own toys what they have learnt, else what suits the task."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

OF_TASK: dict[str, list[Example]] = {
    "fill-mask": [
        {"text": "Paris is the [MASK] of France."},
        {"text": "She opened the [MASK] and went out."},
        {"text": "The goal of life is [MASK]."},
    ],
    "text-classification": [
        {"text": "I love this beautiful film, thank you!"},
        {"text": "This is terrible. I hate it."},
        {"text": "I like you, but you are late again."},
    ],
    "token-classification": [
        {"text": "My name is Wolfgang and I live in Berlin."},
        {"text": "Sarah Miller was born in London and worked for the University of Chicago."},
        {"text": "King Henry met the Duke of Burgundy near Paris."},
    ],
    "question-answering": [
        {
            "text": "Who founded the university?",
            "context": "The university was founded in 1846 by King Henry. It stands on a hill above the town.",
        },
        {
            "text": "Where do I live?",
            "context": "My name is Wolfgang and I live in Berlin.",
        },
        {
            "text": "When was the bridge built?",
            "context": "The old bridge over the river was built in 1503 by monks. It was widened in 1878.",
        },
    ],
    "zero-shot-classification": [
        {"text": "Two men are playing guitars on a stage.", "candidate_labels": "sleeping, music, swimming"},
        {"text": "Last week I upgraded my phone and now it is too slow.", "candidate_labels": "phone, weather, food"},
        {
            "text": "A dog runs along the beach with a ball.",
            "candidate_labels": "an animal, outdoors, cooking",
            "multi_label": True,
        },
    ],
    "summarization": [
        {
            "text": "Deep neural networks need many labelled examples, which are expensive to collect. In this paper "
            "we propose a simple method that learns from few examples: we train a network on related tasks and adapt "
            "it to a new task with a small number of gradient steps. Experiments on image classification show that "
            "our method needs fewer labels and is more accurate than previous approaches."
        },
        {
            "text": "Attention compares every query with every key, so that its cost grows with the square of the "
            "length. We show that most of these comparisons can be left out without a loss, and measure the speed "
            "of translation."
        },
    ],
    "text-generation": [
        {"text": "The old man opened the door and"},
        {"text": "Once upon a time,"},
        {"text": "It was a dark night, and the captain"},
    ],
    "translation": [{"text": "My name is Sarah and I live in London."}, {"text": "My brother lives in a small house."}],
    "text2text-generation": [{"text": "My brother lives in a small house."}],
    "feature-extraction": [{"text": "The cat sleeps."}, {"text": "Today is a sunny day."}],
}
OF_MODEL: dict[str, list[Example]] = {
    "minitransformer/marian-fr-en": [
        {"text": "Elle veut acheter une nouvelle voiture demain."},
        {"text": "Je ne sais pas où il habite."},
    ],
    "minitransformer/marian-en-de": [
        {"text": "My brother lives in a small house."},
        {"text": "We do not have much time."},
    ],
}
