"""Ways to spoil a file: bytes of any kind, and the structure of JSON, pickles, safetensors and SentencePiece models."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 10**3, 10**5, 10**7, 10**9, 2**31, 2**63, 10**30, -(10**9), 0.5, 1.5, -0.1,
    1e308, float("inf"), float("-inf"), float("nan"), "", "x", "-1", "0", "true", "no", "\0", "é", "\u202e", "../../x",
    "/etc/passwd", "/dev/zero", "x" * 5000, "x" * 150_000, "a b", "[MASK]", "</s>", "relu", "float8_e4m3fn", [],
    [None], [0], [[]],
    ["x"], [1, 2], list(range(5000)), {}, {"a": 1}, {"0": "A"}, {"content": "x"}, {"content": 5}, {"x": {"y": []}},
    "os.system", "__class__", "\\ud800", {"content": "x" * 3000, "lstrip": "yes"}, {str(i): i for i in range(3000)},
)  # fmt: skip
RAW = (
    "[" * 5000, "9" * 5000, '{"a":' * 3000, "NaN", "1e999", '"\\ud800"', "nul", "[" * 50 + "]" * 50, "-0", '"\\u0000"',
)  # fmt: skip


def bytes_of(draw: Random, data: bytes, others: list[bytes]) -> tuple[str, bytes]:
    """A file with some of its bytes changed."""
    ways: dict[str, Callable[[], bytes]] = {
        "flip": lambda: _flip(draw, data),
        "cut": lambda: data[: draw.randrange(len(data) + 1)],
        "behead": lambda: data[draw.randrange(len(data) + 1) :],
        "drop": lambda: _splice(draw, data, b""),
        "double": lambda: _splice(draw, data, data[: draw.randrange(1, 200)], 0),
        "zeros": lambda: _splice(draw, data, bytes(draw.randrange(1, 100))),
        "ones": lambda: _splice(draw, data, b"\xff" * draw.randrange(1, 100)),
        "noise": lambda: _splice(draw, data, draw.randbytes(draw.randrange(1, 60))),
        "twice": lambda: data + data,
        "empty": lambda: b"",
        "blank": lambda: b"\n",
        "all 0": lambda: bytes(draw.choice((1, 100, 10**6))),
        "all ff": lambda: b"\xff" * draw.choice((1, 100, 10**6)),
        "random": lambda: draw.randbytes(draw.choice((10, 1000, 10**5))),
        "pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 44\n",
        "page": lambda: b"<!doctype html><title>404</title>",
        "other file": lambda: draw.choice(others),
        "UTF-16": lambda: data.decode("latin-1").encode("utf-16"),
        "latin-1": lambda: data + "é".encode("latin-1"),
        "BOM": lambda: b"\xef\xbb\xbf" + data,
        "CRLF": lambda: data.replace(b"\n", b"\r\n"),
        "nested": lambda: b"[" * draw.choice((100, 10**5)) + data,
    }
    name = draw.choice(sorted(ways))
    return name, ways[name]()


def _flip(draw: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 64))):
        if changed:
            at = draw.randrange(min(len(changed), draw.choice((64, 2000, len(changed)))))
            changed[at] = draw.randrange(256)
    return bytes(changed)


def _splice(draw: Random, data: bytes, piece: bytes, width: int | None = None) -> bytes:
    at = draw.randrange(len(data) + 1)
    return data[:at] + piece + data[at + (len(piece) or draw.randrange(1, 50) if width is None else width) :]


def json_of(draw: Random, data: bytes) -> tuple[str, bytes]:
    """A JSON file with other values, keys or nesting."""
    content = json.loads(data)
    name = ""
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        name, content = _change(draw, content)
    text = json.dumps(content)
    if draw.random() < 0.1 and text:
        raw = draw.choice(RAW)
        at = text.find(":", draw.randrange(len(text)))
        name, text = f"raw {raw[:10]}", text[: at + 1] + raw + draw.choice((",", "")) + text[at + 1 :]
    return name, text.encode("utf-8")


def _change(draw: Random, content: Any) -> tuple[str, Any]:
    if draw.random() < 0.02:
        return "all", draw.choice(VALUES)
    places = list(_places(content, 4))
    if not places:
        return "all", draw.choice(VALUES)
    holder, key = draw.choice(places[:400])
    value = draw.choice(VALUES)
    way = draw.choice(("value", "value", "value", "value", "delete", "rename", "wrap", "negate"))
    try:
        if way == "value":
            holder[key] = value
        elif way == "delete":
            del holder[key]
        elif way == "rename" and isinstance(holder, dict):
            holder[draw.choice([str(value)[:5000], key + "x"])] = holder.pop(key)
        elif way == "wrap":
            holder[key] = draw.choice(([holder[key]], {"x": holder[key]}, [holder[key]] * 3, str(holder[key])))
        elif isinstance(holder[key], int | float):
            holder[key] = draw.choice(
                (-holder[key], holder[key] + 1, holder[key] * 1000, holder[key] / 3, not holder[key])
            )
    except (IndexError, KeyError, OverflowError):
        pass
    return f"{way} of {str(key)[:60]!r}: {value!r:.60}", content


def _places(content: Any, depth: int) -> Any:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items)[:60]:
        yield content, key
        if depth:
            yield from _places(value, depth - 1)


def safetensors_of(draw: Random, data: bytes) -> tuple[str, bytes]:
    """A safetensors file with another header."""
    size = int.from_bytes(data[:8], "little")
    name, header = json_of(draw, data[8 : 8 + size])
    claimed = draw.choice((len(header), len(header), len(header), len(header) + 1, 0, 2**31, 2**63, 100_000_001))
    return name, claimed.to_bytes(8, "little") + header + data[8 + size :]


class Evil:
    """Something that a pickle asks to be called."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _nested(depth: int) -> bytes:
    return b")" + b"\x85" * depth


