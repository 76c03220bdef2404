"""Speed and memory beside transformers: ``make bench``, or ``python benchmarks/bench.py CASE...``.

Both libraries load the same folder (random weights at the published sizes, made here) and work in the same
process, in alternation, so that whatever else the machine does meets both. Reported: medians, and the ratio
(above 1: we are faster, or smaller). Start and memory are measured in processes of their own. Results go to
benchmarks/results.json and benchmarks/results.md, with the facts of the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"


@dataclass
class Result:
    """One line of the table."""

    case: str
    unit: str
    ours: float
    transformers: float
    ratio: float  # transformers / ours, of times and sizes; ours / transformers, of speeds
    target: float  # the least ratio that we want
    rounds: int
    same_result: bool | None  # whether both gave the same answer, where that is defined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", choices=["all", *CASES])
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each library")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="tiny models: tries the benchmark, measures nothing")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.json and results.md")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
    import torch

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)

    facts = machine(args.threads)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    cases = list(CASES) if "all" in args.cases else list(dict.fromkeys(args.cases))
    results = []
    for name in cases:
        print(f"\n{name} ...", flush=True)
        for result in CASES[name](args.rounds, args.small):
            result.case = f"tiny instead of {result.case}" if args.small else result.case
            results.append(result)
            print("  " + row(result), flush=True)
            gc.collect()

    if args.small:
        return
    args.out.mkdir(parents=True, exist_ok=True)
    content = {"date": date.today().isoformat(), "machine": facts, "results": [asdict(r) for r in results]}
    (args.out / "results.json").write_text(json.dumps(content, indent=2) + "\n")
    (args.out / "results.md").write_text(table(content, results))
    print(f"\nwritten: {args.out / 'results.json'}, {args.out / 'results.md'}")
    if args.out == HERE and "all" in args.cases:
        before, after = PAGE.read_text().split(BEGIN)[0], PAGE.read_text().split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{table(content, results)}{END}{after}")
        print(f"written: {PAGE}")


# -------------------------------------------------------------------------------------------------- measuring


def alternate(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median seconds of each, after one warm-up of each; who goes first changes from round to round."""
    ours(), theirs()
    times: dict[Callable[[], Any], list[float]] = {ours: [], theirs: []}
    for i in range(rounds):
        for work in (ours, theirs) if i % 2 == 0 else (theirs, ours):
            start = time.perf_counter()
            work()
            times[work].append(time.perf_counter() - start)
    return statistics.median(times[ours]), statistics.median(times[theirs])


def faster(
    case: str,
    ours: float,
    theirs: float,
    target: float,
    rounds: int,
    *,
    work: float,
    unit: str,
    same: bool | None,
) -> Result:
    """The result of two times, told as a speed if ``work`` was done in them."""
    ratio = theirs / ours
    if work:
        ours, theirs = work / ours, work / theirs
    return Result(case, unit, round(ours, 4), round(theirs, 4), round(ratio, 3), target, rounds, same)


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on: processor, versions, measured memory and matrix speed."""
    import numpy
    import tokenizers
    import torch
    import transformers

    import minitransformer

    buffer = torch.ones(128 * 2**20)  # 512 MiB
    square = torch.randn(2048, 2048)
    reading = min(_seconds(buffer.sum) for _ in range(3))
    gemm = min(_seconds(lambda: square @ square) for _ in range(3))
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory read GB/s": round(buffer.numel() * 4 / reading / 1e9, 1),
        "float32 GEMM GFLOP/s": round(2 * 2048**3 / gemm / 1e9),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "minitransformer": minitransformer.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": numpy.__version__,
    }


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# ------------------------------------------------------------------------------------------------------ cases


def gpt2(rounds: int, small: bool) -> list[Result]:
    """GPT-2 124M, greedy, 32 tokens in and 64 out, one and eight rows."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from minitransformer import AutoModelForCausalLM

    config = GPT2Config(eos_token_id=None, bos_token_id=None, pad_token_id=0)
    if small:
        config = GPT2Config(
            vocab_size=200,
            n_embd=32,
            n_layer=2,
            n_head=2,
            eos_token_id=None,
            bos_token_id=None,
            pad_token_id=0,
        )
    results = []
    with folder_of(GPT2LMHeadModel, config) as folder:
        theirs = GPT2LMHeadModel.from_pretrained(folder).eval()
        ours = AutoModelForCausalLM.from_pretrained(folder)
        for batch, target in ((1, 1.25), (8, 1.1)):
            ids = torch.randint(1, config.vocab_size, (batch, 32), generator=torch.Generator().manual_seed(0))
            mask = torch.ones_like(ids)
            options = {"max_new_tokens": 8 if small else 64, "do_sample": False}
            mine = partial(ours.generate, ids, attention_mask=mask, **options)
            reference = partial(theirs.generate, ids, attention_mask=mask, **options)
            same = torch.equal(mine(), reference())
            seconds = alternate(mine, reference, rounds)
            tokens = batch * options["max_new_tokens"]
            case = f"GPT-2 124M greedy, 32 + 64 tokens, batch {batch}, float32"
            results.append(faster(case, *seconds, target, rounds, work=tokens, unit="tokens/s", same=same))
    return results


