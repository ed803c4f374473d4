"""The log of a run, and errors as JSON."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from sonogloss.errors import InputError, OutputError, SonoglossError, TransientError
from sonogloss.pipelines.running.beam_options import from_worker
from sonogloss.pipelines.running.failures import failure_of
from sonogloss.pipelines.running.run_log import log_event, run_log
from sonogloss.pipelines.running.signals import Interrupted
from tests.pipelines.conftest import Run, assert_one_line


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def command(recordings: Path, captioner: Path, store: Path, output: Path, log: Path) -> list[Any]:
    options = ["--captioner", captioner, "--datastore", store, "--output", output, "--max-dead-letters", "1"]
    return ["caption", "--audio", recordings, *options, "--log-file", log]


def test_the_log_tells_a_run_from_its_start_to_its_end(
    run: Run, recordings: Path, captioner: Path, store: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    argv = command(recordings, captioner, store, tmp_path / "out", log)
    outcome = run(*argv, "--log-format", "json")
    assert outcome.code == 0, outcome.err
    assert all(" s: " in line for line in outcome.err.splitlines())  # the first captions, and no log
    lines = lines_of(log)
    events = [line["event"] for line in lines if line["event"] not in ("progress", "library")]
    assert events == ["start", "dead_letter", "result", "end"]
    by_event = {line["event"]: line for line in lines}
    assert by_event["start"]["command"] == "caption"
    assert by_event["start"]["options"]["audio"] == [str(recordings)]
    assert (by_event["dead_letter"]["code"], by_event["dead_letter"]["count"]) == ("UNSUPPORTED", 1)
    assert by_event["result"]["counts"]["inputs"] == 12
    assert [line for line in lines if "Traceback" in line["message"]] == []


def test_a_second_run_adds_its_lines_and_an_error_is_one(
    run: Run, recordings: Path, captioner: Path, store: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    argv = command(recordings, captioner, store, tmp_path / "out", log)
    (tmp_path / "\x1b[31m\n").mkdir()
    for _ in range(2):
        assert_one_line(run("inspect", tmp_path / "\x1b[31m\n", "--log-file", log), "\\x1b[31m")
    lines = log.read_text().splitlines()
    assert [line.split()[2] for line in lines] == 2 * ["start:", "error:", "end:"]
    assert "\x1b" not in log.read_text()
    assert run(*argv).code == 0
    assert log.read_text().splitlines()[: len(lines)] == lines


def test_a_log_that_cannot_be_written_is_said_before_anything_runs(run: Run, tmp_path: Path) -> None:
    assert_one_line(run("inspect", tmp_path, "--log-file", tmp_path / "no" / "log"), "--log-file")
    assert_one_line(run("inspect", tmp_path, "--log-file", "gs://bucket/log"), "local")
    assert_one_line(run("inspect", tmp_path, "--log-file", tmp_path / "log", "--log-format", "xml"), "xml")


def test_warnings_of_libraries_are_in_the_log_as_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with run_log(str(log), "text", "test", {}), warnings.catch_warnings(record=True):
        import logging

        logging.getLogger("some.library").warning("first\nsecond \x1b[31m")
        logging.getLogger("some.library").info("not this")
        log_event("note", "[/red]")
    assert [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()[1:3]] == [
        "warning library: first\\nsecond \\x1b[31m",
        "info note: [/red]",
    ]
    log_event("note", "nobody listens now")
    assert "nobody" not in log.read_text()


def every_error() -> list[type[InputError]]:
    found = [InputError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == "sonogloss.errors"]


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    codes = [failure_of(kind("What.", "Remedy.")).code for kind in every_error()]
    codes += [
        failure_of(error).code
        for error in (SonoglossError("x"), TransientError("x", "y"), ValueError("x"), KeyboardInterrupt())
    ]
    assert len(set(codes)) == len(codes)
    page = Path(__file__).parents[3] / "docs" / "running.md"
    for code in codes:
        assert f"| `{code}` |" in page.read_text()


def test_a_signal_keeps_its_exit_code() -> None:
    assert failure_of(Interrupted(15)).exit_code == 143
    assert failure_of(KeyboardInterrupt()).exit_code == 130


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["inspect", "nowhere"], {"code": "MISSING_INPUT", "option": None, "remedy": "Check the path."}),
        (["verify"], {"code": "OPTION", "option": None}),
        (["caption", "--audio", "x", "--output", "o", "--window", "0"], {"code": "OPTION"}),
        (["caption", "--audio", "x", "--output", "o", "--device", "gpu"], {"code": "OPTION", "option": "--device"}),
        (["search", "nowhere", "--text", " "], {"code": "OPTION", "option": "--text"}),
        (["captoin"], {"code": "OPTION"}),
        (["caption", "--audio", "nowhere-\udcff", "--output", "o"], {"code": "MISSING_INPUT", "option": "--audio"}),
    ],
)
def test_under_json_an_error_is_json_too(run: Run, argv: list[str], error: dict[str, Any]) -> None:
    outcome = run(*argv, "--json")
    assert outcome.code == 2
    found = outcome.report["error"]
    assert set(found) == {"code", "option", "message", "remedy"}
    assert found | error == found
    assert_one_line(outcome)


def test_a_mistake_of_ours_is_json_and_a_traceback(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(directory: str) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("sonogloss.pipelines.inspect_directory.identify", broken)
    with pytest.raises(ZeroDivisionError):
        run("inspect", tmp_path, "--json")
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "INTERNAL"


def test_the_mistake_that_a_worker_met_keeps_its_kind_and_its_remedy() -> None:
    first = "Traceback ...\nsonogloss.errors.OutputError: Cannot write 'x': No space left. [while running 'Commit']"
    found = from_worker(RuntimeError(f"{first} Free some."))
    assert isinstance(found, OutputError)
    assert (found.what, found.remedy) == ("Cannot write 'x': No space left.", "Free some.")
    assert from_worker(RuntimeError("something else")) is None
