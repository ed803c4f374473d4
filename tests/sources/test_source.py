"""Records: what a key depends on, and what limits accept."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from sonogloss.records import clip_id
from sonogloss.sources import Source, SourceLimits, list_sources, source_key
from tests.archives import put, wav

SOURCE = Source(uri="/a.tar", member="x.wav", bytes=10, version="10-1", start_s=0.0, end_s=2.0)


@pytest.mark.parametrize(
    "change",
    [{"uri": "/b.tar"}, {"member": "y.wav"}, {"member": None}, {"version": "10-2"}, {"start_s": None}, {"end_s": 3.0}],
)
def test_the_key_follows_name_version_and_range(change: dict[str, object]) -> None:
    assert source_key(replace(SOURCE, **change)) != source_key(SOURCE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"id": "7"}, {"extra": {"a": 1}}, {"place": (512,)}, {"container": "tar"}, {"bytes": 9}]
)
def test_the_key_follows_nothing_else(change: dict[str, object]) -> None:
    assert source_key(replace(SOURCE, **change)) == source_key(SOURCE)  # type: ignore[arg-type]


def test_without_a_version_the_size_is_one() -> None:
    unknown = replace(SOURCE, version=None)
    assert source_key(unknown) != source_key(replace(unknown, bytes=11))


def test_the_key_of_a_name_that_is_not_utf8() -> None:
    assert len(source_key(Source(uri="/caf\udce9.wav"))) == 32


def test_ids_of_loose_files_are_what_they_were(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = put(tmp_path, "a.wav", wav(1))
    (source,) = list_sources([path])
    assert isinstance(source, Source)
    assert clip_id(source.uri, source.member, 0.0, 1.0) == clip_id(path, None, 0.0, 1.0)


def test_sources_travel() -> None:
    assert pickle.loads(pickle.dumps(SOURCE)) == SOURCE


@pytest.mark.parametrize("name", vars(SourceLimits()))
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SourceLimits(**{name: 0})


def test_what_is_dense() -> None:
    limits = SourceLimits(max_ratio=10, ratio_from_bytes=100)
    assert not limits.too_dense(0, 100)
    assert limits.too_dense(0, 101)
    assert limits.too_dense(10, 101)
    assert not limits.too_dense(11, 101)
    assert not limits.too_dense(10, 101, scale=2)
