"""The page: whole in one file, true to the tensors, usable by keyboard and on a small screen, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from study.browser import CHROMIUM, Page, browser
from typer.testing import CliRunner

import minitransformer
from minitransformer import study
from minitransformer.cli import app
from minitransformer.models.bert import BertConfig, BertForMaskedLM
from minitransformer.study.page.build import load, quantised
from minitransformer.study.runs import labelled

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
TEXTS = {
    "marian-fr-en": ("Elle veut partir demain.", "Il veut partir demain."),
    "bert-books": ("She opened the [MASK] and went out.", "He opened the [MASK] and went out."),
    "gpt2-stories": ("The old man opened the door and", "The young man opened the door and"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, (text, text2) in TEXTS.items():
        study.page(*load(f"minitransformer/{name}"), text, text2, path=folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in TEXTS}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: Any) -> Any:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


def test_it_is_one_file_that_asks_for_nothing(made: dict[str, Path]) -> None:
    for path in made.values():
        html = path.read_text(encoding="utf-8")
        assert len(html.encode()) <= 600_000
        assert "@@" not in html.replace("@@ ", "") and "default-src 'none'" in html
        assert not re.search(r'(?:src|href)="(?!data:)', html) and "://" not in html


def test_bytes_are_the_nearest_255ths() -> None:
    x = torch.rand(7, 5, dtype=torch.float64)
    back = torch.tensor(list(quantised(x))).reshape(7, 5) / 255
    assert float((back - x).abs().max()) <= 0.5 / 255 + 1e-9


@needs_browser
@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_asked_for_and_nothing_complains(made: dict[str, Path], tab: Page, name: str) -> None:
    for dark in (False, True):
        tab.open(made[name], dark=dark)
        for i in range(4):
            tab.js(f"document.querySelectorAll('[role=tab]')[{i}].click()")
            assert tab.js("document.getElementById('panel').childElementCount") > 0
        assert tab.js("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert tab.complaints() == [] and tab.requests() == []


@needs_browser
@pytest.mark.parametrize("name", TEXTS)
def test_every_weight_drawn_is_that_of_the_tensor(made: dict[str, Path], tab: Page, name: str) -> None:
    model, tokenizer = load(f"minitransformer/{name}")
    tab.open(made[name])
    from minitransformer.study.page.facts import encoded

    inputs = encoded(model, tokenizer, TEXTS[name][0])
    patterns = labelled(study.run(model, inputs, "*attn.pattern"), "pattern")
    drawn = tab.js(
        "facts().maps.map((map) => [map.name, [...Array(map.shape[0]).keys()].map((h) => { const w = weights(map, h);"
        " return [...Array(w.rows).keys()].map((i) => [...Array(w.columns).keys()].map((j) => w.at(i, j))); })])"
    )
    assert [place for place, _ in drawn] == [n.removeprefix("backbone.") for n in patterns]
    for (_, values), pattern in zip(drawn, patterns.values(), strict=True):
        assert float((torch.tensor(values) - pattern[0]).abs().max()) <= 1 / 255


@needs_browser
def test_it_is_used_by_keyboard_alone(made: dict[str, Path], tab: Page) -> None:
    tab.open(made["marian-fr-en"])
    tab.js("document.querySelector('[role=tab][aria-selected=true]').focus()")
    for expected in ("Residual stream", "What wrote the word", "Two texts", "Attention"):
        tab.key("ArrowRight")
        assert tab.js("document.activeElement.textContent") == expected
        assert tab.js("document.querySelector('[role=tab][aria-selected=true]').textContent") == expected
    tab.js("document.querySelector('#large canvas').focus()")
    tab.key("ArrowDown")
    tab.key("ArrowRight")
    assert re.fullmatch(r"veut → veut: 0(\.\d+)?", tab.js("document.getElementById('spoken').textContent"))
    tab.js("document.querySelectorAll('.head')[5].focus()")
    tab.key("Enter")
    assert tab.js("document.querySelectorAll('.head')[5].getAttribute('aria-pressed')") == "true"
    named = "one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length"
    unnamed = f"[...document.querySelectorAll('button, canvas[tabindex], select')].filter((one) => !({named})).length"
    assert tab.js(unnamed) == 0


@needs_browser
def test_it_fits_a_narrow_screen(made: dict[str, Path], tab: Page, tmp_path: Path) -> None:
    for name, path in made.items():
        tab.open(path, width=400, height=800)
        for i in range(4):
            tab.js(f"document.querySelectorAll('[role=tab]')[{i}].click()")
            assert tab.js("document.documentElement.scrollWidth") <= 400, (name, i)


@needs_browser
def test_words_are_sums_of_their_tokens(made: dict[str, Path], tab: Page) -> None:
    tab.open(made["bert-books"])
    rows = tab.js(
        "(() => { const w = weights(facts().maps[0], 0, 'words'), places = (n) => [...Array(n).keys()];"
        " return places(w.rows).map((i) => places(w.columns).reduce((sum, j) => sum + w.at(i, j), 0)); })()"
    )
    assert all(abs(total - 1) < 0.05 for total in rows)


@needs_browser
def test_a_hundred_and_forty_four_heads_of_128_tokens_open_in_three_seconds(tab: Page, tmp_path: Path) -> None:
    tokenizer = minitransformer.AutoTokenizer.from_pretrained("minitransformer/bert-books")
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=144, num_layers=12, num_heads=12, intermediate_size=64)
    torch.manual_seed(0)
    model = BertForMaskedLM.from_config(config).eval()
    text = "the " * 125 + "[MASK]"
    html = study.page(model, tokenizer, text, path=tmp_path / "large.html")
    assert len(tokenizer(text)["input_ids"]) == 128
    assert len(html.encode()) <= 600_000 + 144 * 128 * 128
    assert min(tab.open(tmp_path / "large.html") for _ in range(3)) <= 3.0
    tab.js("document.querySelectorAll('.head')[143].scrollIntoView()")
    assert tab.complaints() == []


def test_look_writes_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["look", "minitransformer/bert-sentiment", "I love it.", "I hate it.", "-o", str(path)]
    )
    assert done.exit_code == 0, done.output
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>") and "kB" in done.output
    done = CliRunner().invoke(app, ["look", "minitransformer/bert-sentiment", "  ", "-o", str(path)])
    assert done.exit_code == 2 and "the text is empty" in done.output


def test_what_a_text_says_is_text_and_no_markup() -> None:
    model, tokenizer = load("minitransformer/bert-sentiment")
    html = study.page(model, tokenizer, "</script><script>alert(1)</script>")
    assert "<script>alert" not in html and html.count("</script>") == 3


def test_a_model_without_a_head_and_texts_of_other_lengths_are_told(tmp_path: Path) -> None:
    model, tokenizer = load("minitransformer/gpt2-stories")
    html = study.page(model.backbone, tokenizer, "Once upon a time", "There was a king")
    assert "the model has no head" in html
    html = study.page(model, tokenizer, "Once upon a time", "There was")
    assert "patching needs as many" in html
    with pytest.raises(study.StudyError, match="at most 256"):
        study.page(model, tokenizer, "word " * 300)
