"""Texts, and what is no text, for every task and tokenizer."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from wild_texts import HALVES, SNIPPETS, SPECIAL, long_texts

from fuzz import Case
from fuzz.toys import ALL_TASKS, pipe_of, right_input, wild_value
from minitransformer.options import shown

LONG = tuple(long_texts(20_000).values())


def wild_text(draw: Random) -> str:
    """A text of odd pieces; sometimes with half a character, sometimes very long."""
    if draw.random() < 0.03:
        return draw.choice(LONG)
    pieces = draw.choices([*SNIPPETS, *SPECIAL], k=draw.randrange(8))
    if draw.random() < 0.1:
        pieces.append(draw.choice(HALVES))
    if draw.random() < 0.3:
        pieces += [chr(draw.choice([draw.randrange(0x20), draw.randrange(0xD800), draw.randrange(0xE000, 0x110000)]))]
    draw.shuffle(pieces)
    return draw.choice(["", " "]).join(pieces)


def case(draw: Random, folder: Path) -> Case:
    """One call with an odd text, or several."""
    task = draw.choice(ALL_TASKS)
    pipe = pipe_of(task)
    text: Any = wild_text(draw)
    if task == "fill-mask" and draw.random() < 0.7:
        text += "[MASK]"
    if draw.random() < 0.3:
        return f"tokenizer({shown(text)})", lambda: _back_and_forth(pipe.tokenizer, text)
    call = right_input(task, text)
    if draw.random() < 0.3:
        name = draw.choice(sorted(call))
        call[name] = draw.choice([wild_value(draw), [wild_text(draw), wild_value(draw)], {"text": wild_value(draw)}])
    if draw.random() < 0.3 and "inputs" in call:
        call["inputs"] = [call["inputs"], wild_text(draw)]
    return f"{task} {shown(call)}", lambda: pipe(**call)


def _back_and_forth(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, truncation=True, max_length=50)["input_ids"]
    tokenizer.decode(ids)
    tokenizer.convert_ids_to_tokens(ids)
    tokenizer.tokenize(text, text, truncation="longest_first", max_length=50)
