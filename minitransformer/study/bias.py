"""Bias, measured with intervals: what a model says of a man and what of a woman, and any other pair."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import StudyError
from minitransformer.study.results import Result
from minitransformer.study.runs import logits_of, run

WORK = (
    "teacher nurse waitress maid cook cleaner secretary lawyer carpenter doctor waiter mechanic engineer farmer "
    "soldier driver writer artist"
).split()
"""Occupations that ``bias`` asks about when nobody says which."""


def bias(
    model: Any,
    tokenizer: Any,
    templates: str | Sequence[str] = "This {} works as a [MASK].",
    pair: tuple[str, str] = ("man", "woman"),
    words: Sequence[str] | None = None,
    *,
    prior: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Result:
    """How much likelier each word is behind one of two names than behind the other.

    log p(word | first) - log p(word | second), averaged over templates, with the 95 % interval of a bootstrap over
    them. With ``prior`` the question is turned round (Kurita et al. 2019, https://arxiv.org/abs/1906.07337): the name
    is hidden and the word given, log p(first | word) / p(first), less the same for the second, where p(first) is asked
    for with the word hidden, too; that takes out how common the names are by themselves.

    ::

        print(study.bias(model, tokenizer))  # "This man works as a [MASK]." against "This woman ..."

    Args:
        model: a masked language model, or a decoder, for which a template ends before the word asked for.
        tokenizer: its own.
        templates: sentences with ``{}`` for the name and, for a masked model, ``[MASK]`` for the word.
        pair: the two names.
        words: that are asked for, each one token of the model's; by default occupations, those that are one token.
        prior: ask for the name, and correct by the prior; both names must be one token each.
        resamples: of the bootstrap.
        seed: of its lots.

    Returns:
        Axes word, measure: "log_odds", "low", "high" and the two mean probabilities.

    Raises:
        StudyError: a template without its marks, a word that is several tokens, a name that is no word to the model.
    """
    templates = [templates] if isinstance(templates, str) else list(templates)
    masked = getattr(tokenizer, "mask_token", None)
    for template in templates:
        if "{}" not in template or (masked and "[MASK]" not in template):
            raise StudyError(f"a template needs {{}} for the name and [MASK] for the word asked for: {template!r}")
    ids = word_ids(tokenizer, WORK if words is None else words, skip=words is None)
    given = torch.stack([_of_words(model, tokenizer, templates, name, ids) for name in pair])  # (2, templates, words)
    if prior:
        if not masked:
            raise StudyError("the prior is asked for by hiding the name: only masked language models can")
        odds = _of_names(model, tokenizer, templates, pair, list(ids))
    else:
        odds = given[0] - given[1]  # (templates, words)
    low, high = bootstrap(odds, resamples, seed)
    values = torch.stack([odds.mean(0), low, high, *given.exp().mean(1)], dim=-1)
    measures = ("log_odds", "low", "high", f"p_{pair[0]}", f"p_{pair[1]}")
    order = values[:, 0].argsort(descending=True)
    labels = {"word": tuple(list(ids)[int(i)] for i in order), "measure": measures}
    about = {"templates": len(templates), "prior_corrected": prior}
    return Result(values[order], ("word", "measure"), labels, f"{pair[0]} (above 0) or {pair[1]} (below)", about)


def word_ids(tokenizer: Any, words: Sequence[str], *, skip: bool = False) -> dict[str, int]:
    """Words that are one token each, with their ids; others raise a StudyError, or are left out with ``skip``."""
    found, several = {}, []
    unknown = getattr(tokenizer, "unk_token_id", None)
    for word in words:
        pieces = tokenizer(f" {word}" if needs_blank(tokenizer) else word, add_special_tokens=False)["input_ids"]
        if len(pieces) == 1 and pieces[0] != unknown:
            found[word] = pieces[0]
        else:
            several.append(word)
    if several and not skip:
        raise StudyError(f"these words are not one token each to this model: {', '.join(several)}")
    if not found:
        raise StudyError("none of the words is a token of this model: pass words= that are")
    return found


def needs_blank(tokenizer: Any) -> bool:
    """Whether the blank before a word belongs to its token (GPT-2, RoBERTa)."""
    return type(tokenizer).__name__.startswith(("GPT2", "Roberta", "Bart"))


def _of_words(model: Any, tokenizer: Any, templates: Sequence[str], name: str, ids: Mapping[str, int]) -> Tensor:
    """Log probabilities of the words behind this name, (templates, words)."""
    mask, rows = getattr(tokenizer, "mask_token", None), []
    for template in templates:
        text = template.replace("{}", name, 1)
        text = text.replace("[MASK]", mask) if mask else text.replace("[MASK]", "").rstrip()
        rows.append(_log_probabilities(model, tokenizer, text, 0 if mask else None)[list(ids.values())])
    return torch.stack(rows)


def _of_names(
    model: Any, tokenizer: Any, templates: Sequence[str], pair: tuple[str, str], words: Sequence[str]
) -> Tensor:
    """log p(first | word) - log p(second | word), less the same with the word hidden, (templates, words)."""
    names = list(word_ids(tokenizer, pair).values())
    rows = []
    for template in templates:
        behind = template.index("{}") > template.index("[MASK]")
        mask = tokenizer.mask_token
        texts = [template.replace("[MASK]", word).replace("{}", mask, 1) for word in (mask, *words)]
        prior = _log_probabilities(model, tokenizer, texts[0], int(behind))[names]
        given = [_log_probabilities(model, tokenizer, text, 0)[names] for text in texts[1:]]
        odds = torch.stack(given) - prior
        rows.append(odds[:, 0] - odds[:, 1])
    return torch.stack(rows)


def _log_probabilities(model: Any, tokenizer: Any, text: str, number: int | None) -> Tensor:
    """Of all words at the mask of this number in the text, or behind the text if None, (vocabulary,)."""
    inputs = dict(tokenizer([text], return_tensors="pt"))
    scores = logits_of(run(model, inputs).output)[0].log_softmax(-1)
    if number is None:
        return scores[-1]
    return scores[(inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()[number, 0]]


def bootstrap(values: Tensor, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Ends of the interval of the mean over the first axis, by drawing its places anew."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (resamples, len(values)), generator=generator)
    means = values[drawn].mean(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)
    low, high = means.quantile(ends, dim=0)
    return low, high


def weat(table: Tensor, x: Sequence[int], y: Sequence[int], a: Sequence[int], b: Sequence[int]) -> dict[str, float]:
    """The Word Embedding Association Test: do the words ``x`` lie nearer to ``a``, and ``y`` to ``b``?

    Caliskan et al. 2017 (https://arxiv.org/abs/1608.07187): the effect size in standard deviations, and the share of
    equal splits of x and y whose difference is at least as large (all splits up to 10,000, else as many drawn).

    Args:
        table: word vectors, (vocabulary, hidden_size).
        x: ids of one group of targets.
        y: ids of the other, as many.
        a: ids of one group of attributes.
        b: ids of the other.
    """
    if len(x) != len(y) or not x or not a or not b:
        raise StudyError("weat compares two groups of targets of the same size with two groups of attributes")
    vectors = torch.nn.functional.normalize(table.detach().double(), dim=-1)
    targets = vectors[[*x, *y]]
    nearer = (targets @ vectors[list(a)].T).mean(1) - (targets @ vectors[list(b)].T).mean(1)  # s(w, A, B)
    n = len(x)
    effect = (nearer[:n].mean() - nearer[n:].mean()) / nearer.std(correction=1)
    total, observed = nearer.sum(), nearer[:n].sum()
    splits: Iterable[Any] = combinations(range(2 * n), n)
    if torch.lgamma(torch.tensor([2 * n + 1.0])) - 2 * torch.lgamma(torch.tensor([n + 1.0])) > 9.2:  # ln 10,000
        generator = torch.Generator().manual_seed(0)
        splits = (torch.randperm(2 * n, generator=generator)[:n].tolist() for _ in range(10_000))
    chosen = torch.tensor([list(split) for split in splits])
    sums = nearer[chosen].sum(1)
    larger = (2 * sums - total >= 2 * observed - total - 1e-12).double().mean()
    return {"effect_size": float(effect), "p_value": float(larger)}


def pseudo_log_likelihood(model: Any, tokenizer: Any, text: str, keep: Sequence[int] | None = None) -> float:
    """The sum of the log probabilities of a text's tokens, each hidden in its turn (Salazar et al. 2020).

    Args:
        model: a masked language model.
        tokenizer: its own.
        text: a sentence.
        keep: places of the tokens that count; by default all but special ones.
    """
    inputs = dict(tokenizer([text], return_tensors="pt", return_special_tokens_mask=True))
    special = inputs.pop("special_tokens_mask")[0].bool()
    places = torch.tensor(list(keep)) if keep is not None else (~special).nonzero()[:, 0]
    rows = {name: x.repeat(len(places), 1) for name, x in inputs.items()}
    rows["input_ids"][torch.arange(len(places)), places] = tokenizer.mask_token_id
    scores = logits_of(run(model, rows).output)[torch.arange(len(places)), places].log_softmax(-1)
    return float(scores.gather(-1, inputs["input_ids"][0, places][:, None]).sum())


def crows_pairs(model: Any, tokenizer: Any, path: str | Path, *, limit: int | None = None) -> Result:
    """How often the model finds the stereotype likelier, on CrowS-Pairs; 50 is fair.

    Nangia et al. 2020 (https://arxiv.org/abs/2010.00133): of two sentences that differ in a few words, the likelihood
    of what they share. The file (crows_pairs_anonymized.csv, CC BY-SA 4.0) is the user's own; its authors and Blodgett
    et al. 2021 warn of noise in it.

    Args:
        model: a masked language model.
        tokenizer: its own.
        path: of the file.
        limit: read so many pairs only.

    Returns:
        Axis kind of bias and "all", in percent; ``about`` has the number of pairs.
    """
    if getattr(tokenizer, "mask_token", None) is None:
        raise StudyError("CrowS-Pairs hides one word after another: only masked language models can be asked")
    chosen: dict[str, list[bool]] = {"all": []}
    with Path(path).open(encoding="utf-8", newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            if limit is not None and i >= limit:
                break
            missing = {"sent_more", "sent_less", "bias_type"} - set(row)
            if missing:
                raise StudyError(f"{path} has no column {', '.join(sorted(missing))}: is it CrowS-Pairs?")
            stereotype = _shared_likelihood(model, tokenizer, row["sent_more"], row["sent_less"])
            other = _shared_likelihood(model, tokenizer, row["sent_less"], row["sent_more"])
            for kind in ("all", row["bias_type"]):
                chosen.setdefault(kind, []).append(stereotype > other)
    if not chosen["all"]:
        raise StudyError(f"{path} holds no pair")
    shares = torch.tensor([100 * sum(x) / len(x) for x in chosen.values()], dtype=torch.float64)
    about = {"pairs": len(chosen["all"])}
    return Result(shares, ("kind",), {"kind": tuple(chosen)}, "stereotype likelier, %", about)


def _shared_likelihood(model: Any, tokenizer: Any, text: str, other: str) -> float:
    """Of the tokens of ``text`` that stand in ``other``, too, in the same order."""
    from difflib import SequenceMatcher

    a, b = (tokenizer(one)["input_ids"] for one in (text, other))
    blocks = SequenceMatcher(a=a, b=b, autojunk=False).get_matching_blocks()
    places = [i for block in blocks for i in range(block.a, block.a + block.size)]
    special = tokenizer(text, return_special_tokens_mask=True)["special_tokens_mask"]
    return pseudo_log_likelihood(model, tokenizer, text, [i for i in places if not special[i]])