def bert(rounds: int, small: bool) -> list[Result]:
    """BERT-base, eight rows of 128 tokens and one of 16."""
    import torch
    from transformers import BertConfig, BertModel

    from minitransformer import AutoModel, fast_linear

    config = BertConfig()
    if small:
        config = BertConfig(
            vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
    with folder_of(BertModel, config) as folder:
        theirs = BertModel.from_pretrained(folder).eval()
        ours = AutoModel.from_pretrained(folder)
        results = []
        for batch, length in ((8, 128), (1, 16)):
            ids = torch.randint(1, config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))
            mine = partial(ours, ids, attention_mask=torch.ones_like(ids))
            reference = partial(theirs, ids, attention_mask=torch.ones_like(ids))
            case = f"BERT-base forward, {batch} x {length} tokens, float32"
            for context, note, target in ((nullcontext, "", 1.0), (fast_linear, " in fast_linear()", 1.05)):

                def within(run: Any = mine, context: Any = context) -> Any:
                    with context(), torch.no_grad():
                        return run()

                baseline = torch.no_grad()(reference)
                same = torch.allclose(within().last_hidden_state, baseline().last_hidden_state, atol=1e-4)
                seconds = [1000 * s for s in alternate(within, baseline, rounds if batch > 1 else 5 * rounds)]
                results.append(faster(case + note, *seconds, target, rounds, work=0, unit="ms", same=same))
    return results


