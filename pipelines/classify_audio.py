r"""classify: recordings -> the labels that fit, one row a clip.

::

    sonogloss classify --audio 'gs://BUCKET/audio/**/*.flac' --labels labels.txt --output gs://BUCKET/tags \
        --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import apache_beam as beam

from sonogloss import files
from sonogloss.audio import WindowPolicy
from sonogloss.errors import OptionError
from sonogloss.methods.labels import read_labels
from sonogloss.pipelines.beam_options import beam_options, share_cores
from sonogloss.pipelines.checks import as_list, check_share, choose_device, list_audio
from sonogloss.pipelines.progress import progress_file, run_pipeline
from sonogloss.pipelines.run_report import first_batch, report_run, show_dry_run, show_run
from sonogloss.pipelines.take_over import Plan, plan
from sonogloss.transforms.batch_step import BatchStep, Gather
from sonogloss.transforms.commit_run import commit_run
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import ClapReference
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.tag_clips import LabelSelection, tag_clips
from sonogloss.transforms.work import Unit, cut_units
from sonogloss.transforms.write_rows import LabelRows, WriteRows

if TYPE_CHECKING:
    from sonogloss.tagging.tagger import Tagger

BATCH_SIZE = 32
TOP = 5
ROWS = LabelRows.folder


@dataclass(frozen=True, kw_only=True, eq=False)
class TagJob:
    """The loaded parts of one job and the settings that shape its rows; made by :func:`prepare`."""

    clap: ClapReference
    tagger: Tagger
    choice: LabelSelection
    policy: WindowPolicy
    all_scores: bool

    @property
    def rows(self) -> LabelRows:
        """What a row holds."""
        return LabelRows(all_scores=len(self.tagger.labels) if self.all_scores else None)

    def digest(self) -> str:
        """A digest of everything that shapes a row; part files carry it."""
        shape = {
            "rows": ROWS,
            "clap": self.clap.fingerprint,
            "labels": self.tagger.fingerprint,
            "device": self.clap.device.partition(":")[0],
            "choice": asdict(self.choice),
            "policy": asdict(self.policy),
            "all_scores": self.all_scores,
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def classify(
    *,
    audio: str | Sequence[str],
    labels: str,
    output: str,
    clap: str | None = None,
    label_prompts: str | None = None,
    template: str | Sequence[str] = (),
    top: int | None = None,
    multi_label: bool = False,
    threshold: float | None = None,
    all_scores: bool = False,
    window: float = 10.0,
    hop: float | None = None,
    max_windows: int | None = None,
    resume: bool = True,
    dry_run: bool = False,
    max_dead_letters: float = 0.05,
    device: str = "auto",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Tag recordings.

    Scores are cosines, in [-1, 1]; how high they are depends on the CLAP.

    Args:
        audio: files, folders or globs.
        labels: `pocket`, or a file of names.
        output: the results directory.
        clap: the CLAP; by default the one the prompts were learned with, else `pocket`.
        label_prompts: what `tune-labels` wrote; it takes the templates' place.
        template: one or several sentences that hold `{label}`; embeddings of several are averaged.
        top: labels a row, at most; by default 5, and with `multi_label` all above the threshold.
        multi_label: several labels may be true of a clip: a row names all that score at least the threshold.
        threshold: the lowest score of a label that is named; by default any, and with `multi_label`
            :data:`~sonogloss.tagging.tagger.THRESHOLD`.
        all_scores: add a column with the scores of all labels, in the order of `labels` in `run.json`.
        window: seconds a clip.
        hop: seconds from one clip's start to the next; by default the window.
        max_windows: clips of a recording at most, from its start; by default all.
        resume: take over what an earlier run left.
        dry_run: check everything, tag one source, write nothing.
        max_dead_letters: share of inputs that may fail before the result counts as unsound.
        device: `cpu`, `cuda`, `auto`.
        beam_args: options for Beam.

    Returns:
        The report, as of :func:`sonogloss.pipelines.caption_audio.caption`, with `counts.labels` rows.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started = time.time()
    options = beam_options(beam_args)
    check_share(max_dead_letters, "--max-dead-letters")
    policy = WindowPolicy(window_s=window, hop_s=window if hop is None else hop, max_windows=max_windows)
    sources, left_out = list_audio(as_list(audio))
    job = prepare(
        labels=labels,
        clap=clap,
        label_prompts=label_prompts,
        templates=as_list(template),
        top=top,
        multi_label=multi_label,
        threshold=threshold,
        all_scores=all_scores,
        policy=policy,
        device=device,
    )
    units = cut_units(sources)
    if dry_run:
        return _dry_run(job, sources, units, left_out)
    todo = plan(output, units, configuration=job.digest(), resume=resume, rows=ROWS)
    if not todo.finished:
        files.check_writable(output)
        for name in todo.remove:
            files.remove(files.join(output, name))
        share_cores(options)
        head = {
            "labels": list(job.tagger.labels),
            "configuration": {
                "audio": as_list(audio),
                "sources": len(sources),
                "left_out": left_out,
                "labels": labels,
                "label_prompts": label_prompts,
                "templates": as_list(template),
                "clap": job.clap.name,
                **asdict(job.choice),
                "multi_label": multi_label,
                "all_scores": all_scores,
                "window_s": policy.window_s,
                "hop_s": policy.hop_s,
                "max_windows": policy.max_windows,
                "device": job.clap.device,
                "max_dead_letters": max_dead_letters,
                "digest": job.digest(),
            },
            "fingerprints": {"clap": job.clap.fingerprint, "labels": job.tagger.fingerprint},
        }
        with progress_file(options) as path:
            pipeline = beam.Pipeline(options=options)
            _connect(pipeline, job, todo, output=output, head=head, started_at=started, progress=path)
            run_pipeline(pipeline, noun="clips", path=path, total_units=len(todo.todo))
    return report_run(output, todo, max_dead_letters=max_dead_letters, rows=ROWS)


def prepare(
    *,
    labels: str,
    clap: str | None,
    label_prompts: str | None,
    templates: Sequence[str],
    top: int | None,
    multi_label: bool,
    threshold: float | None,
    all_scores: bool,
    policy: WindowPolicy,
    device: str,
) -> TagJob:
    """Read the labels, load the CLAP, embed the labels once.

    Raises:
        FingerprintMismatchError: the prompts were learned with another CLAP.
        InputError: an option or a file cannot be used.
    """
    from sonogloss.tagging.label_prompts import load_label_prompts
    from sonogloss.tagging.tagger import TEMPLATE, THRESHOLD, plain_tagger, prompted_tagger

    if label_prompts is not None and templates:
        raise OptionError("--template and --label-prompts exclude one another.", "Learned prompts need no template.")
    names = read_labels(labels)
    prompts = None if label_prompts is None else load_label_prompts(label_prompts)
    model = ClapReference.of(clap or (prompts.clap if prompts else "pocket"), choose_device(device))
    longest = model.load().window_s
    if policy.window_s > longest:
        raise OptionError(
            f"--window {policy.window_s:g} is longer than the {longest:g} s that {model.name!r} hears at once.",
            f"Give {longest:g} or less; longer recordings are cut into several clips.",
        )
    if prompts is not None:
        tagger = prompted_tagger(names, model.load(), prompts)
    else:
        tagger = plain_tagger(names, model.load(), templates or [TEMPLATE])
    if multi_label:
        choice = LabelSelection(top=top, threshold=THRESHOLD if threshold is None else threshold)
    else:
        choice = LabelSelection(top=TOP if top is None else top, threshold=threshold)
    return TagJob(clap=model, tagger=tagger, choice=choice, policy=policy, all_scores=all_scores)


def _connect(
    pipeline: beam.Pipeline,
    job: TagJob,
    todo: Plan,
    *,
    output: str,
    head: dict[str, Any],
    started_at: float,
    progress: str | None,
) -> None:
    """The walk of the audio. From ReadAudio to WriteRows nothing is shuffled: clips stay in one worker."""
    written = (
        pipeline
        | "ListUnits" >> beam.Create(todo.todo)
        | "SpreadUnits" >> beam.Reshuffle()
        | "ReadAudio"
        >> beam.FlatMap(read_unit, policy=job.policy, sample_rate=job.clap.load().sample_rate, batch_size=BATCH_SIZE)
        | "EmbedAudio" >> BatchStep(embed_audio, clap=job.clap, frames=job.tagger.needs_frames)
        | "TagClips" >> BatchStep(tag_clips, tagger=job.tagger, selection=job.choice)
        | "WriteRows" >> WriteRows(output, configuration=job.digest(), kind=job.rows, progress=progress)
    )
    taken = pipeline | "TakeOver" >> beam.Create(todo.taken)
    commit = Gather(commit_run, output=output, head=head, started_at=started_at, rows=ROWS)
    (written, taken) | "AllUnits" >> beam.Flatten() | "CommitRun" >> commit


def _dry_run(job: TagJob, sources: list[str], units: list[Unit], left_out: int) -> dict[str, Any]:
    """Tag the first batch of the first source that can be read, in this process."""
    clap = job.clap.load()
    batch = first_batch(sources, policy=job.policy, sample_rate=clap.sample_rate, batch_size=BATCH_SIZE)
    batch = tag_clips(embed_audio(batch, clap, frames=job.tagger.needs_frames), job.tagger, job.choice)
    rows = [
        {
            "uri": row.clip.uri,
            "start_s": row.clip.start_s,
            "end_s": row.clip.end_s,
            "labels": [asdict(label) for label in row.labels],
        }
        for row in job.rows.of(batch)
    ]
    return {
        "dry_run": True,
        "sources": len(sources),
        "left_out": left_out,
        "units": len(units),
        "fingerprints": {"clap": job.clap.fingerprint, "labels": job.tagger.fingerprint},
        "rows": rows,
        "dead_letters": [asdict(letter) for letter in batch.dead],
        "problems": [],
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    if report.get("dry_run"):
        show_dry_run(
            report, lambda row: ", ".join(f"{label['label']} ({label['score']:.2f})" for label in row["labels"])
        )
    else:
        show_run(report, rows=ROWS, done="tagged")
