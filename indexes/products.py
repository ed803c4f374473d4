"""Products of float32 matrices, by the fastest kernels at hand.

PyTorch carries oneDNN, which makes its kernels for the processor that it finds. NumPy's OpenBLAS knows fewer processors
and takes older kernels where it does not know one: on AMD's Zen 5 it reaches half of oneDNN's rate. NumPy multiplies
where PyTorch has no oneDNN. A handful of rows is best multiplied one by one, at the rate at which memory is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import faiss
import numpy as np

from sonogloss.records import FloatArray

FEW = 4
"""Rows up to which :func:`multiply_few` is faster."""
_CACHED = 256  # rows that stay in the second level of the cache for the next product: 512 KiB at a width of 512


def multiply(left: FloatArray, right: FloatArray) -> FloatArray:
    """The products of all rows: float32 [m, n] for `left` [m, dim] and `right` [n, dim], in memory of its own."""
    return _kernel()(left, right)


def multiply_few(left: FloatArray, right: FloatArray) -> FloatArray:
    """The same, with other bits, fast for `left` of at most :data:`FEW` rows; both are C-contiguous."""
    product = np.empty((len(left), len(right)), np.float32)
    step = len(right) if len(left) == 1 else _CACHED
    inner_products = faiss.fvec_inner_products_ny  # type: ignore[attr-defined]  # not in the stubs
    for start in range(0, len(right), step):
        part = right[start : start + step]
        for row, of_row in zip(left, product[:, start : start + step], strict=True):
            inner_products(*(faiss.swig_ptr(array) for array in (of_row, row, part)), part.shape[1], len(part))
    return product


@cache
def _kernel() -> Callable[[FloatArray, FloatArray], FloatArray]:
    """The product of oneDNN, if PyTorch has it and it multiplies as expected; else that of NumPy."""
    import torch  # here, because opening a store does not need it

    def by_onednn(left: FloatArray, right: FloatArray) -> FloatArray:
        # The function for plain tensors has no public name; the public ones copy their tensors into a layout first.
        linear = torch.ops.mkldnn._linear_pointwise
        product = linear(torch.from_numpy(left), torch.from_numpy(right), None, "none", [], "")
        return np.asarray(product.numpy())

    sample = np.random.default_rng(0).standard_normal((5, 7), dtype=np.float32)
    sample.flags.writeable = False
    try:
        with warnings.catch_warnings():
            # PyTorch warns once a process of arrays that are read-only, as mapped files are; a product writes to none.
            warnings.simplefilter("ignore", UserWarning)
            product = by_onednn(sample[:2], sample)
    except (AttributeError, RuntimeError):
        return _by_numpy
    return by_onednn if np.allclose(product, _by_numpy(sample[:2], sample), atol=1e-5) else _by_numpy


def _by_numpy(left: FloatArray, right: FloatArray) -> FloatArray:
    return left @ right.T