PROGRAMS: dict[str, bytes] = {
    "os.system": b"cos\nsystem\n(S'touch /tmp/ran'\ntR.",
    "eval": b"c__builtin__\neval\n(S'1'\ntR.",
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x0fserialization.os\x93)R.",
    "import": b"\x80\x04\x8c\x0atorch._C._x\x8c\x06system\x93)R.",
    "patch Counter": b"\x80\x02ccollections\nCounter\n}X\x0b\x00\x00\x00most_commonK\x01sb0}X\x07\x00\x00\x00idx2sym]"
    b"X\x01\x00\x00\x00aas.",
    "patch Tensor": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00__x_K\x01sb0}.",
    "big memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "big bytearray": b"\x80\x05\x96\x00\xe4\x0b\x54\x02\x00\x00\x00.",
    "bytearray call": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\xe4\x0b\x54\x02\x85R.",
    "big bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "long line": b"I" + b"9" * 5000 + b"\n.",
    "long integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "nested key": b"\x80\x02}" + _nested(200_000) + b"K\x01s.",
    "nested list": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "doubled key": b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.",
    "marks": b"(" * 100_000 + b".",
    "tuples": b"\x80\x02)" + b"2\x86" * 3000 + b".",
    "colliding keys": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(30_000))
    + b"u.",
    "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "extension": b"\x80\x02\x82\x01.",
    "buffer": b"\x80\x05\x97.",
    "copies": b"\x80\x02}("
    + b"".join(b"K" + bytes([b]) + b"N" for b in range(256))
    + b"uq\x00"
    + b"ccollections\nOrderedDict\nh\x00\x85R0" * 3000
    + b".",
    "protocol 9": b"\x80\x09N.",
    "nothing": b".",
    "one": b"K\x01.",
    "list": b"].",
}  # fmt: skip


def pickle_of(draw: Random, data: bytes) -> tuple[str, bytes]:
    """Another pickle: a known attack, one before or behind the old, or the old with other instructions."""
    way = draw.choice(("program", "program", "before", "instructions", "evil"))
    name = draw.choice(sorted(PROGRAMS))
    if way == "program":
        return name, PROGRAMS[name]
    if way == "before":
        return f"{name} before", PROGRAMS[name][:-1] + b"0" + data
    if way == "evil":
        function = draw.choice((os.system, eval, exec, os.mkdir, getattr, print, bytearray, open, __import__, input))
        content = {"idx2sym": ["a", "b"], "x": Evil(function, draw.choice(("ran", "1", 10**10)))}
        return f"calls {function.__name__}", pickle.dumps(content, protocol=draw.randrange(6))
    changed = bytearray(data)
    opcodes = (
        b"(.0123FIJKLMNPQRSTUVXabcdeghijloprqstu})]\x80\x81\x82\x85\x86\x87\x88\x8a\x8b\x8c\x8e\x90\x93\x94\x95\x96"
    )
    for _ in range(draw.choice((1, 3, 20))):
        changed[draw.randrange(min(len(changed), 3000))] = draw.choice(opcodes)
    return "instructions", bytes(changed)


