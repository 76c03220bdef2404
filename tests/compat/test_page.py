"""docs/from-transformers.md tells what the code has."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import minitransformer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "from-transformers.md"


def test_the_table_of_arguments_is_that_of_the_code() -> None:
    spec = spec_from_file_location("from_transformers", ROOT / "tools" / "from_transformers.py")
    assert spec is not None and spec.loader is not None
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.page() == PAGE.read_text(encoding="utf-8"), "run python tools/from_transformers.py"


def test_names_on_the_page_are_there() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## What is here")[1].split("A name that is not here")[0]
    names = set(re.findall(r"`([A-Z]\w+|get_\w+|default_\w+|set_seed)[`(]", table))
    assert len(names) > 40
    assert [name for name in sorted(names) if not hasattr(minitransformer, name)] == []
