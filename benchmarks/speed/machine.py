"""The facts of the machine that the numbers depend on: ``python -m speed.machine THREADS`` prints them as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed.checkpoints import environment

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "bf16", "i8mm")
LASTS = 1.4  # seconds of measuring each speed


def facts(threads: int, quick: bool = False) -> dict[str, Any]:
    """Measured in a process of its own, so that nothing of it stays in this one; ``quick``: only what is known."""
    if quick:
        return known(threads)
    command = [sys.executable, "-m", "speed.machine", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(threads))
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def known(threads: int) -> dict[str, Any]:
    """What need not be measured."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "features": [name for name in FEATURES if name in flags()],
        "memory GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def measure(threads: int) -> dict[str, Any]:
    """How quick memory and arithmetic are, in PyTorch's hands."""
    import torch

    torch.set_num_threads(threads)
    memory = torch.ones(128 * 2**20)  # 512 MiB
    return {
        "torch": torch.__version__,
        "memory read GB/s": round(memory.numel() * 4 / min(_fastest(memory.amax), _fastest(memory.sum)) / 1e9, 1),
        "float32 GEMM GFLOP/s": round(_gemm(torch.float32)),
        "bfloat16 GEMM GFLOP/s": round(_gemm(torch.bfloat16)),
    }


def _gemm(dtype: Any, size: int = 2048) -> float:
    import torch

    square = torch.randn(size, size).to(dtype)
    return 2 * size**3 / _fastest(lambda: square @ square) / 1e9


def _fastest(work: Callable[[], Any]) -> float:
    """The least seconds of several runs."""
    times: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < LASTS or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def processor() -> str:
    """The name of the processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def flags() -> list[str]:
    """What the processor can do, in the words of Linux."""
    return (_cpuinfo("flags") or _cpuinfo("Features")).split()


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


if __name__ == "__main__":
    number = int(sys.argv[1])
    print(json.dumps(known(number) | measure(number)))
