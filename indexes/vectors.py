"""What vectors must be before they are written, and before they are asked about."""

from __future__ import annotations

import numpy as np

from sonogloss.errors import ClipError, Code, FingerprintMismatchError, InputError
from sonogloss.records import FloatArray

# Rows that were once rounded to float16 still pass; anything that was never normalised does not.
_NORM_TOLERANCE = 1e-3


def check_stored(vectors: FloatArray, *, what: str) -> FloatArray:
    """Vectors as they go to disk: float32, contiguous, [rows, dim], every row finite and of unit length.

    Raises:
        InputError: they are not; the first row that fails is named.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(f"The vectors of {what} have the shape {vectors.shape}.", "Give an array [rows, dim].")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE))  # NaN compares false, so it is caught here too
    if len(bad):
        raise InputError(
            f"{len(bad)} vectors of {what} are not of unit length; the first is row {bad[0]} ({norms[bad[0]]:.4g}).",
            "Store the unit-length, finite embeddings that the CLAP returned.",
        )
    return vectors


def check_queries(queries: FloatArray, dim: int) -> FloatArray:
    """Embeddings that are asked about: float32, contiguous, [n, dim], finite.

    Raises:
        FingerprintMismatchError: they have another width than what is stored.
        ClipError: a row holds NaN or infinity.
    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise FingerprintMismatchError(
            f"Embeddings of the shape {queries.shape} cannot be compared with stored vectors of width {dim}.",
            "Use the CLAP that built the datastore.",
        )
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise ClipError(Code.NON_FINITE, f"The embedding of query {bad[0]} of {len(queries)} holds NaN or infinity.")
    return np.ascontiguousarray(queries, dtype=np.float32)
