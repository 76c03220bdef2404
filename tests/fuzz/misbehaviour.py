"""Cases that break every promise there is, to see that the runner notices; no attack on the library."""

from __future__ import annotations

import collections
import os
import time
from pathlib import Path
from random import Random
from typing import Any

from fuzz import Broken, Case
from minitransformer import TokenizerError

WAYS = ("answer", "named", "raw", "hang", "die", "memory", "system", "write", "patch", "broken")


def case(draw: Random, folder: Path) -> Case:
    way = draw.choice(WAYS)
    return way, lambda: misbehave(way)


def misbehave(way: str) -> Any:
    if way == "named":
        raise TokenizerError("a named error")
    if way == "raw":
        return {}["key"]
    if way == "hang":
        time.sleep(60)
    if way == "die":
        os.abort()
    if way == "memory":
        return bytearray(5 * 2**30)
    if way == "system":
        return os.system("true")
    if way == "write":
        return open("../outside", "w", encoding="utf-8").close()
    if way == "patch":
        collections.Counter.patched = True  # type: ignore[attr-defined]
    if way == "broken":
        raise Broken("half-written", "a file")
    return None
