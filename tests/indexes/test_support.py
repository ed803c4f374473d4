"""The support on disk: projection from parts equals projection from the whole, and what is not a support is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import ClipError, FingerprintMismatchError, MissingInputError, OptionError, StoreFormatError
from sonogloss.indexes import Support, commit_datastore, read_manifest, verify, write_shard
from sonogloss.indexes.make_support import check_support, make_support
from sonogloss.indexes.support import load_part
from tests.indexes.conftest import CLAP, build, captions, unit_rows


def by_definition(queries, vectors, temperature, renormalise):
    """Softmax over all captions of the cosines, as weights of their vectors; at temperature 0 the nearest alone."""
    queries, vectors = queries.astype(np.float64), vectors.astype(np.float64)
    cosines = queries @ vectors.T
    if temperature == 0:
        weights = (cosines == cosines.max(axis=1, keepdims=True)).astype(float)
        weights = np.eye(len(vectors))[weights.argmax(axis=1)]
    else:
        weights = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperature)
        weights /= weights.sum(axis=1, keepdims=True)
    projected = weights @ vectors
    return projected / np.linalg.norm(projected, axis=1, keepdims=True) if renormalise else projected


@given(
    rows=st.integers(1, 30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    temperature=st.sampled_from([0, 0.01, 0.07, 1.0]),
    renormalise=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_parts_of_any_size_project_like_the_whole(rows, cuts, temperature, renormalise, seed):
    vectors, queries = unit_rows(rows, seed=seed), unit_rows(5, seed=seed + 100)
    parts = np.split(vectors, sorted(min(cut, rows) for cut in cuts))
    support = Support(parts, dim=8, clap_fingerprint="f")
    projected = support.project(queries, temperature=temperature, renormalise=renormalise)
    assert support.count == rows
    np.testing.assert_allclose(projected, by_definition(queries, vectors, temperature, renormalise), atol=1e-5)
    alone = [support.project(query[None], temperature=temperature, renormalise=renormalise)[0] for query in queries]
    np.testing.assert_array_equal(projected, np.stack(alone))


def test_a_caption_that_occurs_twice_weighs_twice():
    one, other = unit_rows(2)
    query = (one + other)[None] / np.linalg.norm(one + other)
    plain = Support([np.stack([one, other])], dim=8, clap_fingerprint="f")
    doubled = Support([np.stack([one, other, one])], dim=8, clap_fingerprint="f")
    np.testing.assert_allclose(plain.project(query, temperature=1, renormalise=False)[0], (one + other) / 2, atol=1e-6)
    np.testing.assert_allclose(
        doubled.project(query, temperature=1, renormalise=False)[0], (2 * one + other) / 3, atol=1e-6
    )


def test_queries_are_checked(store_dir):
    support = Support.open(store_dir)
    with pytest.raises(FingerprintMismatchError, match="width 8"):
        support.project(unit_rows(1, dim=5), temperature=0.1, renormalise=False)
    with pytest.raises(ClipError):
        support.project(np.full((1, 8), np.nan, np.float32), temperature=0.1, renormalise=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no array", "not a .npy file"),
        (b"", "not a .npy file"),
        (unit_rows(3), r"\(3, 8\) instead of float32 \(20, 8\)"),
        (unit_rows(20).astype(np.float64), "float64"),
    ],
)
def test_a_part_that_is_not_what_the_manifest_says_is_refused(store_dir, content, words):
    (part,) = read_manifest(store_dir).support.parts
    path = f"{store_dir}/{part.file.path}"
    if isinstance(content, bytes):
        with open(path, "wb") as handle:
            handle.write(content)
    else:
        np.save(path, content)
    with pytest.raises(StoreFormatError, match=words):
        load_part(store_dir, part)


def test_pickled_arrays_are_never_unpickled(store_dir):
    (part,) = read_manifest(store_dir).support.parts
    np.save(f"{store_dir}/{part.file.path}", np.array([{"a": 1}] * 20, object), allow_pickle=True)
    with pytest.raises(StoreFormatError, match=r"not a \.npy file"):
        load_part(store_dir, part)


def test_parts_are_memory_mapped(store_dir):
    support = Support.open(store_dir)
    assert all(isinstance(part, np.memmap) for part in support.parts)


def test_a_support_without_rows_cannot_be_opened_alone(tmp_path):
    path = build(tmp_path, unit_rows(4), support=[unit_rows(0)])
    with pytest.raises(StoreFormatError, match=str(tmp_path)):
        Support.open(path)


def written(tmp_path, vectors) -> list[dict]:
    parts = np.array_split(np.arange(len(vectors)), 2)
    return [
        write_shard(str(tmp_path), number, captions([str(row) for row in rows]), vectors[rows])
        for number, rows in enumerate(parts)
    ]


@pytest.mark.parametrize(("wanted", "count"), [("sample:7", 7), ("sample:99", 30), ("kmeans:5", 5), ("kmeans:40", 30)])
def test_a_support_may_be_a_sample_or_centers(tmp_path, wanted, count):
    vectors = unit_rows(30)
    entries = written(tmp_path, vectors)
    made = make_support(str(tmp_path), entries, wanted, dtype="float32", clap=CLAP)
    again = make_support(str(tmp_path), entries, wanted, dtype="float32", clap=CLAP)
    assert made == again
    manifest = commit_datastore(str(tmp_path), shards=entries, support=made, support_kind=wanted, clap=CLAP, options={})
    assert (manifest.support.count, manifest.support.kind) == (count, wanted)
    rows = np.concatenate(Support.open(str(tmp_path)).parts)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    if wanted != "kmeans:5":
        assert {row.tobytes() for row in rows} <= {row.tobytes() for row in vectors}
    assert verify(str(tmp_path)) == []


def test_a_support_may_be_that_of_another_store_of_the_same_clap(tmp_path):
    other = build(tmp_path / "other", unit_rows(9, seed=3), support=[unit_rows(4, seed=5), unit_rows(2, seed=6)])
    entries = written(tmp_path / "store", unit_rows(10))
    made = make_support(str(tmp_path / "store"), entries, other, dtype="float16", clap=CLAP)
    assert [part["count"] for part in made] == [4, 2]
    stranger = build(tmp_path / "stranger", unit_rows(9), fingerprint="0" * 64)
    with pytest.raises(FingerprintMismatchError, match="stranger"):
        check_support(stranger, CLAP)
    with pytest.raises(OptionError, match="sample:10000"):
        check_support("sample", CLAP)
    with pytest.raises(MissingInputError, match="nowhere"):
        check_support("nowhere", CLAP)
