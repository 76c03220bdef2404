"""Tokens put together to words, words to entities, and the entities of overlapping stretches to those of a text.

An entity, a word and a token are dictionaries alike; ``start`` and ``end`` count characters of the text.
"""

from __future__ import annotations

from typing import Any

from minitransformer.errors import PipelineError

Entity = dict[str, Any]


def check_offsets(offsets: Any, count: int) -> list[tuple[int, int]]:
    """``offsets`` itself, if it is a list of so many pairs of numbers."""
    if not isinstance(offsets, (list, tuple)) or len(offsets) != count:
        found = f"{len(offsets)} pairs" if isinstance(offsets, (list, tuple)) else type(offsets).__name__
        raise PipelineError(f"offset_mapping must have a pair (start, end) for each of {count} tokens, not {found}")
    for pair in offsets:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(at, int) for at in pair):
            raise PipelineError(f"offset_mapping must hold pairs of whole numbers (start, end), not {pair!r}")
    return [(start, end) for start, end in offsets]


def group_words(tokens: list[Entity]) -> list[list[Entity]]:
    """Tokens put together to words."""
    words: list[list[Entity]] = []
    for token in tokens:
        if words and token["inside"]:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def group_entities(members: list[Entity]) -> list[list[Entity]]:
    """Neighbours of one tag put together; B- starts a new entity, a tag without B- or I- counts as I-."""
    groups: list[list[Entity]] = []
    for member in members:
        begins, tag = split_tag(member["entity"])
        if groups and not begins and tag == split_tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(member)
        else:
            groups.append([member])
    return groups


def split_tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and its tag: B-PER -> (True, PER)."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label


def resolve_overlaps(entities: list[Entity]) -> list[Entity]:
    """Of entities found twice, where stretches overlap, the longer one; if equally long, the surer one."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda entity: int(entity["start"])):
        last = kept[-1] if kept else None
        if last is None or entity["start"] >= last["end"]:
            kept.append(entity)
        elif (entity["end"] - entity["start"], entity["score"]) > (
            last["end"] - last["start"],
            last["score"],
        ):
            kept[-1] = entity
    return kept
