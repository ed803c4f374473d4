"""Lines of a text, as bytes: whatever ends them, and however long they are."""

from __future__ import annotations

from collections.abc import Iterator

from sonogloss.dumps.streams import BLOCK
from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Reader

LONGEST_LINE = 1 << 20
"""Bytes. A longer line is no caption, and must not fill the memory."""

_MOST_BLANK = 4 << 20  # bytes; each blank line costs time, and a bomb is made of them

TOO_LONG = f"The line is longer than {LONGEST_LINE:,} bytes."


def lines(stream: Reader) -> Iterator[tuple[int, bytes | None]]:
    r"""The lines with their ends, and how many bytes each has; None stands for a line that is too long.

    A line ends in `\n`, `\r\n` or `\r`.

    Raises:
        ClipError: the stream breaks off, or goes on with blank lines; the lines before are whole.
    """
    rest, passed, blank, broken = b"", 0, 0, None
    while True:
        try:
            block = stream.read(BLOCK)
            blank = blank + len(block) if not block.strip() else 0
            if blank > _MOST_BLANK:
                raise ClipError(Code.LIMIT, f"more than {_MOST_BLANK:,} bytes of blank lines in a row")
        except ClipError as error:
            block, broken = b"", error
        found = (rest + block).splitlines(keepends=True)
        # What has no end yet may go on; \r may be half of an end.
        rest = found.pop() if block and found and not found[-1].endswith(b"\n") else b""
        if broken is not None:
            found = found[:-1] if found and not found[-1].endswith((b"\n", b"\r")) else found
        for line in found:
            size = passed + len(line)
            yield size, None if passed or size > LONGEST_LINE else line
            passed = 0
        if len(rest) > LONGEST_LINE:
            end = rest[-1:] if rest.endswith(b"\r") else b""
            passed, rest = passed + len(rest) - len(end), end
        if broken is not None:
            raise broken
        if not block:
            if passed:
                yield passed, None
            return


def part_of(stream: Reader, start: int, end: int) -> Iterator[bytes | None]:
    """The lines that begin at `start` or later and before `end`, from a stream that stands one byte before `start`.

    At 0 it stands at 0. Parts of a file give each line once: the first line of a part is the end of one of the part
    before, or its very end.
    """
    position = max(0, start - 1)
    for size, line in lines(stream):
        if position >= end:
            return
        if position >= start:
            yield line
        position += size


def decoded(line: bytes | None) -> tuple[str, str | None]:
    """A line as text, or what is wrong with it."""
    if line is None:
        return "", TOO_LONG
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return "", f"The line is not UTF-8 ({error.reason} at byte {error.start})."
    if "\x00" in text:
        return "", "The line holds a byte 0: this is not text, or not UTF-8."
    return text.removeprefix("\ufeff"), None  # files with a byte order mark were joined
