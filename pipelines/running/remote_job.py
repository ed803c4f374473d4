"""A job on a remote runner as its owner sees it: submitted, named, followed, on Ctrl-C cancelled or left running."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from sonogloss import files
from sonogloss.errors import OptionError, SonoglossError, TransientError
from sonogloss.pipelines.running.beam_options import from_worker
from sonogloss.pipelines.running.displays import Display
from sonogloss.pipelines.running.progress import Tally, Work
from sonogloss.pipelines.running.signals import patient
from sonogloss.pipelines.running.terminal import say
from sonogloss.transforms.progress_file import NAMESPACE

ASK_EVERY_S = 10.0
_UNREACHABLE = {"ConnectionError", "ServiceUnavailable", "RetryError", "Timeout", "RpcError", "FutureTimeoutError"}
_ENDED = {"DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED", "STOPPED"}


@dataclass(frozen=True, kw_only=True)
class RemoteJob:
    """Where a job runs, and what its engine calls it.

    Attributes:
        id: of the job.
        console: the address of its page; None where there is none.
        project: of Google Cloud; None of another engine.
        region: likewise.
        endpoint: another address of Dataflow's API, or None.
        auth: does the API ask who we are?
    """

    id: str
    console: str | None = None
    project: str | None = None
    region: str | None = None
    endpoint: str | None = None
    auth: bool = True

    @classmethod
    def of(cls, result: PipelineResult, pipeline: beam.Pipeline) -> RemoteJob:
        """What was submitted."""
        if not getattr(result, "has_job", True):
            return cls(id="of a template")  # the service submits what was staged
        named = getattr(result, "job_id", None)
        if not callable(named):
            return cls(id=str(getattr(result, "_job_id", "without a name")))
        cloud = pipeline.options.view_as(GoogleCloudOptions)
        page = f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{named()}?project={cloud.project}"
        return cls(
            id=named(),
            console=page,
            project=cloud.project,
            region=cloud.region,
            endpoint=cloud.dataflow_endpoint,
            auth=not cloud.no_auth,
        )

    def __str__(self) -> str:
        return f"job {self.id}" + (f" ({self.console})" if self.console else "")

    def runs(self) -> bool:
        """Does the engine say that it is not over? False where nobody can be asked."""
        if self.project is None:
            return False
        from google.api_core.client_options import ClientOptions
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import dataflow_v1beta3 as dataflow

        local = "localhost" in (self.endpoint or "")
        client = dataflow.JobsV1Beta3Client(
            credentials=None if self.auth else AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=self.endpoint) if local else None,
            transport="rest" if local else None,
        )
        request = dataflow.GetJobRequest(job_id=self.id, project_id=self.project, location=self.region)
        return client.get_job(request).current_state.name.removeprefix("JOB_STATE_") not in _ENDED


class JobLease(Protocol):
    """The lease of an output, which notes the job that writes there."""

    def note_job(self, job: dict[str, Any], *, alone: bool = False) -> None:
        """From now on it is this job's, `alone` when this process ends."""
        ...

    def watch(self) -> None:
        """Raise if it was lost, as far as is known without asking a store."""
        ...


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What the owner of a job wants.

    Attributes:
        wait: follow the job to its end.
        on_interrupt: `cancel`, `leave`, or `ask`, which leaves it where nobody can be asked.
        lease: of the output.
    """

    wait: bool = True
    on_interrupt: str = "ask"
    lease: JobLease | None = None


def run_remotely(pipeline: beam.Pipeline, owner: Owner, *, noun: str, work: Work | None) -> RemoteJob | None:
    """Submit a pipeline and follow it.

    Returns:
        The job, where it was left running; None when it is done.

    Raises:
        OptionError: it cannot be submitted so.
        TransientError: the engine cannot be reached.
        SonoglossError: it failed, or was cancelled.
        KeyboardInterrupt: the user had enough.
    """
    with patient():
        try:
            result = pipeline.run()
        except Exception as error:
            raise _refused(error) from error
        job = RemoteJob.of(result, pipeline)
        say(f"submitted {job}")
        if owner.lease is not None:
            owner.lease.note_job(asdict(job))
        if not owner.wait:
            _leave(owner, job)
            return job
        try:
            _follow(result, job, owner, Display(noun, work))
        except KeyboardInterrupt:
            if _cancels(owner, job):
                result.cancel()
                say(f"{job} is being cancelled")
            else:
                _leave(owner, job)
                say(f"{job} runs on")
            raise
    return None


def check_committed(output: str, name: str) -> None:
    """A job that is done has left its manifest in the output.

    Raises:
        SonoglossError: it is not there, for workers elsewhere have disks of their own.
    """
    if not files.exists(files.join(output, name)):
        raise SonoglossError(
            f"The job is done, and {name} is not in --output {output!r}: name a place that workers share, a gs:// or "
            "s3:// URL."
        )


def _leave(owner: Owner, job: RemoteJob) -> None:
    if owner.lease is not None:
        owner.lease.note_job(asdict(job), alone=True)


def _cancels(owner: Owner, job: RemoteJob, ask: Callable[[str], str] = input) -> bool:
    if owner.on_interrupt != "ask" or not sys.stdin.isatty():
        return owner.on_interrupt == "cancel"
    try:
        return ask(f"Cancel {job}, or leave it running? [c/L] ").strip().lower().startswith("c")
    except (KeyboardInterrupt, EOFError):
        return False


def _follow(result: PipelineResult, job: RemoteJob, owner: Owner, display: Display) -> None:
    with display:
        try:
            while not PipelineState.is_terminal(state := result.state):
                with suppress(Exception):  # numbers are a help
                    display.show(_tally(result))
                if owner.lease is not None:
                    owner.lease.watch()
                time.sleep(ASK_EVERY_S)
        except SonoglossError:
            raise
        except Exception as error:
            _leave(owner, job)
            raise TransientError(f"Nobody can say how {job} is ({_first_line(error)}).", "It may run on.") from error
    if state != PipelineState.DONE:
        where = f": {job.console}" if job.console else ", at its runner"
        raise _cause(result) or SonoglossError(f"Job {job.id} ended as {state}; its log says why{where}")


def _tally(result: PipelineResult) -> Tally:
    """The counters of the workers so far."""
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    counted: dict[str, int] = {}
    for each in found:
        name = each.key.metric.name
        counted[name] = counted.get(name, 0) + int(each.committed or each.attempted or 0)
    return Tally(
        done=counted.get("done", 0),
        failed=counted.get("failed", 0),
        units=counted.get("units", 0),
        size=counted.get("size", 0),
        audio_s=counted.get("audio_ms", 0) / 1000,
    )


def _cause(result: PipelineResult) -> Exception | None:
    """The mistake that a worker named, where the engine passes it on."""
    try:
        result.wait_until_finish()
    except Exception as error:  # noqa: BLE001  # every engine has its own
        return from_worker(error)
    return None


def _refused(error: Exception) -> SonoglossError:
    """Why a job cannot be submitted, in words."""
    if isinstance(error, SonoglossError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _UNREACHABLE:
        remedy = "Check the network and the endpoint, and run the same command again."
        return TransientError(f"The runner cannot be reached ({_first_line(error)}).", remedy)
    if "NotFound" in kinds or "Could not upload to GCS path" in str(error):
        return OptionError(
            f"--staging_location cannot be written ({_first_line(error)}).", "Name a bucket that is there and yours."
        )
    return SonoglossError(f"The runner refused the job ({_first_line(error)}).")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:300].rstrip(".")
