from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import AudioLimits, WindowPolicy
from sonogloss.audio.decoder_pool import DecoderPool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.sources import Source, source_key
from sonogloss.transforms import read_audio
from sonogloss.transforms.read_audio import ReadAudio, read_unit, read_units
from sonogloss.transforms.work import Batch, Unit, make_unit
from tests.archives import ARCHIVES, contents, listed, put, wav
from tests.audio.hostile_decoders import decode_clips_or_obey

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


def test_a_file_over_the_limit_is_a_dead_letter(folder: Path) -> None:
    unit = make_unit([Source(uri=str(folder / "a.wav"))])
    limits = AudioLimits(max_bytes=100)
    (batch,) = read_unit(unit, policy=WindowPolicy(), sample_rate=RATE, limits=limits)
    assert batch.dead[0].code == "LIMIT"


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Decoders that do what a file says: see `decode_clips_or_obey`."""
    pool = DecoderPool(decode_clips_or_obey, DecoderLimits(stall_s=2.0, memory_bytes=64 << 20))
    monkeypatch.setattr(read_audio, "clip_decoders", lambda: pool)
    yield
    pool.close()


@pytest.mark.parametrize(
    ("deed", "code", "words"),
    [
        ("segfault", "CRASHED", "SIGSEGV"),
        ("exit", "CRASHED", "exit code 1"),
        ("spin_in_c", "TIMEOUT", "2 s"),
        ("allocate", "LIMIT", "memory"),
        ("other_error", "CORRUPT", "KeyError"),
    ],
)
def test_what_a_file_does_to_its_decoder_costs_that_file(
    folder: Path, obedient: None, deed: str, code: str, words: str
) -> None:
    (folder / "b.wav").write_text(f"deed {deed}")
    (batch,) = read(folder, "abd")
    assert [Path(clip.uri).name for clip in batch.clips] == ["a.wav", "d.wav", "d.wav", "d.wav"]
    [letter] = batch.dead
    assert (Path(letter.uri).name, letter.code) == ("b.wav", code)
    assert words in letter.message


def test_clips_before_a_crash_are_kept(folder: Path, obedient: None) -> None:
    (folder / "a.wav").write_bytes(b"deed segfault_after " + (folder / "d.wav").read_bytes())
    (batch,) = read(folder, "ad")
    assert [clip.start_s for clip in batch.clips] == [0, 10, 20, 0, 10, 20]
    assert [letter.code for letter in batch.dead] == ["CRASHED"]
    assert batch.inputs == 7


def test_what_workers_died_of_twice_is_not_decoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = make_unit([Source(uri=str(folder / "a.wav")), Source(uri=str(folder / "d.wav"))])
    monkeypatch.setattr("sonogloss.audio.decoding_journal._machine", lambda: {"boot": None, "out_of_memory": None})
    notes = folder / "notes"
    notes.mkdir()
    for name in ("x", "y"):
        line = f'{{"boot": null, "out_of_memory": null}}\n"{source_key(unit.sources[0])}"\n'
        (notes / f"{name}.decoding.jsonl").write_text(line)
    journal = DecodingJournal(str(notes))
    (batch,) = read_units([unit], policy=WindowPolicy(), sample_rate=RATE, journal=journal)
    journal.close()
    assert [(Path(letter.uri).name, letter.code) for letter in batch.dead] == [("a.wav", "CRASHED")]
    assert len(batch.clips) == 3


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Recordings of 0 (empty files) to 3 clips of half a second, by number of clips."""
    folder = tmp_path_factory.mktemp("recordings")
    sizes = [b"", *(wav(clips, frames=4000 * clips) for clips in (1, 2, 3))]
    return [Source(uri=put(folder, f"{clips}.wav", content)) for clips, content in enumerate(sizes)]


HALF_SECONDS = WindowPolicy(window_s=0.5, hop_s=0.5)


