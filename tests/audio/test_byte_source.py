from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.audio import byte_source as module
from sonogloss.audio.byte_source import ByteSource, Piece

DATA = bytes(range(256)) * 5


class Counting(io.BytesIO):
    """A handle that returns less than it is asked for and knows how much it gave."""

    given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(min(100, size or 0))
        self.given += len(data)
        return data


@pytest.fixture(params=["held", "streamed"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "streamed":
        monkeypatch.setattr(module, "_HELD_BYTES", 16)
        monkeypatch.setattr(module, "_READ_BYTES", 64)


@pytest.mark.usefixtures("small")
def test_any_range_of_a_handle_is_that_of_its_bytes() -> None:
    source = ByteSource(Counting(DATA))
    assert source.size == len(DATA)
    for start, count in ((0, 10), (1270, 100), (5, 300), (1280, 4), (2000, 4), (0, 5000)):
        assert source.read(start, count) == DATA[start : start + count]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("reads", [[], [(0, 2000)], [(600, 10), (0, 700), (5, 5)], [(1279, 1)]])
def test_the_digest_is_of_all_bytes_whatever_was_read(reads: list[tuple[int, int]]) -> None:
    source = ByteSource(Counting(DATA))
    for start, count in reads:
        source.read(start, count)
    assert source.sha256() == source.sha256() == hashlib.sha256(DATA).hexdigest()


def test_bytes_that_are_read_in_order_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD_BYTES", 16)
    monkeypatch.setattr(module, "_READ_BYTES", 64)
    handle = Counting(DATA)
    source = ByteSource(handle)
    for start in range(0, len(DATA), 10):
        source.read(start, 10)
    source.sha256()
    assert handle.given < 1.3 * len(DATA)


def test_a_handle_that_shrinks_ends_early_and_does_not_hang() -> None:
    handle = io.BytesIO(bytes(100))
    source = ByteSource(handle)
    handle.truncate(40)
    assert len(source.read(0, 100)) <= 100
    assert source.sha256()


@pytest.mark.usefixtures("small")
@given(
    pieces=st.lists(
        st.one_of(st.binary(max_size=9), st.tuples(st.integers(0, 1280), st.integers(0, 1280)).map(sorted).map(tuple)),
        min_size=1,
        max_size=5,
    ),
    moves=st.lists(st.tuples(st.integers(-50, 3000), st.sampled_from([0, 1, 2]), st.integers(0, 400)), max_size=8),
)
def test_pieces_are_one_file(pieces: list[Piece], moves: list[tuple[int, int, int]]) -> None:
    whole = b"".join(piece if isinstance(piece, bytes) else DATA[piece[0] : piece[1]] for piece in pieces)
    file, plain = ByteSource(io.BytesIO(DATA)).open(*pieces), io.BytesIO(whole)
    for offset, whence, count in moves:
        if {0: 0, 1: plain.tell(), 2: len(whole)}[whence] + offset >= 0:
            plain.seek(offset, whence)
            file.seek(offset, whence)
        assert file.tell() == plain.tell()
        assert file.read(count) == plain.read(count)


@pytest.mark.usefixtures("small")
def test_a_seek_before_the_start_is_ignored() -> None:
    """An exception inside a decoder's callback would be printed and the decoder would go on."""
    file = ByteSource(io.BytesIO(DATA)).open((0, 1000))
    file.seek(7)
    assert file.seek(-1) == file.tell() == 7
    assert file.seek(-5000, io.SEEK_END) >= 0


@pytest.mark.usefixtures("small")
@given(pattern=st.binary(min_size=1, max_size=4), start=st.integers(0, 1300), stop=st.none() | st.integers(0, 1400))
def test_find_is_that_of_bytes(pattern: bytes, start: int, stop: int | None) -> None:
    assert ByteSource(io.BytesIO(DATA)).find(pattern, start, stop) == DATA.find(pattern, start, stop)
