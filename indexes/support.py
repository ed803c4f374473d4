"""The text support on disk: what audio embeddings are projected on.

Vectors lie in plain .npy files and are memory-mapped; they are never unpickled. The support is part of a datastore, but
can be opened on its own, so that one datastore retrieves and another one's captions carry the projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from sonogloss import files
from sonogloss.bridge import check_temperature, empty_state, finish, merge
from sonogloss.errors import StoreFormatError
from sonogloss.indexes.cache import localise
from sonogloss.indexes.layout import ALL, Manifest, SupportPart, read_manifest
from sonogloss.indexes.mapped import Mapped
from sonogloss.indexes.shard import open_vectors
from sonogloss.indexes.vectors import Queries, check_queries, load_vectors
from sonogloss.records import FloatArray


class Support:
    """Caption embeddings of a datastore, ready for projection.

    Attributes:
        mapped: float32 or float16 arrays [rows, dim].
        dim: width of the vectors.
        clap_fingerprint: which CLAP made them.
    """

    def __init__(self, parts: Sequence[FloatArray | Mapped], *, dim: int, clap_fingerprint: str) -> None:
        self.mapped = tuple(
            part if isinstance(part, Mapped) else Mapped(partial(np.asanyarray, part), len(part)) for part in parts
        )
        self.dim = dim
        self.clap_fingerprint = clap_fingerprint

    @property
    def count(self) -> int:
        """Rows in all parts; duplicates count as often as they occur."""
        return sum(part.count for part in self.mapped)

    @property
    def parts(self) -> tuple[FloatArray, ...]:
        """All parts; what comes from disk is memory-mapped."""
        return tuple(part.get() for part in self.mapped)

    @classmethod
    def open(cls, directory: str, *, cache_dir: str | None = None, check: str = "sample") -> Support:
        """The support of the datastore at this path or URL; `check` is that of :meth:`Datastore.open`.

        Raises:
            StoreFormatError: the datastore is unfinished or damaged, or has no support.
        """
        support = cls.of_manifest(directory, read_manifest(directory), cache_dir=cache_dir, check=check)
        if not support.count:
            raise _no_support(directory)
        return support

    @classmethod
    def of_manifest(
        cls,
        directory: str,
        manifest: Manifest,
        *,
        cache_dir: str | None = None,
        check: str = "sample",
        keep: bool = True,
    ) -> Support:
        """The support that a manifest lists, which may be empty; `keep` is that of :class:`Mapped`."""
        if manifest.support.kind == ALL:
            local = localise(directory, manifest, [shard.vectors for shard in manifest.shards], cache_dir, check)
            parts = [
                Mapped(partial(open_vectors, local, shard, manifest.vectors), shard.count, keep=keep)
                for shard in manifest.shards
            ]
        else:
            entries = manifest.support.parts
            local = localise(directory, manifest, [part.file for part in entries], cache_dir, check)
            parts = [
                Mapped(partial(load_part, local, part, manifest.vectors), part.count, keep=keep) for part in entries
            ]
        return cls(parts, dim=manifest.dim, clap_fingerprint=manifest.clap["fingerprint"])

    def project(self, queries: Queries, *, temperature: float, renormalise: bool) -> FloatArray:
        """Audio embeddings, carried onto the captions (see :func:`sonogloss.bridge.project`).

        Args:
            queries: [n, dim], unit rows.
            temperature: tau >= 0 of the softmax; 0 means the nearest caption.
            renormalise: scale the result to unit length.

        Returns:
            float32 [n, dim], within 1e-6 of float64 arithmetic; a row does not depend on the other queries.

        Raises:
            ClipError: a query holds NaN or infinity.
            FingerprintMismatchError: queries have another width.
            OptionError: the temperature is negative or not finite.
            StoreFormatError: there is no support.
        """
        self.require()
        check_temperature(temperature)
        checked = check_queries(queries, self.dim)
        state = empty_state(*checked.shape)
        for part in self.mapped:
            softmax = part.scan(checked, temperature=temperature).softmax
            if softmax is not None:
                state = merge(state, softmax, temperature)
        return finish(state, renormalise=renormalise) if len(checked) else checked

    def require(self) -> None:
        """Refuse a support without rows.

        Raises:
            StoreFormatError: there are none.
        """
        if not self.count:
            raise _no_support("this datastore")


def load_part(local: str, part: SupportPart, dtype: str = "float32") -> FloatArray:
    """One memory-mapped part of a local datastore.

    Raises:
        StoreFormatError: it is not the array that the manifest describes.
    """
    return load_vectors(files.join(local, part.file.path), count=part.count, dim=part.dim, dtype=dtype)


def _no_support(where: str) -> StoreFormatError:
    return StoreFormatError(
        f"{where} has no text support to project on.", "Name another datastore's support, or build one with a support."
    )
