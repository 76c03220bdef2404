"""The page: what it is made of, and, in a browser, what its widgets do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from minitransformer.serve import page
from serve.conftest import Live
from serve.tools import chromium, node_modules, run_json

FOLDER = Path(page.__file__).parent
FILES = [FOLDER / name for name in ("index.html", "style.css", "page.js")]
WIDGETS = {
    "fill-mask", "text-classification", "token-classification", "question-answering", "zero-shot-classification",
    "summarization", "translation", "text-generation", "feature-extraction",
}  # fmt: skip


def test_its_files_are_small_and_name_no_other_server() -> None:
    assert sum(path.stat().st_size for path in FILES) <= 60_000
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|url\(|@import|https?://", text), path.name
        assert "innerHTML" not in text
        assert "eval(" not in text
    html = FILES[0].read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|style=|<style|<script>", html), "the policy forbids what stands in the page itself"


def test_its_policy_is_strict(live: Live) -> None:
    for path in ("/", "/page/page.js", "/page/style.css"):
        response = live.client.get(path, headers={"accept": "text/html,*/*"})
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["referrer-policy"] == "no-referrer"
    assert live.client.get("/", headers={"accept": "text/html"}).text.startswith("<!doctype html>")


def test_it_knows_the_models(live: Live) -> None:
    known = live.client.get("/page/models.json").json()
    assert len(known["models"]) == 9
    tasks = {model["task"] for model in known["models"]} | {"feature-extraction"}
    assert tasks == WIDGETS
    assert all(known["examples"][task] for task in tasks)
    masks = {model["id"]: model["mask"] for model in known["models"]}
    assert masks["minitransformer/bert-books"] == "[MASK]"


def test_look_inside_opens_the_page_of_the_study_tools(live: Live) -> None:
    known = live.client.get("/page/models.json").json()
    asked = {"model": "minitransformer/bert-books", "text": "The cat sleeps."}
    response = live.client.get("/inside", params=asked)
    if not known["inside"]:
        assert response.status_code == 404
        return
    assert response.status_code == 200
    assert "<html" in response.text
    assert "sandbox allow-scripts" in response.headers["content-security-policy"]
    assert live.client.get("/inside", params={**asked, "text": ""}).status_code == 400
    assert live.client.get("/inside", params={**asked, "model": "gpt2"}).status_code == 404
    assert live.client.get("/inside", params={**asked, "text": "word " * 399}).status_code == 422


@pytest.fixture(scope="module")
def seen(live: Live) -> dict[str, Any]:
    """What a browser saw."""
    modules = node_modules()
    if not (modules / "playwright-core").is_dir():
        pytest.skip("playwright-core is not there: make clients")
    found: dict[str, Any] = run_json("node", "page.mjs", live.url, chromium(), cwd=modules.parent)
    return found


def test_every_widget_answers_in_a_browser(seen: dict[str, Any]) -> None:
    assert seen["widgets"].keys() == WIDGETS
    for task, widget in seen["widgets"].items():
        assert widget["error"] is None, (task, widget)
        assert re.fullmatch(r"Computation time on \wpu: \d+\.\d{3} s", widget["status"]), task
        assert widget["results"], task
        assert json.loads(widget["json"]), task
        assert widget["jsonShown"], task
        assert f"task={task}" in widget["address"], task
        assert widget["kept"], f"{task}: the address holds the text"
        for language in ("curl", "python", "javascript"):
            assert "127.0.0.1" in widget[language], (task, language)
        assert "InferenceClient" in widget["python"], task
        assert "@huggingface/inference" in widget["javascript"], task


def test_widgets_show_what_the_model_said(seen: dict[str, Any]) -> None:
    widgets = seen["widgets"]
    for task in ("fill-mask", "text-classification", "zero-shot-classification"):
        found = json.loads(widgets[task]["json"])
        best = found[0][0] if isinstance(found[0], list) else found[0]
        name = best.get("token_str") or best["label"]
        assert widgets[task]["results"][0] == f"{name}{best['score']:.3f}"
    assert widgets["token-classification"]["output"].startswith("🙂"), "offsets count characters, not halves of them"
    entities = json.loads(widgets["token-classification"]["json"])
    marked = [f"{entity['word']}{entity['entity_group']}" for entity in entities]
    assert len(widgets["token-classification"]["results"]) == len(marked)
    answer = json.loads(widgets["question-answering"]["json"])
    assert widgets["question-answering"]["results"] == [f"{answer['answer']}{answer['score']:.3f}"]
    written = json.loads(widgets["text-generation"]["json"])[0]["generated_text"]
    assert widgets["text-generation"]["output"] == written


def test_the_browser_asks_no_other_server_and_complains_of_nothing(seen: dict[str, Any]) -> None:
    assert seen["elsewhere"] == []
    assert seen["console"] == []
    assert seen["markup"] == 0, "what is typed is text, never markup"


def test_the_page_tells_mistakes_and_works_by_keyboard_and_on_small_screens(seen: dict[str, Any]) -> None:
    assert seen["empty"] == "You need to input some text"
    assert "no mask token" in seen["refused"]
    assert seen["example"]
    assert seen["focusVisible"]
    assert seen["maximized"]
    assert seen["unlabelled"] == []
    assert seen["violations"] == []
