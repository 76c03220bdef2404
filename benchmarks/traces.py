"""What traces and comparisons cost: time for MiniLM, size for a toy, memory for GPT-2 at 1,024 tokens.

Each is measured in a process of its own. The large model has GPT-2's sizes (124 million parameters) and random weights;
its trace holds every intermediate, 3.0 GB in float32, and is written tensor by tensor.

    python benchmarks/traces.py            # all three
    python benchmarks/traces.py large --tokens 256
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

TEXT = "The cat slept because it was tired."
PARTS = ("minilm", "toy", "large")


def measured(arguments: list[str]) -> dict[str, float]:
    """Seconds and peak memory of one part, in a process of its own."""
    run = subprocess.run([sys.executable, __file__, "--inside", *arguments], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    told: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return told


def peak() -> float:
    """The most memory that this process held at any time, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def inside(step: str, source: str, folder: Path, tokens: int) -> None:
    """One step, in this process."""
    import torch

    from minitransformer.models.gpt2 import GPT2Config, GPT2LMHeadModel
    from minitransformer.parity.comparison import compare_files
    from minitransformer.parity.reading import inputs_of_texts
    from minitransformer.parity.traces import load_model, write_trace
    from minitransformer.tokenization import AutoTokenizer

    before = peak()
    if step == "make":
        torch.manual_seed(0)
        GPT2LMHeadModel.from_config(GPT2Config()).save_pretrained(source)
    start = time.perf_counter()
    if step == "trace":
        if tokens:
            model = load_model(source, dtype="float32")
            ids = torch.randint(1000, (1, tokens), generator=torch.Generator().manual_seed(0))
            inputs = {"input_ids": ids}
        else:
            model = load_model(source)
            inputs, _ = inputs_of_texts(model, AutoTokenizer.from_pretrained(source), [TEXT])
        start = time.perf_counter()
        write_trace(model, inputs, folder, source=source)
    if step == "compare":
        found = compare_files(folder, folder)
        if not found.same:
            raise SystemExit(found.verdict)
    size = sum(path.stat().st_size for path in folder.glob("*")) / 1e6 if folder.is_dir() else 0.0
    print(json.dumps({"seconds": time.perf_counter() - start, "before": before, "peak": peak(), "megabytes": size}))


def main() -> None:
    """Print a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        step, source, folder, tokens = arguments.parts
        inside(step, source, Path(folder), int(tokens))
        return
    print("| | step | seconds | peak memory, GB | trace, MB |\n|---|---|---:|---:|---:|")
    for part in arguments.parts:
        with TemporaryDirectory() as scratch:
            folder, tokens = f"{scratch}/trace", str(arguments.tokens if part == "large" else 0)
            source = "minitransformer/bert-books"
            if part == "minilm":
                from minitransformer.demo import checkpoint_folder

                source = str(checkpoint_folder())
            if part == "large":
                source = f"{scratch}/model"
                measured(["make", source, folder, tokens])
            for step in ("trace", "compare"):
                told = measured([step, source, folder, tokens])
                numbers = f"{told['seconds']:.1f} | {told['peak']:.1f} | {told['megabytes']:.1f}"
                print(f"| {part} | {step} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
