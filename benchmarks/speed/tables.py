"""Results as Markdown: what each engine did, and the ratios with what we want of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speed.agreement import agrees
from speed.engines import ENGINES, OURS

COLUMNS = ("readable", "optimized", "compiled", "transformers", "transformers-5", "ctranslate2", "onnxruntime")
BY_HAND = "by-hand"
Row = dict[str, Any]


def told(row: Row) -> str:
    """A row in a line, for the terminal."""
    values = ", ".join(f"{engine} {value['median']:.4g}" for engine, value in row["values"].items())
    notes = [f"{engine} {what}" for what in ("missing", "failed") for engine in row[what]]
    lines = [f"{name(row)}: {values} {row['unit']}" + (f" ({', '.join(notes)})" if notes else "")]
    lines += [f"    {text} (wanted {least}): {'reached' if ok else 'NOT reached'}" for text, least, ok in verdicts(row)]
    return "\n".join(lines)


def name(row: Row) -> str:
    """The work, and the dtype of its weights."""
    return f"{row['title']}, {row['dtype']}"


def value_table(rows: Sequence[Row]) -> str:
    """What each engine did."""
    lines = [
        "| work | " + " | ".join(ENGINES[engine].title for engine in COLUMNS) + " | unit |",
        "|---|" + "---:|" * len(COLUMNS) + "---|",
    ]
    for row in rows:
        cells = [_value(row, engine) for engine in COLUMNS]
        lines.append(f"| {name(row)} | " + " | ".join(cells) + f" | {row['unit']} |")
        if BY_HAND in row["values"]:
            cells = [_value(row, BY_HAND) if engine == "transformers" else "" for engine in COLUMNS]
            lines.append("| the same, sorted by hand, batch 32 | " + " | ".join(cells) + f" | {row['unit']} |")
    return "\n".join(lines)


def ratio_table(rows: Sequence[Row]) -> str:
    """How much better ours is."""
    lines = [
        "| work | readable / transformers | optimized / transformers | ours / best other | wanted | reached |",
        "|---|---:|---:|---:|---|---|",
    ]
    for row in rows:
        checked = verdicts(row)
        cells = [
            _ratio(row, "readable/transformers"),
            _ratio(row, "optimized/transformers"),
            best_other(row),
            "; ".join(f"{least} of {against}" for _, least, _, against in _checks(row)) or "",
            "; ".join(("" if ok else "**no**: ") + text for text, _, ok in checked) or "",
        ]
        lines.append(f"| {name(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def answer_table(rows: Sequence[Row]) -> str:
    """How far the answers agree with those of transformers."""
    lines = ["| work | " + " | ".join(ENGINES[e].title for e in COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = [_answer(row, engine) for engine in COLUMNS]
        lines.append(f"| {name(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ours(row: Row) -> str | None:
    """Which of ours is judged: the quickest form that took part."""
    return next((engine for engine in reversed(OURS) if engine in row["values"]), None)


def best_other(row: Row) -> str:
    """Ours beside the best that takes care of nothing but transformers 4.57 as it comes, with its name."""
    judged = ours(row)
    others = [engine for engine in row["values"] if engine not in (*OURS, "transformers")]
    if judged is None or not others:
        return "-"
    best = min(others, key=lambda engine: row["ratios"][f"{judged}/{engine}"]["median"])
    return f"{_ratio(row, f'{judged}/{best}')} {ENGINES[best].title.replace('transformers 4.57, ', '')}"


def verdicts(row: Row) -> list[tuple[str, str, bool]]:
    """What was reached of what is wanted: a text, the least value, and whether it is enough."""
    return [(text, least, ok) for text, least, ok, _ in _checks(row)]


def _checks(row: Row) -> list[tuple[str, str, bool, str]]:
    judged = ours(row)
    checks = []
    for against, least in row["wanted"].items():
        if judged is None:
            continue
        if against == "limit":
            reached = row.get("limit", {}).get("reached", {}).get(judged)
            if reached:
                share = 100 * reached["median"]
                checks.append((f"{share:.0f} %", f"{100 * least:.0f} %", share >= 100 * least, "the limit"))
        elif f"{judged}/{against}" in row["ratios"]:
            median = row["ratios"][f"{judged}/{against}"]["median"]
            checks.append((f"{median:.2f}x", f"{least:.2f}x", median >= least, ENGINES[against].title))
    return checks


def limits(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row whose limit was measured."""
    sentences = []
    for row in rows:
        if "limit" not in row:
            continue
        limit = row["limit"]
        shares = ", ".join(f"{ENGINES[e].title} {100 * r['median']:.0f} %" for e, r in limit["reached"].items())
        sentences.append(
            f"- {name(row)}: {limit['bytes'] / 1e6:.0f} MB of weights a token; pure reading in the same rounds took "
            f"{limit['GB/s']['median']:.1f} GB/s, so that the limit is {limit['tokens/s']['median']:.1f} tokens/s. "
            f"Reached: {shares}."
        )
    return sentences


def page(content: dict[str, Any]) -> str:
    """All tables, and what they were measured on."""
    rows: list[Row] = content["rows"]
    machine = dict(content["machine"])
    machine["features"] = " ".join(machine.get("features", []))
    facts = "; ".join(f"{key}: {value}" for key, value in machine.items())
    versions = "; ".join(f"{ENGINES[engine].title} {v}" for engine, v in content["versions"].items() if v)
    notes = [f"- {name(row)}: {row['note']}." for row in rows if row.get("note")]
    parts = [
        value_table(rows),
        "A dash: not installed, or the engine does not offer this.",
        ratio_table(rows),
        "Above 1: ours is quicker or smaller. In brackets the quartiles of the rounds' ratios.",
        "\n".join(limits(rows) + notes),
        "Answers, compared with those of transformers 4.57 in the same dtype, or in float32 where it has none:",
        answer_table(rows),
        f"Medians of {' or '.join(sorted({str(row['rounds']) for row in rows}, key=int))} rounds, "
        f"{' to '.join(sorted({min(r['date'] for r in rows), max(r['date'] for r in rows)}))}. {facts}. {versions}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def complete(rows: Sequence[Row]) -> bool:
    """Whether nothing failed, and our float32 answers are those of transformers."""
    for row in rows:
        exact = row["dtype"] == "float32" and row.get("exact", True)
        if row["failed"] or (exact and not all(agrees(row["answers"][e]) for e in OURS if e in row["answers"])):
            return False
    return True


def _value(row: Row, engine: str) -> str:
    if engine in row["failed"]:
        return "failed"
    value = row["values"].get(engine)
    return f"{value['median']:.4g}" if value else "-"


def _ratio(row: Row, key: str) -> str:
    spread = row["ratios"].get(key)
    return f"{spread['median']:.2f} ({spread['low']:.2f}-{spread['high']:.2f})" if spread else "-"


def _answer(row: Row, engine: str) -> str:
    return row["answers"].get(engine, "-")
