"""Command lines, each by a process of its own, with odd words, odd streams and odd encodings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

from fuzz import Broken, Case
from fuzz.recipes import MASKED, as_toml, write_data
from fuzz.toys import ALL_TASKS, folder_of
from fuzz.worker import allow_starts
from minitransformer.pipelines import pipeline_options

ROOT = Path(__file__).parents[2]
WORDS = (
    *("", "-", "--", "-o", "--option", "-m", "-f", "--json", "--help", "--version", "--output", "\x1b[31m", "x" * 5000),
    *(
        "top_k=3",
        "top_k=",
        "=",
        "a=b=c",
        "multi_label=False",
        "top_k=[[[",
        "candidate_labels=a,b",
        "東京",
        "\udc80",
        "{",
    ),
    *(
        "--batch-size",
        "0",
        "-1",
        "99999999999999999999",
        "--dtype",
        "float8_e4m3fn",
        "float99",
        "--device",
        "meta",
        "cuda:9",
    ),
    *(
        "/dev/full",
        "/dev/null",
        "/",
        ".",
        "nothing",
        "no/where",
        "--limit",
        "--columns",
        "text=0",
        "text=²",
        "--set",
        "a.b=1",
    ),
    *(
        "training.steps=0",
        "--minutes",
        "nan",
        "inf",
        "--data",
        "--baseline",
        "--train",
        "--format",
        "csv",
        "--predictions",
    ),
)
ENCODINGS = ("utf-8", "latin-1", "ascii", "cp437", "utf-16")


def case(draw: Random, folder: Path) -> Case:
    """A command, mostly right but for a word or two."""
    task = draw.choice(ALL_TASKS)
    write_data(folder)
    (folder / "r.toml").write_text("".join(f'"{name}" = {as_toml(value)}\n' for name, value in MASKED.items()))
    (folder / "wild.txt").write_bytes(
        "the [MASK] sleeps — 東京 \x1b[31m\n\n\u2028a [MASK] b\n".encode() + draw.choice([b"", b"\xff\n"])
    )
    model = str(folder_of(task))
    words = draw.choice(
        [
            ["run", task, "the [MASK] sleeps .", "-m", model],
            ["run", task, "-f", "wild.txt", "-m", model, "--output", "out.jsonl"],
            ["run", "fill-mask", "-m", str(folder_of("fill-mask")), "-o", "top_k=2"],
            ["evaluate", task, "-m", model, "-d", "table.csv", "--columns", "text=sentence,label=label"],
            ["evaluate", "text-generation", "-m", str(folder_of("text-generation")), "-d", "text.txt"],
            ["train", "r.toml", "--output", "out", *draw.choice([[], ["--check"]])],
            ["inspect", model],
            [draw.choice(["--help", "--version", "runn", "demo --x"])],
        ]
    )
    for _ in range(draw.randrange(3)):
        new = draw.choice([draw.choice(WORDS), f"-o{draw.choice(sorted(pipeline_options(task)))}={draw.choice(WORDS)}"])
        at = draw.randrange(1, len(words) + 1)
        words[at : at + draw.randrange(2)] = [new]
    words = [word for word in words if "\0" not in word]
    encoding, full = draw.choice(ENCODINGS), draw.random() < 0.1
    stdin = draw.choice([b"", b"the [MASK] sleeps .\n", b"\xff\xfe\n", "a [MASK] — 東京\n".encode(), b"x" * 10**6])

    def tried() -> None:
        allow_starts()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONIOENCODING": encoding,
        }
        with open("/dev/full" if full else folder / "stdout", "wb") as out:
            done = subprocess.run(
                [sys.executable, "-m", "minitransformer", *words],
                input=stdin,
                stdout=out,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=environment,
                timeout=300,
            )
        said = done.stderr.decode("utf-8", errors="replace")
        if done.returncode not in (0, 1, 2) or "Traceback" in said or "Exception ignored" in said:
            raise Broken("raw exception", f"exit {done.returncode}: {said[-600:]}")
        if done.returncode == 1 and not full:
            raise Broken("raw exception", f"exit 1 without a reason: {said[-300:]}")
        if "\x1b]" in said or "\x1b[31m\x1b" in said:
            raise Broken("code ran", "escape codes on standard error")
        left = [path.name for path in folder.rglob("*.part")]
        if left:
            raise Broken("left over", str(left))

    return f"minitransformer {' '.join(words)[:300]} ({encoding}{', full' if full else ''})", tried
