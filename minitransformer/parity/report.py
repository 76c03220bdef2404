"""A comparison as a page: one file, which opens anywhere without a network."""

from __future__ import annotations

from html import escape

from minitransformer.parity.findings import Comparison, Row

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1b1b }
h1 { font-size: 1.3rem } p.right { color: #10652f } p.wrong { color: #a01515; font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #ddd } td.number { text-align: right }
tr.wrong { background: #fbe3e3 } tr.inherits { background: #fdf6df } code { font-size: .9em }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #e6e6e6 } th, td { border-color: #3a3a3a }
tr.wrong { background: #5a1f1f } tr.inherits { background: #4a4220 } p.right { color: #6fcf8e }
p.wrong { color: #ff8f8f } }
"""


def page(found: Comparison) -> str:
    """The page, as HTML."""
    state = "right" if found.same else "wrong"
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in found.remarks)
    left = f"<p>Without a place: <code>{escape(', '.join(found.left))}</code></p>" if found.left else ""
    heads = "operation|theirs|kind|found by|layout|inherited|own|x noise|".split("|")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Parity</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>A port beside its oracle</h1>\n"
        f'<p class="{state}">{escape(found.verdict)}</p>\n'
        "<p>Inherited: their tensor against ours. Own: their tensor against our operation on their inputs. Noise: what "
        f"rounding makes of it in {escape(found.dtype)}, measured.</p>\n"
        f"{f'<ul>{remarks}</ul>' if remarks else ''}{left}\n<table><thead><tr>"
        f"{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>\n"
        f"{''.join(map(_line, found.rows))}</tbody></table></body></html>\n"
    )


def _line(row: Row) -> str:
    words = "".join(f"<td>{escape(word)}</td>" for word in (row.name, row.theirs, row.kind, row.by, row.layout))
    numbers = "".join(f'<td class="number">{number:.2g}</td>' for number in (row.inherited, row.own, row.times))
    return f'<tr class="{row.state}">{words}{numbers}<td>{"" if row.state == "right" else row.state}</td></tr>\n'
