from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sonogloss.audio import AudioLimits, WindowPolicy
from sonogloss.records import Clip
from sonogloss.sources import Source
from sonogloss.transforms import read_audio
from sonogloss.transforms.read_audio import read_unit
from sonogloss.transforms.work import Batch, make_unit

RATE = 32000


@pytest.fixture
def folder(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    """Five seconds, twenty-five seconds, something that is no audio, an empty file."""
    rng = np.random.default_rng(0)
    for name, seconds in (("a.wav", 5), ("d.wav", 25)):
        (tmp_path / name).write_bytes(encode(0.1 * rng.standard_normal(seconds * RATE)))
    (tmp_path / "b.wav").write_text("this is a text")
    (tmp_path / "c.wav").touch()
    return tmp_path


def read(folder: Path, names: str, batch_size: int = 32) -> list[Batch]:
    unit = make_unit([Source(uri=str(folder / f"{name}.wav")) for name in names])
    return list(read_unit(unit, policy=WindowPolicy(), sample_rate=RATE, batch_size=batch_size))


def test_one_bad_file_is_one_dead_letter_among_good_clips(folder: Path) -> None:
    (batch,) = read(folder, "abcdx")
    assert [Path(clip.uri).name for clip in batch.clips] == ["a.wav", "d.wav", "d.wav", "d.wav"]
    assert [(Path(letter.uri).name, letter.code) for letter in batch.dead] == [
        ("b.wav", "UNSUPPORTED"),
        ("c.wav", "EMPTY"),
        ("x.wav", "READ_ERROR"),
    ]
    assert batch.inputs == 7
    assert batch.last


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_batches_are_bounded_in_order_and_the_last_one_is_known(folder: Path, size: int) -> None:
    batches = read(folder, "abcd", batch_size=size)
    assert [batch.number for batch in batches] == list(range(len(batches)))
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert all(len(batch.clips) <= size for batch in batches)
    assert [clip.start_s for batch in batches for clip in batch.clips] == [0, 0, 10, 20]
    assert sum(batch.inputs for batch in batches) == 6


def test_a_unit_without_any_good_file_still_ends(folder: Path) -> None:
    (batch,) = read(folder, "bc")
    assert batch.last
    assert not batch.clips
    assert len(batch.dead) == 2


def test_a_file_over_the_limit_is_a_dead_letter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(read_audio, "AudioLimits", refuse)
    unit = make_unit([Source(uri=str(folder / "a.wav"))])
    limits = AudioLimits(max_bytes=100)
    (batch,) = read_unit(unit, policy=WindowPolicy(), sample_rate=RATE, limits=limits)
    assert batch.dead[0].code == "LIMIT"


@pytest.mark.parametrize(("error", "code"), [(ValueError("odd"), "CORRUPT"), (MemoryError(), "OUT_OF_MEMORY")])
def test_a_decoder_that_breaks_in_an_unforeseen_way_costs_one_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    cut = read_audio.cut_clips

    def breaks(data: bytes, *, uri: str, **options: object) -> Iterator[Clip]:
        if uri.endswith("a.wav"):
            raise error
        yield from cut(data, uri=uri, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(read_audio, "cut_clips", breaks)
    (batch,) = read(folder, "ad")
    assert [letter.code for letter in batch.dead] == [code]
    assert len(batch.clips) == 3
