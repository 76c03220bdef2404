"""Pickles read as plain data: nothing that one names is looked up, called or built.

A pickle is a program for a small stack machine. Python's own machine imports what the program names and calls it, so
that a file can run any code; here a name stays a name (`Global`) and a call stays a note of what would be called with
what (`Call`). Of containers there are Python's own, made here: an ``OrderedDict`` or a ``Counter`` of the file is a
plain dictionary. A file may name only what its reader lists, and nothing in it can cost much more than its own size.

Reference: ``Lib/pickletools.py``, which describes every instruction.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from mmap import mmap
from typing import Any, NamedTuple

MOST_INSTRUCTIONS = 10_000_000
"""In one pickle: those of the largest vocabulary that is published are two million."""
LONGEST_NUMBER = 24
"""Bytes of a number that is written out (protocol 0), with its end."""
LONGEST_INTEGER = 16
"""Bytes."""
LARGEST_KEY = 2**61 - 2
"""Of integers as keys. Larger ones can be chosen so that Python's dictionaries slow down without end."""
CONTAINERS: dict[str, type] = {
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.set": set,
    "builtins.frozenset": set,
    "collections.Counter": dict,
    "collections.OrderedDict": dict,
}
"""Names that any pickle may use; each becomes the plain container."""


class PickleError(ValueError):
    """A pickle that is damaged, or larger or stranger than plain data is."""


class RefusedNameError(PickleError):
    """A pickle names something that its reader does not list."""


