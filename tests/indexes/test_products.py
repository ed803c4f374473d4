"""Products: right, of arrays of any kind that a pass gives, with and without oneDNN."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sonogloss.indexes import products, tiles
from sonogloss.indexes.products import multiply, multiply_few
from sonogloss.indexes.scan import scan
from tests.indexes.conftest import unit_rows


@pytest.fixture(params=["oneDNN", "NumPy"])
def kernel(request, monkeypatch):
    """Products as they are, and as they are where PyTorch carries no oneDNN."""
    products._kernel.cache_clear()
    tiles._places.cache_clear()
    if request.param == "NumPy":
        monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    yield request.param
    monkeypatch.undo()
    products._kernel.cache_clear()
    tiles._places.cache_clear()


@pytest.mark.filterwarnings("error")
def test_products_are_right(kernel):
    left, right = unit_rows(5, dim=33), unit_rows(700, dim=33, seed=1)
    right.flags.writeable = False
    np.testing.assert_allclose(multiply(left, right), left.astype(float) @ right.T.astype(float), atol=1e-6)
    np.testing.assert_allclose(multiply_few(left[:3], right), multiply(left[:3], right), atol=1e-6)
    np.testing.assert_allclose(multiply(right[:, :9], left[:, :9]), right[:, :9] @ left[:, :9].T, atol=1e-6)
    assert (products._kernel() is products._by_numpy) == (kernel == "NumPy")


def test_a_batch_gets_the_bits_of_its_queries(kernel):
    vectors, queries = unit_rows(tiles.ROWS + 50, dim=48), unit_rows(70, dim=48, seed=1)
    whole = scan(vectors, queries, temperature=0.02).softmax
    for first, last in ((0, 1), (3, 12), (20, 70)):
        some = scan(vectors, queries[first:last].copy(), temperature=0.02).softmax
        assert np.array_equal(some.vector, whole.vector[first:last])
        assert np.array_equal(some.total, whole.total[first:last])
