"""Each processor alone against transformers' class, and the order of all."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from minitransformer.errors import GenerationError
from minitransformer.generation import GenerationConfig, processors
from minitransformer.generation.processors import build_processors

B, T, V = 4, 9, 31
EOS = torch.tensor([3, 30])


def draw(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with repetitions; scores with ties and with tokens that are already forbidden."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 6, (B, T), generator=generator)
    scores = 3 * torch.randn(B, V, generator=generator)
    scores[0, 5] = scores[0, 6] = scores[0].max()
    scores[1, 7:20] = -torch.inf
    return ids, scores


def build(source: torch.Tensor | None = None, eos: torch.Tensor | None = EOS, **options: Any) -> list[Any]:
    source = draw()[0] if source is None else source
    config = GenerationConfig(**{"max_length": T + 1, **options})
    return build_processors(config, prompt_length=4, source_ids=source, eos=eos, vocab_size=V)


SOURCE = draw(5)[0]
SAMPLED = {"do_sample": True, "top_k": 0}
CASES: list[tuple[dict[str, Any], str, list[Any]]] = [
    ({"sequence_bias": {(4,): 2.0, (1, 2): -3.0, (2, 2): 1.0, (5,): -1.0}}, "SequenceBias", ["sequence_bias"]),
    ({"repetition_penalty": 1.7}, "RepetitionPenalty", [1.7]),
    ({"encoder_repetition_penalty": 1.7}, "EncoderRepetitionPenalty", [1.7, SOURCE]),
    ({"no_repeat_ngram_size": 1}, "NoRepeatNGram", [1]),
    ({"no_repeat_ngram_size": 2}, "NoRepeatNGram", [2]),
    ({"no_repeat_ngram_size": 10}, "NoRepeatNGram", [10]),
    ({"no_repeat_ngram_size": 12}, "NoRepeatNGram", [12]),
    ({"encoder_no_repeat_ngram_size": 1}, "EncoderNoRepeatNGram", [1, SOURCE]),
    ({"encoder_no_repeat_ngram_size": 2}, "EncoderNoRepeatNGram", [2, SOURCE]),
    ({"encoder_no_repeat_ngram_size": 11}, "EncoderNoRepeatNGram", [11, SOURCE]),
    ({"bad_words_ids": [[3], [4], [1, 2], [2, 5], list(range(9))]}, "NoBadWords", ["bad_words_ids", EOS]),
    ({"min_length": T + 1}, "MinLength", [T + 1, EOS]),
    ({"min_length": T}, "MinLength", [T, EOS]),
    ({"forced_eos_token_id": [2, 5]}, "ForcedEOSToken", [T + 1, [2, 5]]),
    ({"forced_eos_token_id": 2, "max_length": T + 2}, "ForcedEOSToken", [T + 2, 2]),
    ({"exponential_decay_length_penalty": (2, 1.5)}, "ExponentialDecayLengthPenalty", [(2, 1.5), EOS, 4]),
    ({"exponential_decay_length_penalty": (5, 1.5)}, "ExponentialDecayLengthPenalty", [(5, 1.5), EOS, 4]),
    ({"suppress_tokens": [1, 8]}, "SuppressTokens", [[1, 8]]),
    ({"renormalize_logits": True}, "LogitNormalization", []),
    ({**SAMPLED, "temperature": 0.7}, "TemperatureLogitsWarper", [0.7]),
    ({**SAMPLED, "top_k": 1}, "TopKLogitsWarper", [1]),
    ({**SAMPLED, "top_k": 5}, "TopKLogitsWarper", [5]),
    ({**SAMPLED, "top_k": 500}, "TopKLogitsWarper", [500]),
    ({**SAMPLED, "top_p": 0.0}, "TopPLogitsWarper", [0.0]),
    ({**SAMPLED, "top_p": 0.8}, "TopPLogitsWarper", [0.8]),
    ({**SAMPLED, "min_p": 0.1}, "MinPLogitsWarper", [0.1]),
    ({**SAMPLED, "min_p": 1.0}, "MinPLogitsWarper", [1.0]),
    ({**SAMPLED, "typical_p": 0.5}, "TypicalLogitsWarper", [0.5]),
    ({**SAMPLED, "epsilon_cutoff": 0.1}, "EpsilonLogitsWarper", [0.1]),
    ({**SAMPLED, "eta_cutoff": 0.1}, "EtaLogitsWarper", [0.1]),
]
BEAMS_KEEP = {"min_tokens_to_keep": len(EOS) + 1}


@pytest.mark.parametrize("options, name, arguments", CASES, ids=lambda x: "-".join(x) if isinstance(x, dict) else "")
@pytest.mark.parametrize("num_beams", [1, 2])
def test_each_equals_the_reference(options, name, arguments, num_beams):
    library = pytest.importorskip("transformers.generation.logits_process")
    kind = getattr(library, name, None) or getattr(library, name + "LogitsProcessor", None) or getattr(library, name)
    more = BEAMS_KEEP if options.get("do_sample") and num_beams > 1 and "temperature" not in options else {}
    reference = kind(*(options.get(a, a) if isinstance(a, str) else a for a in arguments), **more)
    chain = build(SOURCE, num_beams=num_beams, **options)
    assert len(chain) == 1
    for seed in range(5):
        ids, scores = draw(seed)
        before = scores.clone()
        found = chain[0](ids, scores)
        assert torch.equal(found, reference(ids, before)), name
        assert torch.equal(scores, before), "the argument was changed"


def test_ngrams_of_the_source_reach_every_row_of_it():
    library = pytest.importorskip("transformers.generation.logits_process")
    ids, scores = draw()
    chain = build(SOURCE[:2], encoder_no_repeat_ngram_size=2)
    expected = library.EncoderNoRepeatNGramLogitsProcessor(2, SOURCE[:2])(ids, scores)
    assert torch.equal(chain[0](ids, scores), expected)
    assert torch.isinf(expected[2:]).sum() > torch.isinf(scores[2:]).sum()


def test_replaces_invalid_values():
    scores = torch.tensor([[torch.nan, torch.inf, -torch.inf, 1.5]])
    largest = torch.finfo(torch.float32).max
    (function,) = build(remove_invalid_values=True)
    assert function(SOURCE, scores).tolist() == [[0.0, largest, -largest, 1.5]]


def test_first_token():
    scores = torch.zeros(B, V)
    forced, suppressed = build(forced_bos_token_id=2, begin_suppress_tokens=[5, 6])
    assert torch.isinf(forced(SOURCE[:, :1], scores)).sum() == B * (V - 1)
    assert torch.equal(forced(SOURCE[:, :2], scores), scores)
    assert torch.isinf(suppressed(SOURCE[:, :4], scores)).nonzero()[:, 1].unique().tolist() == [5, 6]
    assert torch.equal(suppressed(SOURCE[:, :5], scores), scores)


ALL = {
    "sequence_bias": {(4,): 1.0},
    "encoder_repetition_penalty": 1.1,
    "repetition_penalty": 1.1,
    "no_repeat_ngram_size": 3,
    "encoder_no_repeat_ngram_size": 3,
    "bad_words_ids": [[5]],
    "min_length": 5,
    "forced_bos_token_id": 1,
    "forced_eos_token_id": 2,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": (1, 1.1),
    "suppress_tokens": [6],
    "begin_suppress_tokens": [7],
    "do_sample": True,
    "temperature": 0.9,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.01,
    "typical_p": 0.9,
    "epsilon_cutoff": 0.01,
    "eta_cutoff": 0.01,
    "renormalize_logits": True,
}
ORDER = """
sequence_bias encoder_repetition_penalty repetition_penalty no_repeat_ngram encoder_no_repeat_ngram sequence_bias
min_length prefix_allowed_tokens force_tokens_at force_tokens_at remove_invalid_values exponential_decay suppress_tokens
suppress_tokens_at of_caller temperature top_k top_p min_p typical_p epsilon_cutoff eta_cutoff renormalize
""".split()
THEIR_ORDER = """
SequenceBiasLogitsProcessor EncoderRepetitionPenaltyLogitsProcessor RepetitionPenaltyLogitsProcessor
NoRepeatNGramLogitsProcessor EncoderNoRepeatNGramLogitsProcessor NoBadWordsLogitsProcessor MinLengthLogitsProcessor
PrefixConstrainedLogitsProcessor ForcedBOSTokenLogitsProcessor ForcedEOSTokenLogitsProcessor InfNanRemoveLogitsProcessor
ExponentialDecayLengthPenalty SuppressTokensLogitsProcessor SuppressTokensAtBeginLogitsProcessor TemperatureLogitsWarper
TopKLogitsWarper TopPLogitsWarper MinPLogitsWarper TypicalLogitsWarper EpsilonLogitsWarper EtaLogitsWarper
LogitNormalization
""".split()


def own(ids, scores):
    return scores


def names(chain: list[Any]) -> list[str]:
    return [(f.func if isinstance(f, partial) else f).__name__ for f in chain]


def everything(**options: Any) -> list[Any]:
    config = GenerationConfig(**{**ALL, **options})
    keywords = {"prompt_length": 4, "source_ids": SOURCE, "eos": EOS, "vocab_size": V}
    return build_processors(config, **keywords, allowed_tokens=lambda i, ids: [1], extra=[own])


def test_order():
    assert names(everything()) == ORDER
    assert names(everything(do_sample=False)) == ORDER[: ORDER.index("of_caller") + 1] + ["renormalize"]
    assert build(**{"max_length": 20}) == []


def test_order_is_that_of_the_reference():
    transformers = pytest.importorskip("transformers")
    twin = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=V, n_embd=4, n_layer=1, n_head=1))
    config = transformers.GenerationConfig(**{**ALL, "sequence_bias": {(4,): 1.0}})
    config._eos_token_tensor = EOS
    theirs = twin._get_logits_processor(config, 4, SOURCE, prefix_allowed_tokens_fn=lambda i, ids: [1], device="cpu")
    assert [type(processor).__name__ for processor in theirs] == THEIR_ORDER
    assert len(THEIR_ORDER) == len(ORDER) - 1  # without the caller's own


def test_ends_outside_the_vocabulary_are_left_alone():
    ids, scores = draw()
    (function,) = build(eos=torch.tensor([3, V + 4]), min_length=50)
    assert torch.isinf(function(ids, scores)[:, 3]).all()


@pytest.mark.parametrize(
    "option",
    [
        {"sequence_bias": {(2, V): 1.0}},
        {"bad_words_ids": [[V]]},
        {"suppress_tokens": [V]},
        {"begin_suppress_tokens": [V]},
        {"forced_bos_token_id": V},
        {"forced_eos_token_id": [2, V]},
    ],
    ids=lambda o: "-".join(o),
)
def test_tokens_that_do_not_exist(option):
    with pytest.raises(GenerationError, match=f"{next(iter(option))}.*{V}"):
        build(**option)


def test_errors():
    with pytest.raises(GenerationError, match="eos_token_id"):
        build(eos=None, exponential_decay_length_penalty=(1, 1.1))
    allowed = partial(processors.prefix_allowed_tokens, allowed=lambda i, ids: [], num_beams=2)
    with pytest.raises(GenerationError, match="prefix_allowed_tokens_fn"):
        allowed(*draw())
