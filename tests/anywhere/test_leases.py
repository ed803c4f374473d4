"""One output, one writer, on every kind of place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sonogloss import files
from sonogloss.errors import OutputError
from sonogloss.pipelines.command_line import main
from sonogloss.pipelines.running import lease as lease_room
from sonogloss.pipelines.running.lease import LEASE_FILE, Lease, lease
from tests.anywhere.conftest import Store

HOLDER = """
import sys, time
from sonogloss.pipelines.running.lease import Lease
Lease(sys.argv[1], "caption").take()
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def killed_holder(output: str) -> Iterator[None]:
    """Within, another process holds the lease; it is killed before the end of the block."""
    if output.startswith("memory:"):  # no other process sees it: as one would have left it
        held = Lease(output, "caption")
        held.take()
        yield
        held._ended.set()
        files.write_json(held.path, files.read_json(held.path) | {"process": "0 0"})
        return
    with subprocess.Popen([sys.executable, "-c", HOLDER, output], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.kill()


def build(output: str, tmp_path: Path, *options: str) -> int:
    dump = tmp_path / "dump.txt"
    dump.write_text("a dog barks\nrain falls\n")
    return main(["build-datastore", "--captions", str(dump), "--output", output, *options])


def test_the_second_of_two_jobs_ends_until_the_first_is_gone(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = files.join(store.root, "out")
    with killed_holder(output):
        assert build(output, tmp_path) == 2
        said = capsys.readouterr().err
        assert "is being written by `sonogloss caption`" in said
        assert "--break-lease" in said
        assert files.list_below(output) == [LEASE_FILE]
    assert build(output, tmp_path) == 0
    assert not files.exists(files.join(output, LEASE_FILE))


def test_from_another_machine_a_lease_counts_until_it_is_out_of_date(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = files.join(store.root, "out")
    with killed_holder(output):
        pass
    monkeypatch.setattr(lease_room, "_host", lambda: "another machine")
    with pytest.raises(OutputError, match="being written"), lease(output, "classify"):
        pass
    monkeypatch.setattr(lease_room, "EXPIRES_AFTER_S", 0.0)
    monkeypatch.setattr(lease_room, "WATCH_S", 0.0)
    with lease(output, "classify"):
        assert files.read_json(files.join(output, LEASE_FILE))["command"] == "classify"
    assert files.list_below(output) == []


def test_a_lease_that_is_taken_by_force_is_lost(store: Store) -> None:
    output = files.join(store.root, "out")
    with lease(output, "caption") as first:
        with lease(output, "classify", by_force=True) as second:
            second.check()
            with pytest.raises(OutputError, match="taken over by another job"):
                first.check()
        assert files.list_below(output) == []


def test_a_job_breaks_a_lease_when_it_is_told_to(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    with lease(output, "caption"):
        assert build(output, tmp_path) == 2
        assert build(output, tmp_path, "--break-lease") == 0
