r"""caption: recordings -> captions, contexts and scores, one row a clip.

::

    sonogloss caption --audio 'gs://BUCKET/audio/**/*.flac' --datastore gs://BUCKET/store \
        --output gs://BUCKET/results --runner=DataflowRunner --project=P --region=R --temp_location=gs://BUCKET/tmp
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import apache_beam as beam
from rich.console import Console
from rich.table import Table

from pipelines.beam_options import beam_options, share_cores
from pipelines.caption_parts import CaptionJob, prepare
from pipelines.checks import as_list, check_share, list_audio, too_many
from pipelines.progress import progress_file, run_pipeline
from pipelines.take_over import Plan, plan
from sonogloss import files
from sonogloss.audio import WindowPolicy
from sonogloss.errors import MissingInputError
from transforms.commit_run import RUN_FILE, CommitRun
from transforms.embed_audio import EmbedAudio, embed_clips
from transforms.read_audio import STAGE as READ_AUDIO
from transforms.read_audio import ReadAudio, read_unit
from transforms.retrieve import Retrieve, retrieve
from transforms.score import Score, score
from transforms.work import Unit, cut_units, make_unit
from transforms.write_captions import WriteCaptions, write_captions
from transforms.write_rows import WriteRows, caption_rows

BATCH_SIZE = 32


def caption(
    *,
    audio: str | Sequence[str],
    datastore: str,
    output: str,
    captioner: str = "pocket",
    clap: str | None = None,
    contexts: int | None = None,
    window: float = 10.0,
    hop: float | None = None,
    resume: bool = True,
    dry_run: bool = False,
    embedding: bool = False,
    projection: bool = True,
    beams: int | None = None,
    max_dead_letters: float = 0.05,
    device: str = "auto",
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Caption recordings.

    Args:
        audio: files, folders or globs.
        datastore: its directory.
        output: the results directory.
        captioner: `pocket` or a directory.
        clap: the CLAP; by default the one the captioner was made with.
        contexts: captions shown to the decoder; by default as it was trained.
        window: seconds a clip.
        hop: seconds from one clip's start to the next; by default the window.
        resume: take over what an earlier run left.
        dry_run: check everything, caption one source, write nothing.
        embedding: add each clip's CLAP embedding to its row.
        projection: carry embeddings onto the text support.
        beams: beams in decoding; by default the captioner's.
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
    policy = WindowPolicy(window_s=window, hop_s=window if hop is None else hop)
    sources, left_out = list_audio(as_list(audio))
    job = prepare(
        datastore=datastore,
        captioner=captioner,
        clap=clap,
        contexts=contexts,
        policy=policy,
        embedding=embedding,
        projection=projection,
        beams=beams,
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
                "captioner": captioner,
                "clap": job.clap.name,
                "contexts": job.contexts,
                "projection": asdict(job.projection) if job.projection else None,
                "window_s": policy.window_s,
                "hop_s": policy.hop_s,
                "embedding": embedding,
                "beams": beams,
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
    return _report(output, todo, max_dead_letters)


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
    written = (
        pipeline
        | "ListUnits" >> beam.Create(todo.todo)
        | "SpreadUnits" >> beam.Reshuffle()
        | "ReadAudio" >> ReadAudio(job.policy, job.sample_rate, BATCH_SIZE)
        | "EmbedAudio" >> EmbedAudio(job.clap)
        | "Retrieve" >> Retrieve(job.datastore, job.contexts, job.projection)
        | "WriteCaptions" >> WriteCaptions(job.captioner)
        | "Score" >> Score(job.clap)
        | "WriteRows"
        >> WriteRows(
            output,
            configuration=job.digest(),
            method=job.method,
            embedding_dim=job.dim if job.embedding else None,
            progress=progress,
        )
    )
    taken = pipeline | "TakeOver" >> beam.Create(todo.taken)
    (written, taken) | "AllUnits" >> beam.Flatten() | "CommitRun" >> CommitRun(output, head, started_at)


def _dry_run(job: CaptionJob, sources: list[str], units: list[Unit], left_out: int) -> dict[str, Any]:
    """Caption the first batch of the first source that can be read, in this process."""
    for uri in sources:
        unit = make_unit([uri])
        batch = next(read_unit(unit, policy=job.policy, sample_rate=job.sample_rate, batch_size=BATCH_SIZE))
        if batch.clips:
            break
    else:
        raise _unreadable(batch.dead[0].uri, batch.dead[0].message, "Name audio files.")
    batch = embed_clips(batch, job.clap.load())
    batch = retrieve(batch, job.datastore.load(), contexts=job.contexts, projection=job.projection)
    batch = score(write_captions(batch, job.captioner.load()), job.clap.load())
    rows = [
        {
            "uri": row.uri,
            "start_s": row.start_s,
            "end_s": row.end_s,
            "caption": row.caption,
            "clap_score": row.clap_score,
        }
        for row in caption_rows(batch, job.method, with_embedding=False)
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


def _report(output: str, todo: Plan, max_dead_letters: float) -> dict[str, Any]:
    run = files.read_json(files.join(output, RUN_FILE))
    counts = run["counts"]
    if counts["dead_letters"] and not counts["captions"]:
        _refuse_unreadable(output, run)
    problems = []
    if counts["inputs"] != counts["captions"] + counts["dead_letters"] + counts["skipped"]:
        problems.append(f"The accounts do not close: {counts}.")
    problems += too_many(counts["dead_letters"], counts["inputs"], share=max_dead_letters, what="inputs", where=output)
    return {
        "output": output,
        "done_before": todo.finished,
        "counts": counts,
        "dead_letter_codes": run["dead_letter_codes"],
        "sources": run["configuration"]["sources"],
        "left_out": run["configuration"]["left_out"],
        "units": len(todo.todo) + len(todo.taken),
        "taken_over": len(todo.taken),
        "wall_time_s": run["wall_time_s"],
        "stage_times_s": run["stage_times_s"],
        "problems": problems,
    }


def _refuse_unreadable(output: str, run: dict[str, Any]) -> None:
    """Audio of which nothing could be read is a mistake in --audio, not a share of failures."""
    part = next(part for part in run["parts"] if part["path"].startswith("dead_letters/") and part["rows"])
    letter = files.read_table(files.join(output, part["path"])).slice(0, 1).to_pylist()[0]
    if letter["stage"] == READ_AUDIO:
        remedy = f"Name audio files; {files.join(output, 'dead_letters')} lists every input and why it failed."
        raise _unreadable(letter["uri"], letter["message"], remedy)


def _unreadable(uri: str, message: str, remedy: str) -> MissingInputError:
    return MissingInputError(f"--audio holds nothing that can be captioned; {uri!r}, for one: {message}", remedy)


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = Console()
    if report.get("dry_run"):
        console.print(
            f"{report['sources']:,} sources in {report['units']:,} units of work"
            + (f" ({report['left_out']:,} other files left out)" if report["left_out"] else "")
            + "; nothing was written. The first source:"
        )
        for row in report["rows"]:
            console.print(f"  {row['start_s']:7.1f} s  {row['caption']}  ({row['clap_score']:.2f})", markup=False)
        for letter in report["dead_letters"]:
            console.print(f"  {letter['code']}: {letter['message']}", markup=False)
        return
    if report["done_before"]:
        console.print("These sources were captioned with these options before: nothing to do.")
    elif report["taken_over"]:
        console.print(f"{report['taken_over']} of {report['units']} units of work were taken over from an earlier run.")
    table = Table("inputs", "captions", "dead letters", "skipped", "seconds", title=report["output"])
    numbers = [f"{report['counts'][name]:,}" for name in ("inputs", "captions", "dead_letters", "skipped")]
    table.add_row(*numbers, f"{report['wall_time_s']:.1f}")
    console.print(table)
    if report["left_out"]:
        console.print(f"  {report['left_out']:,} files in the folders are not named like audio and were left out")
    for code, count in report["dead_letter_codes"].items():
        console.print(f"  {count:,} x {code}")
