"""A dry run: how much sound there is, what comes out of the first recording, and how long all of it would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sonogloss.audio import WindowPolicy, expected_windows
from sonogloss.audio.decoder_pool import DecodeRequest
from sonogloss.audio.probe import Form, header_readers
from sonogloss.errors import ClipError
from sonogloss.pipelines.config.captioning import CaptionConfig, ClassifyConfig
from sonogloss.pipelines.running.beam_options import count_cores
from sonogloss.pipelines.running.inputs import runs_elsewhere
from sonogloss.pipelines.running.progress import HOUR_S, in_words
from sonogloss.pipelines.running.report import first_batch
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.sources import Source, SourceTable, open_members
from sonogloss.transforms.read_audio import STAGE as READ_AUDIO
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.work import Batch, make_unit

if TYPE_CHECKING:
    from sonogloss.pipelines.running.audio_job import AudioJob

SAMPLE = 500
"""Of how many recordings the headers are read at most."""
_PROBE_WITHIN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much there is to do.

    Attributes:
        sound_s: seconds of sound.
        clips: that it is cut into.
        probed: recordings whose header was read.
        recordings: all of them.
        estimated: the numbers are scaled from those that were read.
        unreadable: recordings of those that were read which hold no sound that can be read.
    """

    sound_s: float
    clips: int
    probed: int
    recordings: int
    estimated: bool
    unreadable: int = 0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a batch took: to decode a second of sound, and in the models for a clip; in seconds."""

    decode_s: float
    clip_s: float


def dry_run(
    config: CaptionConfig | ClassifyConfig,
    job: AudioJob,
    sources: Sequence[Source],
    *,
    left_out: int,
    units: int,
    run: Callable[[Sequence[Batch]], Sequence[Batch]],
    batch_size: int,
) -> dict[str, Any]:
    """Process the first batch of the first source that can be read, in this process, and estimate the rest.

    For a job of workers elsewhere no model is loaded: it is said how much sound there is, and not how long it takes.

    Args:
        config: the options.
        job: the loaded parts.
        sources: all of them.
        left_out: how many files were left out.
        units: how many units of work the sources make.
        run: the steps of the job, in this process.
        batch_size: clips a batch.

    Raises:
        MissingInputError: no source can be read.
    """
    policy, rate = config.policy, job.sample_rate
    own, on_cpu = config.workers or 1, job.clap.device == "cpu"
    first = first_batch(sources, policy=policy, sample_rate=rate, batch_size=batch_size)
    extent = measure_extent(sources, policy)
    done: Sequence[Batch] = []
    speed = None
    if not runs_elsewhere(config.beam_args):
        done = run([first])
        unit = make_unit(spread(sources, batch_size))
        batch = next(read_unit(unit, policy=policy, sample_rate=rate, batch_size=batch_size))
        speed = measure_speed(batch, run, threads=max(1, count_cores() // own) if on_cpu else None)
    return {
        "dry_run": True,
        "sources": len(sources),
        "left_out": left_out,
        "units": units,
        "fingerprints": job.fingerprints(),
        "rows": [
            {"uri": row.clip.uri, "start_s": row.clip.start_s, "end_s": row.clip.end_s, **job.preview(row)}
            for each in done
            for row in job.rows.of(each)
        ],
        "dead_letters": [asdict(letter) for each in done for letter in each.dead],
        "extent": asdict(extent),
        "estimate": estimate(extent, speed, workers=own, on_cpu=on_cpu, price_per_hour=config.price_per_hour),
        "problems": [],
    }


def estimate(
    extent: Extent, speed: Speed | None, *, workers: int, on_cpu: bool, price_per_hour: float | None
) -> dict[str, Any] | None:
    """How long the job takes on this machine, and what it costs.

    Recordings are decoded while the models work, so the longer of the two counts; on a single core both do. Workers
    decode at once, and on processors compute at once, each at the speed that was measured with its share of the cores.

    Returns:
        `decode_s`, `models_s`, `wall_time_s`, `workers` and `price` (None without one); None if nothing was measured.
    """
    if speed is None:
        return None
    decode_s = extent.sound_s * speed.decode_s / workers
    models_s = extent.clips * speed.clip_s / (workers if on_cpu else 1)
    at_once = count_cores() > workers
    wall_s = max(decode_s, models_s) if at_once else decode_s + models_s
    price = None if price_per_hour is None else round(wall_s / HOUR_S * price_per_hour, 4)
    return {
        "workers": workers,
        "decode_s": round(decode_s, 2),
        "models_s": round(models_s, 2),
        "wall_time_s": round(wall_s, 2),
        "price": price,
    }


def spread(sources: Sequence[Source], count: int) -> SourceTable:
    """At most so many sources, evenly spread over all that can be opened; all of them where there are fewer."""
    usable = _usable(sources)
    count = min(count, len(usable))
    return usable.take(np.arange(count) * len(usable) // max(count, 1))


def _usable(sources: Sequence[Source]) -> SourceTable:
    """What can be opened, as far as the listing knows."""
    table = SourceTable.of(sources)
    return table.take(np.flatnonzero(np.fromiter((source.refused is None for source in table), bool, len(table))))


def measure_extent(sources: Sequence[Source], policy: WindowPolicy, *, sample: int = SAMPLE) -> Extent:
    """Read headers, of a sample where there are very many; the rest is estimated by bytes, or by number.

    What opens nowhere has no sound; a header that announces no length counts as the mean of the others.
    """
    usable = _usable(sources)
    end = time.monotonic() + _PROBE_WITHIN_S
    sound_s, clips, known, size, probed, unreadable = 0.0, 0, 0, 0, 0, 0
    for source, form in _forms(spread(usable, sample)):
        probed += 1
        if form is not None:
            unreadable += form.duration_s == 0
            length = max(0.0, min(form.duration_s, source.end_s or form.duration_s) - (source.start_s or 0.0))
            sound_s += length
            clips += len(expected_windows(length, policy)) * (form.channels if policy.channels == "split" else 1)
            known, size = known + 1, size + (source.bytes or 0)
        if time.monotonic() > end:
            break
    scale = len(usable) / known if known else 1.0
    if size and policy.max_windows is None and all(np.all(sizes >= 0) for sizes in usable.sizes()):
        scale = sum(int(sizes.sum()) for sizes in usable.sizes()) / size
    return Extent(
        sound_s=round(sound_s * scale, 3),
        clips=round(clips * scale),
        probed=probed,
        recordings=len(usable),
        estimated=known < len(usable),
        unreadable=unreadable,
    )


def _forms(sources: Sequence[Source]) -> Iterator[tuple[Source, Form | None]]:
    """Each source with its form; one of no length if it does not open, None if the length is unknown."""
    opening: list[Source] = []

    def requests() -> Iterator[DecodeRequest]:
        for source, opened in open_members(sources):
            opening.append(source)
            yield DecodeRequest(source=b"" if isinstance(opened, ClipError) else opened)

    for items in header_readers().decode_each(requests()):
        source = opening.pop(0)
        try:
            found: list[Form] = list(items)  # to the end: a process that is left in the middle ends
            yield source, found[0] if found else None
        except ClipError:
            yield source, Form(duration_s=0.0, channels=1)


def measure_speed(
    batch: Batch, run: Callable[[Sequence[Batch]], Sequence[Batch]], *, threads: int | None
) -> Speed | None:
    """Run a batch, with so many threads if they are given; None if it holds no clip."""
    import torch

    if not batch.clips:
        return None
    lengths = {(clip.uri, clip.member): clip.duration_s for clip in batch.clips}
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        start = time.perf_counter()
        run([replace(batch, last=True)])
        seconds = time.perf_counter() - start
    finally:
        torch.set_num_threads(before)
    return Speed(decode_s=batch.seconds[READ_AUDIO] / sum(lengths.values()), clip_s=seconds / len(batch.clips))


def show_dry_run(report: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> None:
    """Print the report of a dry run for a person; `words` says what a row holds."""
    console = plain_console()
    extent, expected = report["extent"], report["estimate"]
    left_out = f" ({report['left_out']:,} other files left out)" if report["left_out"] else ""
    console.print(f"{report['sources']:,} recordings, units of work: {report['units']:,}{left_out}")
    source = f"estimated from {extent['probed']:,} of {extent['recordings']:,} recordings"
    about = source if extent["estimated"] else "by their headers"
    console.print(f"  {in_words(extent['sound_s'])} of sound, {extent['clips']:,} clips ({about})")
    if bad := extent["unreadable"]:
        console.print(f"  unreadable: {bad:,} of {extent['probed']:,} headers")
    if expected is not None:
        processes = f"{expected['workers']} workers" if expected["workers"] > 1 else "one process"
        price = f"; {expected['price']:,.2f} at the price given" if expected["price"] is not None else ""
        console.print(
            f"  about {in_words(expected['wall_time_s'])} with {processes} on this machine: decoding "
            f"{in_words(expected['decode_s'])}, models {in_words(expected['models_s'])}{price}",
            soft_wrap=True,
        )
    if report["rows"] or report["dead_letters"]:
        console.print("The first recording (nothing was written):")
    for row in report["rows"]:
        console.print(f"  {row['start_s']:7.1f} s  {words(row)}")
    for letter in report["dead_letters"]:
        console.print(f"  {letter['code']}: {letter['message']}")
