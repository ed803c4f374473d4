from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sonogloss.audio import WindowPolicy
from sonogloss.sources import Source, source_key
from sonogloss.transforms import long_sources
from sonogloss.transforms.long_sources import count_recordings, split_long

POLICY = WindowPolicy(window_s=1, hop_s=0.5)
SECONDS = 40


@pytest.fixture
def listed(tmp_path: Path, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """A listed recording of 40 s that is larger than some parts."""
    monkeypatch.setattr(long_sources, "PART_BYTES", 20_000)

    def _listed(container: str = "WAV", **options: object) -> Source:
        noise = 0.1 * np.random.default_rng(0).standard_normal(SECONDS * 8000)
        path = tmp_path / f"a.{container.lower()}"
        path.write_bytes(encode(noise, 8000, container=container, **options))
        return Source(uri=str(path), bytes=path.stat().st_size, version="1")

    return _listed


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF", "W64"])
def test_parts_share_the_windows_and_the_bytes(listed: Callable[..., Source], container: str) -> None:
    source = listed(container)
    parts = split_long([source], POLICY)
    assert [part.part for part in parts] == [(0, 32), (32, 64), (64, None)]
    assert len({source_key(part) for part in [*parts, source]}) == 4
    assert (len(parts), count_recordings(parts)) == (3, 1)
    assert all(part.bytes == (source.bytes or 0) // 3 for part in parts)
    assert split_long([source], POLICY) == parts


def test_what_is_short_in_windows_or_bytes_is_one_piece(
    listed: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = listed()
    assert split_long([source], WindowPolicy(window_s=10, hop_s=10)) == [source]
    assert split_long([source], replace(POLICY, max_windows=3)) == [source]
    monkeypatch.setattr(long_sources, "PART_BYTES", (source.bytes or 0) // 2 + 1)
    assert split_long([source], POLICY) == [source]


def test_formats_without_exact_places_are_one_piece(listed: Callable[..., Source], tmp_path: Path) -> None:
    sources = [listed("MP3"), listed("OGG"), listed("WAV", subtype="MS_ADPCM")]
    (tmp_path / "b.wav").write_bytes(b"RIFF" + bytes(300_000))
    sources += [Source(uri=str(tmp_path / name), bytes=300_000, version="1") for name in ("b.wav", "none.wav")]
    assert split_long(sources, POLICY) == sources


def test_ranges_and_members_are_one_piece(listed: Callable[..., Source]) -> None:
    source = listed()
    others = [{"member": "x"}, {"start_s": 1.0}, {"end_s": 9.0}, {"version": None}, {"container": "tar"}]
    sources = [replace(source, **other) for other in others]  # type: ignore[arg-type]
    assert split_long(sources, POLICY) == sources
