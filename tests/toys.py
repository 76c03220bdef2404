"""A call for each of the checkpoints that come with the package, and for each task; nothing is left to chance."""

from __future__ import annotations

from typing import Any

CONTEXT = "My name is Sarah and I work in Berlin. My brother Tom lives in France with his dog."
ABSTRACT = (
    "Deep neural networks need many labelled examples, which are expensive to collect. In this paper we propose a "
    "simple method that learns from few examples. Experiments show that our method is more accurate than others."
)
CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {  # name -> task, inputs, options
    "bert-sentiment": ("sentiment-analysis", (["I love this film, thank you!", "This is terrible."],), {"top_k": None}),
    "bert-nli": (
        "zero-shot-classification",
        ("The team won the football match.",),
        {"candidate_labels": ["sports", "cooking"], "multi_label": True},
    ),
    "gpt2-stories": ("text-generation", ("The old man",), {"do_sample": False, "max_new_tokens": 20}),
    "bert-books": ("fill-mask", ("She opened the [MASK] and went out.",), {"top_k": 7}),
    "bert-ner": ("ner", ("Sarah Miller was born in London.",), {"aggregation_strategy": "simple"}),
    "bert-qa": ("question-answering", (), {"question": "Where does Tom live?", "context": CONTEXT}),
    "bart-tldr": ("summarization", (ABSTRACT,), {}),
    "marian-fr-en": ("translation", ("Elle veut acheter une voiture.",), {}),
    "marian-en-de": ("translation", ("My brother lives in a small house.",), {}),
    "gpt2-induction": ("text-generation", ("q7Fxab2Kq7Fx",), {"do_sample": False, "max_new_tokens": 4}),
    "gpt2-grokking": ("text-generation", ("5 + 7 =",), {"do_sample": False, "max_new_tokens": 1}),
}
FURTHER = {
    "feature-extraction": ("bert-books", ("She opened the door.",), {}),
    "text2text-generation": ("bart-tldr", (ABSTRACT,), {"num_beams": 2, "do_sample": False, "max_new_tokens": 12}),
}
"""Tasks that no checkpoint of these is for: task -> one that can, inputs, options."""
