"""The pass on a GPU finds the rows of the pass on the processor; here its code runs on the processor, too."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.bridge import finish, project
from sonogloss.indexes import Datastore, candidates, device_scan
from sonogloss.indexes.clusters import cluster_centers
from sonogloss.indexes.device_scan import put_on_device, scan_on_device
from sonogloss.indexes.scan import scan
from tests.indexes.conftest import build, unit_rows
from tests.indexes.test_scan import near_one


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> str:
    return request.param


def assert_equal(vectors, queries, device, *, temperature=None, allowed=None, **asked):
    """Both passes find the same rows with the same scores, and the projection of float64 up to 1e-6."""
    expected = scan(vectors, queries, temperature=temperature, allowed=allowed, **asked)
    placed = put_on_device(vectors, device)
    found = scan_on_device(placed, vectors, queries, temperature=temperature, allowed=allowed, **asked)
    assert len(found.nearest) == len(expected.nearest)
    for (scores, rows), (expected_scores, expected_rows) in zip(found.nearest, expected.nearest, strict=True):
        assert np.array_equal(scores, expected_scores)
        assert np.array_equal(rows, expected_rows)
    assert (found.softmax is None) == (expected.softmax is None)
    if found.softmax is not None and (allowed is None or allowed.any()):
        rows = vectors.astype(np.float32) if allowed is None else vectors[allowed].astype(np.float32)
        projected = project(queries, rows, temperature=temperature, renormalise=False)
        np.testing.assert_allclose(finish(found.softmax, renormalise=False), projected, atol=1e-6, rtol=0)


@given(
    rows=st.integers(1, 900),
    n=st.integers(0, 40),
    k=st.integers(0, 30),
    temperature=st.sampled_from([None, 0, 1e-3, 0.005, 0.01, 0.07, 1, 100]),
    scale=st.sampled_from([1e-7, 1e-4, 10]),
    kept=st.sampled_from([None, 0.0, 0.02, 0.9]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_both_passes_agree(rows, n, k, temperature, scale, kept, seed):
    vectors = near_one(rows, 24, scale, seed)
    queries = np.concatenate([vectors, unit_rows(n, dim=24, seed=seed + 1)])[: max(n, 1)].copy()
    rng = np.random.default_rng(seed)
    allowed = None if kept is None else rng.random(rows) < kept
    ids = rng.permutation(rows)
    assert_equal(vectors, queries, "cpu", ids=ids, k=k, temperature=temperature, allowed=allowed)


def test_many_tiles_of_rows_and_queries(device, monkeypatch):
    monkeypatch.setattr(device_scan, "_QUERIES", 7)
    monkeypatch.setattr(device_scan, "_ROWS", 300)
    vectors, queries = unit_rows(2000, dim=32), unit_rows(30, dim=32, seed=1)
    assert_equal(vectors, queries, device, k=9, temperature=0.02)
    assert_equal(vectors.astype(np.float16), queries, device, k=9, temperature=0.02)


def test_thousands_of_ties(device, monkeypatch):
    monkeypatch.setattr(candidates, "_LIMIT", 100)
    vectors = np.concatenate([np.repeat(unit_rows(1), 3000, axis=0), unit_rows(300, seed=5)])
    ids = np.random.default_rng(3).permutation(len(vectors))
    assert_equal(vectors, vectors[:2], device, ids=ids, k=7, temperature=0.02)


def test_products_are_whole_float32_and_the_setting_comes_back(device):
    vectors, queries = unit_rows(3000, dim=512), unit_rows(64, dim=512, seed=1)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert_equal(vectors, queries, device, k=10, temperature=0.01)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
def test_a_datastore_on_a_gpu_answers_as_on_the_processor(tmp_path):
    vectors, queries = unit_rows(5000, dim=64), unit_rows(50, dim=64, seed=1)
    build(tmp_path / "store", vectors, shards=3, support="all")
    store, moved = (Datastore.open(str(tmp_path / "store")) for _ in range(2))
    moved.to("cuda")
    expected, projected = store.search_and_project(queries, 5, temperature=0.05, renormalise=True)
    contexts, other = moved.search_and_project(queries, 5, temperature=0.05, renormalise=True)
    assert contexts == expected
    np.testing.assert_allclose(other, projected, atol=1e-6, rtol=0)


@pytest.mark.gpu
def test_what_does_not_fit_stays_on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 1 << 30))
    assert put_on_device(unit_rows(16), "cuda") is None
    assert put_on_device(unit_rows(15), "cuda") is not None


def test_centers_found_with_torch_are_as_good_as_those_of_faiss(device):
    rng = np.random.default_rng(0)
    rows = unit_rows(40, dim=32)[rng.integers(0, 40, 6000)] + 0.1 * rng.standard_normal((6000, 32))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    torch_centers = cluster_centers(rows, 60, device=torch.device(device).type + ":0")
    fit = [(rows @ centers.T).max(axis=1).mean() for centers in (torch_centers, cluster_centers(rows, 60))]
    assert fit[0] > fit[1] - 0.005
    np.testing.assert_allclose(np.linalg.norm(torch_centers, axis=1), 1, atol=1e-5)
    assert np.array_equal(torch_centers, cluster_centers(rows, 60, device=torch.device(device).type + ":0"))


def test_rows_that_are_too_few_are_their_own_centers(device):
    assert np.array_equal(cluster_centers(unit_rows(5), 9, device=device), unit_rows(5))


def test_every_center_is_used_though_most_rows_are_equal(device):
    rows = np.concatenate([np.repeat(unit_rows(1), 500, axis=0), unit_rows(30, seed=1)])
    centers = cluster_centers(rows, 12, device=torch.device(device).type + ":0")
    assert np.isfinite(centers).all()
    assert len(np.unique(centers.round(5), axis=0)) >= 11


def test_a_copy_comes_and_goes(tmp_path):
    store = Datastore.open(build(tmp_path / "store", unit_rows(100), support="all"))
    queries = unit_rows(3, seed=1)
    expected = store.search(queries, 4)
    for device in ("cpu:0", "cpu:0", "cpu"):
        assert store.to(device) is store
        assert store.device == device
        assert store.search(queries, 4) == expected
