"""What heads do: known kinds of attention, measured; and what their weights alone say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import StudyError
from minitransformer.study.results import Result
from minitransformer.study.runs import Inputs, has_taps, labelled, run, token_mask

KINDS = ("previous", "next", "self", "first", "separator", "duplicate", "induction")


def heads(model: nn.Module, inputs: Inputs, *, separators: Collection[int] = ()) -> Result:
    """How much of its attention each head gives to known places, on average over tokens.

    previous, next, self: the token before, behind, itself. first: the first token of the text. separator: tokens with
    these ids. duplicate: other tokens with the same id. induction: tokens that follow an earlier token with the same
    id ("what came next last time", Olsson et al. 2022, https://arxiv.org/abs/2209.11895); measured best on
    ``repeated_tokens``. Each is averaged over the tokens that have such a place; NaN where none has.

    Args:
        model: with self-attention; in a model with two stacks, both.
        inputs: a batch; padding on either side.
        separators: ids such as those of [SEP] or the full stop.

    Returns:
        Axes attention, head, kind.
    """
    if not has_taps(model, "*.attn.pattern"):
        raise StudyError(f"{type(model).__name__} has no tap called attn.pattern: its attention gives out no weights")
    result = run(model, inputs, "*.attn.pattern")
    found = {
        name: _scores(pattern, *_tokens(inputs, name), separators)
        for name, pattern in labelled(result, "pattern").items()
    }
    labels = {"attention": tuple(found), "kind": KINDS}
    return Result(_stacked(found), ("attention", "head", "kind"), labels, "mean attention to")


def _tokens(inputs: Inputs, name: str) -> tuple[Tensor, Tensor]:
    mask = token_mask(inputs, name).bool()
    decoder = "decoder_input_ids" in inputs and any(part.startswith("decoder") for part in name.split("."))
    return inputs["decoder_input_ids" if decoder else "input_ids"], mask


def _stacked(found: dict[str, Tensor]) -> Tensor:
    """(attention, heads, kinds); where stacks have other numbers of heads, NaN fills up."""
    most = max(len(x) for x in found.values())
    return torch.stack(
        [torch.cat([x, x.new_full((most - len(x), *x.shape[1:]), float("nan"))]) for x in found.values()]
    )


def _scores(pattern: Tensor, ids: Tensor, mask: Tensor, separators: Collection[int]) -> Tensor:
    """(heads, kinds)."""
    pattern = pattern[..., -ids.shape[1] :]  # what a recurrent model remembers stands before the text
    place = mask.long().cumsum(1) - 1  # of each token in its text
    query, key = place[:, :, None], place[:, None, :]
    both = mask[:, :, None] & mask[:, None, :]
    same = ids[:, :, None] == ids[:, None, :]
    shifted = torch.zeros_like(same)
    shifted[:, :, 1:] = (same & both)[:, :, :-1]  # the key's predecessor has the query's id
    kinds = {
        "previous": key == query - 1,
        "next": key == query + 1,
        "self": key == query,
        "first": (key == 0).expand(-1, ids.shape[1], -1),
        "separator": torch.isin(ids, torch.tensor(sorted(separators), device=ids.device, dtype=ids.dtype))[:, None, :],
        "duplicate": same & (key != query),
        "induction": shifted & (key <= query),
    }
    causal = bool((pattern * (both & (key > query))[:, None]).sum() == 0)
    scores = []
    for kind in KINDS:
        there = kinds[kind] & both
        if causal:
            there = there & (key <= query)
        asked = there.any(-1) & mask  # (B, T)
        given = (pattern * there[:, None]).sum(-1)  # (B, H, T)
        scores.append((given * asked[:, None]).sum((0, 2)) / asked.sum())
    return torch.stack(scores, dim=-1)


def repeated_tokens(vocab_size: int, *, rows: int = 8, period: int = 20, times: int = 2, seed: int = 0) -> Tensor:
    """Random tokens, each once in a row, said ``times`` times over: what induction and duplicate heads are found with.

    Returns:
        Ids from 1 on, (rows, period x times).
    """
    if period >= vocab_size:
        raise StudyError(f"a period of {period} needs more than the {vocab_size} words that there are")
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, vocab_size - 1, generator=generator).argsort(1)[:, :period] + 1).repeat(1, times)


def induction_gain(model: nn.Module, ids: Tensor, period: int) -> float:
    """Nats by which a decoder tells the second time better than the first, on ``repeated_tokens``."""
    scores = run(model, {"input_ids": ids}).output.logits[:, :-1].log_softmax(-1)
    nats = -scores.gather(-1, ids[:, 1:, None])[..., 0]  # (rows, tokens)
    return float(nats[:, : period - 1].mean() - nats[:, period:].mean())


# ------------------------------------------------------------------------------------------------- weights alone


def attentions(model: nn.Module) -> dict[str, Any]:
    """The attentions of a model by name: modules with query, key, value and output projections and ``num_heads``."""
    wanted = ("query", "key", "value", "output", "num_heads")
    found = {name: m for name, m in model.named_modules() if all(hasattr(m, part) for part in wanted)}
    if not found:
        raise StudyError(
            f"{type(model).__name__} has no attention whose parts are called {', '.join(wanted)}: "
            "name yours so, as layers/attention.py does"
        )
    return found


def per_head(attention: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value (heads, head_size, hidden_size) and output (heads, hidden_size, head_size) weights."""
    H = attention.num_heads
    q, k, v = (getattr(attention, part).weight.detach() for part in ("query", "key", "value"))
    out = attention.output.weight.detach()  # (D, H K)
    split = [w.reshape(-1, out.shape[1] // H, w.shape[1]) for w in (q, k, v)]
    if any(len(w) != H for w in split):
        repeats = [H // len(w) for w in split]  # grouped queries: several heads share keys and values
        split = [w.repeat_interleave(n, 0) for w, n in zip(split, repeats, strict=True)]
    return split[0], split[1], split[2], out.reshape(out.shape[0], H, -1).transpose(0, 1)


def copying(model: nn.Module, embedding: Tensor, unembedding: Tensor | None = None) -> Result:
    """Whether a head's values raise the words that they come from: 1 copies, -1 suppresses, 0 does neither.

    sum(lambda) / sum(|lambda|) over the eigenvalues of U W_O W_V E^T (Elhage et al. 2021, "A Mathematical Framework for
    Transformer Circuits", "copying"). Norms in between are left out.

    Args:
        model: any with attentions.
        embedding: the table of word vectors, (vocabulary, hidden_size).
        unembedding: that of the head; by default the same.

    Returns:
        Axes attention, head.
    """
    E, U = embedding.detach().double(), (embedding if unembedding is None else unembedding).detach().double()
    scores = {}
    for name, attention in attentions(model).items():
        _, _, v, o = (w.double() for w in per_head(attention))
        small = v @ (E.T @ U) @ o  # (H, K, K): the same eigenvalues but zeros
        values = torch.linalg.eigvals(small)
        scores[name] = values.real.sum(-1) / values.abs().sum(-1)
    return Result(_stacked(scores), ("attention", "head"), {"attention": tuple(scores)}, "copying score")


def composition(model: nn.Module, earlier: str, later: str) -> Result:
    """How much a later attention's queries, keys and values read of what an earlier one writes.

    ||A B|| / (||A|| ||B||) in Frobenius norms, with B = W_O W_V of the earlier head and A the later one's W_Q^T W_K
    (for keys), its transpose (for queries), W_O W_V (for values) (Elhage et al. 2021). Norms in between are left out.

    Args:
        model: any with attentions.
        earlier: name of the attention that writes, such as "decoder.blocks.0.attn".
        later: name of the one that reads.

    Returns:
        Axes earlier, later (heads), kind ("query", "key", "value").
    """
    found = attentions(model)
    pair = [_named(found, name) for name in (earlier, later)]
    (_, _, v1, o1), (q2, k2, v2, o2) = ([w.double() for w in per_head(attention)] for attention in pair)
    kinds = {"query": (k2, q2), "key": (q2, k2), "value": (o2.transpose(1, 2), v2)}  # A = left^T right
    B = _norm(o1.transpose(1, 2), v1)  # (H1,)
    values = []
    for left, right in kinds.values():
        middle = torch.einsum("bkd, ade -> abke", right, o1)  # (H1, H2, K, K)
        r_left, r_right = (torch.linalg.qr(w.transpose(1, 2)).R for w in (left, v1))
        product = torch.einsum("bfk, abke, age -> abfg", r_left, middle, r_right)
        values.append(product.flatten(2).norm(dim=-1) / (B[:, None] * _norm(left, right)[None]))
    labels = {"kind": tuple(kinds)}
    return Result(torch.stack(values, dim=-1), ("earlier", "later", "kind"), labels, f"{later} reads of {earlier}")


def _named(found: dict[str, Any], name: str) -> Any:
    names = [known for known in found if known == name or known.endswith(f".{name}")]
    if len(names) != 1:
        raise StudyError(f"{name!r} names {len(names)} attentions; there are {', '.join(found)}")
    return found[names[0]]


def _norm(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius norms of left^T right, for each head."""
    return torch.einsum("hkd, hke -> hde", left, right).flatten(1).norm(dim=-1)


# --------------------------------------------------------------------------------------------- from tokens to words


def to_words(
    pattern: Tensor, query_words: Sequence[int | None], key_words: Sequence[int | None] | None = None
) -> Tensor:
    """Attention between words: what a word's pieces receive is added, what they give is averaged (Clark et al. 2019).

    Args:
        pattern: (..., query, key), of one text.
        query_words: for each token the number of its word, None for special tokens (``encoding.word_ids()``).
        key_words: the same for the keys; by default the queries'.

    Returns:
        (..., words, words).
    """
    rows = _membership(query_words, pattern)
    columns = rows if key_words is None else _membership(key_words, pattern)
    return (rows / rows.sum(1, keepdim=True).clamp(min=1)) @ pattern @ columns.T


def _membership(words: Sequence[int | None], like: Tensor) -> Tensor:
    count = 1 + max((word for word in words if word is not None), default=-1)
    member = like.new_zeros(count, len(words))
    for token, word in enumerate(words):
        if word is not None:
            member[word, token] = 1.0
    return member
