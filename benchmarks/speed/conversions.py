"""Checkpoints for the engines that do not read the Hub's format: ``python -m speed.conversions ENGINE FOLDER``.

Runs in the environment of the engine, which needs transformers and PyTorch too for this. The conversion goes to a
subfolder of the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import warnings
from pathlib import Path

from speed.checkpoints import environment
from speed.engines.ctranslate import SUBFOLDER
from speed.engines.onnx_runtime import FILE
from speed.rounds import Failed, Missing


def convert(engine: str, folder: Path, python: str) -> None:
    """Convert a checkpoint for an engine that needs it, unless that was done.

    Raises:
        Missing: a package for it.
        Failed: anything else.
    """
    if engine not in CONVERTERS or (folder / TARGETS[engine]).exists():
        return
    command = [python, "-m", "speed.conversions", engine, str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    if "ModuleNotFoundError" in last:
        raise Missing(last)
    if done.returncode:
        raise Failed(f"conversion of {folder.name} for {engine}:\n{done.stderr}")


def ctranslate2(folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder)).convert(str(folder / SUBFOLDER), force=True)


def onnxruntime(folder: Path) -> None:
    """By PyTorch's own exporter; ONNX Runtime fuses the graph when it loads it."""
    import onnx  # noqa: F401  (these three say at once what is missing)
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    ids = torch.randint(1, json.loads((folder / "config.json").read_text())["vocab_size"], (2, 16))
    axes = {0: torch.export.Dim("batch", min=1, max=512), 1: torch.export.Dim("length", min=1, max=512)}
    program = torch.onnx.export(
        model,
        (ids,),
        kwargs={"attention_mask": torch.ones_like(ids)},
        dynamo=True,
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        input_names=["input_ids", "attention_mask"],
        output_names=["last_hidden_state", "pooler_output"],
        verbose=False,
    )
    assert program is not None
    (folder / FILE).parent.mkdir(exist_ok=True)
    program.save(str(folder / FILE))


CONVERTERS = {"ctranslate2": ctranslate2, "onnxruntime": onnxruntime}
TARGETS = {"ctranslate2": SUBFOLDER, "onnxruntime": FILE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=CONVERTERS)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    CONVERTERS[args.engine](args.folder)


if __name__ == "__main__":
    main()
