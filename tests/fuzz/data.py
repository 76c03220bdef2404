"""Data files of every format with spoilt contents, devices and bombs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random

from fuzz import Case
from fuzz.mutators import RAW, bytes_of, json_of, lines_of
from minitransformer.data import read_records

ROWS = [{"text": "Ein Satz.", "label": "a", "n": i, "list": [1, "x"], "inner": {"y": None}} for i in range(20)]
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "Paris is the capital.",
                    "qas": [{"id": "1", "question": "What?", "answers": [{"text": "Paris", "answer_start": 0}]}],
                }
            ]
        }
    ]
}
FILES = {
    "a.txt": "One.\nTwo.\n\nThree.\n",
    "a.tsv": "text\tlabel\nOne\ta\nTwo\tb\n",
    "a.csv": 'text,label\n"One, and ""two""",a\nTwo,b\n',
    "a.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "a.json": json.dumps(ROWS),
    "squad.json": json.dumps(SQUAD),
    "a.conll": "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n",
}
BOMBS = {
    "a.txt.gz": b"a\n" * 10**7,
    "b.txt.gz": bytes(10**8),
    "a.csv.gz": b"a,b\n" + b"," * 10**7,
    "a.json.gz": b"[" + b"[]," * 10**7 + b"[]]",
    "deep.json.gz": b"[" * 10**7,
    "a.tsv.gz": b"\t" * 3 * 10**7,
    "a.jsonl.gz": b"{}\n" * 10**7,
}
COLUMNS = (None, {"text": "text"}, {"text": 0}, {"label": "inner.y"}, {"text": "list.0"}, {"text": -1}, {"text": 10**9})
PLACES = ("/dev/zero", "/dev/urandom", "/dev/null", "/proc/self/mem", "/", "", "\0", "*" * 50, "[", "x" * 5000)
FORMATS = (None, None, None, "text", "lines", "document", "tsv", "csv", "jsonl", "json", "conll", "squad")


def case(draw: Random, folder: Path) -> Case:
    if draw.random() < 0.05:
        name = draw.choice(sorted(BOMBS))
        (folder / name).write_bytes(gzip.compress(BOMBS[name], 1))
        return f"bomb {name}", lambda: read_records(folder / name)
    if draw.random() < 0.05:
        place = draw.choice(PLACES)
        kind = draw.choice(FORMATS[3:])
        return f"{place!r:.30} as {kind}", lambda: read_records(place, format=kind)
    name = draw.choice(sorted(FILES))
    data = FILES[name].encode()
    told, columns, kind = name, draw.choice(COLUMNS), draw.choice(FORMATS)
    others = [b"{}", *(content.encode() for content in FILES.values())]
    for _ in range(draw.choice((1, 1, 2))):
        suited = json_of if name.endswith(".json") else lines_of
        try:
            how, data = suited(draw, data) if draw.random() < 0.5 else bytes_of(draw, data, others)
        except (ValueError, RecursionError):
            how, data = "raw", draw.choice(RAW).encode()
        told += f", {how}"
    packed = draw.random() < 0.2
    path = folder / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(data)[: draw.choice((None, None, 40))] if packed else data)
    options = {
        "columns": columns,
        "format": kind,
        "header": draw.choice((None, True, False)),
        "unwrap": draw.random() < 0.5,
        "where": draw.choice((None, None, {"label": ["a"]})),
        "rename_labels": draw.choice((None, None, {"a": 1})),
    }
    return f"{told}, {options}", lambda: read_records(path, **options)