def zip_of(draw: Random, data: bytes) -> tuple[str, bytes]:
    """A torch archive whose pickle is another one, or of the same length with other instructions."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        name = ""
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                name, content = pickle_of(draw, content)
            elif draw.random() < 0.05:
                content = content[: draw.randrange(len(content) + 1)]
            how = zipfile.ZIP_DEFLATED if draw.random() < 0.05 else zipfile.ZIP_STORED
            if draw.random() < 0.97:
                new.writestr(entry.filename, content, how)
    return name, out.getvalue()


def spm_of(draw: Random, data: bytes) -> tuple[str, bytes]:
    """A SentencePiece model with other fields."""
    from minitransformer.tokenization.sentencepiece import read_message

    fields = list(read_message(data))
    pieces = [i for i, (number, _) in enumerate(fields) if number == 1]
    way = draw.choice(
        "long nan inf kind many empty surrogate charsmap replacements unk type varint double repeat".split()
    )
    at = draw.choice(pieces)
    if way in ("long", "nan", "inf", "kind", "empty", "surrogate", "double", "varint"):
        inner = dict(read_message(fields[at][1]))
        if way == "long":
            inner[1] = b"a" * draw.choice((5000, 10**6))
        elif way == "nan" or way == "inf":
            inner[2] = struct.pack("<f", float(way))
        elif way == "kind":
            inner[3] = draw.choice((0, 5, 6, 9, 2**40))
        elif way == "empty":
            inner[1] = b""
        elif way == "surrogate":
            inner[1] = b"\xed\xa0\x80"
        elif way == "double":
            inner[1] = dict(read_message(fields[draw.choice(pieces)][1])).get(1, b"")
        fields[at] = (1, _message(list(inner.items())) + (b"\xff" * 10**6 if way == "varint" else b""))
    elif way == "many":
        fields += [fields[at]] * draw.choice((1000, 10**6))
    elif way == "repeat":
        fields = fields * 2
    for i, (number, value) in enumerate(fields):
        if number == 3 and way in ("charsmap", "replacements"):
            inner = dict(read_message(value))
            charsmap = inner.get(2, b"")
            size = int.from_bytes(charsmap[:4], "little")
            if way == "charsmap":
                inner[2] = draw.choice((_flip(draw, charsmap), charsmap[:100], charsmap[: size + 4], b"\xff" * 50))
            else:
                inner[2] = charsmap + b"x" * 10**6 + b"\0"
            fields[i] = (3, _message(list(inner.items())))
        if number == 2 and way in ("unk", "type"):
            inner = dict(read_message(value))
            inner[40 if way == "unk" else 3] = draw.choice((-1 % 2**64, 10**9, 2, 9))
            fields[i] = (2, _message(list(inner.items())))
    return way, _message(fields)


def _message(fields: list[tuple[int, Any]]) -> bytes:
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        elif number == 2 and len(value) == 4:
            out += _varint(number << 3 | 5) + value
        else:
            out += _varint(number << 3 | 2) + _varint(len(value)) + value
    return bytes(out)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def lines_of(draw: Random, data: bytes) -> tuple[str, bytes]:
    """A vocabulary or a list of merges with other lines."""
    lines = data.decode("utf-8", "replace").split("\n")
    way = draw.choice("empty double drop long swap blank one none many spaces control".split())
    at = draw.randrange(len(lines))
    if way == "empty":
        lines.insert(at, "")
    elif way == "double":
        lines.insert(at, draw.choice(lines))
    elif way == "drop":
        del lines[at]
    elif way == "long":
        lines[at] = draw.choice("ab") * draw.choice((10**4, 10**6))
    elif way == "swap":
        draw.shuffle(lines)
    elif way == "blank":
        lines[at] = " \t\u3000"
    elif way == "one":
        lines = lines[:1]
    elif way == "none":
        lines = [""]
    elif way == "many":
        lines += [f"w{i}" for i in range(200_000)]
    elif way == "spaces":
        lines[at] = f" {lines[at]} x "
    elif way == "control":
        lines[at] = "\0\x1b[2J"
    return way, "\n".join(lines).encode("utf-8")


def special_of(draw: Random, path: Path) -> str:
    """Something else than a regular file in its place."""
    way = draw.choice(("dangling link", "folder", "link to a device", "link to itself", "pipe", "no file"))
    path.unlink()
    if way == "dangling link":
        path.symlink_to("no-such-file")
    elif way == "folder":
        path.mkdir()
    elif way == "link to a device":
        path.symlink_to("/dev/zero")
    elif way == "link to itself":
        path.symlink_to(path.name)
    elif way == "pipe":
        os.mkfifo(path)
    return way


def mutilate(draw: Random, path: Path, others: list[bytes]) -> str:
    """Spoil a file by a way that suits it; returns how."""
    data = path.read_bytes()
    if draw.random() < 0.04:
        return special_of(draw, path)
    structured: Callable[[Random, bytes], tuple[str, bytes]] | None = {
        ".json": json_of,
        ".safetensors": safetensors_of,
        ".pkl": pickle_of,
        ".bin": zip_of if data[:2] == b"PK" else pickle_of,
        ".txt": lines_of,
        ".spm": spm_of,
        ".model": spm_of,
    }.get(path.suffix)
    if structured is not None and draw.random() < 0.7:
        name, data = structured(draw, data)
    else:
        name, data = bytes_of(draw, data, others)
    path.write_bytes(data)
    return name
