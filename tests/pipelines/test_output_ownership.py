"""Nothing in an output is removed or replaced that is not proved ours, and of this job's kind; one writer at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss import files
from sonogloss.errors import OutputError
from sonogloss.pipelines.running import lease as lease_room
from sonogloss.pipelines.running.lease import LEASE_FILE, Lease, lease, refuse_held

from .conftest import Run, assert_one_line


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(encode(0.1 * rng.standard_normal(16000)))
    (folder / "notes.wav").write_text("no sound")
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_refused_and_untouched(run: Run, argv: list[object], output: Path, *words: str) -> None:
    """Exit 2 whatever flags are given, and not a byte has changed."""
    before = state(output)
    for flags in ([], ["--no-resume"], ["--overwrite"]):
        if argv[0] == "build-datastore" and flags == ["--no-resume"]:
            continue
        outcome = run(*argv, *flags)
        assert_one_line(outcome, *words)
        assert "--overwrite" not in outcome.err
        assert "--no-resume" not in outcome.err
        assert state(output) == before


def test_one_job_never_removes_what_another_or_somebody_else_left(
    run: Run, audio: Path, captioner: Path, store: Path, tiny_clap_dir: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a dog\nrain\n")
    captions = tmp_path / "captions.txt"
    captions.write_text("a dog barks\n")
    models = ["--captioner", captioner, "--datastore", store, "--max-dead-letters", 1]

    def caption(output: Path) -> list[object]:
        return ["caption", "--audio", audio, *models, "--output", output]

    def classify(output: Path) -> list[object]:
        tags = ["--labels", labels, "--clap", tiny_clap_dir, "--max-dead-letters", 1]
        return ["classify", "--audio", audio, *tags, "--output", output]

    def build(output: Path) -> list[object]:
        return ["build-datastore", "--captions", captions, "--clap", tiny_clap_dir, "--output", output]

    project = tmp_path / "project"
    for name in ("captions/part-notes.txt", "captions/part-00000-of-00001.parquet", "labels/part-0.csv"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"a": [1]}), project / name)
    for job in (caption, classify):
        assert_refused_and_untouched(run, job(project), project, "not ours", "captions/part-00000-of-00001.parquet")

    results = tmp_path / "results"
    assert run(*caption(results)).code == 0
    assert not (results / LEASE_FILE).exists()
    assert_refused_and_untouched(run, classify(results), results, "results of caption")
    assert_refused_and_untouched(run, build(results), results, "holds results")
    (results / "run.json").unlink()  # as a killed job leaves it
    assert_refused_and_untouched(run, classify(results), results, "results of caption")
    assert_refused_and_untouched(run, build(results), results, "results of caption")

    datastore = tmp_path / "datastore"
    shutil.copytree(store, datastore)
    assert_refused_and_untouched(run, caption(datastore), datastore, "holds a datastore")
    (datastore / "dead_letters").mkdir(exist_ok=True)
    pq.write_table(pa.table({"a": [1]}), datastore / "dead_letters/mine.parquet")
    assert_refused_and_untouched(run, build(datastore), datastore, "dead_letters/mine.parquet")

    before = state(results)
    for flags in (["--runner", "Flonk"], ["--clap", tmp_path / "none"], ["--window", "0"]):
        assert run(*caption(results), "--no-resume", *flags).code == 2
        assert state(results) == before
    assert run(*caption(results), "--no-resume").code == 0
    assert run("verify", results).code == 0


def test_a_datastore_is_replaced_also_when_its_build_was_killed(run: Run, tiny_clap_dir: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"text": "a dog barks"}\n{broken\n{"text": "rain"}\n')
    output = tmp_path / "store"
    argv = ["build-datastore", "--captions", captions, "--clap", tiny_clap_dir, "--output", output]
    argv += ["--max-dead-letters", 1]
    assert run(*argv).code == 0
    first = state(output)
    assert not [name for name in first if name.startswith(".")]
    assert run(*argv, "--overwrite").code == 0
    (output / "manifest.json").unlink()
    assert_one_line(run(*argv), "not ours")  # nothing says that these shards are
    (output / ".sonogloss-build.json").write_text("{}")
    letters = next(output.glob("dead_letters/*.parquet"))
    for path in (letters, output / "manifest.json", output / ".sonogloss-build.json"):
        path.with_name(f"{path.name}.tmp-01234567").write_text("half")
    assert run(*argv).code == 0
    assert {name: content for name, (content, _) in state(output).items()} == {
        name: content for name, (content, _) in first.items()
    }
    (output / "manifest.json").write_text("{}")
    assert_one_line(run(*argv, "--overwrite"), "not ours", "manifest.json")


def test_foreign_exports_are_not_replaced(run: Run, audio: Path, captioner: Path, store: Path, tmp_path: Path) -> None:
    put_aside = tmp_path / "out/exports/captions.csv"
    put_aside.parent.mkdir(parents=True)
    put_aside.write_text("my own work")
    models = ["--captioner", captioner, "--datastore", store, "--max-dead-letters", 1]
    command = ["caption", "--audio", audio, *models, "--output", tmp_path / "out", "--format", "csv"]
    assert_refused_and_untouched(run, command, tmp_path / "out", "not ours: exports/captions.csv")
    put_aside.rename(tmp_path / "mine.csv")
    for _ in range(2):  # what we exported is written again
        assert run(*command).code == 0
        assert put_aside.read_text().startswith("uri,")


def test_foreign_metrics_are_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"file_name": "a.wav", "caption": "a dog"}\n')
    (tmp_path / "references.jsonl").write_text('{"file_name": "a.wav", "references": ["a dog"]}\n')
    output = tmp_path / "out"
    (output / "metrics").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), output / "metrics/corpus.parquet")
    argv = ["evaluate", "--results", tmp_path / "results.jsonl", "--references", tmp_path / "references.jsonl"]
    for flags in ([], ["--overwrite"]):
        assert_one_line(run(*argv, "--output", output, *flags), "metrics/corpus.parquet", "Move them away")


def hold(output: Path, **changes: object) -> Path:
    """A lease as another process would have left it."""
    output.mkdir(exist_ok=True)
    held = Lease(str(output), "caption")
    content = json.loads(held._bytes()) | changes
    path = output / LEASE_FILE
    path.write_text(json.dumps(content))
    return path


def test_a_second_writer_is_refused_and_a_dead_one_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path / "o")
    with lease(output, "caption") as held:
        with pytest.raises(OutputError, match=rf"being written by `sonogloss caption` .*process {os.getpid()}"):
            refuse_held(output)
        with pytest.raises(OutputError), lease(output, "caption"):
            pass
        held.check()
    assert not (tmp_path / "o" / LEASE_FILE).exists()

    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        child.wait()
    hold(tmp_path / "o", pid=child.pid, process=f"{child.pid} 1")
    with lease(output, "caption"):
        pass
    hold(tmp_path / "o", process=f"{os.getpid()} 1")  # the number was given to another process
    refuse_held(output)

    path = hold(tmp_path / "o", host="another machine", renewed=time.time())
    with pytest.raises(OutputError, match="being written"):
        refuse_held(output)
    monkeypatch.setattr(lease_room, "WATCH_S", 0.3)
    monkeypatch.setattr(lease_room, "RENEW_EVERY_S", 0.2)
    hold(tmp_path / "o", host="another machine", renewed=time.time() - 1000)
    with lease(output, "classify") as held:  # nobody renews it
        content = path.read_bytes()
        end = time.monotonic() + 5
        while path.read_bytes() == content:
            assert time.monotonic() < end
            time.sleep(0.05)
        hold(tmp_path / "o")
        with pytest.raises(OutputError, match="taken over"):
            held.check()
    assert path.exists()  # it belongs to the other job
    path.unlink()
    with lease(output, "classify") as held:
        shutil.rmtree(tmp_path / "o")
        with pytest.raises(OutputError, match="removed while the job ran"):
            held.check()


def test_a_lease_lies_in_any_file_system() -> None:
    output = "memory://leases/o"
    with lease(output, "caption") as held:
        with pytest.raises(OutputError, match="being written"):
            refuse_held(output)
        held.check()
    assert not files.exists(files.join(output, LEASE_FILE))


@pytest.fixture
def started(
    tmp_path: Path, captioner: Path, store: Path, encode: Callable[..., bytes]
) -> Callable[[], subprocess.Popen[str]]:
    """A caption job in a process of its own, that has written its first part and has many to go."""
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(200):
        (folder / f"{number:03d}.wav").write_bytes(encode(0.1 * rng.standard_normal(16000)))
    models = ["--captioner", captioner, "--datastore", store]
    argv = ["caption", "--audio", folder, *models, "--output", tmp_path / "out"]

    def _start() -> subprocess.Popen[str]:
        before = len(list(tmp_path.glob("out/captions/*.parquet")))
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        child = subprocess.Popen(
            [sys.executable, "-m", "sonogloss", *map(str, argv)],
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("out/captions/*.parquet"))) <= before:
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        return child

    return _start


def test_signals_end_a_job_at_once_and_the_next_run_goes_on(
    run: Run, started: Callable[[], subprocess.Popen[str]], captioner: Path, store: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        child = started()
        command = ["caption", "--audio", tmp_path / "audio", "--captioner", captioner, "--datastore", store]
        command += ["--output", output]
        if number == signal.SIGINT:
            assert_one_line(run(*command, "--window", "1"), "being written", str(child.pid))
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
        assert child.returncode == code
        if number != signal.SIGKILL:
            assert "Traceback" not in said
            assert not (output / LEASE_FILE).exists()
            assert not list(tmp_path.glob("sonogloss-job-*"))
            assert not list(output.rglob("*.tmp-*"))
    done = len(list(output.glob("dead_letters/*.parquet")))
    again = run(*command, "--json")
    assert again.code == 0, again.err
    assert again.report["counts"]["captions"] == 200
    assert 0 < again.report["computed"] < 200
    assert again.report["taken_over"] >= 8 * (done - 1)
    assert run("verify", output).code == 0
    assert not (output / LEASE_FILE).exists()


@pytest.mark.parametrize("name", ["dangling", "loop", "file", "file/x", "n" * 300, "a\0b"])
def test_an_output_that_can_never_be_made_is_refused_in_words(
    run: Run, audio: Path, captioner: Path, store: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    (captions := tmp_path / "captions.txt").write_text("a dog barks\n")
    before = state(tmp_path)
    models = ["--captioner", captioner, "--datastore", store]
    for words in (["caption", "--audio", audio, *models], ["build-datastore", "--captions", captions]):
        outcome = run(*words, "--output", tmp_path / name)
        assert_one_line(outcome, "--output", "cannot be made")
        assert state(tmp_path) == before


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"pid": "x", "renewed": "y"},
        {"pid": None, "renewed": None},
        {"pid": 10**30, "renewed": 10**30},
        {"pid": []},
    ],
)
@pytest.mark.parametrize("here", [True, False])
def test_a_damaged_lease_holds_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: object, here: bool
) -> None:
    monkeypatch.setattr(lease_room, "WATCH_S", 0.0)
    if isinstance(content, dict):
        content = content | {"host": lease_room._host() if here else 5}
    (tmp_path / LEASE_FILE).write_text(json.dumps(content))
    refuse_held(str(tmp_path))
    with lease(str(tmp_path), "caption"):
        assert (tmp_path / LEASE_FILE).exists()
    assert not (tmp_path / LEASE_FILE).exists()
