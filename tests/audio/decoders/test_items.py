from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sonogloss.audio.decoder_pool import DecoderPool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.records import Clip, DeadLetter
from tests.audio import hostile_decoders as decoders
from tests.audio.decoders.pools import SHORT, children, make, outcome, pids

# Child processes, hangs and crashes take a minute on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="decoder processes need Linux")]


NUMBERS = arrays.boolean_dtypes() | arrays.integer_dtypes() | arrays.floating_dtypes() | arrays.complex_number_dtypes()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    items=st.lists(
        arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))
        | st.tuples(st.text(), st.integers(), st.floats(allow_nan=False), st.binary())
        | st.dictionaries(st.text(), st.booleans())
    )
)
def test_items_come_back_as_they_were(echo: DecoderPool, items: list[Any]) -> None:
    found = list(echo.decode(b"", items))
    assert len(found) == len(items)
    for ours, theirs in zip(found, items, strict=True):
        if isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs


def test_arrays_larger_than_shared_memory_many_arrays_and_views_come_back(echo: DecoderPool) -> None:
    large = np.arange(3 << 20, dtype=np.int64)
    fortran = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    items = [large, [np.full(3, n) for n in range(2000)], large[::2], fortran, np.float32(3), np.empty((0, 2)), large]
    for ours, theirs in zip(echo.decode(b"", items), items, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_arrays_can_be_written_to(echo: DecoderPool) -> None:
    for size in (4, 3 << 20):
        (found,) = echo.decode(b"", [np.zeros(size)])
        found += 1
        assert found.sum() == size


def test_records_come_back() -> None:
    clip, letter = make(decoders.records).decode(b"")
    assert isinstance(clip, Clip)
    assert (clip.flags, clip.samples.tolist()) == (("SHORT",), [0, 1, 2, 3])
    assert letter == DeadLetter(clip_id=None, uri="a", member=None, stage="s", code="C", message="m")


def test_a_path_bytes_and_an_open_file_are_the_same_file(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3_000_000)
    path = tmp_path / os.fsdecode(b"night [2020]::\xff\n.wav")
    path.write_bytes(data)
    pool = make(decoders.content)
    with open(path, "rb") as file:
        file.seek(100)
        assert [list(pool.decode(source)) for source in (str(path), data, file)] == [[data]] * 3


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    places=st.lists(
        st.tuples(st.integers(0, 700_000), st.just(0), st.integers(-1, 300_000))
        | st.tuples(st.integers(-600_000, 100), st.just(2), st.integers(0, 10))
    )
)
def test_an_open_file_reads_and_seeks_like_a_file(walker: DecoderPool, places: Any) -> None:
    data = np.random.default_rng(1).bytes(600_000)
    assert list(walker.decode(data, places)) == list(decoders.walk(io.BytesIO(data), places))


@pytest.fixture(scope="module")
def walker() -> DecoderPool:
    return make(decoders.walk)


def test_what_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    pool = make(decoders.content)
    for source in (str(tmp_path / "missing.wav"), str(tmp_path)):
        _, error = outcome(pool, source)
        assert isinstance(error, ClipError)
        assert error.code is Code.READ_ERROR
    assert list(pool.decode(b"abc")) == [b"abc"]
    assert pool.processes_started == 1


class Broken(io.BytesIO):
    """A file whose second half cannot be read."""

    def __init__(self, error: Exception) -> None:
        super().__init__(bytes(1 << 20))
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 1 << 19:
            raise self.error
        return super().read(min(size or 0, 1 << 19))


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (OSError("the network is gone"), Code.READ_ERROR),
        (ClipError(Code.LIMIT, "The member is a bomb."), "LIMIT"),
    ],
)
def test_an_error_of_the_workers_file_is_the_error_of_the_source(raised: Exception, code: str) -> None:
    pool = make(decoders.content)
    items, error = outcome(pool, Broken(raised))
    assert isinstance(error, ClipError)
    assert (items, error.code) == ([], code)
    assert str(raised.args[-1] or raised.args[1]) in error.message
    assert list(pool.decode(b"abc")) == [b"abc"]
    assert pool.processes_started == 1


def test_a_decoder_that_goes_on_without_its_file_is_not_believed() -> None:
    pool = make(decoders.stubborn, SHORT)
    items, error = outcome(pool, Broken(OSError("the network is gone")))
    assert isinstance(error, ClipError)
    assert (items, error.code) == ([], Code.READ_ERROR)
    assert list(pool.decode(bytes(1 << 20))) == [1]
    assert pool.processes_started == 1


# What goes wrong

