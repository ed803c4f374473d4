"""What caption and classify share: list the audio, plan the units, run the steps, write the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Protocol, cast

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from sonogloss import files
from sonogloss.audio.clip_decoder import clip_decoders
from sonogloss.pipelines.config.captioning import CaptionConfig, ClassifyConfig
from sonogloss.pipelines.running.beam_options import beam_options, is_local
from sonogloss.pipelines.running.decoding_notes import decoding_notes
from sonogloss.pipelines.running.dry_run import dry_run
from sonogloss.pipelines.running.inputs import as_list, check_output, list_audio, note_pocket
from sonogloss.pipelines.running.lease import Lease, lease, refuse_held
from sonogloss.pipelines.running.listing import look_with_workers
from sonogloss.pipelines.running.ownership import COMMANDS, remove_half_written, survey
from sonogloss.pipelines.running.progress import Tail, Tally, Work
from sonogloss.pipelines.running.remote_job import Owner, RemoteJob, check_committed
from sonogloss.pipelines.running.report import report_run
from sonogloss.pipelines.running.resume import UnitPlan, plan_units
from sonogloss.pipelines.running.run_beam import make_pipeline, progress_file, run_pipeline
from sonogloss.pipelines.running.signals import cleaning
from sonogloss.sources import SourceTable, printable
from sonogloss.sources.find import look_here
from sonogloss.sources.patterns import absolute
from sonogloss.transforms.batch_step import Gather, Step
from sonogloss.transforms.commit_run import RUN_FILE, read_run
from sonogloss.transforms.long_sources import split_long
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.part_files import DEAD_LETTERS
from sonogloss.transforms.read_audio import ReadAudio
from sonogloss.transforms.skipped_files import write_skipped
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.work import Batch, cut_units
from sonogloss.transforms.work_files import commit_work, list_places, read_place, remove_work, write_work
from sonogloss.transforms.write_rows import RowKind, WriteRows

BATCH_SIZE = 32


class AudioJob(Protocol):
    """The loaded parts of one job, and what shapes its rows."""

    @property
    def clap(self) -> ClapReference:
        """The CLAP that embeds the audio."""
        ...

    @property
    def sample_rate(self) -> int:
        """The rate that audio is decoded to, in Hz."""
        ...

    @property
    def rows(self) -> RowKind:
        """What a row holds."""
        ...

    def fingerprints(self) -> dict[str, str]:
        """Which models and which datastores."""
        ...

    def digest(self) -> str:
        """A digest of everything that shapes a row; part files carry it."""
        ...

    def earlier_digests(self) -> tuple[str, ...]:
        """Digests of earlier releases that say the same."""
        ...

    def record(self) -> dict[str, Any]:
        """What `run.json` says of the job beside the options: what they became, and the labels of a tag job."""
        ...

    def steps(self) -> dict[str, Step]:
        """The steps from decoded clips to finished batches, by label."""
        ...

    def preview(self, row: Any) -> dict[str, Any]:
        """A row as a dry run reports it."""
        ...


def run_audio_job(config: CaptionConfig | ClassifyConfig, prepare: Callable[[], AudioJob]) -> dict[str, Any]:
    """Run a job over audio, from the listing to the report.

    Args:
        config: the options.
        prepare: loads the models; called when everything that needs none has been checked.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started = Stopwatch()
    options = beam_options(config.beam_args, workers=config.workers)
    # Worker processes have decoders of their own.
    with clip_decoders().started_ahead() if config.workers is None and is_local(options) else nullcontext():
        return _run_audio_job(config, prepare, options, started)


def _run_audio_job(
    config: CaptionConfig | ClassifyConfig,
    prepare: Callable[[], AudioJob],
    options: PipelineOptions,
    started: Stopwatch,
) -> dict[str, Any]:
    output = str(config.output)
    config = _retrying(config, output)
    check_output(output)
    if not (config.dry_run or config.break_lease):
        refuse_held(output)
    sources, skipped = list_audio(as_list(config.audio), look_here if config.dry_run else look_with_workers(config))
    left_out = skipped.counts.total()
    job = prepare()
    note_pocket(job.clap.name, (uri for uri, _ in sources.names()))
    recordings, sources = sources, sources if config.one_row else split_long(sources, config.policy)
    if config.dry_run:
        here = partial(_list_here, job)
        units = sum(1 for _ in cut_units(sources))
        return dry_run(config, job, recordings, left_out=left_out, units=units, run=here, batch_size=BATCH_SIZE)
    survey(output, kind=job.rows.folder, units=lambda: (unit.id for unit in cut_units(sources)))
    done = None
    with lease(output, COMMANDS[job.rows.folder], by_force=config.break_lease) as held:
        plan = plan_units(
            output,
            sources,
            configuration=job.digest(),
            earlier=job.earlier_digests,
            begin_anew=config.begin_anew,
            rows=job.rows.folder,
            retry=config.retry_dead_letters,
            options=config.shaping_options(),
            skipped=skipped,
        )
        if not plan.finished:
            for name in plan.remove:
                files.remove(files.join(output, name))
            remove_work(output)
            work = write_work(
                output,
                units=plan.pending,
                completed=plan.completed,
                rewrites=plan.rewrites,
                head={
                    "head": _head(config, job, sources=len(recordings), left_out=left_out),
                    "skipped": skipped.counts,
                    "skipped_parts": write_skipped(output, skipped),
                },
            )
            commit = partial(Gather, commit_work, folder=work, output=output, started=started, rows=job.rows.folder)
            left, done = _run(config, job, plan, work, commit, options, held)
            if left is not None:
                return {"output": output, "job": asdict(left), "problems": []}
            check_committed(output, RUN_FILE)
            remove_work(output)
    share = config.max_dead_letters
    return report_run(output, plan, max_dead_letters=share, rows=job.rows.folder, left_out=left_out, done=done)


