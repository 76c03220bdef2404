"""Pages that are run: Markdown with Python in it, which states what it prints and shows code of the library by name."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitransformer.errors import MissingFileError

PLACES = (Path(__file__).parent / "lessons", Path(__file__).parents[2] / "docs" / "course")
"""Where the lessons are: in an installed package, in a clone."""

FENCE = re.compile(r"^```python(?P<source> source=(?P<name>[\w.]+))?\n(?P<code>.*?)^```$", re.M | re.S)
STATED = re.compile(r"(?:(?P<name>\w+) = )?.*\S  # (?:-> (?P<text>.+)|(?P<shape>\((?:\d+, )+\d*\)))$")
"""A line that states what it prints, ``# -> text``, or what it assigns; also by its shape, ``# (2, 10, 64)``."""
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Lesson:
    """One page of the course."""

    number: int
    title: str
    path: Path

    @property
    def text(self) -> str:
        """The page."""
        return self.path.read_text(encoding="utf-8")


def lessons() -> list[Lesson]:
    """All lessons in their order.

    Raises:
        MissingFileError: they are not where they should be.
    """
    folder = next((place for place in PLACES if place.is_dir()), None)
    if folder is None:
        raise MissingFileError(
            "the lessons are not in this installation: install the package anew, or read docs/course"
        )
    found = []
    for path in sorted(folder.glob("[0-9][0-9]-*.md")):
        heading = path.read_text(encoding="utf-8").partition("\n")[0]
        found.append(Lesson(int(path.name[:2]), heading.partition(". ")[2], path))
    return found


def source_of(name: str) -> str:
    """The code of a function or class of the library, without its docstring, under the path of its file."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        break
    module = found
    for part in parts[cut:]:
        found = getattr(found, part)
    code = textwrap.dedent(inspect.getsource(found)).rstrip()
    first = ast.parse(code).body[0]
    lines = code.splitlines()
    if isinstance(first, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(first, clean=False) is not None:
        said = first.body[0]
        assert said.end_lineno is not None
        del lines[said.lineno - 1 : said.end_lineno]
    body = "\n".join(line for i, line in enumerate(lines) if line.strip() or (i and lines[i - 1].strip()))
    return f"# {module.__name__.replace('.', '/')}.py\n{body}\n"


def filled(text: str) -> str:
    """The page with the code of the library as it now is in its ``python source=...`` fences."""

    def fill(match: re.Match[str]) -> str:
        return match[0] if match["name"] is None else f"```python{match['source']}\n{source_of(match['name'])}```"

    return FENCE.sub(fill, text)


def blocks(text: str, language: str = "python") -> list[str]:
    """The fenced blocks of a page that are written in a language and run; not those that show a source."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def as_stated(stated: str, found: str) -> bool:
    """Whether a text is the stated one, where ``...`` stands for anything; ``0.3 0.5 +- 0.1`` speaks of numbers."""
    numbers, tolerant, within = stated.replace("±", "+-").rpartition(" +- ")
    if tolerant:
        expected, told = ([float(x) for x in NUMBER.findall(text)] for text in (numbers, found))
        return len(expected) == len(told) and all(
            abs(a - b) <= float(within) + 1e-12 for a, b in zip(expected, told, strict=True)
        )
    return re.fullmatch(".*".join(map(re.escape, stated.split("..."))), found, re.S) is not None


class Session:
    """Runs the blocks of a page, which share their names, and compares what they state.

    A statement stands behind a ``print``, behind an assignment, or behind an expression, whose value is compared.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "page", "print": self.print}
        self.lines: list[str] = []
        self.compared: set[int] = set()
        self.ends: dict[int, int] = {}
        """First line of a statement -> its last."""
        self.block = ""
        self.count = 0
        """How many statements were compared so far."""
        self.said: list[str] = []
        """What the last block printed."""

    def run(self, block: str, name: str) -> None:
        """Run a block.

        Raises:
            AssertionError: it gives something else than it states.
        """
        self.lines, self.compared, self.block, self.said = block.splitlines(), set(), name, []
        tree = ast.parse(block, name)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Expr | ast.Assign)]
        self.ends = {node.lineno - 1: (node.end_lineno or node.lineno) - 1 for node in nodes}
        assigned = {(n.end_lineno or 1) - 1: n.targets[0] for n in nodes if isinstance(n, ast.Assign)}
        for statement in tree.body:
            assert statement.end_lineno is not None
            line = statement.end_lineno - 1
            if isinstance(statement, ast.Expr) and not _is_print(statement) and STATED.match(self.lines[line].strip()):
                value = eval(compile(ast.Expression(statement.value), name, "eval", dont_inherit=True), self.names)
                self._compare(line, str(value))
                self.said.append(str(value))
            else:
                exec(compile(ast.Module([statement], []), name, "exec", dont_inherit=True), self.names)
        for line, text in enumerate(self.lines):
            if (stated := STATED.match(text.strip())) and line not in self.compared:
                target = assigned.get(line)
                value = self.names[stated["name"] or (target.id if isinstance(target, ast.Name) else "")]
                self._compare(line, repr(value) if stated["text"] else str(tuple(value.shape)))

    def _compare(self, line: int, found: str) -> None:
        stated = STATED.match(self.lines[line].strip())
        assert stated is not None
        self.compared.add(line)
        self.count += 1
        if not as_stated(stated["text"] or stated["shape"], found):
            self.differs(line, found)

    def differs(self, line: int, found: str) -> None:
        """Called where a line gives something else than it states."""
        raise AssertionError(f"{self.block}: {self.lines[line].strip()!r} gives {found}")

    def print(self, *values: Any, **options: Any) -> None:
        """``print`` of the page."""
        print(*values, **options)
        self.said.append(options.get("sep", " ").join(map(str, values)))
        line = sys._getframe(1).f_lineno - 1
        line = self.ends.get(line, line)  # what a call of several lines states stands behind its last one
        if STATED.match(self.lines[line].strip()):
            self._compare(line, " ".join(map(str, values)))


def _is_print(statement: ast.Expr) -> bool:
    call = statement.value
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


def main(paths: list[str]) -> None:
    """Fill the code of the library into pages: ``python -m minitransformer.course.pages docs/course/*.md``."""
    for path in map(Path, paths):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
