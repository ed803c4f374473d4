"""A job on Dataflow as its owner sees it, against a service that runs nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sonogloss import files
from sonogloss.pipelines.command_line import main
from sonogloss.pipelines.running import lease, remote_job
from tests.anywhere.dataflow import ID, FakeDataflow, steps

pytestmark = pytest.mark.slow
pytest.importorskip("google.cloud.dataflow", reason="the extra gcp is not installed")


@pytest.fixture
def dataflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Callable[..., bytes]) -> Iterator[FakeDataflow]:
    """The service, and a recording."""
    monkeypatch.setattr(remote_job, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr("apache_beam.utils.retry.Clock.sleep", lambda self, seconds: None)
    (tmp_path / "a.wav").write_bytes(encode([0.0, 0.5, -0.5] * 1000))
    (tmp_path / "staging").mkdir()
    with FakeDataflow(tmp_path / "staging") as service:
        yield service


def caption(dataflow: FakeDataflow, *options: object) -> int:
    folder = dataflow.staging.parent
    words = ["caption", folder / "a.wav", "--captioner", "pocket:zeraucap", "--output", folder / "results"]
    return main([str(word) for word in [*words, *dataflow.flags, *options]])


def lease_of(dataflow: FakeDataflow) -> Any:
    path = str(dataflow.staging.parent / "results" / lease.LEASE_FILE)
    return files.read_json(path) if files.exists(path) else None


def test_a_job_is_submitted_with_its_image_and_hints(dataflow: FakeDataflow) -> None:
    dataflow.states = ["JOB_STATE_RUNNING", "JOB_STATE_DONE"]
    hints = ("--min-ram", "16GB", "--accelerator", "type:nvidia-l4;count:1;install-nvidia-driver")
    caption(dataflow, "--device", "cuda", *hints)
    (job,) = dataflow.jobs
    images = job["environment"]["workerPools"][0]["sdkHarnessContainerImages"]
    assert {image["containerImage"] for image in images} == {"an-image:1"}
    graph = dataflow.pipeline()
    wanted = {
        "beam:resources:min_ram_bytes:v1": b"16000000000",
        "beam:resources:accelerator:v1": b"type:nvidia-l4;count:1;install-nvidia-driver",
    }
    environments = graph.components.environments
    hinted = {
        each.unique_name
        for each in graph.components.transforms.values()
        if each.environment_id and dict(environments[each.environment_id].resource_hints) == wanted
    }
    for step in ("ReadAudio", "EmbedAudio", "Retrieve", "WriteCaptions", "Score", "WriteRows"):
        assert any(name.startswith(f"{step}/") for name in hinted)
    assert not any(name.startswith(("CommitRun", "ListUnits", "SpreadUnits")) for name in hinted)
    assert next(steps(graph)) == "Listing"


def test_the_job_is_named_followed_and_its_end_told(
    dataflow: FakeDataflow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(remote_job.Display, "show", lambda self, tally: shown.append(tally))
    dataflow.counters = {"done": 7, "failed": 2, "units": 3, "size": 400, "audio_ms": 70_000}
    dataflow.states = ["JOB_STATE_RUNNING", "JOB_STATE_RUNNING", "JOB_STATE_DONE"]
    assert caption(dataflow) == 1  # no worker has written anything
    said = capsys.readouterr().err
    page = f"https://console.cloud.google.com/dataflow/jobs/europe-west4/{ID}?project=a-project"
    assert f"submitted job {ID} ({page})" in said
    assert "run.json is not in --output" in said
    assert (shown[-1].done, shown[-1].failed, shown[-1].units, shown[-1].audio_s) == (7, 2, 3, 70.0)
    assert lease_of(dataflow) is None


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_job_that_ends_badly_ends_in_one_sentence(
    dataflow: FakeDataflow, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataflow.states = ["JOB_STATE_RUNNING", f"JOB_STATE_{state}"]
    assert caption(dataflow) == 1
    said = capsys.readouterr().err
    assert f"Job {ID} ended as {state}; its log says why: https://" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("choice", "words"), [("cancel", "is being cancelled"), ("leave", "runs on")])
def test_ctrl_c_cancels_or_leaves_and_says_so(
    dataflow: FakeDataflow, choice: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[None] = []

    def interrupt() -> None:
        asked.append(None)
        if len(asked) == 3:
            signal.raise_signal(signal.SIGINT)

    dataflow.asked = interrupt
    assert caption(dataflow, "--on-interrupt", choice) == 130
    said = capsys.readouterr().err
    assert f"job {ID} (https://" in said
    assert words in said
    assert dataflow.cancelled == (choice == "cancel")
    assert (lease_of(dataflow) is None) == (choice == "cancel")


def test_a_job_that_was_left_keeps_its_output(dataflow: FakeDataflow, capsys: pytest.CaptureFixture[str]) -> None:
    assert caption(dataflow, "--no-wait") == 0
    assert f"submitted job {ID}" in capsys.readouterr().err
    assert lease_of(dataflow)["job"]["id"] == ID
    assert caption(dataflow) == 2
    assert f"is being written by job {ID}" in capsys.readouterr().err
    dataflow.states = ["JOB_STATE_FAILED"]
    assert caption(dataflow, "--no-wait") == 0
    assert len(dataflow.jobs) == 2


def test_an_engine_that_cannot_be_reached_is_named(dataflow: FakeDataflow, capsys: pytest.CaptureFixture[str]) -> None:
    dataflow.url = "http://localhost:9"
    assert caption(dataflow) == 1
    said = capsys.readouterr().err
    assert "The runner cannot be reached" in said
    assert "Traceback" not in said


def test_a_bucket_that_is_not_there_is_named(
    dataflow: FakeDataflow, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", dataflow.url)
    assert caption(dataflow, "--staging_location", "gs://no-bucket/staging") == 2
    said = capsys.readouterr().err
    assert "--staging_location cannot be written" in said
    assert "gs://no-bucket/staging" in said
