"""How far a job is, in words and numbers."""

from __future__ import annotations

import pytest

from sonogloss.pipelines.running.displays import pause_s
from sonogloss.pipelines.running.progress import Tally, Work, in_words
from sonogloss.records import ClipInfo
from sonogloss.transforms.progress_file import audio_seconds, share_ahead
from sonogloss.transforms.work import Batch, DoneSource


def clip(start: float, end: float, uri: str = "/a.wav", duration: float = 100.0) -> ClipInfo:
    return ClipInfo(
        clip_id="x", uri=uri, member=None, start_s=start, end_s=end, duration_s=duration, sample_rate=1, channels=1,
        audio_sha256="",
    )  # fmt: skip


def test_sound_that_windows_share_counts_once() -> None:
    assert audio_seconds([]) == 0
    assert audio_seconds([clip(0, 10), clip(5, 15), clip(10, 20), clip(50, 60)]) == 30
    assert audio_seconds([clip(0, 10), clip(0, 10, "/b.wav")]) == 20


def test_a_recording_that_goes_on_counts_by_its_seconds() -> None:
    some = [clip(10, 20), clip(20, 30)]
    open_end = Batch(unit="u", number=0, last=False, inputs=2, clips=some)  # type: ignore[arg-type]  # without samples
    assert share_ahead(open_end) == pytest.approx(0.3)
    done = (DoneSource(key="k", uri="/a.wav"),)
    assert share_ahead(Batch(unit="u", number=0, last=False, inputs=2, clips=some, sources=done)) == 0  # type: ignore[arg-type]
    assert share_ahead(Batch(unit="u", number=0, last=True, inputs=2, clips=some)) == 0  # type: ignore[arg-type]


def test_the_time_left_comes_from_work_and_not_from_the_number_of_files() -> None:
    work = Work(units=10, noun="recordings", size=1000)
    tally = Tally(done=9, units=9, size=100, audio_s=90)
    assert tally.share(work) == pytest.approx(0.1)
    assert tally.left_s(60, work) == pytest.approx(540)
    tally.ahead = 0.5  # of the last one, which is as large as nine times all others
    assert tally.share(work) == pytest.approx(0.55)
    assert Tally(ahead=0.25, audio_s=1).share(Work(units=1)) == pytest.approx(0.25)


def test_the_line_says_files_and_hours_of_their_total_and_what_was_taken_over() -> None:
    work = Work(units=80, noun="recordings", size=800, before=20)
    line = Tally(done=720, failed=3, units=20, size=200, audio_s=7200).say("clips", 60, work)
    assert line == (
        "720 clips, 12.0 a second, 3 failed, 40 of 100 recordings (20 done before), 2.0 h of about 8.0 h of sound, "
        "about 3 min to go"
    )
    assert Tally().say("clips", 1, work) == "no clips yet, 20 of 100 recordings (20 done before)"
    entries = Tally(done=720, units=20, size=200, audio_s=7200).as_json(60, work)
    assert (entries["recordings"], entries["total"], entries["taken_over"], entries["left_s"]) == (20, 80, 20, 180)


def test_numbers_in_words() -> None:
    assert [in_words(value) for value in (5, 119, 300, 7200, 3.6e6)] == ["5 s", "119 s", "5 min", "2.0 h", "1,000 h"]


def test_a_long_job_says_less() -> None:
    assert [pause_s(value) for value in (0, 200, 2000, 10**6)] == [10, 10, 100, 300]