def _retrying(config: CaptionConfig | ClassifyConfig, output: str) -> CaptionConfig | ClassifyConfig:
    """The job that `--audio OUTPUT/dead_letters` stands for: that of the earlier run, which takes them up again."""
    own = files.join(output, DEAD_LETTERS)
    if [absolute(pattern) for pattern in as_list(config.audio)] != [absolute(own)]:
        return config
    run = read_run(output)
    audio = run["configuration"].get("audio") if run else None
    return config if audio is None else replace(config, audio=audio, retry_dead_letters=True)


def _run(
    config: CaptionConfig | ClassifyConfig,
    job: AudioJob,
    plan: UnitPlan,
    work: str,
    commit: Callable[..., Gather],
    options: PipelineOptions,
    held: Lease,
) -> tuple[RemoteJob | None, Tally | None]:
    with (
        progress_file(options, device=job.clap.device) as path,
        decoding_notes(str(config.output), options) as journal,
        cleaning(partial(remove_half_written, str(config.output))),
    ):
        pipeline = make_pipeline(options)
        _connect(pipeline, config, job, work, commit(progress=path), path, journal)
        owner = Owner(wait=config.wait, on_interrupt=config.on_interrupt, lease=held)
        left = run_pipeline(pipeline, noun="clips", path=path, work=_work(plan), owner=owner)
        done = None if path is None else Tail(path).look()
    if left is None:
        held.check()
    return left, done


def _head(config: CaptionConfig | ClassifyConfig, job: AudioJob, *, sources: int, left_out: int) -> dict[str, Any]:
    """What `run.json` says of the job."""
    record = job.record()
    head = {
        **record.pop("head", {}),
        "configuration": {
            **config.as_json(),
            **record,
            "sources": sources,
            "left_out": left_out,
            "digest": job.digest(),
        },
        "fingerprints": job.fingerprints(),
    }
    return cast(dict[str, Any], _printable(head))


def _printable(value: Any) -> Any:
    """The same with names that are not UTF-8 as text: Beam encodes what its steps return."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value


def _work(plan: UnitPlan) -> Work:
    count, size, known, parts = 0, 0, True, False
    for unit in plan.pending:
        table = SourceTable.of(unit.sources)
        count += len(table)
        for sizes in table.sizes():
            size, known = size + int(sizes.sum()), known and bool(np.all(sizes >= 0))
        parts = parts or any(np.any(some >= 0) for some in table.parts())
    noun = "recordings and parts of long ones" if parts else "recordings"
    return Work(units=count, noun=noun, size=size if known else None, before=plan.taken_over)


def _connect(
    pipeline: beam.Pipeline,
    config: CaptionConfig | ClassifyConfig,
    job: AudioJob,
    work: str,
    commit: Gather,
    progress: str | None,
    journal: str | None,
) -> None:
    """How audio flows. From ReadAudio to WriteRows nothing is shuffled: clips stay in one worker."""
    batches = (
        pipeline
        | "Listing" >> beam.Create([None])
        | "ListUnits" >> beam.FlatMap(list_places, folder=work)
        | "SpreadUnits" >> beam.Reshuffle()
        | "OpenUnits" >> beam.Map(read_place, folder=work)
        | "ReadAudio"
        >> ReadAudio(
            policy=config.policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE, journal=journal
        ).with_resource_hints(**config.hints)
    )
    for label, step in job.steps().items():
        batches |= label >> step.with_resource_hints(**config.hints)  # all alike, else they do not fuse
    rows = WriteRows(str(config.output), configuration=job.digest(), kind=job.rows, progress=progress)
    batches | "WriteRows" >> rows.with_resource_hints(**config.hints) | "CommitRun" >> commit


def run_here(job: AudioJob, batches: Iterable[Batch]) -> Iterable[Batch]:
    """The steps of a job on the batches of one unit, in this process."""
    for step in job.steps().values():
        batches = step.run_here(batches)
    return batches


def _list_here(job: AudioJob, batches: Sequence[Batch]) -> list[Batch]:
    return list(run_here(job, batches))
