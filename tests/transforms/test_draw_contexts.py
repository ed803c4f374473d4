from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from sonogloss.errors import StoreFormatError
from sonogloss.indexes import Datastore
from sonogloss.methods.plan import Neighbours
from sonogloss.training.neighbours import draw_contexts, nearest
from sonogloss.transforms.batch_step import Step
from sonogloss.transforms.draw_contexts import (
    draw_folder,
    draw_part,
    plan_parts,
    read_parts,
    write_drawn,
    write_part,
)
from sonogloss.transforms.models import DatastoreReference
from tests.indexes.conftest import build, unit_rows


@pytest.fixture
def stores(tmp_path: Path) -> tuple[str, str]:
    """A corpus and a datastore of eight dimensions, in shards."""
    corpus = build(tmp_path / "corpus", unit_rows(23, seed=1), shards=2)
    return corpus, build(tmp_path / "store", unit_rows(40, seed=2), shards=3)


BAND = Neighbours(count=4, band=(-0.2, 0.9), seed=7)
NEAREST = Neighbours(count=3)


def drawing(references: list[DatastoreReference], draw: Neighbours) -> Step:
    return Step(write_drawn, corpus=references[0], datastore=references[1], draw=draw)


@pytest.mark.parametrize("draw", [BAND, NEAREST])
@pytest.mark.parametrize("size", [5, 100])
def test_parts_are_drawn_like_the_whole(tmp_path: Path, stores: tuple[str, str], draw: Neighbours, size: int) -> None:
    references = [DatastoreReference.of(path) for path in stores]
    corpus, store = (Datastore.open(path) for path in stores)
    parts = plan_parts(corpus.count, str(tmp_path / draw_folder(*references, draw)), size)
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        done = pipeline | beam.Create(parts) | drawing(references, draw)
        assert_that(done, equal_to(parts))
    if draw.band is None:
        expected, _ = nearest(corpus, store, count=3)
    else:
        expected = draw_contexts(corpus, store, count=4, band=draw.band, seed=7)
    assert np.array_equal(read_parts(parts), expected)


def test_parts_that_exist_are_not_drawn_again_and_partial_ones_are_refused(
    tmp_path: Path, stores: tuple[str, str]
) -> None:
    corpus, store = (Datastore.open(path) for path in stores)
    parts = plan_parts(corpus.count, str(tmp_path / "drawn"), 10)
    for part in parts:
        write_part(part, draw_part(part, corpus, store, BAND))
    references = [DatastoreReference.of(path) for path in stores]
    stamps = [Path(part.path).stat().st_mtime_ns for part in parts]
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        _ = pipeline | beam.Create(parts) | drawing(references, BAND)
    assert [Path(part.path).stat().st_mtime_ns for part in parts] == stamps
    write_part(parts[1], np.zeros((3, 4), np.int64))
    with pytest.raises(StoreFormatError, match="not whole"):
        read_parts(parts)


def test_another_draw_lies_elsewhere(stores: tuple[str, str]) -> None:
    corpus, store = (DatastoreReference.of(path) for path in stores)
    asked = [(corpus, store, BAND), (corpus, store, NEAREST), (store, corpus, BAND), (corpus, corpus, BAND)]
    assert len({draw_folder(*question) for question in asked}) == 4
