"""How near our numbers are to those of transformers: ``make parity`` rewrites docs/parity.md.

Every model class is compared with its twin (tests/models/twins): a small reference model with all parameters drawn
anew, in float64 and with the readable attention, saved by transformers and loaded by us. The real checkpoint is
compared in float32 and float64. ``--stsb FOLDER`` adds its correlation on the STS benchmark (see stsb.py). ``--only
'Bert*'`` measures some classes, ``--new`` those that have no row yet. What is not measured stays on the page, and so do
numbers that differ by rounding only.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch
from parity_page import Published, architecture, summary
from safetensors.torch import load_file
from stsb import PUBLISHED, spearman

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models.test_parity import reference_loss  # noqa: E402
from models.twins import TWINS  # noqa: E402
from models.twins.twin import Twin, inputs_for, labels_for, padded, random_ids  # noqa: E402
from oracle.references import compared_with_reference  # noqa: E402

import minitransformer  # noqa: E402
from minitransformer.demo import SENTENCES, checkpoint_folder  # noqa: E402
from minitransformer.testing import divergence, reference_twin  # noqa: E402
from minitransformer.weights import export_weights  # noqa: E402

LENGTHS = [3, 9, 1, 20]  # of the texts in a batch; 20 is the most that a twin has positions for
NEW = 16  # tokens to generate
OPTIONS = {
    "greedy": {"do_sample": False},
    "beams": {"num_beams": 3, "do_sample": False},
    "sampled": {"do_sample": True, "top_k": 10, "temperature": 0.8},
}

PAGE = """\
<!-- written by `make parity` on {date} -->

# Parity

How near minitransformer's numbers are to those of transformers {version}. `make parity` computes this page anew;
`make test` fails when a number leaves its tolerance. Where answers differ on purpose is told in
[differences](differences.md).

| architecture | classes | twins | answers | hidden states | attention | loss | gradients | files |
|---|---:|---:|---:|---:|---:|---:|---:|---|
{summary}

The largest difference of all twins of an architecture in float64, of which each has a row below.

## Twins

A twin is a small reference model of unequal sizes, *all* of whose parameters are drawn anew (zeros and ones would hide
swapped rows). transformers saves it, minitransformer loads it, and both run in float64 with readable attention on
batches padded on the right and on the left (texts of {lengths} tokens). In float64 rounding vanishes and a bug stays.
Shown is the largest absolute difference at any place that is not padding. The tolerance is 1e-10, and 1e-9 for loss
and gradients; where it is wider the reference itself computes in float32, and the twin's file says where.

| model | variant | answers | hidden states | attention | loss | gradients | tolerance | file |
|---|---|---:|---:|---:|---:|---:|---:|---|
{twins}

*Answers*: logits, start and end logits, last hidden state, pooler output. *Loss* and *gradients*: in training mode
without dropout. *File*: what we save holds the same bits under the same names as what transformers saved, less what
the weight map ignores (tables that can be computed).

## Operations

What the modules of each twin give in transformers, in three types, beside our trace in float64
([how](parity-testing.md)): less what our operation gives for *their* inputs, in units of the noise that rounding alone
makes of that operation in that type, which is measured. More than 8 is called wrong.

| architecture | tensors compared | largest in float64 | float32 | bfloat16 | called wrong |
|---|---:|---:|---:|---:|---:|
{operations}

transformers cannot run CTRL in bfloat16: its sinusoids stay in float32.

## Generation

Ids that `generate` gives, up to {new} new ones. The last two columns tell whether texts of unequal length get in a
batch what each gets alone: sources padded on the right, prompts on the left.

| model | variant | greedy | 3 beams | sampled, same seed | padded as alone: ours | transformers |
|---|---|---|---|---|---|---|
{generation}

FSMT differs because transformers' `generate` departs from transformers' own forward pass there: from the second token
on its scores are others than those of the same tokens in one pass. Ours are those of the pass.

## A real checkpoint

all-MiniLM-L6-v2 on {sentences} sentences, padded; largest differences.

