"""Builds the documentation: ``python tools/site.py``. Pages of the course are run, their outputs and figures put in.

1. docs/ is copied to build/docs, and completed: the course with what its pages print and draw, a notebook of each
   lesson, a page for each module made from its docstrings, the drawings of architectures.
2. Zensical makes site/ of it.

A lesson that has not changed since it was last run is taken from build/lessons.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import drawings
import jupytext
import matplotlib
import yaml

import minitransformer
from minitransformer.course.pages import FENCE, Lesson, Session, filled, lessons

ROOT = Path(__file__).parent.parent
BUILD, SITE = ROOT / "build", ROOT / "site"
TEXT = "#010203"
"""A colour that figures are drawn in, to be exchanged for that of the page's text."""
WIDE = ("parity.md", "performance.md", "architectures.md")
"""Pages whose tables want the room of the table of contents."""
INSTALL = '%pip install --quiet "minitransformer[demo]" matplotlib\n'


class Recorded(Session):
    """A session that keeps what blocks print and draw."""


def run_page(lesson: Lesson) -> list[dict[str, Any]]:
    """What each block of a lesson printed, and the figures it drew."""
    matplotlib.use("svg")
    settings = {"svg.fonttype": "none", "savefig.transparent": True, "font.size": 9, "svg.hashsalt": "lesson"}
    settings |= {
        name: TEXT for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    }
    settings |= {"legend.frameon": False, "savefig.bbox": "tight", "image.cmap": "viridis"}
    found, session, here = [], Recorded(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder, matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            blocks = [match["code"] for match in FENCE.finditer(lesson.text) if match["name"] is None]
            for number, block in enumerate(blocks, 1):
                before = set(Path().glob("*.svg"))
                session.run(block, f"{lesson.path.name}, block {number}")
                figures = {
                    path.stem: inline(path.read_text("utf-8"), path.stem) for path in set(Path().glob("*.svg")) - before
                }
                found.append({"said": session.said, "figures": figures})
        finally:
            os.chdir(here)
    import matplotlib.pyplot as plt

    plt.close("all")
    return found


def inline(svg: str, name: str) -> str:
    """A figure as part of a page, in the colour of its text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S).replace(TEXT, "currentColor")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    label = name.replace("-", " ")
    return re.sub(r"\n\s*\n", "\n", svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))


def recorded(lesson: Lesson) -> list[dict[str, Any]]:
    """As ``run_page``, or from the last time."""
    key = hashlib.sha256((lesson.text + minitransformer.__version__).encode()).hexdigest()[:16]
    kept = BUILD / "lessons" / f"{lesson.path.stem}-{key}.json"
    if not kept.exists():
        began = time.perf_counter()
        found = run_page(lesson)
        kept.parent.mkdir(parents=True, exist_ok=True)
        for old in kept.parent.glob(f"{lesson.path.stem}-*.json"):
            old.unlink()
        kept.write_text(json.dumps(found), encoding="utf-8")
        print(f"{lesson.path.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return json.loads(kept.read_text(encoding="utf-8"))


def with_outputs(lesson: Lesson, found: list[dict[str, Any]]) -> str:
    """The page of a lesson with what its blocks gave."""
    outputs = iter(found)

    def put(match: re.Match[str]) -> str:
        if match["name"] is not None:
            return f"```python\n{match['code']}```"
        output = next(outputs)
        said = "\n".join(output["said"])
        text = match[0] + (f"\n\n```text\n{said}\n```" if said else "")
        for svg in output["figures"].values():
            text += f'\n\n<figure class="drawn" markdown="0">{svg}</figure>'
        return text

    note = f"*[As a notebook](notebooks/{lesson.path.stem}.ipynb), for Jupyter or Colab.*"
    text = FENCE.sub(put, lesson.text).replace("```py\n", "```python\n")
    return re.sub(r"^(# .+)$", rf"\1\n\n{note}", text, count=1, flags=re.M)


def notebook(lesson: Lesson) -> str:
    """A lesson as a notebook: code that runs is code, what is shown of the library is text."""
    shown = FENCE.sub(lambda m: m[0] if m["name"] is None else f"~~~python\n{m['code']}~~~", lesson.text)
    shown = shown.replace('<details markdown="1">', "<details>").replace("```py\n", "```python\n")
    shown = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", shown)  # other pages are not beside a notebook
    text = f"```python\n{INSTALL}```\n\n{shown}"
    made = jupytext.reads(text, fmt="md")
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for i, cell in enumerate(made.cells):
        cell["id"] = f"cell-{i}"
    return jupytext.writes(made, fmt="ipynb")


def modules() -> list[str]:
    """All modules of the package that have something to say, in the order of their names."""
    found = []
    for info in pkgutil.walk_packages(minitransformer.__path__, "minitransformer."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            found.append(info.name)
    return sorted(found)


def reference(folder: Path) -> list[Any]:
    """A page for each part of the package, made from its docstrings; their place in the navigation."""
    folder.mkdir(parents=True)
    entries: dict[str, list[str]] = {}
    for name in modules():
        entries.setdefault(".".join(name.split(".")[:2]), []).append(name)
    nav = []
    for top, names in entries.items():
        text = f"# {top.rpartition('.')[2]}\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"
        (folder / f"{top}.md").write_text(text, encoding="utf-8")
        nav.append({top.rpartition(".")[2]: f"api/{top}.md"})
    return nav


def stage() -> dict[str, Any]:
    """Fill build/docs; the settings for building it."""
    docs = BUILD / "docs"
    shutil.rmtree(docs, ignore_errors=True)
    shutil.copytree(ROOT / "docs", docs)
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    every = lessons()
    (docs / "course" / "notebooks").mkdir()
    for lesson in every:
        (docs / "course" / lesson.path.name).write_text(with_outputs(lesson, recorded(lesson)), encoding="utf-8")
        (docs / "course" / "notebooks" / f"{lesson.path.stem}.ipynb").write_text(notebook(lesson), encoding="utf-8")
    for name in WIDE:
        page = docs / name
        page.write_text(f"---\nhide: [toc]\n---\n\n{page.read_text(encoding='utf-8')}", encoding="utf-8")
    (docs / "drawings.md").write_text(drawings.page(), encoding="utf-8")
    course = [{f"{lesson.number}. {lesson.title}": f"course/{lesson.path.name}"} for lesson in every]
    made = {"COURSE": course, "API": reference(docs / "api"), "DRAWINGS": "drawings.md"}
    config["nav"] = [place(entry, made) for entry in config["nav"]]
    config |= {"docs_dir": "docs", "site_dir": "site"}
    config["plugins"][1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    for page in docs.rglob("*.md"):  # links to files beside docs/ have no place in the site
        text = page.read_text(encoding="utf-8")
        text = (
            re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?!course|drawings)(?![\w-]+\.md)[^)]*\)", r"\1", text)
            if page.parent == docs
            else text
        )
        page.write_text(text, encoding="utf-8")
    return config


def place(entry: Any, made: dict[str, Any]) -> Any:
    """A part of the navigation with what is made here in its place."""
    if isinstance(entry, dict):
        return {title: place(value, made) for title, value in entry.items()}
    if isinstance(entry, list):
        result = []
        for one in entry:
            filled_in = place(one, made)
            result += filled_in if isinstance(filled_in, list) else [filled_in]
        return result
    return made.get(entry, entry)


def main() -> None:
    """Stage and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lessons-only", action="store_true", help="run the lessons that have changed, build nothing")
    arguments = parser.parse_args()
    for lesson in lessons():
        assert filled(lesson.text) == lesson.text, (
            f"{lesson.path.name} shows old code: python -m minitransformer.course.pages"
        )
    if arguments.lessons_only:
        for lesson in lessons():
            recorded(lesson)
        return
    config = stage()
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--config-file", BUILD / "mkdocs.yml"], check=True
    )
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(BUILD / "site", SITE)


if __name__ == "__main__":
    main()
