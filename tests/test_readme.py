"""What README and the documentation show is run: Python as it stands, commands with the models put in place.

Names of models on the Hub are replaced by small folders made here; everything else is executed as printed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_folders
from typer.testing import CliRunner

from minitransformer.cli import app

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
MODELS: dict[str, Callable[[Path], Path]] = {
    "google-bert/bert-base-uncased": tiny_folders.bert_pretrained,
    "openai-community/gpt2": tiny_folders.gpt2,
    "facebook/bart-base-qa": lambda folder: tiny_folders.bart(folder, "ForQuestionAnswering"),
    "facebook/bart-base": tiny_folders.bart,
}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are written in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {name: str(make(root / name.replace("/", "--"))) for name, make in MODELS.items()}


def local(text: str, folders: dict[str, str]) -> str:
    for name, folder in folders.items():
        text = text.replace(name, folder)
    return text


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_of_page_runs(
    page: str, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of one page share their names, as in one session."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for i, block in enumerate(blocks(page, "python"), 1):
        exec(compile(local(block, folders), f"{page}, block {i}", "exec"), names)


def commands() -> list[tuple[str, str]]:
    lines = [(page, line) for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [(page, line) for page, line in lines if "minitransformer " in line]


@pytest.mark.parametrize(("page", "line"), commands())
def test_command_runs(
    page: str, line: str, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("articles.txt").write_text("paris is the capital of france .\nthe cat sleeps .\n")
    given, _, command = local(line, folders).rpartition("| ")
    words = shlex.split(command)
    assert words.pop(0) == "minitransformer"
    if ">" in words:
        words = words[: words.index(">")]
    stdin = " ".join(shlex.split(given)[1:]) if given else None
    result = CliRunner().invoke(app, words, input=stdin)
    assert result.exit_code == 0, result.output
    assert result.stdout


def test_make_targets_exist() -> None:
    """Every ``make x`` that a page mentions is a target, and ``make help`` lists all targets."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    pages = [*PAGES, "CONTRIBUTING.md"]
    mentioned = {t for page in pages for t in re.findall(r"[`\n]make ([a-z-]+)", (ROOT / page).read_text("utf-8"))}
    assert mentioned and mentioned <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M))
    assert {"demo", "test", "lint", "type", "parity", "bench", "docs", "clean"} <= targets


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
