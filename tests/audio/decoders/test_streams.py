from __future__ import annotations

import contextlib
import io
import json
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.audio.decoder_pool import DecodeRequest, DecoderPool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.errors import ClipError, Code
from tests.audio import hostile_decoders as decoders
from tests.audio.decoders.pools import make, outcome, outcomes, pids

# Child processes, hangs and crashes take a minute on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="decoder processes need Linux")]


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
