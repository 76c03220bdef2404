"""What can be verified of files: config keys, tensors, the tokenizer, and that they make the round trip."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from minitransformer.config import config_names, ignored_keys
from minitransformer.parity.verification.records import FAILED, LEFT_OUT, PASSED, Stage
from minitransformer.parity.verification.subject import TOLERANCE, Subject, place, quiet
from minitransformer.parity.verification.texts import hard_texts
from minitransformer.tokenization import AutoTokenizer
from minitransformer.weights import export_weights


def config_stage(subject: Subject) -> Iterator[Stage]:
    """Each key of config.json is used, or ignored for a reason; values and defaults are the reference's."""
    config, raw = subject.model.config, subject.raw_config
    known, ignored = set(config_names(type(config))), ignored_keys(type(config))
    other = {"model_type", "num_labels", "label2id", "dtype", "task_specific_params", "auto_map"}
    strange = [key for key in raw if key not in known and key not in ignored and key not in other]
    idle = [key for key in raw if key in ignored]
    told = f"{len(raw) - len(idle) - len(strange)} keys used, {len(idle)} ignored for a written reason"
    if strange:
        yield Stage("config", FAILED, f"{told}, unknown: {', '.join(map(repr, strange))}", {"unknown": strange})
    else:
        yield Stage("config", PASSED, told, {"used": len(raw) - len(idle), "ignored": idle})
    if subject.reference is None:
        return
    theirs = subject.reference.config.to_dict()
    differing = []
    for f in dataclasses.fields(config):
        key, value = f.metadata.get("key", f.name), getattr(config, f.name)
        its_own = key in ("torch_dtype", "dtype", "is_encoder_decoder")  # which its classes set as they like
        simple = isinstance(value, (bool, int, float, str)) and key in theirs and not its_own
        if simple and theirs[key] is not None and theirs[key] != value:
            differing.append(f"{key} is {value!r} here and {theirs[key]!r} there")
    state = FAILED if differing else PASSED
    yield Stage("config values", state, "; ".join(differing[:5]) or "all that the reference has are the same")


def tensors_stage(subject: Subject) -> Iterator[Stage]:
    """Each tensor of the file is used once, each parameter of the model filled once."""
    names, loading = subject.file_tensors, subject.loading
    missing, ignored = loading["missing_keys"], loading["unexpected_keys"]
    used = len(names) - len(ignored)
    told = f"{used} tensors of the file used once, {len(ignored)} ignored for a written reason"
    if missing:
        yield Stage("tensors", FAILED, f"{told}; not in the file: {', '.join(missing[:6])}", {"missing": missing})
    else:
        yield Stage("tensors", PASSED, f"{told}, every parameter filled", {"used": used, "ignored": ignored})


def tokenizer_stage(subject: Subject) -> Iterator[Stage]:
    """Two hundred hard texts: offsets lie in the text, a saved tokenizer does the same, and so does the reference's."""
    tokenizer = subject.tokenizer
    if tokenizer is None:
        yield Stage("tokenizer", LEFT_OUT, "the folder has no tokenizer")
        return
    texts = hard_texts()
    rows = [tokenizer(text)["input_ids"] for text in texts]
    size = subject.model.config.vocab_size
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        again = AutoTokenizer.from_pretrained(folder)
        changed = [t for t, row in zip(texts, rows, strict=True) if again(t)["input_ids"] != row]
    outside = [t for t, row in zip(texts, rows, strict=True) if any(not 0 <= i < size for i in row)]
    if changed or outside:
        why = "another tokenizer after saving" if changed else f"ids beyond the model's {size}"
        yield Stage("tokenizer", FAILED, f"{why}: {(changed or outside)[0]!r:.80}")
    else:
        yield Stage("tokenizer", PASSED, f"{len(texts)} hard texts: ids the model has, the same after save and reload")
    if subject.reference is None:
        yield Stage("tokenizer beside the reference", LEFT_OUT, subject.reference_missing)
        return
    yield _beside(subject, texts, rows)


def _beside(subject: Subject, texts: list[str], rows: list[list[int]]) -> Stage:
    name = "tokenizer beside the reference"
    transformers = importlib.import_module("transformers")
    with quiet():
        try:
            theirs = transformers.AutoTokenizer.from_pretrained(**place(subject.repository))
        except Exception as error:  # whatever another library raises
            return Stage(name, LEFT_OUT, f"transformers cannot open it: {error!s:.200}")
        fast = bool(theirs.is_fast)
        for text, row in zip(texts, rows, strict=True):
            other = theirs(text, return_offsets_mapping=fast)
            if list(other["input_ids"]) != list(row):
                return Stage(name, FAILED, f"{text!r:.80} has the ids {row[:12]} here, {other['input_ids'][:12]} there")
            if fast:
                mine = subject.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
                if [tuple(pair) for pair in mine] != [tuple(pair) for pair in other["offset_mapping"]]:
                    return Stage(name, FAILED, f"{text!r:.80} has other offsets than there")
            if subject.tokenizer.decode(row) != theirs.decode(row):
                return Stage(name, FAILED, f"the ids of {text!r:.80} are decoded otherwise")
    what = "ids, offsets and decoded texts" if fast else "ids and decoded texts"
    return Stage(name, PASSED, f"{what} of {len(texts)} hard texts are the same")


def saving_stage(subject: Subject) -> Iterator[Stage]:
    """Saved and loaded again, every bit is the same; transformers opens what was saved."""
    model = subject.model
    inputs = subject.padded()
    with TemporaryDirectory() as folder, torch.no_grad():
        model.save_pretrained(folder)
        again = type(model).from_pretrained(folder, dtype=torch.float64).eval()
        mine, others = (export_weights(one, one.WEIGHTS) for one in (model, again))
        changed = [n for n, x in mine.items() if n not in others or not torch.equal(x, others[n])]
        furthest = float((again(**inputs)[0] - model(**inputs)[0]).abs().max())
        if changed or not furthest <= TOLERANCE:
            yield Stage("save and reload", FAILED, f"changed: {', '.join(changed[:6]) or 'what it computes'}")
        else:
            yield Stage("save and reload", PASSED, f"{len(mine)} tensors are the same bits, and the answers the same")
        if subject.reference is None:
            yield Stage("transformers opens it", LEFT_OUT, subject.reference_missing)
            return
        yield _opened(subject, Path(folder), inputs)


def _opened(subject: Subject, folder: Path, inputs: dict[str, Any]) -> Stage:
    name, reference = "transformers opens it", subject.reference
    with quiet():
        found, _ = type(reference).from_pretrained(
            str(folder), torch_dtype=torch.float64, output_loading_info=True, local_files_only=True
        )
    theirs, before = found.state_dict(), reference.state_dict()
    changed = [n for n in before if n not in theirs or not torch.equal(theirs[n], before[n])]
    if changed:  # tables that it computes itself may be missing
        return Stage(name, FAILED, f"what was saved is not what transformers had: {', '.join(changed[:6])}")
    return Stage(name, PASSED, f"{len(theirs)} tensors are those that it reads from the checkpoint itself")
