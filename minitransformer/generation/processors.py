"""Changes of the next token's scores: one small function for each option of ``generate``.

A processor maps the ids so far and the scores of the next token to new scores::

    ids     (rows, length)      prompt included for a decoder-only model; the decoder's ids for an encoder-decoder
    scores  (rows, vocabulary)  logits when one sequence is grown, log probabilities in a beam search

``build_processors`` puts those that the options ask for into one fixed order, the one of transformers 4.57
(``_get_logits_processor`` in generation/utils.py), on which results depend. No function changes its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import GenerationError
from minitransformer.generation.config import SPECIAL_TOKENS, GenerationConfig
from minitransformer.options import shown

Processor = Callable[[Tensor, Tensor], Tensor]
AllowedTokens = Callable[[int, Tensor], list[int]]

_NEVER = -math.inf


def build_processors(
    config: GenerationConfig,
    *,
    prompt_length: int,
    source_ids: Tensor,
    eos: Tensor | None,
    vocab_size: int,
    allowed_tokens: AllowedTokens | None = None,
    extra: Sequence[Processor] = (),
) -> list[Processor]:
    """The processors that ``config`` asks for, in the order in which they apply.

    Args:
        config: options, with final ``max_length`` and ``min_length``.
        prompt_length: number of ids before the first new token.
        source_ids: (batch, source) the encoder's ids, or a decoder-only model's prompt.
        eos: ids that end a sequence.
        vocab_size: how many tokens there are to write; ids in the options are among them.
        allowed_tokens: ``prefix_allowed_tokens_fn``.
        extra: the caller's own processors; they see the scores before sampling's filters.

    Raises:
        GenerationError: an option names a token that the model does not have, or needs an end token and has none.
    """
    check_tokens(config, vocab_size)
    _check_source(config, source_ids, vocab_size)
    chain: list[Processor] = []

    def add(function: Callable[..., Tensor], **arguments: object) -> None:
        chain.append(partial(function, **arguments) if arguments else function)

    device = source_ids.device
    # What sampling's filters always keep: a beam must be able to go on, so besides the end tokens at least one other.
    keep = 1 if config.num_beams == 1 else 2 if eos is None else len(eos) + 1
    if eos is not None:
        eos = eos[(eos >= 0) & (eos < vocab_size)]  # a config may name an end that the vocabulary lacks
    if config.sequence_bias is not None:
        bias = {tuple(ids): value for ids, value in _pairs(config.sequence_bias)}
        add(sequence_bias, groups=bias_groups(bias, device))
    if config.encoder_repetition_penalty != 1.0:
        add(encoder_repetition_penalty, source_ids=source_ids, penalty=config.encoder_repetition_penalty)
    if config.repetition_penalty != 1.0:
        add(repetition_penalty, penalty=config.repetition_penalty)
    if config.no_repeat_ngram_size > 0:
        add(no_repeat_ngram, size=config.no_repeat_ngram_size)
    if config.encoder_no_repeat_ngram_size > 0:
        add(encoder_no_repeat_ngram, source_ids=source_ids, size=config.encoder_no_repeat_ngram_size)
    if config.bad_words_ids is not None:
        ends = set() if eos is None else {(token,) for token in eos.tolist()}  # the end itself cannot be forbidden
        words = {tuple(word): _NEVER for word in config.bad_words_ids if tuple(word) not in ends}
        add(sequence_bias, groups=bias_groups(words, device))
    if config.min_length and eos is not None:
        add(min_length, length=config.min_length, eos=eos)
    if allowed_tokens is not None:
        add(prefix_allowed_tokens, allowed=allowed_tokens, num_beams=config.num_beams)
    if config.forced_bos_token_id is not None:
        add(force_tokens_at, length=1, tokens=_tensor(config.forced_bos_token_id, device))
    if config.forced_eos_token_id is not None and config.max_length is not None:
        add(force_tokens_at, length=config.max_length - 1, tokens=_tensor(config.forced_eos_token_id, device))
    if config.remove_invalid_values:
        add(remove_invalid_values)
    if config.exponential_decay_length_penalty is not None:
        if eos is None:
            raise GenerationError("exponential_decay_length_penalty needs an eos_token_id")
        start, factor = config.exponential_decay_length_penalty
        add(exponential_decay, start=prompt_length + start, factor=factor, eos=eos)
    if config.suppress_tokens is not None:
        add(suppress_tokens, tokens=_tensor(config.suppress_tokens, device))
    if config.begin_suppress_tokens is not None:
        forced_first = prompt_length <= 1 and config.forced_bos_token_id is not None
        tokens = _tensor(config.begin_suppress_tokens, device)
        add(suppress_tokens_at, length=prompt_length + forced_first, tokens=tokens)

    chain.extend(partial(of_caller, function=function) for function in extra)

    if config.do_sample:
        if config.temperature not in (None, 1.0):
            add(temperature, value=config.temperature)
        if config.top_k:
            add(top_k, k=max(config.top_k, keep))
        if config.top_p is not None and config.top_p < 1.0:
            add(top_p, p=config.top_p, keep=keep)
        if config.min_p is not None:
            add(min_p, p=config.min_p, keep=keep)
        if config.typical_p is not None and config.typical_p < 1.0:
            add(typical_p, mass=config.typical_p, keep=keep)
        if config.epsilon_cutoff:
            add(epsilon_cutoff, epsilon=config.epsilon_cutoff, keep=keep)
        if config.eta_cutoff:
            add(eta_cutoff, epsilon=config.eta_cutoff, keep=keep)

    if config.renormalize_logits:
        add(renormalize)
    return chain


def apply(processors: Sequence[Processor], ids: Tensor, scores: Tensor) -> Tensor:
    """Send the scores through all processors."""
    for processor in processors:
        scores = processor(ids, scores)
    return scores


# --- in the order of application -------------------------------------------------------------------------------------

BiasGroup = tuple[Tensor, Tensor, Tensor]
"""Prefixes (sequences, length - 1), last tokens (sequences,) and biases (sequences,) of sequences of one length."""


def bias_groups(bias: Mapping[tuple[int, ...], float], device: torch.device) -> list[BiasGroup]:
    """Biased sequences of equal length together, so that each length takes one comparison."""
    groups = []
    for length in sorted({len(sequence) for sequence in bias}):
        sequences = [sequence for sequence in bias if len(sequence) == length]
        ids = torch.tensor(sequences, device=device)
        values = torch.tensor([bias[sequence] for sequence in sequences], dtype=torch.float32, device=device)
        groups.append((ids[:, :-1], ids[:, -1], values))
    return groups


def sequence_bias(ids: Tensor, scores: Tensor, groups: list[BiasGroup]) -> Tensor:
    """Add a bias to a token that would complete one of the given sequences."""
    total = torch.zeros_like(scores)
    for prefixes, last_tokens, values in groups:
        length = prefixes.shape[1]
        if length >= ids.shape[1]:
            continue
        completes = (ids[:, None, ids.shape[1] - length :] == prefixes).all(dim=-1)  # (rows, sequences)
        total.index_add_(1, last_tokens, torch.where(completes, values, 0.0).to(scores.dtype))
    return scores + total


def repetition_penalty(ids: Tensor, scores: Tensor, penalty: float) -> Tensor:
    """Make tokens that occurred less likely (section 4.1 of https://arxiv.org/abs/1909.05858)."""
    seen = scores.gather(1, ids)
    return scores.scatter(1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def encoder_repetition_penalty(ids: Tensor, scores: Tensor, source_ids: Tensor, penalty: float) -> Tensor:
    """Make tokens of the source more likely (for a penalty above 1).

    Row ``i`` meets source ``i``, also when a source has several rows (beams): the rows after the first ``batch`` are
    left alone. That is what transformers 4.57 does.
    """
    first = scores[: len(source_ids)]
    return torch.cat([repetition_penalty(source_ids, first, 1 / penalty), scores[len(source_ids) :]])


def no_repeat_ngram(ids: Tensor, scores: Tensor, size: int) -> Tensor:
    """Forbid tokens that would complete a sequence of ``size`` tokens a second time."""
    return _forbid_ngrams(ids, ids, scores, size)


def encoder_no_repeat_ngram(ids: Tensor, scores: Tensor, source_ids: Tensor, size: int) -> Tensor:
    """Forbid tokens that would complete a sequence of ``size`` tokens of the source."""
    return _forbid_ngrams(source_ids.repeat_interleave(len(ids) // len(source_ids), dim=0), ids, scores, size)


def _forbid_ngrams(text: Tensor, ids: Tensor, scores: Tensor, size: int) -> Tensor:
    if text.shape[1] < size or ids.shape[1] < size - 1:
        return scores
    ngrams = text.unfold(1, size, 1)  # (rows, n-grams, size)
    last = ids[:, ids.shape[1] - size + 1 :]
    row, found = (ngrams[..., :-1] == last[:, None]).all(dim=-1).nonzero(as_tuple=True)
    scores = scores.clone()
    scores[row, ngrams[row, found, -1]] = _NEVER
    return scores


def min_length(ids: Tensor, scores: Tensor, length: int, eos: Tensor) -> Tensor:
    """Forbid the end before ``length`` tokens."""
    return scores.index_fill(1, eos, _NEVER) if ids.shape[1] < length else scores


def prefix_allowed_tokens(ids: Tensor, scores: Tensor, allowed: AllowedTokens, num_beams: int) -> Tensor:
    """Allow only what the caller's ``allowed(batch index, ids so far)`` returns."""
    mask = torch.full_like(scores, _NEVER)
    for row, sequence in enumerate(ids):
        mask[row, _allowed_tokens(allowed(row // num_beams, sequence), row // num_beams, scores)] = 0.0
    return scores + mask


def _allowed_tokens(tokens: Any, index: int, scores: Tensor) -> Tensor:
    """What a caller's function returned, if it is ids of the vocabulary."""
    try:
        ids = torch.as_tensor(tokens, device=scores.device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        ids = None
    if ids is not None and ids.numel() == 0:
        raise GenerationError(
            f"prefix_allowed_tokens_fn allows no token for batch index {index}: it must return at least one (the end "
            "token, say)"
        )
    integers = ids is not None and not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    if ids is None or not integers or ids.dim() != 1 or int(ids.min()) < 0 or int(ids.max()) >= scores.shape[1]:
        raise GenerationError(
            f"prefix_allowed_tokens_fn must return a list of token ids from 0 to {scores.shape[1] - 1}, not "
            f"{shown(tokens)}"
        )
    return ids.long()


def of_caller(ids: Tensor, scores: Tensor, function: Processor) -> Tensor:
    """One of ``logits_processor``, which must give scores for the same tokens."""
    changed = function(ids, scores)
    if not isinstance(changed, Tensor) or changed.shape != scores.shape or not changed.is_floating_point():
        what = f"shape {tuple(changed.shape)} of {changed.dtype}" if isinstance(changed, Tensor) else shown(changed)
        raise GenerationError(
            f"a function of logits_processor must return scores of the shape {tuple(scores.shape)}, not {what}"
        )
    return changed


def force_tokens_at(ids: Tensor, scores: Tensor, length: int, tokens: Tensor) -> Tensor:
    """Allow nothing but these tokens as the token after ``length`` others."""
    if ids.shape[1] != length:
        return scores
    return torch.full_like(scores, _NEVER).index_fill(1, tokens, 0.0)


def remove_invalid_values(ids: Tensor, scores: Tensor) -> Tensor:
    """Replace not-a-number by 0 and infinities by the largest finite numbers."""
    return torch.nan_to_num(scores, nan=0.0)


def exponential_decay(ids: Tensor, scores: Tensor, start: int, factor: float, eos: Tensor) -> Tensor:
    """Raise the end's score after ``start`` tokens, by a factor that grows with every token."""
    beyond = ids.shape[1] - start
    if beyond <= 0:
        return scores
    end = scores.index_select(1, eos)
    try:
        growth = factor**beyond - 1
    except OverflowError:
        growth = math.inf
    return scores.index_copy(1, eos, end + end.abs() * growth)


def suppress_tokens(ids: Tensor, scores: Tensor, tokens: Tensor) -> Tensor:
    """Forbid tokens."""
    return scores.index_fill(1, tokens, _NEVER)


def suppress_tokens_at(ids: Tensor, scores: Tensor, length: int, tokens: Tensor) -> Tensor:
    """Forbid tokens as the token after ``length`` others."""
    return scores.index_fill(1, tokens, _NEVER) if ids.shape[1] == length else scores


# --- only when sampling ----------------------------------------------------------------------------------------------


def temperature(ids: Tensor, scores: Tensor, value: float) -> Tensor:
    """Flatten (above 1) or sharpen (below 1) the distribution."""
    return scores / value


def top_k(ids: Tensor, scores: Tensor, k: int) -> Tensor:
    """Keep the ``k`` best tokens, and those that tie with the last of them."""
    return scores.masked_fill(scores < _nth_best(scores, k), _NEVER)


def top_p(ids: Tensor, scores: Tensor, p: float, keep: int) -> Tensor:
    """Keep the fewest best tokens whose probabilities sum to ``p`` (https://arxiv.org/abs/1904.09751)."""
    ascending, order = scores.sort(dim=-1)
    drop = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    drop[:, -keep:] = False
    return scores.masked_fill(drop.scatter(1, order, drop), _NEVER)


def min_p(ids: Tensor, scores: Tensor, p: float, keep: int) -> Tensor:
    """Keep tokens at least ``p`` times as likely as the best one (https://arxiv.org/abs/2407.01082)."""
    probabilities = scores.softmax(dim=-1)
    drop = probabilities < p * probabilities.amax(dim=-1, keepdim=True)
    best = scores.topk(min(keep, scores.shape[1]), dim=-1).indices
    return scores.masked_fill(drop.scatter(1, best, False), _NEVER)


def typical_p(ids: Tensor, scores: Tensor, mass: float, keep: int) -> Tensor:
    """Keep tokens whose surprise is nearest to the expected one, up to ``mass`` (https://arxiv.org/abs/2202.00666)."""
    log_p = scores.log_softmax(dim=-1)
    entropy = -(log_p * log_p.exp()).nansum(dim=-1, keepdim=True)
    distance, order = (-log_p - entropy).abs().sort(dim=-1)
    cumulative = scores.gather(1, order).softmax(dim=-1).cumsum(dim=-1)
    last = (cumulative < mass).sum(dim=-1, keepdim=True).clamp(max=scores.shape[1] - 1)
    drop = distance > distance.gather(1, last)
    drop[:, :keep] = False
    return scores.masked_fill(drop.scatter(1, order, drop), _NEVER)


def epsilon_cutoff(ids: Tensor, scores: Tensor, epsilon: float, keep: int) -> Tensor:
    """Drop tokens less likely than ``epsilon`` (https://arxiv.org/abs/2210.15191)."""
    drop = (scores.softmax(dim=-1) < epsilon) & (scores < _nth_best(scores, keep))
    return scores.masked_fill(drop, _NEVER)


def eta_cutoff(ids: Tensor, scores: Tensor, epsilon: float, keep: int) -> Tensor:
    """Like ``epsilon_cutoff``, with a threshold that falls when the distribution is flat (same paper)."""
    limit = torch.tensor(epsilon, device=scores.device)
    log_p = scores - scores.logsumexp(dim=-1, keepdim=True)
    finite = log_p.clamp(min=torch.finfo(scores.dtype).min)  # what other filters dropped has no part in the sum
    entropy = -(finite * log_p.softmax(dim=-1)).sum(dim=-1)
    eta = torch.min(limit, limit.sqrt() * (-entropy).exp())[:, None]
    drop = (scores.softmax(dim=-1) < eta) & (scores < _nth_best(scores, keep))
    return scores.masked_fill(drop, _NEVER)


# --- always last -----------------------------------------------------------------------------------------------------


def renormalize(ids: Tensor, scores: Tensor) -> Tensor:
    """Make the scores log probabilities again."""
    return scores.log_softmax(dim=-1)


def _nth_best(scores: Tensor, n: int) -> Tensor:
    return scores.topk(min(n, scores.shape[1]), dim=-1).values[:, -1:]


def _tensor(tokens: int | Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([tokens] if isinstance(tokens, int) else list(tokens), dtype=torch.long, device=device)


def _pairs(bias: Any) -> list[tuple[Sequence[int], float]]:
    return list(bias.items()) if isinstance(bias, Mapping) else list(bias)


def check_tokens(config: GenerationConfig, vocab_size: int) -> None:
    """Every token id in an option must be one of the model's.

    Raises:
        GenerationError: one is not.
    """
    named: dict[str, list[int]] = {
        "sequence_bias": [t for ids, _ in _pairs(config.sequence_bias or ()) for t in ids],
        "bad_words_ids": [t for word in config.bad_words_ids or () for t in word],
        "suppress_tokens": list(config.suppress_tokens or ()),
        "begin_suppress_tokens": list(config.begin_suppress_tokens or ()),
    }
    for name in ("forced_bos_token_id", "forced_eos_token_id", *SPECIAL_TOKENS):
        tokens = getattr(config, name)
        named[name] = [] if tokens is None else [tokens] if isinstance(tokens, int) else list(tokens)
    for name, found in named.items():
        wrong = sorted({token for token in found if not 0 <= token < vocab_size})
        if wrong:
            raise GenerationError(f"{name} names tokens {wrong[:5]}; the model's vocabulary is 0 to {vocab_size - 1}")


def _check_source(config: GenerationConfig, source_ids: Tensor, vocab_size: int) -> None:
    """Where the source's tokens are looked for among those to write, these must have them."""
    for name, neutral in (("encoder_repetition_penalty", 1.0), ("encoder_no_repeat_ngram_size", 0)):
        if getattr(config, name) != neutral and int(source_ids.max()) >= vocab_size:
            raise GenerationError(
                f"{name} looks for the source's tokens in what is written, but source and target have vocabularies of "
                f"their own, and the target's ends at {vocab_size - 1}: leave it out"
            )
