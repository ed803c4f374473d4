"""Rows of JSON: a line each, an array, or an object of arrays; values are read one by one, never the whole file.

Of an object the rows are what its arrays hold that look like captions: objects with a text column (`data` of WavCaps,
`annotations` of others), or texts under the name of a text column. An object of objects has a row a value.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

from sonogloss.dumps.lines import LONGEST_LINE, decoded
from sonogloss.dumps.rows import Numbered, Row
from sonogloss.errors import ClipError
from sonogloss.sources.handles import Reader

_AHEAD = 1 << 16  # letters that are there before a value is read
_SPACE = " \t\r\n"


def json_lines(lines: Iterable[bytes | None], text_columns: tuple[str, ...]) -> Iterator[Numbered]:
    """A row a line; a blank line is an empty caption."""
    empty = dict.fromkeys(text_columns[:1], "")
    for number, line in enumerate(lines, 1):
        text, problem = decoded(line)
        if problem is not None:
            yield number, problem
        else:
            yield number, _parse(text) if text.strip() else empty


def _parse(line: str) -> Row | str:
    try:
        row = _decoder.decode(line)
    except (ValueError, RecursionError) as error:
        return f"The line is not JSON ({_reason(error)})."
    return row if isinstance(row, dict) else "The line is JSON, but not an object."


def json_values(stream: Reader, text_columns: tuple[str, ...]) -> Iterator[Numbered]:
    """The rows of an array, of an object of arrays, or of an object of objects, numbered from 1.

    What breaks the file is the last thing said.
    """
    number = 0
    try:
        for row in _Document(stream, text_columns).rows():
            number += 1
            yield number, row
    except ClipError:
        raise
    except (ValueError, RecursionError) as error:
        raise BrokenJsonError(f"it is not JSON ({_reason(error)})") from error


class BrokenJsonError(ValueError):
    """The rest of a file is not JSON."""


def is_lines(head: bytes) -> bool:
    """Do these first bytes hold JSON lines: objects, and the first line is one of its own?"""
    first, _, rest = head.lstrip().replace(b"\r", b"\n").partition(b"\n")
    if not first.startswith(b"{"):
        return False
    try:
        whole = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False
    return whole and rest.lstrip().startswith(b"{")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("an object names a key twice")
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_unique)


def _reason(error: Exception) -> str:
    return getattr(error, "msg", None) or str(error) or type(error).__name__


class _Document:
    """One JSON value, walked from its begin to its end."""

    def __init__(self, stream: Reader, text_columns: tuple[str, ...]) -> None:
        self._text = _Text(stream)
        self._columns = text_columns

    def rows(self) -> Iterator[Row | str]:
        if self._text.peek() == "[":
            yield from (self._element(value, None) for value in self._text.array())
        else:
            yield from self._object()
        if self._text.peek():
            raise ValueError("something follows the end of its first value")

    def _object(self) -> Iterator[Row | str]:
        single: dict[str, Any] = {}
        found, names = False, []
        for name in self._text.members():
            names.append(name)
            if self._text.peek() == "[":
                values = self._text.array()
                first = next(values, None)
                if not self._wanted(name, first):
                    for _ in values:
                        pass
                    continue
                found = True
                yield self._element(first, name)
                yield from (self._element(value, name) for value in values)
            elif isinstance(value := self._text.value(), dict) and self._wanted(name, value):
                found = True
                yield {"key": name, **value}
            else:
                single[name] = value
        if any(name in single for name in self._columns):
            yield single
        elif not found:
            has = ", ".join(names[:20]) or "nothing"
            yield f"The object holds no array of objects with a text column; it has {has}."

    def _wanted(self, name: str, first: Any) -> bool:
        if isinstance(first, dict):
            return any(column in first for column in self._columns)
        return isinstance(first, str) and name in self._columns

    def _element(self, value: Any, name: str | None) -> Row | str:
        if isinstance(value, dict):
            return value
        if isinstance(value, str) or name is not None:
            return {name or (self._columns or ("text",))[0]: value}
        return f"The element is {type(value).__name__}, neither an object nor text."


class _Text:
    """The letters of a stream, of which only a stretch around the current place is held."""

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        # Bytes that are not UTF-8 become lone surrogates, which cost their value and not the file.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._buffer, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """The next letter that is no space, which stays; empty at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The next value, whole.

        Raises:
            ValueError: it is no JSON, or longer than `LONGEST_LINE`.
        """
        self.peek()
        wanted = _AHEAD
        while True:
            while len(self._buffer) - self._at < wanted and self._more():
                pass
            try:
                value, end = _decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError:
                if self._ended and len(self._buffer) - self._at <= wanted:
                    raise
                if wanted > LONGEST_LINE:
                    raise ValueError(f"a value is broken, or longer than {LONGEST_LINE:,} letters") from None
                wanted *= 2
                continue
            if end < len(self._buffer) or not self._more():  # a number may go on
                self._at = end
                return value

    def array(self) -> Iterator[Any]:
        """The elements of the array that begins here."""
        self._expect("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self.peek() == "]":
                self._at += 1
                return
            self._expect(",")

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; whoever takes one reads its value before the next."""
        self._expect("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise ValueError("a key is not text")
            self._expect(":")
            self.peek()
            yield name
            if self.peek() == "}":
                self._at += 1
                return
            self._expect(",")

    def _expect(self, letter: str) -> None:
        if self.peek() != letter:
            raise ValueError(f"{letter!r} is missing")
        self._at += 1

    def _more(self) -> bool:
        if self._ended:
            return False
        block = self._stream.read(_AHEAD)
        self._ended = not block
        self._buffer = self._buffer[self._at :] + self._decoder.decode(block, final=self._ended)
        self._at = 0
        return not self._ended
