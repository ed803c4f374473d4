"""`--workers`: several processes on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DirectOptions

from sonogloss.errors import OptionError
from sonogloss.pipelines.command_line import JOBS, main, takes_beam_options
from sonogloss.pipelines.running import beam_options as room
from sonogloss.pipelines.running.beam_options import beam_options, share_cores
from sonogloss.pipelines.running.worker_main import GPUS, take_gpu
from sonogloss.transforms import models
from tests.pipelines.conftest import Run, assert_one_line


def test_every_command_on_beam_takes_workers() -> None:
    for job in JOBS.values():
        config = job.load_config()
        assert ("workers" in config.__dataclass_fields__) == takes_beam_options(config)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("cores", "workers", "threads"), [(16, 2, 8), (16, 3, 5), (2, 2, 1), (2, 8, 1), (4, 1, 4)])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: int) -> None:
    monkeypatch.setattr(room, "count_cores", lambda: cores)
    options = beam_options([], workers=workers)
    direct = options.view_as(DirectOptions)
    assert (direct.direct_num_workers, direct.direct_running_mode) == (workers, "multi_processing")
    assert share_cores(options) == threads
    assert share_cores(beam_options([])) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--runner=FlinkRunner"], "FlinkRunner"),
        (["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://t"], "Dataflow"),
        (["--direct_num_workers=3"], "--direct_num_workers"),
        (["--direct_running_mode", "multi_threading"], "--direct_running_mode"),
    ],
)
def test_workers_beside_other_engines_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        beam_options(flags, workers=2)


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", "100000"])
def test_a_number_of_workers_that_is_none_is_one_line(run: Run, workers: str) -> None:
    assert_one_line(run("caption", "--audio", "x", "--output", "o", "--workers", workers), "--workers")


def test_two_workers_write_the_same_bytes_and_say_nothing_of_themselves(
    recordings: Path,
    captioner: Path,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    contents = []
    for workers in ([], ["--workers", "2", "--log-file", tmp_path / "log", "--log-format", "json"]):
        output = tmp_path / f"out{len(workers)}"
        if workers:
            monkeypatch.setattr(models, "load_clap", None)  # the launching process loads none
        argv = ["caption", "--audio", recordings, "--captioner", captioner, "--datastore", store]
        assert main([str(word) for word in [*argv, "--output", output, "--max-dead-letters", "1", *workers]]) == 0
        contents.append({path.name: path.read_bytes() for path in sorted(output.rglob("*.parquet"))})
    assert contents[0] == contents[1]
    assert "OMP_NUM_THREADS" not in os.environ
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if "clips" not in line and " s: " not in line] == []
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert [event for event in events if event != "progress"] == ["start", "dead_letter", "result", "end"]


def test_workers_take_the_gpus_in_turn() -> None:
    for devices, worker, expected in (
        ("0,1,2", "worker_4", "1"),
        ("5,7", "worker_0", "5"),
        ("GPU-a,GPU-b", "w-1", "GPU-b"),
    ):
        environment = {GPUS: devices, "WORKER_ID": worker}
        take_gpu(environment)
        assert environment["CUDA_VISIBLE_DEVICES"] == expected
    for environment in ({}, {GPUS: ""}, {GPUS: "", "WORKER_ID": "worker_1"}):
        take_gpu(environment)
        assert "CUDA_VISIBLE_DEVICES" not in environment
