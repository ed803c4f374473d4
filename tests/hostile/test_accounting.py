"""Nothing is lost and nothing counted twice, whatever lies beside whatever in which container."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import WindowPolicy
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.sources import source_key
from sonogloss.transforms.read_audio import read_units
from sonogloss.transforms.work import Batch, cut_units, make_unit
from tests.archives import ARCHIVES, put
from tests.audio.hostile import hostile_files

FILES = {file.name: file.data for file in hostile_files()}
POLICY = WindowPolicy(window_s=0.5, hop_s=0.5)
LOOSE = "loose"
Outcome = tuple[str, ...]


def batches(folder: Path, batch_size: int) -> list[Batch]:
    sources, skipped = list_audio([str(folder)])
    assert not skipped.counts
    found = list(read_units(cut_units(sources), policy=POLICY, sample_rate=8000, batch_size=batch_size))
    done = Counter(each.key for batch in found for each in batch.sources)
    assert done == Counter(map(source_key, sources))
    assert all(batch.inputs == len(batch.clips) + len(batch.dead) for batch in found)
    return found


def outcomes(found: list[Batch]) -> dict[tuple[str, str | None], Outcome]:
    """The digests of the clips and the codes of each source, by file name and member."""
    said: dict[tuple[str, str | None], Outcome] = {}
    for batch in found:
        for clip in batch.clips:
            place = (Path(clip.uri).name, clip.member)
            said[place] = (*said.get(place, ()), f"{clip.start_s} {clip.flags} {clip.samples.tobytes().hex()[:64]}")
        for letter in batch.dead:
            place = (Path(letter.uri).name, letter.member)
            said[place] = (*said.get(place, ()), letter.code)
    return said


@cache
def alone(name: str) -> Outcome:
    """What a file becomes when there is nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), "a.wav", FILES[name])
        (outcome,) = outcomes(batches(Path(folder), 100)).values()
    return outcome


@settings(deadline=None, max_examples=25)
@given(
    content=st.dictionaries(
        st.sampled_from([LOOSE, "a.tar", "a.tar.gz", "deflated.zip", "stored.zip"]),
        st.lists(st.sampled_from(sorted(FILES)), min_size=1, max_size=6),
        min_size=1,
    ),
    batch_size=st.integers(1, 40),
)
def test_every_file_becomes_what_it_becomes_alone_wherever_it_lies(
    content: dict[str, list[str]], batch_size: int
) -> None:
    expected: dict[tuple[str, str | None], Outcome] = {}
    with tempfile.TemporaryDirectory() as folder:
        for container, names in content.items():
            members = {f"{number}.wav": FILES[name] for number, name in enumerate(names)}
            if container == LOOSE:
                for member, data in members.items():
                    put(Path(folder), member, data)
            else:
                put(Path(folder), container, ARCHIVES[container](members))
            for member, name in zip(members, names, strict=True):
                expected[(member, None) if container == LOOSE else (container, member)] = alone(name)
        assert outcomes(batches(Path(folder), batch_size)) == expected


@settings(deadline=None, max_examples=25)
@given(names=st.lists(st.sampled_from(sorted(FILES)), min_size=1, max_size=8), batch_size=st.integers(1, 9))
def test_batches_neither_lose_nor_repeat(names: list[str], batch_size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            put(Path(folder), f"{number}.wav", FILES[name])
        sources, _ = list_audio([folder])
        found = list(read_units([make_unit(sources)], policy=POLICY, sample_rate=8000, batch_size=batch_size))
    assert [batch.last for batch in found] == [False] * (len(found) - 1) + [True]
    assert all(len(batch.clips) == batch_size for batch in found[:-1])
    clips = [clip.clip_id for batch in found for clip in batch.clips]
    assert len(set(clips)) == len(clips)
    dead = [letter.uri for batch in found for letter in batch.dead]
    assert len(set(dead)) == len(dead)
    assert {clip.uri for batch in found for clip in batch.clips} | set(dead) == {source.uri for source in sources}
