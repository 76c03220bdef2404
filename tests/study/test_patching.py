"""Patching: what it gives is what edits by hand give; everything patched is the source, nothing the base."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models.twins.twin import Twin
from study.subjects import ONE_OF_EACH, changed, inputs_of, subject, twin_named

from minitransformer import study, tap_names, trace


def pair(twin: Twin, lengths: list[int], side: str = "right"):
    base = inputs_of(twin, lengths, side)
    return subject(twin), base, changed(base)


def answer(model, inputs):
    with torch.no_grad():
        return model(**inputs)


METRIC = study.logit(11, 5)
TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_everything_patched_is_the_source_and_nothing_the_base(twin: Twin, side: str) -> None:
    model, base, source = pair(twin, [7, 4], side)
    outputs = [name for name in tap_names(model) if name.endswith(("encoder.output", "decoder.output"))]
    last = study.patch(model, base, source, METRIC, outputs[-1], ("tap",), normalise=False)
    assert torch.equal(last.values[0], METRIC(answer(model, source)))
    whole = study.patch(model, base, source, METRIC, outputs[-1], ("tap",))
    torch.testing.assert_close(whole.values, torch.ones_like(whole.values), atol=0, rtol=0)
    same = study.patch(model, base, base, METRIC, outputs, ("tap",), normalise=False, batch=2)  # a copy at a time
    assert torch.equal(same.values, METRIC(answer(model, base)).expand_as(same.values))


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_a_whole_layer_of_heads_and_feed_forwards_is_the_source_from_there_on(twin: Twin) -> None:
    model, base, source = pair(twin, [6])
    first = [n for n in tap_names(model) if n.endswith("embeddings.output")]
    told = study.patch(model, base, source, METRIC, first, ())
    torch.testing.assert_close(told.values, torch.ones((), dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_a_sweep_is_what_edits_one_by_one_give(twin: Twin) -> None:
    model, base, source = pair(twin, [5])
    taps = [n for n in tap_names(model) if n.endswith("attn.mixed") and "groups" not in n][-2:]
    if not taps:
        taps = [n for n in tap_names(model) if n.endswith("attn.mixed")][-1:]
    swept = study.patch(model, base, source, METRIC, taps, normalise=False, batch=7)
    assert swept.axes == ("tap", "head", "position")
    for tap in taps:
        with trace(model, tap) as t, torch.no_grad():
            model(**source)
        values = t.calls(tap)
        for head, position in ((0, 0), (1, 3), (2, 4)):
            left = iter(values)

            def put(x, head=head, position=position, left=left):
                x = x.clone()
                x[:, head, position] = next(left)[:, head, position]
                return x

            with trace(model, edit={tap: put}), torch.no_grad():
                by_hand = METRIC(model(**base))
            found = swept.at(tap=tap, head=head, position=position)
            torch.testing.assert_close(found.values, by_hand[0], atol=1e-10, rtol=0)


def test_one_row_swept_is_each_of_two_equal_rows_swept() -> None:
    """A single row is copied where copies begin to differ, several are copied from the start.

    In a process of its own, where nobody checks the shapes in signatures (as these tests do), which forbid it.
    """
    code = (
        "import torch\n"
        "from study.subjects import ONE_OF_EACH, changed, inputs_of, subject\n"
        "from minitransformer import study\n"
        "from minitransformer.study import patching\n"
        "grown = 0\n"
        "growing = patching._growing\n"
        "def counted(*given):\n"
        "    global grown\n"
        "    grown += 1\n"
        "    return growing(*given)\n"
        "patching._growing = counted\n"
        "narrowed, narrow = set(), patching.of_tokens_alone\n"
        "def noted(block, tap, *given):\n"
        "    narrowed.add(tap.removeprefix(f'{block}.'))\n"
        "    return narrow(block, tap, *given)\n"
        "patching.of_tokens_alone = noted\n"
        "behind = ('attn.mixed', 'attn.out', 'after_attn', 'attn_normed', 'ffn.pre', 'ffn.hidden', 'ffn.out',\n"
        "          'after_ffn', 'ffn_normed', 'output')\n"
        "for twin in ONE_OF_EACH:\n"
        "    model, base = subject(twin), inputs_of(twin, [5])\n"
        "    source, metric = changed(base), study.logit(11, 5)\n"
        "    side = 'encoder' if twin.kind.startswith('encoder') else 'decoder'\n"
        "    places = [('attn.mixed', ('head',)), ('input', ('position',)), ('attn.mixed', ('head', 'position'))]\n"
        "    places += [(tap, ('position',)) for tap in behind if study.runs.has_taps(model, f'{side}.*.{tap}')]\n"
        "    for tap, by in places:\n"
        "        ask = dict(taps=f'{side}.*{tap}', by=(*by, 'tap'), normalise=False)\n"
        "        one = study.patch(model, base, source, metric, **ask).values\n"
        "        pair = [{n: x.repeat(2, 1) for n, x in given.items()} for given in (base, source)]\n"
        "        two = study.patch(model, *pair, metric, **ask).values\n"
        "        torch.testing.assert_close(two, one[..., None].expand_as(two), atol=1e-10, rtol=0)\n"
        "assert grown >= 2 * 10, grown\n"
        "assert narrowed == {*behind} - {'output'}, narrowed\n"
    )
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_rows_are_measured_each_by_its_own_words() -> None:
    model, base, source = pair(twin_named("GPT2LMHeadModel"), [6, 6, 6])
    metric = study.logit(torch.tensor([5, 6, 7]), torch.tensor([8, 9, 10]), position=torch.tensor([-1, 2, 3]))
    swept = study.patch(model, base, source, metric, "attn.mixed", ("tap", "head"), normalise=False)
    assert swept.axes == ("tap", "head", "row") and swept.values.shape == (3, 4, 3)
    for row in range(3):
        alone = study.patch(
            model,
            {name: x[[row]] for name, x in base.items()},
            {name: x[[row]] for name, x in source.items()},
            study.logit(5 + row, 8 + row, position=(-1, 2, 3)[row]),
            "attn.mixed",
            ("tap", "head"),
            normalise=False,
        )
        torch.testing.assert_close(alone.values, swept.values[..., row], atol=1e-10, rtol=0)


def test_taps_without_tap_in_by_are_patched_together() -> None:
    model, base, source = pair(twin_named("BertForMaskedLM"), [6])
    swept = study.patch(model, base, source, METRIC, "*.blocks.*.output", ("position",))
    assert swept.axes == ("position",)
    neurons = study.patch(model, base, source, METRIC, "blocks.0.ffn.hidden", ("neuron", "position"), normalise=False)
    assert neurons.values.shape == (len(neurons.names("neuron")), 6)


def test_unfit_questions_are_answered_in_one_sentence() -> None:
    twin = twin_named("GPT2LMHeadModel")
    model, base, source = pair(twin, [6])
    ask = study.patch
    with pytest.raises(study.StudyError, match=r"input_ids has \(1, 6\) and \(1, 5\).*equally many tokens"):
        ask(model, base, inputs_of(twin, [5]), METRIC)
    with pytest.raises(study.StudyError, match="the same inputs"):
        ask(model, base, {"input_ids": source["input_ids"]}, METRIC)
    with pytest.raises(study.StudyError, match=r"one number for each of the 1 rows.*\(1, 6, 60\)"):
        ask(model, base, source, lambda output: output.logits)
    with pytest.raises(study.StudyError, match="not float"):
        ask(model, base, source, lambda output: float(output.logits[0, 0, 0]))
    with pytest.raises(study.StudyError, match="no tap.*'attn.mixd'.*Did you mean"):
        ask(model, base, source, METRIC, "attn.mixd")
    with pytest.raises(study.StudyError, match="cannot be patched by 'head'"):
        ask(model, base, source, METRIC, "ffn.out")
    with pytest.raises(study.StudyError, match="by knows no 'heads'.*'head'"):
        ask(model, base, source, METRIC, by=("heads",))
    with pytest.raises(study.StudyError, match="position 6 lies outside"):
        ask(model, base, source, study.logit(1, position=6))
    with pytest.raises(study.StudyError, match="token 60 is none of the 60"):
        ask(model, base, source, study.logit(60))
    with pytest.raises(study.StudyError, match="same answer.*normalise=False"):
        ask(model, base, base, METRIC)
    with pytest.raises(study.StudyError, match="tokenizer"):
        ask(model, base["input_ids"], base["input_ids"], METRIC)
