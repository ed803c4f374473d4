"""A captioner without a job: open it once, then caption files, bytes and arrays in this process.

::

    captioner = sonogloss.load_captioner("pocket", datastore="store")
    [row] = captioner.caption("dog.wav")
    print(row.caption, row.clap_score)
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import soundfile

from sonogloss import files
from sonogloss.audio import Cutting, cut_clips
from sonogloss.clap.inputs import checked_rate, checked_samples
from sonogloss.errors import ClipError, FormatError, MissingInputError, OptionError
from sonogloss.pipelines.config.captioning import CaptionSettings
from sonogloss.pipelines.config.fields import AnyPath
from sonogloss.pipelines.running.audio_job import BATCH_SIZE, run_here
from sonogloss.pipelines.running.caption_job import CaptionJob, prepare
from sonogloss.records import CaptionRow, Clip
from sonogloss.sources import Source
from sonogloss.transforms.work import Batch, Window, without_samples

Recording: TypeAlias = AnyPath | bytes | npt.NDArray[Any]
"""A path, the bytes of a file, or mono samples."""


def load_captioner(
    captioner: AnyPath = "pocket", *, datastore: AnyPath | None = None, **settings: Any
) -> AudioCaptioner:
    """Open a captioner with its CLAP and, where it needs one, a datastore.

    Args:
        captioner: `pocket`, `pocket:soft-hard`, `pocket:zeraucap`, or a directory.
        datastore: made by `build-datastore`; not needed by a captioner that retrieves nothing.
        **settings: any field of :class:`~sonogloss.pipelines.config.captioning.CaptionSettings`, such as `contexts`,
            `window` or `device`.

    Raises:
        InputError: one of them cannot be used, or they do not belong together.
    """
    return AudioCaptioner(prepare(CaptionSettings(captioner=captioner, datastore=datastore, **settings)))


class AudioCaptioner:
    """A captioner that is open; the captions are those of the `caption` command. Made by :func:`load_captioner`."""

    def __init__(self, job: CaptionJob) -> None:
        self._job = job

    @property
    def sample_rate(self) -> int:
        """The CLAP's rate in Hz; other rates are resampled."""
        return self._job.sample_rate

    @overload
    def caption(self, audio: Recording, sample_rate: int | None = None) -> list[CaptionRow]: ...
    @overload
    def caption(
        self, audio: list[Recording] | tuple[Recording, ...], sample_rate: int | None = None
    ) -> list[list[CaptionRow]]: ...
    def caption(
        self, audio: Recording | list[Recording] | tuple[Recording, ...], sample_rate: int | None = None
    ) -> list[CaptionRow] | list[list[CaptionRow]]:
        """Caption one recording, or several.

        Args:
            audio: a path, the bytes of a file, an array of mono samples (floats in [-1, 1] or integers), or a list of
                these.
            sample_rate: of arrays, in Hz.

        Returns:
            For each recording the rows of its windows in order, each with `caption`, `clap_score`, `contexts` and
            `clip` (`start_s`, `end_s`, ...), or one row with `long="pool"` or `"summary"`; for one recording its rows.

        Raises:
            InputError: a recording cannot be read, or an array is not mono samples of a known rate.
        """
        if isinstance(audio, str | os.PathLike | bytes | np.ndarray):
            return self._caption(audio, sample_rate)
        return [self._caption(recording, sample_rate) for recording in audio]

    def _caption(self, recording: Recording, sample_rate: int | None) -> list[CaptionRow]:
        name, data = _read(recording, sample_rate)
        policy = self._job.config.policy
        try:
            clips = cut_clips(data, Cutting(uri=name, policy=policy, sample_rate=self._job.sample_rate))
            batches = _batches(clips, Source(uri=name), skip_silent=policy.skip_silent)
            return [row for batch in run_here(self._job, batches) for row in self._rows(batch)]
        except ClipError as error:
            raise FormatError(f"{name!r} cannot be captioned: {error.message}", "Give another recording.") from error

    def _rows(self, batch: Batch) -> Sequence[CaptionRow]:
        for letter in batch.dead:
            raise FormatError(f"{letter.uri!r} cannot be captioned: {letter.message}", "Give another recording.")
        return self._job.rows.of(batch)


def _batches(clips: Iterator[Clip], source: Source, *, skip_silent: bool) -> Iterator[Batch]:
    """The clips of one recording as a unit; its last batch may be empty."""
    kept = (clip for clip in clips if not (skip_silent and "SILENT" in clip.flags))
    for number in count():
        part = tuple(islice(kept, BATCH_SIZE))
        last = len(part) < BATCH_SIZE
        windows = tuple(Window(source=source, clip=without_samples(clip)) for clip in part)
        yield Batch(unit="", number=number, last=last, inputs=len(part), windows=windows, clips=part)
        if last:
            return


def _read(recording: Recording, sample_rate: int | None) -> tuple[str, bytes]:
    """The name and the bytes of a recording; an array becomes a WAV file of floats, which keeps its samples exactly."""
    if isinstance(recording, np.ndarray):
        if sample_rate is None:
            raise OptionError("An array has no sample rate of its own.", "Give sample_rate in Hz.")
        target = io.BytesIO()
        rate = checked_rate(sample_rate)
        soundfile.write(target, checked_samples(recording), rate, format="WAV", subtype="FLOAT")
        return "array", target.getvalue()
    if isinstance(recording, bytes):
        return "bytes", recording
    path = os.fspath(recording)
    if not files.exists(path) or files.is_dir(path):
        raise MissingInputError(f"{path!r} is not a file.", "Check the path.")
    return path, files.read_bytes(path)
