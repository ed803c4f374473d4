"""What a dry run says of the whole, without doing it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonogloss.audio import WindowPolicy
from sonogloss.pipelines.running import dry_run as room
from sonogloss.pipelines.running.dry_run import Extent, Speed, estimate, measure_extent, spread
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.sources import Source
from tests.pipelines.conftest import Run, assert_one_line

POLICY = WindowPolicy(window_s=10, hop_s=10)


def test_headers_tell_hours_and_clips(recordings: Path) -> None:
    sources, _ = list_audio([str(recordings)])
    extent = measure_extent(sources, POLICY)
    assert extent == Extent(sound_s=33.0, clips=11, probed=10, recordings=10, estimated=False, unreadable=1)
    first = measure_extent(sources, WindowPolicy(window_s=10, hop_s=10, max_windows=1))
    assert (first.clips, first.sound_s) == (9, 33.0)  # one is broken


def test_a_sample_stands_for_the_whole(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    for number in range(40):
        (tmp_path / f"{number:02d}.wav").write_bytes(encode(np.zeros(32000 * (1 + number % 2))))
    sources, _ = list_audio([str(tmp_path)])
    extent = measure_extent(sources, POLICY, sample=8)
    assert (extent.probed, extent.recordings, extent.estimated) == (8, 40, True)
    assert extent.clips == pytest.approx(40, rel=0.5)
    whole = measure_extent(sources, POLICY)
    assert (whole.sound_s, whole.clips, whole.estimated) == (60.0, 40, False)


def test_members_and_ranges_count_as_what_they_are(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    (tmp_path / "a.wav").write_bytes(encode(np.zeros(32000 * 30)))
    (tmp_path / "list.csv").write_text("uri,start,end\na.wav,0,12\na.wav,25,60\n")
    sources, _ = list_audio([str(tmp_path / "list.csv")])
    extent = measure_extent(sources, POLICY)
    assert (extent.sound_s, extent.clips) == (17.0, 3)


def test_a_sample_is_spread() -> None:
    sources = [Source(uri=str(number)) for number in range(10)]
    assert [source.uri for source in spread(sources, 4)] == ["0", "2", "5", "7"]
    assert spread(sources, 100) == sources
    assert spread([], 3) == []


@pytest.mark.parametrize(
    ("cores", "workers", "on_cpu", "wall_s"),
    [
        (1, 1, True, 36 + 100),  # nothing runs at once
        (8, 1, True, 100),  # the models hide the decoding
        (8, 4, True, 25),
        (8, 4, False, 100),  # a GPU is shared
    ],
)
def test_an_estimate_by_hand(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, on_cpu: bool, wall_s: float
) -> None:
    monkeypatch.setattr(room, "count_cores", lambda: cores)
    extent = Extent(sound_s=3600, clips=400, probed=1, recordings=1, estimated=False)
    speed = Speed(decode_s=0.01, clip_s=0.25)
    found = estimate(extent, speed, workers=workers, on_cpu=on_cpu, price_per_hour=3.6)
    assert found is not None
    assert found["wall_time_s"] == pytest.approx(wall_s)
    assert found["price"] == pytest.approx(wall_s / 1000)
    assert estimate(extent, None, workers=1, on_cpu=True, price_per_hour=None) is None


def test_the_command_estimates_and_writes_nothing(
    run: Run, recordings: Path, captioner: Path, store: Path, tmp_path: Path
) -> None:
    argv: list[Any] = ["caption", "--audio", recordings, "--captioner", captioner, "--datastore", store]
    argv += ["--output", tmp_path / "out"]
    report = run(*argv, "--dry-run", "--workers", "2", "--price-per-hour", "3600", "--json").report
    assert report["extent"]["clips"] == 11
    assert report["estimate"]["workers"] == 2
    assert report["estimate"]["price"] == pytest.approx(report["estimate"]["wall_time_s"], abs=0.01)
    shown = run(*argv, "--dry-run").out
    assert "33 s of sound, 11 clips (by their headers)" in shown
    assert "unreadable: 1 of 10 headers" in shown
    assert "with one process on this machine" in shown
    assert not (tmp_path / "out").exists()
    assert_one_line(run(*argv, "--price-per-hour", "1"), "--dry-run")
    (tmp_path / "file").touch()
    assert_one_line(run(*argv[:-1], tmp_path / "file", "--dry-run"), "is not a directory")