| | hidden states | attention | pooler |
|---|---:|---:|---:|
{real}
{stsb}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stsb", type=Path, help="folder with sts-test.tsv")
    parser.add_argument("--only", metavar="PATTERN", help="of classes, as in 'T5*'")
    parser.add_argument("--new", action="store_true", help="classes and variants without a row")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "parity.md")
    args = parser.parse_args()
    published = Published(args.out)

    def measured(twin: Twin, length: int) -> bool:
        """Whether a twin's row in the table of so many columns is measured; if not, it is on the page."""
        row = published.row(length, twin.name, variant(twin))
        if row is None:
            return args.only is None or fnmatchcase(twin.name, args.only)
        return not args.new and (args.only is None or fnmatchcase(twin.name, args.only))

    def table(length: int, twins: Iterable[Twin], make: Callable[[Twin], str]) -> list[str]:
        """Rows, measured or as they are on the page."""
        rows = []
        for twin in twins:
            if measured(twin, length):
                rows += map(published.keep, shown([make(twin)]))
            elif (old := published.row(length, twin.name, variant(twin))) is not None:
                rows.append(old)
        return rows

    rows = table(9, TWINS, twin_row)
    page = PAGE.format(
        date=date.today().isoformat(),
        version=importlib.metadata.version("transformers"),
        lengths=", ".join(map(str, LENGTHS)),
        new=NEW,
        summary="\n".join(summary(rows)),
        twins="\n".join(rows),
        operations="\n".join(operations(published, lambda twin: measured(twin, 9))),
        generation="\n".join(table(7, [twin for twin in TWINS if twin.decodes and twin.head], generation_row)),
        sentences=len(SENTENCES),
        real="\n".join(map(published.keep, shown(real_rows()))),
        stsb=stsb_text(args.stsb, published),
    )
    if page.partition("\n")[2] == published.text.partition("\n")[2]:
        page = published.text  # nothing is new but the date
    args.out.write_text(page, encoding="utf-8")
    print(f"written: {args.out}")


def variant(twin: Twin) -> str:
    """As the page has it."""
    return twin.variant.replace("_", " ")


def operations(published: Published, measured: Callable[[Twin], bool]) -> Iterable[str]:
    """A row an architecture: all of its twins, if one of them is measured."""
    by_name: dict[str, list[Twin]] = {}
    for twin in TWINS:
        by_name.setdefault(architecture(twin.name), []).append(twin)
    for name, twins in by_name.items():
        if not any(map(measured, twins)):
            yield from filter(None, [published.row(6, name)])
            continue
        count, wrong = 0, 0
        largest = dict.fromkeys((torch.float64, torch.float32, torch.bfloat16), 0.0)
        for twin in twins:
            with tempfile.TemporaryDirectory() as folder:
                for dtype, found in compared_with_reference(twin, Path(folder), list(largest)).items():
                    count, wrong = count + len(found), wrong + (not found.same)
                    largest[dtype] = max(largest[dtype], *(row.times for row in found))
        numbers = " | ".join(f"{n:.1f}" if n else "" for n in largest.values())
        yield from shown([f"| {name} | {count} | {numbers} | {wrong} |"])


def shown(rows: Iterable[str]) -> list[str]:
    """The rows; each is also printed when it is known."""
    lines = []
    for row in rows:
        print(row, flush=True)
        lines.append(row)
    return lines


def power(difference: float) -> str:
    """A difference, to one digit."""
    return f"{difference:.0e}" if difference else "0"


def load(twin: Twin, folder: str) -> tuple[Any, Any]:
    """Ours, loaded from what the reference saved, and the reference."""
    reference = reference_twin(twin.name, **twin.config)
    reference.save_pretrained(folder)
    return getattr(minitransformer, twin.auto).from_pretrained(folder, dtype=torch.float64), reference


