"""Open a datastore and ask it: which captions lie nearest, and where does an embedding land on the support?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sonogloss.errors import FingerprintMismatchError, OptionError, StoreFormatError
from sonogloss.indexes.cache import localise
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import Manifest, read_manifest
from sonogloss.indexes.shard import Shard
from sonogloss.indexes.support import Support
from sonogloss.indexes.vectors import check_queries
from sonogloss.records import Context, FloatArray, IntArray

_BLOCK = 16_384


class Datastore:
    """A datastore, open for reading; vectors are memory-mapped, captions are read when first asked for.

    Example::

        store = Datastore.open("gs://captions/store")
        contexts = store.search(clap.embed_audio(waveforms), k=3)

    Attributes:
        path: where it was opened.
        manifest: what it says of itself.
        support: what :meth:`project` projects on.
    """

    def __init__(self, path: str, manifest: Manifest, shards: list[Shard], support: Support) -> None:
        self.path = path
        self.manifest = manifest
        self.support = support
        self._shards = shards

    @classmethod
    def open(
        cls, path: str, *, support: str | None = None, cache_dir: str | None = None, check: str = "sample"
    ) -> Datastore:
        """Open the datastore at a path or URL.

        Args:
            path: its directory; one that is not on this machine is copied to the cache once.
            support: another datastore whose support is used for projection in place of this one's own.
            cache_dir: where copies lie; by default `~/.cache/sonogloss`.
            check: how much is compared with the manifest before it is used: `sample` (sizes, and the digest of 1 MiB a
                file) or `full` (every byte).

        Raises:
            MissingInputError: there is no such directory.
            StoreFormatError: it is unfinished, damaged, or of an unknown version.
            FingerprintMismatchError: the other support was made with another CLAP.
        """
        manifest = read_manifest(path)
        if manifest.index.kind not in KINDS:
            raise StoreFormatError(
                f"The datastore {path!r} has a {manifest.index.kind!r} index; this release reads {', '.join(KINDS)}.",
                "Install a release that reads it, or build the datastore again.",
            )
        listed = [file for shard in manifest.shards for file in shard.files]
        local = localise(path, manifest, listed, cache_dir, check)
        if support is None:
            own = Support.of_manifest(path, manifest, cache_dir=cache_dir, check=check)
        else:
            own = Support.open(support, cache_dir=cache_dir, check=check)
            _require_same(manifest.clap["fingerprint"], own.clap_fingerprint, f"The support of {support!r}", path)
        shards = [Shard(local, entry, manifest.index, manifest.vectors) for entry in manifest.shards]
        return cls(path, manifest, shards, own)

    @property
    def count(self) -> int:
        """Number of captions."""
        return self.manifest.count

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.manifest.dim

    @property
    def clap_fingerprint(self) -> str:
        """Which CLAP made the vectors: only its embeddings may be compared with them."""
        return str(self.manifest.clap["fingerprint"])

    def blocks(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Walk all captions in order: their ids [n] and vectors [n, dim], views of the memory-mapped files."""
        for shard in self._shards:
            for start in range(0, shard.entry.count, _BLOCK):
                yield shard.ids[start : start + _BLOCK], shard.vectors[start : start + _BLOCK]

    def vectors(self, rows: IntArray) -> FloatArray:
        """Vectors [n, dim] by row; rows count through all shards in order."""
        found = np.empty((len(rows), self.dim), np.float32)
        for shard, places, local in self._located(rows):
            found[places] = shard.vectors[local]
        return found

    def texts(self, rows: IntArray, column: str = "text") -> list[str]:
        """Captions, or what another column of text says of them, by row."""
        found = np.empty(len(rows), object)
        for shard, places, local in self._located(rows):
            found[places] = shard.column(column).take(local).to_pylist()
        return found.tolist()

    def _located(self, rows: IntArray) -> Iterator[tuple[Shard, IntArray, IntArray]]:
        """For each shard with some of these rows: their places among those asked for, and rows within the shard."""
        starts = np.cumsum([0, *(shard.entry.count for shard in self._shards)])
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            yield self._shards[number], places, np.asarray(rows)[places] - starts[number]

    def require_clap(self, name: str, fingerprint: str) -> None:
        """Refuse a CLAP that did not make this datastore.

        Raises:
            FingerprintMismatchError: the fingerprints differ.
        """
        made_with = f"{self.path!r} (made with {self.manifest.clap['name']!r})"
        _require_same(self.clap_fingerprint, fingerprint, f"The CLAP {name!r}", made_with)

    def search(self, queries: FloatArray, k: int) -> list[list[Context]]:
        """The `k` nearest captions of each query, best first; equal scores come by ascending caption id.

        Shards are searched apart and merged; the result is that of one exact search over all captions, and a query's
        contexts do not depend on the other queries.

        Args:
            queries: [n, dim], unit rows.
            k: at least 0; all captions come back when the datastore holds fewer.

        Raises:
            OptionError: k is negative.
            ClipError: a query holds NaN or infinity.
            FingerprintMismatchError: queries have another width.
        """
        if k < 0:
            raise OptionError(f"{k} contexts cannot be fetched.", "Ask for zero or more.")
        checked = check_queries(queries, self.dim)
        if k == 0 or len(checked) == 0:
            return [[] for _ in checked]
        found = [shard.nearest(checked, k) for shard in self._shards]
        return [self._merge([shard_found[i] for shard_found in found], k) for i in range(len(checked))]

    def _merge(self, found: list[tuple[FloatArray, IntArray]], k: int) -> list[Context]:
        """The best k of what each shard found for one query."""
        candidates = sorted(
            (-float(score), int(shard.ids[row]), number, int(row))
            for number, (shard, (scores, rows)) in enumerate(zip(self._shards, found, strict=True))
            for score, row in zip(scores, rows, strict=True)
        )
        contexts = []
        for negative, caption_id, number, row in candidates[:k]:
            text, source = self._shards[number].words(row)
            # The product of two unit vectors that were rounded to float32 may exceed one in the last digit.
            score = min(1.0, max(-1.0, -negative))
            contexts.append(Context(id=caption_id, text=text, score=score, source=source))
        return contexts

    def project(self, queries: FloatArray, *, temperature: float, renormalise: bool) -> FloatArray:
        """Queries carried onto the text support; see :meth:`sonogloss.indexes.support.Support.project`."""
        return self.support.project(queries, temperature=temperature, renormalise=renormalise)


def _require_same(expected: str, given: str, who: str, store: str) -> None:
    if expected != given:
        raise FingerprintMismatchError(
            f"{who} has the fingerprint {given[:12]}, but the datastore {store} was made with {expected[:12]}.",
            "Use the CLAP that built the datastore, or build the datastore again with this one.",
        )
