"""Prints the oldest version of each runtime dependency that pyproject.toml allows, as constraints for pip.

But torch, whose older wheels bring gigabytes: of it the version in constraints.txt, or the one given.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parent.parent


def main(torch: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["serve"]]:
        floor = re.fullmatch(r"([\w.-]+)>=([\d.]+).*", line.partition(";")[0].strip())
        if floor is None and "python_version" not in line:
            sys.exit(f"pyproject.toml states no oldest version of {line}")
        if floor is not None and floor[1] != "torch":
            print(f"{floor[1]}=={floor[2]}")
    print(f"torch=={torch}")


if __name__ == "__main__":
    main(*sys.argv[1:])