def twin_row(twin: Twin) -> str:
    """One line of the table of twins."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as copied:
        ours, reference = load(twin, folder)
        ours.save_pretrained(copied)
        before, after = (load_file(f"{f}/model.safetensors") for f in (folder, copied))
        largest = {"answers": 0.0, "hidden": 0.0, "attention": 0.0}
        for side in ("right", "left"):
            inputs, keep = inputs_for(twin, LENGTHS, side)
            for d in divergence(ours, reference, inputs, keep=keep):
                kind = "hidden" if "hidden_states" in d.name else "attention" if "attentions" in d.name else "answers"
                largest[kind] = max(largest[kind], d.largest)
        loss, gradients = learning(twin, ours, reference) if twin.head not in ("", "ForTextEncoding") else ("", "")
    numbers = [*(power(n) for n in largest.values()), loss, gradients, f"{twin.atol:.0e}", compared(before, after)]
    return f"| {twin.name} | {variant(twin)} | {' | '.join(numbers)} |"


def compared(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> str:
    """What became of a file that was loaded and saved; what the weight map ignores is not written again."""
    if not after.keys() <= before.keys() or not all(before[name].equal(after[name]) for name in after):
        return "**differs**"
    return "equal" if len(after) == len(before) else f"equal, {len(before) - len(after)} ignored"


def learning(twin: Twin, ours: Any, reference: Any) -> tuple[str, str]:
    """Differences of the loss and of its gradients."""
    inputs, _ = inputs_for(twin, [4, 9, 6], "right")
    if twin.head == "ForSeq2SeqLM":
        inputs.pop("decoder_input_ids")
    labels = labels_for(twin, inputs)
    losses = []
    for model in (ours, reference):
        model.train()
        makes_targets = hasattr(reference, "prepare_decoder_input_ids_from_labels")  # ours makes them inside
        if model is reference and twin.head == "ForSeq2SeqLM" and makes_targets:
            inputs["decoder_input_ids"] = reference.prepare_decoder_input_ids_from_labels(labels["labels"].clone())
        out = model(**inputs, **labels)
        loss = out.loss if model is ours else reference_loss(twin, out, inputs, labels)
        loss.backward()
        losses.append(float(loss.detach()))
        model.eval()
    carried = copy.deepcopy(ours)  # gradients go through the weight map like the weights themselves
    for parameter, like in zip(carried.parameters(), ours.parameters(), strict=True):
        parameter.data = torch.zeros_like(like) if like.grad is None else like.grad
    mine = export_weights(carried, ours.WEIGHTS)
    theirs = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in reference.named_parameters()}
    largest = max(float((mine[name] - gradient).abs().max()) for name, gradient in theirs.items() if name in mine)
    return power(abs(losses[0] - losses[1])), power(largest)


def generation_row(twin: Twin) -> str:
    """One line of the table of generated ids."""
    with tempfile.TemporaryDirectory() as folder:
        ours, reference = load(twin, folder)
    prompts = random_ids(3, 5)
    cells = []
    for options in OPTIONS.values():
        results = []
        for model in (ours, reference):
            torch.manual_seed(0)
            results.append(model.generate(prompts, max_new_tokens=NEW, **options))
        cells.append("equal" if torch.equal(*results) else "**differs**")
    cells += ["yes" if padding_is_harmless(twin, model) else "no" for model in (ours, reference)]
    return f"| {twin.name} | {variant(twin)} | {' | '.join(cells)} |"


def padding_is_harmless(twin: Twin, model: Any) -> bool:
    """Whether texts of unequal length, padded, are continued in a batch as they are alone."""
    ids, mask = padded([1, 4, 3], "right" if twin.kind == "encoder-decoder" else "left", twin.pad)
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    batch = model.generate(ids, attention_mask=mask, **options)
    alone = [model.generate(row[seen.bool()][None], **options)[0] for row, seen in zip(ids, mask, strict=True)]
    return all(a[-NEW:].equal(b[-NEW:]) for a, b in zip(batch, alone, strict=True))


def real_rows() -> Iterable[str]:
    """The real checkpoint in two precisions."""
    from transformers import AutoModel as Reference

    folder = checkpoint_folder()
    reference = Reference.from_pretrained(folder, attn_implementation="eager")
    ours = minitransformer.AutoModel.from_pretrained(folder)
    tokenizer = minitransformer.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    for dtype in (torch.float32, torch.float64):
        found = divergence(ours.to(dtype), reference.to(dtype), batch, keep=batch["attention_mask"])
        differences = {d.name: d.largest for d in found}
        kinds = ("hidden_states", "attentions", "pooler_output")
        cells = [max(n for name, n in differences.items() if name.startswith(kind)) for kind in kinds]
        yield f"| {str(dtype).removeprefix('torch.')} | " + " | ".join(power(n) for n in cells) + " |"


def stsb_text(folder: Path | None, published: Published) -> str:
    """The line about the STS benchmark: measured, or as it is on the page."""
    if folder is None:
        line = published.sentence("STS benchmark")
        return f"\n{line or '`python benchmarks/stsb.py FOLDER` gives its correlation on the STS benchmark.'}"
    measured, pairs = spearman(folder)
    line = f"STS benchmark, test, {pairs} pairs: Spearman {measured:.2f} (mean pooling, cosine); published {PUBLISHED}."
    print(line)
    return f"\n{line}"


if __name__ == "__main__":
    main()
