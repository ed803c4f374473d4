from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sonogloss.audio import decoder_pool
from sonogloss.audio.decoder_pool import DecodeRequest, DecoderPool, shared_pool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.records import Clip, DeadLetter
from tests.audio import hostile_decoders as decoders

# A minute of child processes, hangs and crashes on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="decoder processes need Linux")]

SHORT = DecoderLimits(stall_s=0.5, total_s=1.5, memory_bytes=64 << 20)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before, shared = open_files(), set(os.listdir("/dev/shm"))
    yield
    for pool in opened:
        pool.close()
    assert children() == set()
    assert open_files() == before
    assert set(os.listdir("/dev/shm")) == shared


opened: list[DecoderPool] = []


def make(function: Callable[..., Any], limits: DecoderLimits | None = None) -> DecoderPool:
    pool = DecoderPool(function, limits)
    opened.append(pool)
    return pool


@pytest.fixture(scope="module")
def echo() -> DecoderPool:
    return make(decoders.echo)


@pytest.fixture(scope="module")
def misbehaving() -> DecoderPool:
    return make(decoders.misbehave, SHORT)


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found.update(map(int, (task / "children").read_text().split()))
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def outcome(pool: DecoderPool, source: Any = b"", options: Any = None) -> tuple[list[Any], Exception | None]:
    """The items, and the error that ended them."""
    items: list[Any] = []
    try:
        for item in pool.decode(source, options):
            items += [item]
    except (ClipError, OptionError) as error:
        return items, error
    return items, None


# What comes back

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


def pids(pool: DecoderPool) -> set[int]:
    return {process.pid for process in pool._idle}


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


# Streams


