"""From nothing to the first vector of MiniLM: seconds and peak memory, each in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from speed.agreement import agreement
from speed.checkpoints import environment, make
from speed.compare import Bench, ratios
from speed.conversions import convert
from speed.engines.ctranslate import SUBFOLDER
from speed.engines.onnx_runtime import FILE
from speed.rounds import PAUSE, Failed, Missing, Spread

TORCH = """
import sys
from {library} import AutoModel, AutoTokenizer
import torch
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModel.from_pretrained(sys.argv[1])
with torch.inference_mode():
    vectors = model(**tokenizer(["How small can a first answer be?"], return_tensors="pt")).last_hidden_state
"""
TOKENIZERS = """
import sys
import numpy
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.no_padding()
ids = [tokenizer.encode("How small can a first answer be?").ids]
"""
CTRANSLATE2 = f"""
import ctranslate2
model = ctranslate2.Encoder(sys.argv[1] + "/{SUBFOLDER}", device="cpu")
vectors = numpy.array(model.forward_batch(ids).last_hidden_state)
"""
ONNXRUNTIME = f"""
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1] + "/{FILE}", providers=["CPUExecutionProvider"])
ids = numpy.array(ids)
vectors = session.run(["last_hidden_state"], {{"input_ids": ids, "attention_mask": numpy.ones_like(ids)}})[0]
"""
END = """
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))  # KiB, of this process alone
print("\\n", [vectors.shape[1], float(vectors[0, 0, 0]), float(vectors.mean()), int(peak) / 1024])
"""
PROGRAMS = {
    "readable": TORCH.format(library="minitransformer") + END,
    "transformers": TORCH.format(library="transformers") + END,
    "transformers-5": TORCH.format(library="transformers") + END,
    "ctranslate2": TOKENIZERS + CTRANSLATE2 + END,
    "onnxruntime": TOKENIZERS + ONNXRUNTIME + END,
    "import torch": "import torch\nimport numpy\nvectors = numpy.zeros((1, 1, 1))" + END,
}


def rows(bench: Bench) -> list[dict[str, Any]]:
    folder = make("minilm", bench.folder, bench.quick)
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    takes_part = {}
    for engine in PROGRAMS:
        python = bench.pythons.get(engine, sys.executable if engine == "import torch" else None)
        if python is None:
            continue
        try:
            convert(engine, folder, python)
            takes_part[engine] = python
        except Missing as why:
            missing[engine] = str(why)
        except Failed as why:
            failed[engine] = str(why)

    seconds: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    answers: dict[str, Any] = {}
    for i in range(bench.rounds + 1):  # the first round fills the file cache, and does not count
        for engine in list(takes_part):
            time.sleep(PAUSE)
            taken = first_answer(engine, takes_part[engine], folder, bench.threads)
            if isinstance(taken, str):
                failed[engine] = taken
                del takes_part[engine]
            elif i:
                seconds.setdefault(engine, []).append(taken[0])
                peaks.setdefault(engine, []).append(taken[1])
                answers[engine] = taken[2]
    bare = {"seconds": seconds.pop("import torch", []), "peaks": peaks.pop("import torch", [])}
    answers.pop("import torch", None)

    def row(title: str, unit: str, measured: dict[str, list[float]], wanted: float, floor: list[float]) -> Any:
        return {
            "case": "start",
            "title": title,
            "dtype": "float32",
            "unit": unit,
            "date": date.today().isoformat(),
            "rounds": bench.rounds,
            "values": {engine: asdict(Spread.of(values)) for engine, values in measured.items()},
            "ratios": ratios(measured),
            "wanted": {} if bench.quick else {"transformers": wanted},
            "answers": {e: agreement(a, answers.get("transformers", a), "transformers") for e, a in answers.items()},
            "seconds": {engine: [round(value, 4) for value in values] for engine, values in measured.items()},
            "versions": {},
            "missing": missing,
            "failed": failed,
            "note": f"`import torch` alone: {Spread.of(floor).median:.3g} {unit}" if floor else "",
        }

    return [
        row("process start to first answer, MiniLM", "s", seconds, 2.0, bare["seconds"]),
        row("peak memory, load and answer, MiniLM", "MiB", peaks, round(1 / 0.9, 2), bare["peaks"]),
    ]


def first_answer(engine: str, python: str, folder: Path, threads: int) -> tuple[float, float, list[float]] | str:
    """Seconds, peak MiB and some numbers of the answer of a fresh process; or how it failed."""
    command = [python, "-W", "ignore", "-c", PROGRAMS[engine], str(folder)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment(threads))
    taken = time.perf_counter() - start
    if done.returncode:
        return done.stderr
    *answer, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return taken, peak, answer
