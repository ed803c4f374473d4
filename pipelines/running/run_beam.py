"""Run a pipeline on this machine or elsewhere, follow it, and end it when it cannot go on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from sonogloss.errors import SonoglossError
from sonogloss.pipelines.running.beam_options import from_worker, input_error, is_local, share_cores
from sonogloss.pipelines.running.displays import Display
from sonogloss.pipelines.running.inputs import count_gpus
from sonogloss.pipelines.running.progress import Tail, Work
from sonogloss.pipelines.running.remote_job import Owner, RemoteJob, run_remotely
from sonogloss.pipelines.running.run_log import is_logging
from sonogloss.pipelines.running.signals import cleaning
from sonogloss.pipelines.running.worker_main import GPUS, worker_command
from sonogloss.pipelines.running.worker_processes import Workers
from sonogloss.transforms.progress_file import read_failure

_LOOK_EVERY_S = 0.25
_WATCH_EVERY_S = 1.0
_ENDS_AFTER_FAILURE_S = 5.0


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """An empty pipeline; worker processes on this machine are started as ours."""
    direct = options.view_as(DirectOptions)
    if not is_local(options) or direct.direct_running_mode != "multi_processing":
        return beam.Pipeline(options=options)
    direct.direct_running_mode = None  # else Beam starts them as its own
    environment = SubprocessSDKEnvironment.from_command_string(worker_command())
    return beam.Pipeline(runner=FnApiRunner(default_environment=environment), options=options)


@contextmanager
def progress_file(options: PipelineOptions, *, device: str = "cpu") -> Iterator[str | None]:
    """A local file for the workers to note in; None where they are on other machines.

    As long as it is there, worker processes on this machine share its cores, each takes a GPU of its own where there
    are several, and they keep their own log to themselves unless the user asked for it.

    Args:
        options: of Beam.
        device: that the models run on; `cuda` leaves open on which of the GPUs.
    """
    if not is_local(options):
        yield None
        return
    folder = tempfile.mkdtemp(prefix="sonogloss-job-")
    with cleaning(partial(shutil.rmtree, folder, ignore_errors=True)):
        path = os.path.join(folder, "progress")
        with open(path, "wb"):
            pass
        with _environment(_for_workers(options, folder, device)):
            yield path


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Variables for the worker processes; what the user has set stays."""
    new = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _for_workers(options: PipelineOptions, folder: str, device: str) -> dict[str, str]:
    """How many threads a worker process uses, which GPU, and how much it says of itself."""
    found = {}
    if (threads := share_cores(options)) is not None:
        found["OMP_NUM_THREADS"] = str(threads)
        if device == "cuda":
            found[GPUS] = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count_gpus())))
    if not logging.getLogger().isEnabledFor(logging.INFO):
        path = os.path.join(folder, "options.json")  # its first options, which Beam reads from a file
        with open(path, "w", encoding="utf-8") as handle:
            json.dump({"beam:option:default_sdk_harness_log_level:v1": "WARNING" if is_logging() else "ERROR"}, handle)
        found["PIPELINE_OPTIONS_FILE"] = path
    return found


def run_pipeline(
    pipeline: beam.Pipeline,
    *,
    noun: str,
    path: str | None = None,
    work: Work | None = None,
    quiet: bool = False,
    owner: Owner | None = None,
) -> RemoteJob | None:
    """Run a pipeline to its end and show how far it is on standard error.

    Args:
        pipeline: built, not yet started.
        noun: what is counted ("clips").
        path: the progress file the transforms were given; None shows nothing.
        work: how much there is to do, for the time that is left.
        quiet: show nothing, for a job that is part of another.
        owner: what to do with a job on another machine; its lease says when any job must not go on.

    Returns:
        The job, where it was left running on another machine; None when it is done.

    Raises:
        InputError: a worker met a user's mistake.
        SonoglossError: a worker process died, or a remote job did not end well; its own log says more.
        KeyboardInterrupt: the user had enough; what is committed stays valid.
    """
    if not is_local(pipeline.options):
        return run_remotely(pipeline, owner or Owner(), noun=noun, work=work)
    failures: list[Exception] = []

    def run() -> None:
        try:
            state = pipeline.run().wait_until_finish()
            if state is not None and state != PipelineState.DONE:
                raise SonoglossError(f"The job ended as {state}; the runner's log says why.")
        except Exception as error:  # noqa: BLE001  # raised again below, in the thread that the user waits for
            failures.append(error)

    thread = threading.Thread(target=run, name="sonogloss-job", daemon=True)
    tail = Tail(path) if path is not None else None
    with Workers() as workers, Display(noun, work, quiet=quiet or path is None) as display:
        thread.start()
        looked, failed_at = time.monotonic(), 0.0
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
            if tail is not None:
                display.show(tail.look())
            if time.monotonic() - looked >= _WATCH_EVERY_S:
                looked = time.monotonic()
                if path is not None and (failure := read_failure(path)) is not None:
                    failed_at = failed_at or looked
                    if looked - failed_at >= _ENDS_AFTER_FAILURE_S:  # Beam waits for its others, perhaps for ever
                        raise input_error(*failure)
                workers.look()
                if owner is not None and owner.lease is not None:
                    owner.lease.watch()
    if failures:
        raise from_worker(failures[0]) or failures[0]
    return None