def bart(rounds: int, small: bool) -> list[Result]:
    """BART-base, four beams, 256 tokens in and 64 out."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    from minitransformer import AutoModelForSeq2SeqLM

    # Without an end token, random weights decode to full length, and both libraries do the same work.
    ends = {"eos_token_id": None, "forced_eos_token_id": None, "decoder_start_token_id": 2}
    config = BartConfig(
        vocab_size=50265, d_model=768, encoder_layers=6, decoder_layers=6, encoder_attention_heads=12,
        decoder_attention_heads=12, encoder_ffn_dim=3072, decoder_ffn_dim=3072, **ends,
    )  # fmt: skip
    if small:
        config = BartConfig(
            vocab_size=200, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64,
            max_position_embeddings=300, **ends,
        )  # fmt: skip
    with folder_of(BartForConditionalGeneration, config) as folder:
        theirs = BartForConditionalGeneration.from_pretrained(folder).eval()
        ours = AutoModelForSeq2SeqLM.from_pretrained(folder)
        ids = torch.randint(4, config.vocab_size, (1, 256), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(ids)
        options = {"max_new_tokens": 8 if small else 64, "num_beams": 4, "do_sample": False}
        mine = partial(ours.generate, ids, attention_mask=mask, **options)
        reference = partial(theirs.generate, ids, attention_mask=mask, **options)
        same = torch.equal(mine(), reference())
        seconds = alternate(mine, reference, rounds)
    case = "BART-base 4 beams, 256 -> 64 tokens, float32"
    work = options["max_new_tokens"]
    return [faster(case, *seconds, 1.2, rounds, work=work, unit="tokens/s", same=same)]


FIRST_ANSWER = """
import sys
from {library} import AutoModel, AutoTokenizer
import torch
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder)
with torch.no_grad():
    out = model(**tokenizer(["How small can a first answer be?"], return_tensors="pt"))
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))  # KiB, of this process alone
print(float(out.last_hidden_state.mean()), int(peak) / 1024)
"""


def start(rounds: int, small: bool) -> list[Result]:
    """A process of its own, from start to the first vector of MiniLM: seconds, and its peak memory."""
    from minitransformer.demo import checkpoint_folder

    folder = str(checkpoint_folder())
    memory: dict[str, list[float]] = {}
    answers: dict[str, float] = {}

    def process(library: str) -> None:
        command = [sys.executable, "-c", FIRST_ANSWER.format(library=library), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        answer, peak = done.stdout.split()[-2:]
        answers[library] = float(answer)
        memory.setdefault(library, []).append(float(peak))

    rounds = 1 if small else rounds
    mine, reference = partial(process, "minitransformer"), partial(process, "transformers")
    seconds = alternate(mine, reference, rounds)
    same = abs(answers["minitransformer"] - answers["transformers"]) < 1e-6
    peaks = [statistics.median(memory[library]) for library in ("minitransformer", "transformers")]
    importing = [partial(_run_python, f"import {name}") for name in ("minitransformer", "transformers")]
    nothing = statistics.median(_seconds(partial(_run_python, "pass")) for _ in range(rounds))
    imports = [max(s - nothing, 1e-4) for s in alternate(importing[0], importing[1], rounds)]
    case = "process start to first answer, MiniLM"
    return [
        faster(case, *seconds, round(1 / 0.65, 2), rounds, work=0, unit="s", same=same),
        faster("peak memory, load and answer, MiniLM", *peaks, 1.0, rounds, work=0, unit="MiB", same=same),
        faster("import of the package", *imports, 1.0, rounds, work=0, unit="s", same=None),
    ]


class folder_of:  # noqa: N801
    """A temporary folder with a model of random weights, written by transformers."""

    def __init__(self, model_class: Any, config: Any) -> None:
        self.model_class, self.config = model_class, config

    def __enter__(self) -> str:
        import torch

        torch.manual_seed(0)
        self.folder = tempfile.TemporaryDirectory()
        self.model_class(self.config).save_pretrained(self.folder.name)
        gc.collect()
        return self.folder.name

    def __exit__(self, *error: object) -> None:
        self.folder.cleanup()


CASES: dict[str, Callable[[int, bool], list[Result]]] = {
    "gpt2": gpt2,
    "bert": bert,
    "bart": bart,
    "start": start,
}


# ---------------------------------------------------------------------------------------------------- telling


def row(r: Result) -> str:
    same = {None: "", True: "same result", False: "RESULTS DIFFER"}[r.same_result]
    return f"{r.case}: {r.ours:g} {r.unit}, transformers {r.transformers:g}, ratio {r.ratio:.2f} {same}"


def table(content: dict[str, Any], results: list[Result]) -> str:
    lines = [
        "| work | minitransformer | transformers | ratio | wanted | same result |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for r in results:
        same = {None: "", True: "yes", False: "**no**"}[r.same_result]
        lines.append(
            f"| {r.case} | {r.ours:.4g} {r.unit} | {r.transformers:.4g} {r.unit} | {r.ratio:.2f} "
            f"| {r.target:.2f} | {same} |"
        )
    facts = "; ".join(f"{name}: {value}" for name, value in content["machine"].items())
    rounds = max((r.rounds for r in results), default=0)
    lines += ["", f"Medians of {rounds} alternating runs, {content['date']}. {facts}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
