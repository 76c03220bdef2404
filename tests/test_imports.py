"""Importing the package is quick and pulls in nothing heavy; its public names are there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minitransformer
from minitransformer.models.auto import ARCHITECTURES

IMPORT = """
import json, sys, time
start = time.perf_counter()
import minitransformer
seconds = time.perf_counter() - start
heavy = [name for name in ("torch", "transformers", "tokenizers", "numpy", "huggingface_hub") if name in sys.modules]
print(json.dumps([seconds, heavy]))
"""


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_quick_and_light() -> None:
    runs = [json.loads(_python(IMPORT)) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.15
    assert all(heavy == [] for _, heavy in runs)


def test_no_module_but_testing_needs_transformers() -> None:
    """Every module can be imported where transformers does not exist."""
    code = (
        "import sys, pkgutil, importlib, minitransformer; sys.modules['transformers'] = None\n"
        "for m in pkgutil.walk_packages(minitransformer.__path__, 'minitransformer.'):\n"
        "    if not m.name.endswith('__main__'): importlib.import_module(m.name)\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'transformers'))\n"
    )
    assert _python(code).strip() == "['transformers']"  # the None that was put there


@pytest.mark.parametrize("name", minitransformer.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(minitransformer, name) is not None
    assert name in dir(minitransformer)


def test_type_checkers_see_the_names_that_are_there() -> None:
    """The stub has every name of the table of homes, from there; ``__all__`` has them, too."""
    stub = Path(minitransformer.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom)]
    homes = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    for name, module in minitransformer._HOME.items():
        assert homes[name] == (module, name)
    assert sorted([*minitransformer._HOME, "__version__"]) == sorted(minitransformer.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="AutoModelForNothing"):
        minitransformer.AutoModelForNothing  # noqa: B018


def test_no_imports_go_round_in_circles() -> None:
    """Not even those that are made late, or for type checkers: what needs each other belongs together."""
    root = Path(minitransformer.__file__).parent
    files = {".".join(("minitransformer", *p.relative_to(root).with_suffix("").parts)): p for p in root.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    del files["minitransformer"]  # it names everything for type checkers

    def imports(path: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        found = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{a.name}" for a in node.names}
                found |= {name if name in files else node.module for name in names}
        return found & set(files)

    ahead = {name: imports(path) - {name} for name, path in files.items()}
    while free := {name for name, others in ahead.items() if not others & set(ahead)}:
        ahead = {name: others for name, others in ahead.items() if name not in free}
    assert ahead == {}, "these import each other, or what does"


def modules() -> set[str]:
    """The files under minitransformer/models that the registry names."""
    return {home.partition(":")[0] for home in ARCHITECTURES.values()}


def test_readme_links_every_architecture() -> None:
    readme = (Path(minitransformer.__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (row,) = (line for line in readme.splitlines() if line.startswith("| architectures |"))
    assert set(re.findall(r"\(minitransformer/models/(\w+)\.py\)", row)) == modules()


def test_architectures_are_strangers() -> None:
    """No architecture's file imports another's, and the import contract in pyproject.toml lists them all."""
    package, names = Path(minitransformer.__file__).parent, modules()
    for name in names:
        tree = ast.parse((package / "models" / f"{name}.py").read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        siblings = {f"minitransformer.models.{other}" for other in names - {name}}
        assert not imported & siblings, f"{name}.py imports {imported & siblings}"
    contracts = (package.parent / "pyproject.toml").read_text(encoding="utf-8").split("[[tool.importlinter.contracts]]")
    (contract,) = (c for c in contracts if "whole story" in c)
    assert set(re.findall(r"minitransformer\.models\.(\w+)", contract)) == names