OUTCOMES = {
    "sleep": Code.TIMEOUT,
    "spin_in_c": Code.TIMEOUT,
    "only_alive": Code.TIMEOUT,
    "stop": Code.TIMEOUT,
    "print_for_ever": Code.TIMEOUT,
    "close_output": Code.TIMEOUT,
    "exit": Code.CRASHED,
    "system_exit": Code.CRASHED,
    "segfault": Code.CRASHED,
    "kill": Code.CRASHED,
    "garbage": Code.CRASHED,
    "announce_too_much": Code.CRASHED,
    "beyond_shared_memory": Code.CRASHED,
    "unknown_kind": Code.CRASHED,
    "something_that_acts": Code.CRASHED,
    "allocate": Code.LIMIT,
    "one_large_array": Code.LIMIT,
    "clip_error": Code.CORRUPT,
    "other_error": Code.CORRUPT,
    "print_and_fail": Code.UNSUPPORTED,
}


@pytest.mark.parametrize("deed", OUTCOMES)
def test_a_bad_file_costs_itself_only(misbehaving: DecoderPool, deed: str, capfd: pytest.CaptureFixture[str]) -> None:
    items, error = outcome(misbehaving, b"", deed)
    assert isinstance(error, ClipError)
    assert error.code is OUTCOMES[deed], error
    assert not Path(decoders.ACTED).exists()
    assert items[0].tolist() == [0, 0, 0, 0]  # what came before is kept
    assert [len(outcome(misbehaving, b"", "good")[0]) for _ in range(2)] == [2, 2]
    assert capfd.readouterr() == ("", "")
    assert len(children() & pids(misbehaving)) == 1


def test_messages_name_the_cause(misbehaving: DecoderPool) -> None:
    named = ["segfault", "exit", "kill", "sleep", "only_alive", "allocate", "other_error", "print_and_fail"]
    said = {deed: str(outcome(misbehaving, b"", deed)[1]) for deed in named}
    assert "SIGSEGV" in said["segfault"]
    assert "exit code 1" in said["exit"]
    assert "SIGKILL, perhaps for lack of memory" in said["kill"]
    assert "0.5 s" in said["sleep"]
    assert "1.5 s" in said["only_alive"]
    assert "64 MiB" in said["allocate"]
    assert "KeyError: 'frame'" in said["other_error"]
    assert said["print_and_fail"] == (
        "UNSUPPORTED: Not a sound. The decoder printed: [mpg123] error:  [31mgiving up \N{REPLACEMENT CHARACTER} resync"
    )


def test_the_errors_of_the_function_keep_their_details(misbehaving: DecoderPool) -> None:
    items, error = outcome(misbehaving, b"", "clip_error")
    assert isinstance(error, ClipError)
    assert (items[1:], error.message, error.byte_offset) == ([1], "Broken.", 99)
    _, error = outcome(misbehaving, b"", "option_error")
    assert isinstance(error, OptionError)
    assert error.remedy == "Give less."


def test_ten_megabytes_of_messages_are_dropped(misbehaving: DecoderPool, capfd: pytest.CaptureFixture[str]) -> None:
    items, error = outcome(misbehaving, b"", "print")
    assert (items[1:], error) == ([1], None)
    assert capfd.readouterr() == ("", "")
    _, error = outcome(misbehaving, b"", "other_error")
    assert "printed" not in str(error)  # messages belong to their own file


@pytest.mark.parametrize("deed", ["slowly_alive", "at_work"])
def test_a_decoder_that_shows_that_it_is_alive_is_waited_for(misbehaving: DecoderPool, deed: str) -> None:
    items, error = outcome(misbehaving, b"", deed)  # 0.6 s for an item; 0.5 s without a sign are the limit
    assert (items[1:], error) == ([1], None)


def test_a_decoder_that_reads_on_is_waited_for_and_one_in_a_loop_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(1 << 20))
    pool = make(decoders.read_slowly, DecoderLimits(stall_s=0.5, total_s=30.0))
    for source in (str(path), path.read_bytes()):
        assert outcome(pool, source, 1) == ([1], None)  # 0.8 s
    path.write_bytes(bytes(1 << 17))
    for source in (str(path), path.read_bytes()):
        _, error = outcome(pool, source, 10**6)
        assert isinstance(error, ClipError)
        assert error.code is Code.TIMEOUT


def test_a_pipe_that_nobody_writes_to_is_a_timeout(tmp_path: Path, misbehaving: DecoderPool) -> None:
    os.mkfifo(tmp_path / "a.wav")
    _, error = outcome(misbehaving, str(tmp_path / "a.wav"), "good")
    assert isinstance(error, ClipError)
    assert error.code is Code.TIMEOUT


def test_a_file_that_crashes_once_gives_all_its_items_once(tmp_path: Path) -> None:
    pool = make(decoders.crash_once)
    assert list(pool.decode(b"", str(tmp_path / "crashed"))) == [0, 1, 2]
    assert pool.processes_started == 2


def test_a_slow_worker_is_no_timeout(misbehaving: DecoderPool) -> None:
    stream = misbehaving.decode(b"", "good")
    next(stream)
    time.sleep(SHORT.total_s + 0.1)
    assert list(stream) == [1]
