"""The text support on disk: what audio embeddings are projected on.

Vectors lie in plain .npy files and are memory-mapped; they are never unpickled. The support is part of a datastore, but
can be opened on its own, so that one datastore retrieves and another one's captions carry the projection.
"""

from __future__ import annotations

import tokenize
from collections.abc import Sequence

import numpy as np

from sonogloss import bridge, files
from sonogloss.errors import StoreFormatError
from sonogloss.indexes.cache import localise
from sonogloss.indexes.layout import Manifest, SupportPart, read_manifest
from sonogloss.indexes.vectors import check_queries
from sonogloss.records import FloatArray


class Support:
    """Caption embeddings of a datastore, ready for projection.

    Attributes:
        parts: float32 arrays [rows, dim], memory-mapped when they come from disk.
        dim: width of the vectors.
        clap_fingerprint: which CLAP made them.
        count: rows in all parts; duplicates count as often as they occur.
    """

    def __init__(self, parts: Sequence[FloatArray], *, dim: int, clap_fingerprint: str) -> None:
        self.parts = tuple(parts)
        self.dim = dim
        self.clap_fingerprint = clap_fingerprint
        self.count = sum(len(part) for part in self.parts)

    @classmethod
    def open(cls, directory: str, *, cache_dir: str | None = None) -> Support:
        """The support of the datastore at this path or URL.

        Raises:
            StoreFormatError: the datastore is unfinished or damaged, or has no support.
        """
        support = cls.of_manifest(directory, read_manifest(directory), cache_dir=cache_dir)
        if not support.count:
            raise _no_support(directory)
        return support

    @classmethod
    def of_manifest(cls, directory: str, manifest: Manifest, *, cache_dir: str | None = None) -> Support:
        """The support that a manifest lists, which may be empty."""
        entries = manifest.support.parts
        local = localise(directory, manifest, [part.file for part in entries], cache_dir)
        parts = [load_part(local, part) for part in entries]
        return cls(parts, dim=manifest.dim, clap_fingerprint=manifest.clap["fingerprint"])

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        """Audio embeddings, carried onto the captions (see :func:`sonogloss.bridge.project`).

        Args:
            queries: [n, dim], unit rows.
            temperature: tau >= 0 of the softmax; 0 means the nearest caption.
            renormalise: scale the result to unit length.

        Returns:
            float32 [n, dim]; a row does not depend on the other queries.

        Raises:
            ClipError: a query holds NaN or infinity.
            FingerprintMismatchError: queries have another width.
            StoreFormatError: there is no support.
        """
        if not self.count:
            raise _no_support("this datastore")
        checked = check_queries(queries, self.dim)
        return bridge.project(checked, self.parts, temperature=temperature, renormalise=renormalise)


def load_part(local: str, part: SupportPart) -> FloatArray:
    """One memory-mapped part of a local datastore.

    Raises:
        StoreFormatError: it is not the array that the manifest describes.
    """
    path = files.join(local, part.file.path)
    try:
        vectors = np.load(path, mmap_mode="r" if part.count else None, allow_pickle=False)
    except (
        OSError,
        ValueError,
        EOFError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:  # numpy parses the header as code
        raise StoreFormatError(
            f"{path!r} is not a .npy file ({error}).", "Run `sonogloss verify`; restore it."
        ) from error
    if vectors.shape != (part.count, part.dim) or vectors.dtype != np.float32:
        raise StoreFormatError(
            f"{path!r} holds {vectors.dtype} {vectors.shape} instead of float32 {(part.count, part.dim)}.",
            "Run `sonogloss verify` and restore the file.",
        )
    return vectors


def _no_support(where: str) -> StoreFormatError:
    return StoreFormatError(
        f"{where} has no text support to project on.", "Name another datastore's support, or build one with a support."
    )
