"""Write the table of training arguments in docs/from-transformers.md: python tools/from_transformers.py."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from minitransformer.compat.arguments import (
    REFUSED,
    RENAMED,
    WITHOUT_MEANING,
    Seq2SeqTrainingArguments,
    TrainingArguments,
)

PAGE = Path(__file__).parents[1] / "docs" / "from-transformers.md"
BEGIN, END = "<!-- arguments: written by tools/from_transformers.py -->", "<!-- end of arguments -->"


def table() -> str:
    """Which arguments mean something, which nothing, and which are refused."""
    plain = [field.name for field in fields(TrainingArguments)]
    more = [field.name for field in fields(Seq2SeqTrainingArguments) if field.name not in plain]
    rows = [
        ("do what they say", names(plain)),
        ("of `Seq2SeqTrainingArguments` besides", names(more)),
        ("have another name today", ", ".join(f"`{old}`: `{new}`" for old, new in RENAMED.items())),
    ]
    for reason in dict.fromkeys(WITHOUT_MEANING.values()):
        rows.append(
            (
                f"mean nothing here, and warn: {reason}",
                names([n for n, why in WITHOUT_MEANING.items() if why == reason]),
            )
        )
    rows += [(f"refused: {instead}", f"`{name}`") for name, instead in REFUSED.items()]
    return "\n".join(["| | arguments |", "|---|---|", *(f"| {what} | {which} |" for what, which in rows)])


def names(found: list[str]) -> str:
    """As code, with commas between."""
    return ", ".join(f"`{name}`" for name in found)


def page() -> str:
    """The page with the table as the code has it."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
