"""Lines of any end and length, whole and in parts."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.dumps import lines as lines_module
from sonogloss.dumps.lines import LONGEST_LINE, decoded, lines, part_of
from sonogloss.errors import ClipError, Code

pieces = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\xc3\xa9"]), max_size=40).map(b"".join)


class Slow:
    """Hands out a few bytes at a time, and breaks off at the end if told to."""

    def __init__(self, content: bytes, step: int, broken: bool = False) -> None:
        self._stream, self._step, self._broken = io.BytesIO(content), step, broken

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self._step))
        if not data and self._broken:
            raise ClipError(Code.ARCHIVE_CORRUPT, "It is cut off.")
        return data


@given(content=pieces, step=st.integers(1, 9))
def test_lines_end_where_universal_newlines_end_and_lose_no_byte(content: bytes, step: int) -> None:
    found = list(lines(Slow(content, step)))
    assert [line for _, line in found] == content.splitlines(keepends=True)
    assert sum(size for size, _ in found) == len(content)


@given(content=pieces, step=st.integers(1, 9))
def test_a_stream_that_breaks_off_gives_its_whole_lines(content: bytes, step: int) -> None:
    found: list[bytes | None] = []
    with pytest.raises(ClipError):
        found.extend(line for _, line in lines(Slow(content, step, broken=True)))
    whole = content.splitlines(keepends=True)
    assert found in (whole, whole[:-1])
    assert all(line is not None and line.endswith((b"\n", b"\r")) for line in found)


@given(content=pieces, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_parts_give_each_line_once(content: bytes, cuts: list[int]) -> None:
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    found: list[bytes | None] = []
    for start, end in pairwise(borders):
        stream = io.BytesIO(content)
        stream.seek(max(0, start - 1))
        found += part_of(stream, start, end)
    assert found == content.splitlines(keepends=True)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8), step=st.integers(1, 20))
def test_a_line_that_is_too_long_is_passed_over(lengths: list[int], step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "LONGEST_LINE", 10)
        content = b"".join(b"x" * length + b"\n" for length in lengths)
        found = list(lines(Slow(content, step)))
    assert [line is None for _, line in found] == [length + 1 > 10 for length in lengths]
    assert [size for size, _ in found] == [length + 1 for length in lengths]


def test_blank_lines_without_end_are_not_read_on() -> None:
    with pytest.raises(ClipError, match="blank lines"):
        list(lines(io.BytesIO(b"rain\n" + b"\n" * (7 << 20))))


def test_what_is_no_text_is_said() -> None:
    assert decoded(b"rain\n") == ("rain\n", None)
    for line, word in ((None, f"{LONGEST_LINE:,}"), (b"caf\xe9", "UTF-8"), (b"a\x00b", "byte 0")):
        text, problem = decoded(line)
        assert text == ""
        assert problem is not None
        assert word in problem
