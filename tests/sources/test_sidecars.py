"""Sidecars: joined by name, over a stretch of the archive, and never lost without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sonogloss.sources import SourceLimits, sidecars
from tests.archives import ARCHIVES, listed, put, tar, wav

WITH_SIDECARS = [name for name in ARCHIVES if name != "a.parquet"]


@pytest.mark.parametrize("kind", WITH_SIDECARS)
def test_json_and_text_of_the_same_name_are_carried(kind: str, tmp_path: Path) -> None:
    members = {
        "d/000.flac": wav(1),
        "d/000.json": json.dumps({"text": ["rain", "more rain"], "tag": [], "original_data": {"id": 7}}).encode(),
        "d/001.json": b'\xef\xbb\xbf{"text": "wind"}',
        "d/001.flac": wav(2),
        "d/001.txt": "\ufeffein Geräusch\n".encode(),
        "e/000.flac": wav(3),
        "002.flac": wav(4),
    }
    sources, skipped = listed(put(tmp_path, kind, ARCHIVES[kind](members)))
    assert skipped == []
    assert {source.member: source.extra for source in sources} == {
        "d/000.flac": {"text": ["rain", "more rain"], "tag": [], "original_data": {"id": 7}},
        "d/001.flac": {"text": "wind", "txt": "ein Geräusch"},
        "e/000.flac": {},
        "002.flac": {},
    }


def extras(tmp_path: Path, members: dict[str, bytes]) -> tuple[dict[str | None, object], list[tuple[str | None, str]]]:
    sources, skipped = listed(put(tmp_path, "a.tar", tar(members)))
    return {source.member: source.extra for source in sources}, [(found.member, str(found.code)) for found in skipped]


def test_a_sidecar_serves_all_recordings_of_its_first_name(tmp_path: Path) -> None:
    members = {
        "000.left.wav": wav(1),
        "000.json": b'{"a": 1, "b": 1}',
        "000.right.wav": wav(2),
        "000.right.json": b'{"b": 2}',
        "2020.01.wav": wav(3),
        "2020.02.json": b'{"c": 3}',
        "2020.02.wav": wav(4),
    }
    assert extras(tmp_path, members) == (
        {
            "000.left.wav": {"a": 1, "b": 1},
            "000.right.wav": {"a": 1, "b": 2},
            "2020.01.wav": {},
            "2020.02.wav": {"c": 3},
        },
        [],
    )


@pytest.mark.parametrize("order", ["sounds first", "sidecars first", "mixed"])
def test_members_that_are_interleaved_are_joined_all_the_same(order: str, tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(200)]
    sounds = {f"{name}.wav": wav(int(name)) for name in names}
    texts = {f"{name}.txt": name.encode() for name in names}
    members = {"sounds first": {**sounds, **texts}, "sidecars first": {**texts, **sounds}}.get(order)
    if members is None:
        members = dict(sorted({**sounds, **texts}.items(), key=lambda item: item[0][::-1]))
    assert extras(tmp_path, members) == ({f"{name}.wav": {"txt": name} for name in names}, [])


def test_what_stands_too_far_apart_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "STRETCH", 10)
    sounds = {f"{number:03d}.wav": wav(number) for number in range(30)}
    texts = {f"{number:03d}.txt": b"x" for number in reversed(range(30))}
    found, left = extras(tmp_path, {**sounds, **texts})
    assert list(found) == list(sounds)
    lost = [name for name in sounds if not found[name]]
    assert [(name.replace("wav", "txt"), "NOT_AUDIO") for name in reversed(lost)] == left
    assert lost == list(sounds)[: len(lost)]
    assert 0 < len(lost) < 30


def test_sidecars_without_a_recording_and_sidecars_that_cannot_be_read(tmp_path: Path) -> None:
    members = {
        "README.txt": b"hello",
        "a.wav": wav(1),
        "a.json": b"[1, 2]",
        "b.json": b"{broken",
        "b.wav": wav(2),
        "c.json": b'{"text": "' + b"x" * 2000 + b'"}',
        "c.wav": wav(3),
        "d.json": b"[" * 50_000,
        "d.wav": wav(4),
        "e.txt": b"caf\xe9",
        "e.wav": wav(5),
    }
    sources, skipped = listed(put(tmp_path, "a.tar", tar(members)), limits=SourceLimits(max_extra_bytes=60_000))
    assert {source.member: source.extra for source in sources}["c.wav"] == {"text": "x" * 2000}
    sources, skipped = listed(put(tmp_path, "a.tar", tar(members)), limits=SourceLimits(max_extra_bytes=1000))
    assert {source.member: source.extra for source in sources} == {
        **{name: {} for name in ["a.wav", "b.wav", "c.wav", "d.wav"]},
        "e.wav": {"txt": "caf\ufffd"},
    }
    assert {found.member: str(found.code) for found in skipped} == {
        "a.json": "SIDECAR",
        "b.json": "SIDECAR",
        "c.json": "SIDECAR",
        "d.json": "SIDECAR",
        "README.txt": "NOT_AUDIO",
    }
    assert not any(found.failed for found in skipped)


def test_memory_for_sidecars_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "STRETCH", 10)
    join = sidecars.SidecarJoin("a.tar")
    for number in range(1000):
        list(join.sidecar(f"{number}.json", {}))
        assert len(join._fields) <= 21
    assert len(list(join.rest())) <= 21
    assert (join._fields, join._used) == ({}, set())