@settings(deadline=None, max_examples=30)
@given(
    units=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=4),
    batch_size=st.integers(1, 7),
)
def test_batches_are_full_across_the_files_of_a_unit(
    recordings: list[Source], units: list[list[int]], batch_size: int
) -> None:
    work = [Unit(id=str(n), sources=tuple(recordings[clips] for clips in unit)) for n, unit in enumerate(units)]
    batches = list(read_units(work, policy=HALF_SECONDS, sample_rate=8000, batch_size=batch_size))
    for number, unit in enumerate(units):
        mine = [batch for batch in batches if batch.unit == str(number)]
        assert [batch.number for batch in mine] == list(range(len(mine)))
        assert [batch.last for batch in mine] == [False] * (len(mine) - 1) + [True]
        assert all(len(batch.clips) == batch_size for batch in mine[:-1])
        assert sum(len(batch.clips) for batch in mine) == sum(unit)
        assert sum(len(batch.dead) for batch in mine) == unit.count(0)
        assert sum(len(batch.sources) for batch in mine) == len(unit)
        assert all(batch.inputs == len(batch.clips) + len(batch.dead) for batch in mine)
    assert [batch.unit for batch in batches] == sorted(batch.unit for batch in batches)


def test_the_step_gives_what_the_function_gives(recordings: list[Source], tmp_path: Path) -> None:
    units = [make_unit([recordings[n] for n in numbers]) for numbers in ([3, 0, 1], [2], [0], [1, 1, 3])]
    expected = [summary(batch) for unit in units for batch in read_unit(unit, **OPTIONS)]

    def check(batches: list[Batch]) -> None:
        assert sorted(map(summary, batches)) == sorted(expected)

    with beam.Pipeline("FnApiRunner") as pipeline:
        step = ReadAudio(**OPTIONS, journal=str(tmp_path / "notes"))
        assert_that(pipeline | beam.Create(units) | step, check)
    assert list((tmp_path / "notes").iterdir()) == []


OPTIONS = {"policy": HALF_SECONDS, "sample_rate": 8000, "batch_size": 2}


def summary(batch: Batch) -> tuple[str, int, bool, list[bytes], list[str]]:
    codes = [letter.code for letter in batch.dead]
    return batch.unit, batch.number, batch.last, [clip.samples.tobytes() for clip in batch.clips], codes


@pytest.mark.parametrize("name", ARCHIVES)
def test_members_are_decoded_as_files_are(tmp_path: Path, name: str) -> None:
    """Small ones, which are held, and one that is read in pieces."""
    members = {f"{n}.wav": wav(n, frames=8000) for n in range(3)} | {"long.wav": wav(9, frames=3_000_000)}
    loose = [Source(uri=put(tmp_path / "loose", member, content)) for member, content in members.items()]
    packed, _ = listed(put(tmp_path, name, ARCHIVES[name](members)))
    policy = WindowPolicy(max_windows=2)
    (one,) = read_unit(make_unit(loose), policy=policy, sample_rate=8000)
    (other,) = read_unit(make_unit(packed), policy=policy, sample_rate=8000)
    assert [clip.samples.tobytes() for clip in other.clips] == [clip.samples.tobytes() for clip in one.clips]
    assert (len(other.clips), other.dead) == (5, ())


@pytest.mark.parametrize("frames", [8000, 3_000_000])
def test_a_member_that_cannot_be_read_is_not_taken_for_a_short_recording(tmp_path: Path, frames: int) -> None:
    members = {"a.wav": wav(1), "b.wav": wav(2, frames=frames), "c.wav": wav(3)}
    path = Path(put(tmp_path, "a.zip", ARCHIVES["deflated.zip"](members)))
    sources, _ = listed(str(path))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("b.wav").header_offset
    content[start + frames : start + frames + 50] = bytes(50)
    path.write_bytes(content)
    (expected,) = [code for _, code in contents(sources) if isinstance(code, str)]
    (batch,) = read_unit(make_unit(sources), policy=WindowPolicy(max_windows=1), sample_rate=8000)
    assert [(letter.member, letter.code) for letter in batch.dead] == [("b.wav", expected)]
    assert [clip.member for clip in batch.clips] == ["a.wav", "c.wav"]


def test_a_file_of_the_working_folder_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encode: Callable[..., bytes]
) -> None:
    """libsndfile refuses every MP3 in memory where it finds a file of this name."""
    source = Source(uri=put(tmp_path, "a.mp3", encode(np.zeros(RATE), container="MP3")))
    pool = DecoderPool(decode_clips_or_obey)
    monkeypatch.setattr(read_audio, "clip_decoders", lambda: pool)
    monkeypatch.chdir(tmp_path)
    in_the_way = tmp_path / "._"
    in_the_way.write_bytes(b"x")
    try:
        (batch,) = read_unit(make_unit([source]), policy=WindowPolicy(), sample_rate=RATE)
    finally:
        in_the_way.unlink()
        pool.close()
    assert [clip.flags for clip in batch.clips] == [("SILENT",)]
