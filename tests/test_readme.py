"""What README and the documentation show is run: Python as it stands, commands with the models put in place.

Names of models on the Hub are replaced by small folders made here; everything else is executed as printed.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import tiny_folders
from typer.testing import CliRunner

from minitransformer.cli import app
from minitransformer.course.pages import STATED, Session
from minitransformer.course.pages import blocks as blocks_of

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
    return blocks_of((ROOT / page).read_text(encoding="utf-8"), language)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    return {name: str(make(root / name.replace("/", "--"))) for name, make in MODELS.items()}


def local(text: str, folders: dict[str, str]) -> str:
    for name, folder in folders.items():
        text = text.replace(name, folder)
    return text


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_of_page_runs_and_gives_what_it_states(
    page: str, folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of one page share their names, as in one session."""
    monkeypatch.chdir(tmp_path)
    session = Session()
    for i, block in enumerate(blocks(page, "python"), 1):
        session.run(local(block, folders), f"{page}, block {i}")


def test_a_wrong_statement_is_found() -> None:
    for block in ("print(1 + 1)  # -> 3", "x = 1 + 1  # -> 3", "import torch\nx = torch.ones(2, 3)  # (2, 4)"):
        with pytest.raises(AssertionError):
            Session().run(block, "wrong")
    for block in ("print(0.3)  # -> 0.27 +- 0.02", "1 + 1  # -> 3", "print(1, 2)  # -> 1 +- 0.5"):
        with pytest.raises(AssertionError):
            Session().run(block, "wrong")
    Session().run("print('about 0.28', 1.2)  # -> 0.27 1.0 +- 0.2\n2 * 3  # -> 6 ± 0\n1 + 1  # -> 2", "right")
    right = "import torch\nfor x in (torch.ones(2, 3),):\n    print('a', x.shape)  # -> a torch...3])\ny = x  # (2, 3)"
    Session().run(right, "right")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_every_comment_behind_a_print_is_a_statement(page: str) -> None:
    """So that none stays unchecked: what is said about the code stands above it."""
    lines = [line.strip() for block in blocks(page, "python") for line in block.splitlines()]
    said = [line for line in lines if re.match(r"print\(.*\)  #", line)]
    assert all(STATED.match(line) for line in said), said


def test_readme_passes_strict_type_checks(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    (tmp_path / "readme.py").write_text("\n".join(blocks("README.md", "python")), encoding="utf-8")
    cache = str(ROOT / ".mypy_cache")
    options = ["--strict", "--disable-error-code", "import-untyped", "--cache-dir", cache]
    report, errors, status = api.run([*options, str(tmp_path / "readme.py")])
    assert status == 0, report + errors


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


def test_the_order_of_imports_is_told_once() -> None:
    """CONTRIBUTING and the documentation draw the layers that pyproject.toml enforces."""
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    layers = [{name.strip(" ()") for name in layer.split("|")} for layer in reversed(contract["layers"])]
    unshown = {"__main__", "inspection", "testing"}  # the first is cli's, the others have nothing above them
    expected = [layer - unshown for layer in layers if layer - unshown]
    for page, arrow in (("CONTRIBUTING.md", "<-"), ("docs/index.md", "◄")):
        drawn = re.search(rf"^errors\b.*? {arrow}.*?^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
        assert drawn is not None
        found = [set(re.findall(r"\w[\w ]*\w|\w+", part)) for part in drawn[0].strip("`\n").split(arrow)]
        found = [{"cli" if name == "command line" else name for name in part} for part in found]
        assert found == expected, page


def test_every_operation_of_weights_is_named() -> None:
    from minitransformer.weights import ops

    names = {n for n, k in vars(ops).items() if isinstance(k, type) and issubclass(k, ops.Op) and k is not ops.Op}
    page = (ROOT / "docs" / "weight-map.md").read_text(encoding="utf-8")
    sentence = re.search(r"closed set, each with its inverse:(.*?)\. ", page, re.S)
    assert sentence is not None and set(re.findall(r"`(\w+)`", sentence[1])) == names


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
