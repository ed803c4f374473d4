r"""caption: recordings -> captions, contexts and scores, one row a clip.

::

    sonogloss caption --audio 'gs://BUCKET/audio/**/*.flac' --datastore gs://BUCKET/store \
        --output gs://BUCKET/results --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import apache_beam as beam

from sonogloss import files
from sonogloss.audio import WindowPolicy
from sonogloss.methods.released import MAX_WINDOWS
from sonogloss.pipelines.beam_options import beam_options, share_cores
from sonogloss.pipelines.caption_parts import CaptionJob, prepare
from sonogloss.pipelines.checks import as_list, check_share, list_audio
from sonogloss.pipelines.progress import progress_file, run_pipeline
from sonogloss.pipelines.run_report import first_batch, report_run, show_dry_run, show_run
from sonogloss.pipelines.take_over import Plan, plan
from sonogloss.transforms.batch_step import BatchStep, Gather
from sonogloss.transforms.commit_run import commit_run
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.models import CaptionerWithClap
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.rerank import EMBED_STAGE, embed_for_reranking
from sonogloss.transforms.rerank import rerank as choose_captions
from sonogloss.transforms.retrieve import retrieve
from sonogloss.transforms.score import score
from sonogloss.transforms.work import Unit, cut_units
from sonogloss.transforms.write_captions import write_captions
from sonogloss.transforms.write_rows import CaptionRows, WriteRows

BATCH_SIZE = 32


def caption(
    *,
    audio: str | Sequence[str],
    output: str,
    datastore: str | None = None,
    support: str | None = None,
    captioner: str = "pocket",
    clap: str | None = None,
    contexts: int | None = None,
    projection: bool | None = None,
    temperature: float | Literal["clap"] | None = None,
    renormalise: bool | None = None,
    parity: bool = False,
    beams: int | None = None,
    candidate_beams: Sequence[int] = (),
    candidates: int | None = None,
    rerank: str | None = None,
    language: str | None = None,
    fast: bool = False,
    precision: str | None = None,
    window: float = 10.0,
    hop: float | None = None,
    max_windows: int | None = None,
    resume: bool = True,
    dry_run: bool = False,
    embedding: bool = False,
    max_dead_letters: float = 0.05,
    device: str = "auto",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Caption recordings.

    Args:
        audio: files, folders or globs.
        output: the results directory.
        datastore: its directory; may be left out for a captioner that neither reads captions nor projects.
        support: another datastore, whose text support embeddings are projected on in place of the first one's.
        captioner: `pocket`, another one of this package, or a directory.
        clap: the CLAP; by default the one the captioner was made with.
        contexts: captions shown to the decoder; by default as it was trained.
        projection: carry embeddings onto the text support; by default as the captioner says.
        temperature: of that projection, or `clap` for the CLAP's own; by default the captioner's.
        renormalise: scale projected embeddings to unit length; by default the captioner's.
        parity: contexts, projection, search and windows as in the method's released code; what is named besides wins.
        beams: beams in decoding; by default the captioner's.
        candidate_beams: search with each of these numbers of beams and keep the caption nearest to the sound.
        candidates: or choose among so many captions of one search; by default, with `rerank`, as many as the captioner
            has beams, and 4 where it has one.
        rerank: the CLAP that chooses among several captions; by default the job's own. Another one hears every clip
            too; scores in the rows stay the own one's.
        language: what a captioner of several languages is to speak.
        fast: leave the CLAP out of a guided search.
        precision: kind of the language model's weights: `float32`, `bfloat16`, `float16` or `int8`.
        window: seconds a clip.
        hop: seconds from one clip's start to the next; by default the window.
        max_windows: clips of a recording at most, from its start; by default all.
        resume: take over what an earlier run left.
        dry_run: check everything, caption one source, write nothing.
        embedding: add each clip's CLAP embedding to its row.
        max_dead_letters: share of inputs that may fail before the result counts as unsound.
        device: `cpu`, `cuda`, `auto`.
        beam_args: options for Beam.

    Returns:
        The report: `output`, `counts`, `dead_letter_codes`, `taken_over` (units), `done_before`, times, `problems`;
        of a dry run `sources`, `units` and the `rows` of the first source.

    Raises:
        InputError: an option or an input makes the job impossible.
    """
    started = time.time()
    options = beam_options(beam_args)
    check_share(max_dead_letters, "--max-dead-letters")
    if parity and max_windows is None:
        max_windows = MAX_WINDOWS
    policy = WindowPolicy(window_s=window, hop_s=window if hop is None else hop, max_windows=max_windows)
    sources, left_out = list_audio(as_list(audio))
    job = prepare(
        datastore=datastore,
        support=support,
        captioner=captioner,
        clap=clap,
        contexts=contexts,
        projection=projection,
        temperature=temperature,
        renormalise=renormalise,
        parity=parity,
        beams=beams,
        candidate_beams=candidate_beams,
        candidates=candidates,
        rerank=rerank,
        language=language,
        fast=fast,
        precision=precision,
        policy=policy,
        embedding=embedding,
        device=device,
    )
    units = cut_units(sources)
    if dry_run:
        return _dry_run(job, sources, units, left_out)
    todo = plan(output, units, configuration=job.digest(), resume=resume)
    if not todo.finished:
        files.check_writable(output)
        for name in todo.remove:
            files.remove(files.join(output, name))
        share_cores(options)
        head = {
            "configuration": {
                "audio": as_list(audio),
                "sources": len(sources),
                "left_out": left_out,
                "datastore": datastore,
                "support": support,
                "captioner": captioner,
                "clap": job.clap.name,
                "contexts": job.contexts,
                "projection": asdict(job.projection) if job.projection else None,
                "parity": parity,
                "beams": beams,
                "candidate_beams": list(job.choice.beams) if job.choice else [],
                "candidates": job.choice.best if job.choice else 0,
                "rerank": rerank,
                "language": language,
                "fast": fast,
                "precision": precision,
                "window_s": policy.window_s,
                "hop_s": policy.hop_s,
                "max_windows": policy.max_windows,
                "embedding": embedding,
                "device": job.clap.device,
                "max_dead_letters": max_dead_letters,
                "method": job.method,
                "digest": job.digest(),
            },
            "fingerprints": job.fingerprints(),
        }
        with progress_file(options) as path:
            pipeline = beam.Pipeline(options=options)
            _connect(pipeline, job, todo, output=output, head=head, started_at=started, progress=path)
            run_pipeline(pipeline, noun="clips", path=path, total_units=len(todo.todo))
    return report_run(output, todo, max_dead_letters=max_dead_letters, rows=CaptionRows.folder)