class Global(NamedTuple):
    """Something that a pickle names, and that was not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Call:
    """A call that a pickle asks for, and that was not made.

    Attributes:
        function: what would be called.
        arguments: with what.
        state: what the result would be told then.
        items: what would be put into it, as into a dictionary; None for nothing.
        values: what would be appended; None for nothing.
    """

    __slots__ = ("arguments", "function", "items", "state", "values")

    def __init__(self, function: Global, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.state: Any = None
        self.items: dict[Any, Any] | None = None
        self.values: list[Any] | None = None


class Persistent(NamedTuple):
    """Something that lies outside of the pickle, under this name."""

    name: Any


def read_pickle(
    data: bytes | mmap, names: Collection[str] | Callable[[str], bool] = (), start: int = 0
) -> tuple[Any, int]:
    """The contents of a pickle, and where it ends.

    Args:
        data: holds the pickle.
        names: what it may name (``torch.Size``) beside `CONTAINERS`: a list, or a function that tells.
        start: where the pickle begins.

    Raises:
        RefusedNameError: it names something else.
        PickleError: it is damaged, or no plain data.
    """
    machine = _Machine(data, names if callable(names) else names.__contains__, start)
    try:
        return machine.run(), machine.at
    except PickleError:
        raise
    except (LookupError, TypeError, ValueError, struct.error) as error:
        raise PickleError(f"it is damaged or cut off near byte {machine.at} ({type(error).__name__})") from error


class _Machine:
    def __init__(self, data: bytes | mmap, may_name: Callable[[str], bool], start: int) -> None:
        self.data, self.may_name, self.at = data, may_name, start
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self) -> Any:
        """Follow the instructions; the commonest are written out here, which is twice as quick."""
        data, memo, at, end = self.data, self.memo, self.at, len(self.data)
        push = self.stack.append
        for _ in range(MOST_INSTRUCTIONS):
            code = data[at]
            at += 1
            if code == 0x68:  # BINGET
                push(memo[data[at]])
                at += 1
            elif code == 0x6A:  # LONG_BINGET
                push(memo[int.from_bytes(data[at : at + 4], "little")])
                at += 4
            elif code == 0x4A:  # BININT
                push(int.from_bytes(data[at : at + 4], "little", signed=True))
                at += 4
            elif code == 0x4D:  # BININT2
                push(data[at] | data[at + 1] << 8)
                at += 2
            elif code == 0x4B:  # BININT1
                push(data[at])
                at += 1
            elif code == 0x58:  # BINUNICODE
                after = at + 4 + int.from_bytes(data[at : at + 4], "little")
                if after > end:
                    raise PickleError(f"it is cut off: a text at byte {at} is longer than what is left")
                push(data[at + 4 : after].decode("utf-8", "surrogatepass"))
                at = after
            elif code == 0x8C:  # SHORT_BINUNICODE
                after = at + 1 + data[at]
                push(data[at + 1 : after].decode("utf-8", "surrogatepass"))
                at = after
            elif code == 0x94:  # MEMOIZE
                memo[len(memo)] = self.stack[-1]
            elif code == 0x72:  # LONG_BINPUT
                memo[int.from_bytes(data[at : at + 4], "little")] = self.stack[-1]
                at += 4
            elif code == 0x71:  # BINPUT
                memo[data[at]] = self.stack[-1]
                at += 1
            elif code == 0x70 or code == 0x67 or code == 0x49 and data[at] != 0x30:  # numbers in letters (protocol 0)
                after = data.find(b"\n", at, at + LONGEST_NUMBER)
                if after < 0:
                    raise PickleError(f"a line at byte {at} has no end")
                number = int(data[at:after])
                if code == 0x70:  # PUT
                    memo[number] = self.stack[-1]
                else:  # GET, or INT but for 0, False and True
                    push(memo[number] if code == 0x67 else number)
                at = after + 1
            elif code == 0x2E:  # STOP
                self.at = at
                return self.stack.pop()
            else:
                self.at = at
                if code not in _RARE:
                    raise PickleError(f"byte {at - 1} is no instruction of plain data ({code:#04x})")
                _RARE[code](self)
                at = self.at
                push = self.stack.append  # the stack is another one between marks
        raise PickleError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")

    def take(self, size: int) -> bytes:
        """The next bytes."""
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise PickleError(f"it is cut off: {size} bytes are wanted at byte {self.at}, and {len(piece)} are left")
        self.at += size
        return piece

    def number(self, size: int) -> int:
        """The next number without a sign."""
        return int.from_bytes(self.take(size), "little")

    def line(self, encoding: str = "utf-8") -> str:
        """The next line, without its end."""
        end = self.data.find(b"\n", self.at, self.at + 10_000)
        if end < 0:
            raise PickleError(f"a line at byte {self.at} has no end")
        line, self.at = self.data[self.at : end], end + 1
        return line.decode(encoding)

    def above_mark(self) -> list[Any]:
        """What was put on the stack since the last mark; the stack is as it was then."""
        above, self.stack = self.stack, self.marks.pop()
        return above

    def name(self, module: str, name: str) -> None:
        module = {"__builtin__": "builtins", "UserDict": "collections"}.get(module, module)
        found = Global(module, name)
        if str(found) not in CONTAINERS and not self.may_name(str(found)):
            raise RefusedNameError(str(found))
        self.stack.append(found)

    def call(self, function: Any, arguments: Any) -> None:
        """The note of a call; of a plain container, the container."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise PickleError(f"it calls a {type(function).__name__}")
        kind = CONTAINERS.get(str(function))
        if kind is None:
            self.stack.append(Call(function, arguments))
            return
        if len(arguments) > 1:
            raise PickleError(f"it makes a {function} of {len(arguments)} things")
        content: Any = arguments[0] if arguments else []
        if kind is dict and isinstance(content, list):
            pairs = [pair for pair in content if isinstance(pair, tuple | list) and len(pair) == 2]
            if len(pairs) < len(content):
                raise PickleError(f"it makes a {function} of something else than pairs")
            content = {as_key(key): value for key, value in pairs}
        elif kind is set and isinstance(content, list):
            content = set(map(as_key, content))
        elif not isinstance(content, kind):
            raise PickleError(f"it makes a {function} of a {type(content).__name__}")
        self.stack.append(content)
        self.copied += len(content)
        if self.copied > MOST_INSTRUCTIONS:
            raise PickleError(f"it copies more than {MOST_INSTRUCTIONS:,} things")

    def put(self, pairs: list[Any]) -> None:
        """Keys and values into the dictionary on top of the stack."""
        into = self.stack[-1]
        if isinstance(into, Call):
            into.items = target = into.items or {}
        else:
            target = into
        if not isinstance(target, dict) or len(pairs) % 2:
            raise PickleError(f"it puts things by name into a {type(into).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[key if type(key) is str else as_key(key)] = value

    def extend(self, values: list[Any]) -> None:
        """Values into the list, or set, on top of the stack."""
        into = self.stack[-1]
        if isinstance(into, set):
            into.update(map(as_key, values))
        elif isinstance(into, Call):
            into.values = into.values or []
            into.values += values
        elif isinstance(into, list):
            into += values
        else:
            raise PickleError(f"it appends to a {type(into).__name__}")

    def build(self) -> None:
        """The state of an object: noted for a call; a plain container has none."""
        state = self.stack.pop()
        into = self.stack[-1]
        if isinstance(into, Call):
            into.state = state
        elif not isinstance(into, dict | set | list):
            raise PickleError(f"it changes a {type(into).__name__}")


def as_key(key: Any) -> Any:
    """A key of a dictionary, which is a simple value: a tuple of tuples may take for ever to be looked up.

    Raises:
        PickleError: it is something else.
    """
    if isinstance(key, int) and abs(key) <= LARGEST_KEY or key is None or isinstance(key, str | bytes | Global | Call):
        return key
    raise PickleError(f"a {type(key).__name__} is used as a key")


def _integer(size: int) -> Callable[[_Machine], None]:
    def read(m: _Machine) -> None:
        count = m.number(size)
        if count > LONGEST_INTEGER:
            raise PickleError(f"it has an integer of {count} bytes")
        m.stack.append(int.from_bytes(m.take(count), "little", signed=True))

    return read


def _text(size: int) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(m.take(m.number(size)).decode("utf-8", "surrogatepass"))


def _bytes(size: int) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(m.take(m.number(size)))


def _decimal(m: _Machine) -> None:
    line = m.line().removesuffix("L")
    if len(line) > 40:
        raise PickleError(f"it has an integer of {len(line)} digits")
    try:
        m.stack.append({"00": False, "01": True}[line] if line in ("00", "01") else int(line))
    except ValueError as error:
        raise PickleError(f"byte {m.at} ends no number") from error


def _float(m: _Machine) -> None:
    try:
        m.stack.append(float(m.line()))
    except ValueError as error:
        raise PickleError(f"byte {m.at} ends no number") from error


def _quoted(m: _Machine) -> None:
    line = m.line()
    if len(line) < 2 or line[0] not in "'\"" or line[-1] != line[0] or "\\" in line:
        raise PickleError(f"byte {m.at} ends no text in quotation marks")
    m.stack.append(line[1:-1])


def _tuple(m: _Machine, size: int) -> None:
    if len(m.stack) < size:
        raise PickleError(f"it is damaged near byte {m.at}")
    m.stack[len(m.stack) - size :] = [tuple(m.stack[len(m.stack) - size :])]


def _mark(m: _Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _above(use: Callable[[_Machine, list[Any]], Any]) -> Callable[[_Machine], None]:
    """An instruction that uses what is above the mark."""

    def read(m: _Machine) -> None:
        use(m, m.above_mark())

    return read


def _dict(m: _Machine, above: list[Any]) -> None:
    m.stack.append({})
    m.put(above)


def _set(m: _Machine, above: list[Any]) -> None:
    m.stack.append(set(map(as_key, above)))


def _inst(m: _Machine, above: list[Any]) -> None:
    m.name(m.line(), m.line())
    m.call(m.stack.pop(), tuple(above))


def _obj(m: _Machine, above: list[Any]) -> None:
    m.call(above[0], tuple(above[1:]))


def _reduce(m: _Machine) -> None:
    arguments, function = m.stack.pop(), m.stack.pop()
    m.call(function, arguments)


def _new_with_names(m: _Machine) -> None:
    named, arguments, function = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.call(function, (arguments, named) if named else arguments)


def _pop(m: _Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.above_mark()


_RARE: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: _check_protocol(m.number(1)),  # PROTO
    0x95: lambda m: _skip(m, 8),  # FRAME
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): _above(lambda m, above: None),  # POP_MARK
    ord("2"): lambda m: m.stack.append(m.stack[-1]),  # DUP
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("I"): _decimal,
    ord("L"): _decimal,
    0x8A: _integer(1),
    0x8B: _integer(4),
    ord("F"): _float,
    ord("G"): lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
    ord("V"): lambda m: m.stack.append(m.line("raw-unicode-escape")),
    0x8D: _text(8),
    ord("S"): _quoted,
    ord("U"): _text(1),  # texts of Python 2
    ord("T"): _text(4),
    ord("C"): _bytes(1),
    ord("B"): _bytes(4),
    0x8E: _bytes(8),
    0x96: _bytes(8),  # BYTEARRAY8
    ord("]"): lambda m: m.stack.append([]),
    ord("}"): lambda m: m.stack.append({}),
    ord(")"): lambda m: m.stack.append(()),
    0x8F: lambda m: m.stack.append(set()),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord("t"): _above(lambda m, above: m.stack.append(tuple(above))),
    ord("l"): _above(lambda m, above: m.stack.append(above)),
    ord("d"): _above(_dict),
    0x91: _above(_set),  # FROZENSET
    ord("a"): lambda m: m.extend([m.stack.pop()]),
    ord("e"): _above(lambda m, above: m.extend(above)),
    0x90: _above(lambda m, above: m.extend(above)),  # ADDITEMS
    ord("s"): lambda m: m.put([m.stack.pop(), m.stack.pop()][::-1]),
    ord("u"): _above(lambda m, above: m.put(above)),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: lambda m: m.name(*[m.stack.pop(), m.stack.pop()][::-1]),  # STACK_GLOBAL
    ord("R"): _reduce,
    0x81: _reduce,  # NEWOBJ
    0x92: _new_with_names,
    ord("i"): _above(_inst),
    ord("o"): _above(_obj),
    ord("b"): lambda m: m.build(),
    ord("P"): lambda m: m.stack.append(Persistent(m.line())),
    ord("Q"): lambda m: m.stack.append(Persistent(m.stack.pop())),
}


def _skip(m: _Machine, size: int) -> None:
    m.at += size


def _check_protocol(number: int) -> None:
    if number > 5:
        raise PickleError(f"it is of protocol {number}; known are 0 to 5")
