from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import decoding_journal
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.errors import ClipError, Code

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker finds that the machine's memory ran out once more since the last one started."""
    counts = iter(range(10**6))
    monkeypatch.setattr(decoding_journal, "_machine", lambda: {"boot": "b", "out_of_memory": next(counts)})


def die(directory: Path, *keys: str) -> None:
    """A worker that is killed while it decodes these recordings."""
    code = f"""
import os, signal
from sonogloss.audio import decoding_journal
from sonogloss.audio.decoding_journal import DecodingJournal
decoding_journal._machine = lambda: {{"boot": os.getpid(), "out_of_memory": 0}}
journal = DecodingJournal({str(directory)!r})
for key in {keys!r}:
    journal.begin(key)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == -9, done.stderr


def decode(journal: DecodingJournal, key: str) -> None:
    journal.check(key)
    journal.begin(key)
    journal.end(key)
    journal.clear(key)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_recording_that_was_decoded_at_two_crashes_is_not_tried_again(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "journal"
    die(directory, "bad")
    die(directory, "bad", "beside it")
    journal = DecodingJournal(str(directory))
    assert [journal.crashes(key) for key in ("bad", "beside it", "other")] == [2, 1, 0]
    with pytest.raises(ClipError, match="2 workers died") as caught:
        journal.check("bad")
    assert caught.value.code is Code.CRASHED
    journal.check("beside it")
    journal.check("other")
    journal.close()


def test_a_recording_that_is_decoded_to_its_end_is_cleared(tmp_path: Path) -> None:
    die(tmp_path, "a", "b")
    journal = DecodingJournal(str(tmp_path))
    decode(journal, "a")
    assert journal.crashes("a") == 0
    journal.close()
    again = DecodingJournal(str(tmp_path))
    assert (again.crashes("a"), again.crashes("b")) == (0, 1)
    again.close()


def test_there_is_a_line_for_each_recording_in_progress(tmp_path: Path) -> None:
    journal = DecodingJournal(str(tmp_path))
    (note,) = tmp_path.iterdir()
    assert lines(note) == []
    journal.begin('a\n"b"')
    journal.begin("c")
    assert lines(note) == ['a\n"b"', "c"]
    journal.end('a\n"b"')
    assert lines(note) == ["c"]
    journal.end("c")
    assert lines(note) == []
    journal.close()


def lines(note: Path) -> list[str]:
    return [json.loads(line) for line in note.read_text().splitlines()[1:]]


def test_a_worker_that_ends_well_leaves_nothing(tmp_path: Path) -> None:
    journal = DecodingJournal(str(tmp_path))
    decode(journal, "a")
    journal.close()
    journal.close()
    assert names(tmp_path) == []


def test_what_a_living_worker_decodes_counts_for_nothing(tmp_path: Path) -> None:
    living = DecodingJournal(str(tmp_path))
    living.begin("a")
    other = DecodingJournal(str(tmp_path))
    assert other.crashes("a") == 0
    other.close()
    living.close()


def test_a_worker_that_somebody_killed_says_nothing_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {"boot": "b", "out_of_memory": 7}
    monkeypatch.setattr(decoding_journal, "_machine", lambda: real)
    write_dead(tmp_path, '{"boot": "b", "out_of_memory": 7}\n"killed"\n')
    write_dead(tmp_path, '{"boot": "b", "out_of_memory": 6}\n"memory ran out"\n')
    write_dead(tmp_path, '{"boot": "c", "out_of_memory": 7}\n"another machine"\n')
    write_dead(tmp_path, '{"boot": null, "out_of_memory": null}\n"no Linux"\n')
    journal = DecodingJournal(str(tmp_path))
    keys = ["killed", "memory ran out", "another machine", "no Linux"]
    assert [journal.crashes(key) for key in keys] == [0, 1, 1, 1]
    journal.close()
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize(
    "content", ["", "{", "[]\n1\n", '{"x": 1}\n"a"\n', "\xff", '{"boot": "b", "out_of_memory": 1}\n"a']
)
def test_a_broken_note_is_no_crash(tmp_path: Path, content: str) -> None:
    write_dead(tmp_path, content)
    (tmp_path / "README").write_text("somebody else's")
    journal = DecodingJournal(str(tmp_path))
    assert journal.crashes("a") == 0
    decode(journal, "a")
    journal.close()
    assert "README" in names(tmp_path)


def write_dead(directory: Path, content: str) -> None:
    number = len(names(directory))
    (directory / f"{number}.decoding.jsonl").write_bytes(content.encode("latin-1"))


def test_this_machine_can_be_told_from_another() -> None:
    code = "from sonogloss.audio.decoding_journal import _machine; print(_machine() == _machine())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_threads_share_a_journal(tmp_path: Path) -> None:
    journal = DecodingJournal(str(tmp_path))
    barrier = threading.Barrier(2)

    def work(key: str) -> None:
        barrier.wait()
        for _ in range(50):
            decode(journal, key)

    threads = [threading.Thread(target=work, args=(key,)) for key in ("a", "a" * 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (note,) = tmp_path.iterdir()
    assert lines(note) == []
    journal.close()


@settings(deadline=None, max_examples=50)
@given(
    notes=st.lists(st.lists(st.text(max_size=5), unique=True, max_size=3), max_size=4),
    done=st.sets(st.text(max_size=5)),
)
def test_crashes_are_those_of_the_dead_less_what_was_decoded_since(
    tmp_path_factory: pytest.TempPathFactory, notes: list[list[str]], done: set[str]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    for keys in notes:
        lines = ['{"boot": "b", "out_of_memory": -1}', *map(json.dumps, keys)]
        write_dead(directory, "\n".join(lines) + "\n")
    journal = DecodingJournal(str(directory))
    expected = {key: sum(key in keys for keys in notes) for keys in notes for key in keys}
    assert {key: journal.crashes(key) for key in expected} == expected
    for key in done:
        if journal.crashes(key) < decoding_journal.MOST_CRASHES:
            decode(journal, key)
            expected.pop(key, None)
    journal.close()
    again = DecodingJournal(str(directory))
    assert {key: again.crashes(key) for keys in notes for key in keys if again.crashes(key)} == expected
    again.close()