def _connect(
    pipeline: beam.Pipeline,
    job: CaptionJob,
    todo: Plan,
    *,
    output: str,
    head: dict[str, Any],
    started_at: float,
    progress: str | None,
) -> None:
    """The walk of the audio. From ReadAudio to WriteRows nothing is shuffled: clips stay in one worker."""
    clips = (
        pipeline
        | "ListUnits" >> beam.Create(todo.todo)
        | "SpreadUnits" >> beam.Reshuffle()
        | "ReadAudio" >> beam.FlatMap(read_unit, policy=job.policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE)
    )
    if job.other_judge is not None:
        clips |= "EmbedForReranking" >> BatchStep(
            embed_for_reranking, stage=EMBED_STAGE, reranker=job.other_judge, sample_rate=job.sample_rate
        )
    embedded = (
        clips
        | "EmbedAudio" >> BatchStep(embed_audio, clap=job.clap)
        | "Retrieve" >> BatchStep(retrieve, datastore=job.datastore, contexts=job.contexts, projection=job.projection)
    )
    captioner = CaptionerWithClap(captioner=job.captioner, clap=job.clap)
    if job.choice is None:
        captioned = embedded | "WriteCaptions" >> BatchStep(write_captions, captioner=captioner)
    else:
        captioned = (
            embedded
            | "WriteCaptions"
            >> BatchStep(write_captions, captioner=captioner, beams=job.choice.beams, best=job.choice.best)
            | "Rerank" >> BatchStep(choose_captions, reranker=job.choice.judge)
        )
    written = (
        captioned
        | "Score" >> BatchStep(score, clap=job.clap)
        | "WriteRows"
        >> WriteRows(
            output,
            configuration=job.digest(),
            kind=job.rows,
            progress=progress,
        )
    )
    taken = pipeline | "TakeOver" >> beam.Create(todo.taken)
    commit = Gather(commit_run, output=output, head=head, started_at=started_at)
    (written, taken) | "AllUnits" >> beam.Flatten() | "CommitRun" >> commit


def _dry_run(job: CaptionJob, sources: list[str], units: list[Unit], left_out: int) -> dict[str, Any]:
    """Caption the first batch of the first source that can be read, in this process."""
    batch = first_batch(sources, policy=job.policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE)
    if job.other_judge is not None:
        batch = embed_for_reranking(batch, job.other_judge.load(), job.sample_rate)
    batch = embed_audio(batch, job.clap.load())
    batch = retrieve(batch, job.store(), contexts=job.contexts, projection=job.projection)
    captioner = job.captioner.load_with(job.clap)
    if job.choice is None:
        batch = write_captions(batch, captioner)
    else:
        batch = write_captions(batch, captioner, job.choice.beams, job.choice.best)
        batch = choose_captions(batch, job.choice.judge.load())
    batch = score(batch, job.clap.load())
    rows = [
        {
            "uri": row.clip.uri,
            "start_s": row.clip.start_s,
            "end_s": row.clip.end_s,
            "caption": row.caption,
            "clap_score": row.clap_score,
            "keywords": [keyword.label for keyword in row.keywords or ()],
        }
        for row in job.rows.of(batch)
    ]
    return {
        "dry_run": True,
        "sources": len(sources),
        "left_out": left_out,
        "units": len(units),
        "fingerprints": job.fingerprints(),
        "rows": rows,
        "dead_letters": [asdict(letter) for letter in batch.dead],
        "problems": [],
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    if report.get("dry_run"):
        show_dry_run(report, _line)
    else:
        show_run(report, rows=CaptionRows.folder, done="captioned")


def _line(row: dict[str, Any]) -> str:
    named = f"  [{', '.join(row['keywords'])}]" if row["keywords"] else ""
    return f"{row['caption']}  ({row['clap_score']:.2f}){named}"
