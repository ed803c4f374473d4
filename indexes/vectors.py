"""What vectors must be before they are written, and before they are asked about; and the files that hold them."""

from __future__ import annotations

import errno
import tokenize
from typing import IO, Any, Protocol

import numpy as np

from sonogloss import files
from sonogloss.errors import ClipError, Code, FingerprintMismatchError, InputError, StoreFormatError
from sonogloss.records import FloatArray, IntArray
from sonogloss.whole_files import Writing

# Rows that were once rounded to float16 still pass; anything that was never normalised does not.
_NORM_TOLERANCE = 1e-3
_BLOCK = 16_384


def check_stored(vectors: FloatArray, *, what: str) -> FloatArray:
    """Vectors as they go to disk: float32, contiguous, [rows, dim], every row finite and of unit length.

    Raises:
        InputError: they are not; the first row that fails is named.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(f"The vectors of {what} have the shape {vectors.shape}.", "Give an array [rows, dim].")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    bad = bad_rows(vectors)
    if len(bad):
        length = np.linalg.norm(vectors[bad[0]])
        raise InputError(
            f"{len(bad)} vectors of {what} are not of unit length; the first is row {bad[0]} ({length:.4g}).",
            "Store the unit-length, finite embeddings that the CLAP returned.",
        )
    return vectors


def bad_rows(vectors: FloatArray) -> IntArray:
    """The rows [rows, dim] that are not finite or not of unit length."""
    norms = np.linalg.norm(vectors, axis=1)
    return np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE))  # NaN compares false, so it is caught here too


class Tensor(Protocol):
    """A torch tensor of any precision on any device; torch itself is not needed here."""

    def detach(self) -> Any:
        """The numbers without their history."""


Queries = FloatArray | Tensor
"""Embeddings that are asked about, [n, dim]."""


def check_queries(queries: Queries, dim: int) -> FloatArray:
    """Embeddings that are asked about, as an array: float32, contiguous, [n, dim], finite.

    Raises:
        FingerprintMismatchError: they have another width than what is stored.
        ClipError: a row holds NaN or infinity.
    """
    if not isinstance(queries, np.ndarray):
        queries = np.asarray(queries.detach().float().cpu())
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise FingerprintMismatchError(
            f"Embeddings of the shape {queries.shape} cannot be compared with stored vectors of width {dim}.",
            "Use the CLAP that built the datastore.",
        )
    bad = np.flatnonzero(~np.isfinite(queries).all(axis=1))
    if len(bad):
        raise ClipError(Code.NON_FINITE, f"The embedding of query {bad[0]} of {len(queries)} holds NaN or infinity.")
    return np.ascontiguousarray(queries, dtype=np.float32)


def raw(vectors: FloatArray, dtype: np.dtype[Any]) -> memoryview:
    """The bytes of vectors as they go to disk."""
    return np.ascontiguousarray(vectors, dtype).reshape(-1).view(np.uint8).data


def write_header(handle: IO[bytes] | Writing, rows: int, dim: int, dtype: np.dtype[Any]) -> None:
    """The header of a .npy file [rows, dim]; numpy pads it, so that the numbers begin at a multiple of 64 bytes."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(handle, header)


def load_vectors(path: str, *, count: int, dim: int, dtype: str = "float32") -> FloatArray:
    """A memory-mapped .npy file of vectors [count, dim].

    Raises:
        StoreFormatError: it is not such an array.
        InputError: there is no room to map it.
    """
    try:
        vectors = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)
    except (
        OSError,
        ValueError,
        EOFError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:  # numpy parses the header as code
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise InputError(
                f"{path!r} does not fit into the memory that this process may use.",
                "Look up with --search partitioned, which maps one shard at a time, or allow more memory.",
            ) from error
        raise StoreFormatError(
            f"{path!r} is not a .npy file ({error}).", "Run `sonogloss verify`; restore it."
        ) from error
    if vectors.shape != (count, dim) or vectors.dtype != np.dtype(dtype) or not vectors.flags.c_contiguous:
        raise StoreFormatError(
            f"{path!r} holds {vectors.dtype} {vectors.shape} instead of {dtype} {(count, dim)}.",
            "Run `sonogloss verify` and restore the file.",
        )
    return np.asarray(vectors) if not count else vectors


def read_vectors(path: str) -> FloatArray:
    """The array in a .npy file, which may lie anywhere."""
    with files.open_read(path) as handle:
        vectors: FloatArray = np.lib.format.read_array(handle, allow_pickle=False)
    return vectors


def first_bad_row(vectors: FloatArray) -> tuple[int, float] | None:
    """The first row that is not finite or not of unit length, and its length; None when all are."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        for row in bad_rows(block)[:1]:
            return start + int(row), float(np.linalg.norm(block[row]))
    return None