def test_a_long_recording_streams_in_little_memory(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    megabyte = 1 << 18  # floats
    stream = make(decoders.blocks).decode(b"", (1000, megabyte, str(progress)))
    tracemalloc.start()
    try:
        assert next(stream)[0] == 0
        settled = until_it_rests(progress)
        assert 1 <= settled <= 12  # eight megabytes are shared, and one is being made
        for number, block in enumerate(stream, 1):
            assert block[-1] == number
        assert number == 999
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def until_it_rests(progress: Path) -> int:
    """The number in a file that a decoder writes, once it does not grow."""
    number = -1
    while (now := int(progress.read_text() or 0)) > number:
        number = now
        time.sleep(0.05)
    return number


def test_leaving_early_ends_the_process(tmp_path: Path) -> None:
    pool = make(decoders.blocks)
    stream = pool.decode(b"", (1000, 1 << 18, str(tmp_path / "progress")))
    next(stream)
    stream.close()
    assert pids(pool) == set()
    assert len(list(pool.decode(b"", (3, 1, str(tmp_path / "progress"))))) == 3
    assert pool.processes_started == 2


def test_memory_holds_little_of_many_short_files(tmp_path: Path) -> None:
    pool = make(decoders.blocks)
    requests = [
        DecodeRequest(source=b"", options=(3, 1 << 18, str(tmp_path / f"progress-{number}"))) for number in range(200)
    ]
    tracemalloc.start()
    try:
        for items in pool.decode_each(requests):
            assert [block[0] for block in items] == [0, 1, 2]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert pool.processes_started == 1


# File after file


def outcomes(pool: DecoderPool, requests: Iterable[DecodeRequest], journal: DecodingJournal | None = None) -> list[Any]:
    """The number of items of each file, or the code of its error."""
    found: list[Any] = []
    for items in pool.decode_each(requests, journal):
        try:
            found.append(len(list(items)))
        except ClipError as error:
            found.append(error.code)
    return found


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(deeds=st.lists(st.sampled_from(["good", "clip_error", "print_and_fail", "exit", "one_large_array", "print"])))
def test_files_in_a_row_are_as_files_alone(misbehaving: DecoderPool, deeds: list[str]) -> None:
    alone = {
        "good": 2,
        "print": 2,
        "clip_error": Code.CORRUPT,
        "print_and_fail": Code.UNSUPPORTED,
        "exit": Code.CRASHED,
        "one_large_array": Code.LIMIT,
    }
    requests = (DecodeRequest(source=b"", options=deed) for deed in deeds)
    assert outcomes(misbehaving, requests) == [alone[deed] for deed in deeds]


def test_a_timeout_in_the_middle_costs_one_file(misbehaving: DecoderPool) -> None:
    requests = [DecodeRequest(source=b"", options=deed) for deed in ("good", "spin_in_c", "good", "stop", "good")]
    assert outcomes(misbehaving, requests) == [2, Code.TIMEOUT, 2, Code.TIMEOUT, 2]


def test_the_next_file_is_decoded_while_this_one_is_used(tmp_path: Path) -> None:
    pool = make(decoders.blocks)
    requests = [DecodeRequest(source=b"", options=(3, 10, str(tmp_path / name))) for name in "abc"]
    files = pool.decode_each(requests)
    first = next(files)
    next(first)
    while not (tmp_path / "b").exists() or (tmp_path / "b").read_text() != "2":
        time.sleep(0.01)
    assert not (tmp_path / "c").exists()
    assert [block[0] for block in first] == [1, 2]
    assert [[block[0] for block in items] for items in files] == [[0, 1, 2]] * 2
    assert pool.processes_started == 1


def test_what_was_printed_belongs_to_its_file(misbehaving: DecoderPool) -> None:
    deeds = ["print_and_fail", "other_error", "print", "other_error"]
    said: list[str] = []
    for items in misbehaving.decode_each(DecodeRequest(source=b"", options=deed) for deed in deeds):
        try:
            list(items)
        except ClipError as error:
            said.append(error.message)
    assert ["resync" in message for message in said] == [True, False, False]
    assert "printed" not in said[1] + said[2]


def test_files_of_the_worker_are_opened_late_and_closed(tmp_path: Path) -> None:
    contents = {name: np.random.default_rng(ord(name)).bytes(700_000) for name in "abcd"}
    opened_files: dict[str, io.BytesIO] = {}
    most = 0

    def open_file(name: str) -> io.BytesIO:
        nonlocal most
        if name == "c":
            raise OSError("gone")
        opened_files[name] = io.BytesIO(contents[name])
        most = max(most, sum(not file.closed for file in opened_files.values()))
        return opened_files[name]

    pool = make(decoders.content)
    found: list[Any] = []
    for items in pool.decode_each(DecodeRequest(source=partial(open_file, name)) for name in "abcd"):
        try:
            found += items
        except ClipError as error:
            found.append(error.code)
    assert found == [contents["a"], contents["b"], Code.READ_ERROR, contents["d"]]
    assert most == 2
    assert all(file.closed for file in opened_files.values())
    assert pool.processes_started == 1


def test_files_may_be_closed_when_the_next_one_is_asked_for(misbehaving: DecoderPool) -> None:
    contents = [np.random.default_rng(size).bytes(size) for size in (5, 5_000_000, 0, 70_000, 300_000, 300_000, 9)]

    def requests() -> Iterator[DecodeRequest]:
        for content in contents:
            with io.BytesIO(content) as file:
                yield DecodeRequest(source=file)

    pool = make(decoders.content)
    assert [b"".join(items) for items in pool.decode_each(requests())] == contents
    assert pool.processes_started == 1

    def crashing() -> Iterator[DecodeRequest]:
        for deed in ("exit", "good"):
            with io.BytesIO(b"short") as file:
                yield DecodeRequest(source=file, options=deed)

    assert outcomes(misbehaving, crashing()) == [Code.CRASHED, 2]


def test_a_file_may_tell_in_the_end_that_it_could_not_be_read(misbehaving: DecoderPool) -> None:
    @contextlib.contextmanager
    def late() -> Iterator[io.BytesIO]:
        yield io.BytesIO(b"x")
        raise ClipError(Code.READ_ERROR, "The connection was lost.")

    requests = [DecodeRequest(source=late, options=deed) for deed in ("good", "clip_error", "exit")]
    assert outcomes(misbehaving, requests) == [Code.READ_ERROR, Code.READ_ERROR, Code.CRASHED]
    assert outcomes(misbehaving, [DecodeRequest(source=b"", options="good")]) == [2]


def test_a_long_request_is_not_made_in_advance(echo: DecoderPool) -> None:
    options = [[np.full(100_000, number)] for number in range(4)]
    files = echo.decode_each(DecodeRequest(source=b"", options=items) for items in options)
    assert [next(items)[0] for items in files if items] == [0, 1, 2, 3]


def test_files_may_be_left_and_skipped(misbehaving: DecoderPool) -> None:
    requests = [DecodeRequest(source=b"", options="clip_error") for _ in range(6)]
    for number, items in enumerate(misbehaving.decode_each(requests)):
        if number % 3 == 0:
            next(items)
        elif number % 3 == 1:
            with pytest.raises(ClipError, match=r"Broken\."):
                list(items)
    files = misbehaving.decode_each(requests)
    next(next(files))
    files.close()
    assert outcome(misbehaving, b"", "good")[1] is None


def test_the_journal_notes_what_is_requested(tmp_path: Path, misbehaving: DecoderPool) -> None:
    journal = DecodingJournal(str(tmp_path))
    (note,) = tmp_path.iterdir()

    def noted() -> list[str]:
        return [json.loads(line) for line in note.read_text().splitlines()[1:]]

    deeds = ["good", "clip_error", "exit", "sleep", "good"]
    requests = [DecodeRequest(source=b"", options=deed, key=f"{n} {deed}") for n, deed in enumerate(deeds)]
    during: list[list[str]] = []
    for items in misbehaving.decode_each(requests, journal):
        with contextlib.suppress(ClipError):
            next(items)
            during.append(noted())
            list(items)
    assert during[0] == ["0 good", "1 clip_error"]
    assert during[-1] == ["4 good"]
    assert noted() == []
    journal.close()


def test_what_workers_died_of_is_decoded_alone_and_then_refused(tmp_path: Path, misbehaving: DecoderPool) -> None:
    for keys in (["refused", "suspected"], ["refused"]):
        lines = ['{"boot": "another", "out_of_memory": 0}', *map(json.dumps, keys)]
        (tmp_path / f"{len(keys)}.decoding.jsonl").write_text("\n".join(lines) + "\n")
    journal = DecodingJournal(str(tmp_path))
    (note,) = (path for path in tmp_path.iterdir() if len(path.name) > 20)
    requests = [DecodeRequest(source=b"", options="good", key=key) for key in ("a", "suspected", "refused", "b")]
    found: list[Any] = []
    during: list[int] = []
    for items in misbehaving.decode_each(requests, journal):
        try:
            next(items)
            during.append(len(note.read_text().splitlines()) - 1)
            found.append(len(list(items)) + 1)
        except ClipError as error:
            found.append(error.code)
    assert found == [2, 2, Code.CRASHED, 2]
    assert during == [1, 1, 1]
    assert (journal.crashes("suspected"), journal.crashes("refused")) == (0, 2)
    journal.close()


def test_hostile_files_end_in_items_or_codes(
    shared_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(shared_data / "hostile" / "files.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    pool = make(decoders.sound, DecoderLimits(stall_s=5.0, total_s=20.0))
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    found = outcomes(pool, (DecodeRequest(source=partial(open, path, "rb")) for path in files))
    assert len(found) == len(files) > 500
    assert sum(isinstance(outcome, int) for outcome in found) > 200
    assert {outcome for outcome in found if not isinstance(outcome, int)} <= {Code.CORRUPT, Code.LIMIT}
    assert capfd.readouterr() == ("", "")


# Processes


def test_two_hundred_files_need_one_process() -> None:
    pool = make(decoders.process_id)
    assert len({pid for _ in range(200) for pid in pool.decode(b"")}) == 1
    assert pool.processes_started == 1


def test_threads_share_a_pool() -> None:
    pool = make(decoders.echo)
    barrier = threading.Barrier(2)
    wrong: list[int] = []

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(100):
            items = [np.full(5000, number), number]
            found = list(pool.decode(b"", items))
            if len(found) != 2 or found[1] != number or (found[0] != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pool.processes_started == 2
    # The threads are gone and the processes they asked for are not.
    assert list(pool.decode(b"", [1])) == [1]
    assert pool.processes_started == 2


def test_an_idle_process_that_was_killed_is_replaced() -> None:
    pool = make(decoders.process_id)
    (first,) = pool.decode(b"")
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    (second,) = pool.decode(b"")
    assert second != first
    assert pool.processes_started == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_workers(number: signal.Signals) -> None:
    pool = make(decoders.process_id)
    (first,) = pool.decode(b"")
    os.kill(first, number)
    assert list(pool.decode(b"")) == [first]


def test_the_kernel_takes_decoders_first_and_dumps_no_core() -> None:
    (pid,) = (pool := make(decoders.process_id)).decode(b"")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    limits = {line[:25].strip(): line[25:].split()[0] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert limits["Max core file size"] == "0"
    assert int(limits["Max data size"]) < 3 << 30
    pool.close()


def test_decoders_import_no_model() -> None:
    code = "import sys, sonogloss.audio.decoder_child; print(*sys.modules)"
    assert {"torch", "apache_beam", "transformers"} & set(run_worker(code).split()) == set()


def test_a_closed_pool_can_be_used_again() -> None:
    pool = make(decoders.process_id)
    first = list(pool.decode(b""))
    pool.close()
    assert not Path(f"/proc/{first[0]}").exists()
    assert list(pool.decode(b"")) != first


def test_a_pickled_pool_is_the_pool_of_its_process() -> None:
    pool = make(decoders.echo, SHORT)
    twin = pickle.loads(pickle.dumps(pool))
    opened.append(twin)
    assert twin is pickle.loads(pickle.dumps(twin)) is shared_pool(decoders.echo, SHORT)
    assert list(twin.decode(b"", [1])) == [1]


def test_a_function_that_others_cannot_import_is_refused() -> None:
    def local(handle: Any, options: Any) -> Iterator[Any]:
        yield

    for function in (local, lambda handle, options: iter(())):
        with pytest.raises(ValueError, match="importable"):
            DecoderPool(function)
    with pytest.raises(ValueError, match="stall_s"):
        DecoderLimits(stall_s=0)


def test_where_processes_cannot_be_isolated_the_function_runs_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoder_pool, "isolated", lambda: False)
    assert list(DecoderPool(decoders.process_id).decode(b"")) == [os.getpid()]
    assert list(DecoderPool(decoders.echo).decode(b"", [None, 1])) == [1]
    pool = DecoderPool(decoders.misbehave)
    assert outcome(pool, b"", "clip_error")[0][1:] == [1]
    for deed in ("clip_error", "other_error"):
        error = outcome(pool, b"", deed)[1]
        assert isinstance(error, ClipError)
        assert error.code is Code.CORRUPT
    error = outcome(pool, str(tmp_path / "missing"), "good")[1]
    assert isinstance(error, ClipError)
    assert error.code is Code.READ_ERROR


# The death of the worker


def run_worker(code: str, **arguments: Any) -> str:
    """What a worker of its own prints last."""
    return subprocess.run(
        worker_command(code), env=worker_env(), capture_output=True, text=True, check=True, **arguments
    ).stdout.strip()


def worker_command(code: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]


def worker_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("deed", ["spin_in_c", "sleep", "good"])
def test_a_killed_worker_leaves_no_decoder(deed: str) -> None:
    code = f"""
        import time
        from sonogloss.audio.decoder_pool import DecoderPool
        from tests.audio.hostile_decoders import misbehave
        pool = DecoderPool(misbehave)
        stream = pool.decode(b"", "good")
        list(stream)
        print(pool._idle[0].pid, flush=True)
        for item in pool.decode(b"", {deed!r}):
            pass
        time.sleep(1000)
    """
    with subprocess.Popen(worker_command(code), env=worker_env(), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert runs(pid)
        worker.kill()
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(pid)


def runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_worker_that_ends_leaves_no_decoder_and_says_nothing() -> None:
    code = """
        from sonogloss.audio.decoder_pool import DecoderPool
        from tests.audio.hostile_decoders import process_id, misbehave
        print(*DecoderPool(process_id).decode(b""))
        pool = DecoderPool(misbehave)
        stream = pool.decode(b"", "sleep")
        next(stream)  # and left in the middle
    """
    done = subprocess.run(worker_command(code), env=worker_env(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not runs(int(done.stdout))


def test_a_forked_worker_starts_decoders_of_its_own() -> None:
    code = """
        import os, warnings
        warnings.simplefilter("ignore")  # of later Pythons: that threads do not survive a fork
        from sonogloss.audio.decoder_pool import DecoderPool
        from tests.audio.hostile_decoders import process_id
        pool = DecoderPool(process_id)
        (first,) = pool.decode(b"")
        if (child := os.fork()) == 0:
            (other,) = pool.decode(b"")
            pool.close()
            os._exit(other == first)
        _, status = os.waitpid(child, 0)
        print(status, list(pool.decode(b"")) == [first], pool.processes_started)
    """
    assert run_worker(code) == "0 True 1"


def test_a_decoder_that_does_not_start_is_named(tmp_path: Path) -> None:
    lines = ["import os", "if 'DECODER' in os.environ:", "    raise RuntimeError('no library')", "def f(h, o): yield 1"]
    (tmp_path / "only_here.py").write_text("\n".join(lines))
    code = f"""
        import os, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from sonogloss.audio.decoder_pool import DecoderPool
        import only_here
        os.environ["DECODER"] = "1"
        try:
            list(DecoderPool(only_here.f).decode(b""))
        except RuntimeError as error:
            print("does not start" in str(error), "no library" in str(error))
    """
    assert run_worker(code) == "True True"
