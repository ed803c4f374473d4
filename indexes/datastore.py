"""Open a datastore and ask it: which captions lie nearest, and where does an embedding land on the support?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, Self

import numpy as np

from sonogloss import files
from sonogloss.bridge import SoftmaxState, check_temperature, empty_state, finish, merge
from sonogloss.errors import FingerprintMismatchError, OptionError, StoreFormatError
from sonogloss.indexes.answers import Found, contexts_of, look_in_shard
from sonogloss.indexes.cache import localise
from sonogloss.indexes.kinds import KINDS
from sonogloss.indexes.layout import ALL, Manifest, read_manifest
from sonogloss.indexes.shard import Shard, hide_duplicates
from sonogloss.indexes.support import Support
from sonogloss.indexes.vectors import Queries, check_queries
from sonogloss.records import Context, FloatArray, IntArray

_BLOCK = 16_384

Search = Literal["replicated", "partitioned"]
"""Whether shards stay mapped (a copy of the store for every process), or only while they are searched."""

Where = Mapping[str, Sequence[str]]
"""Values by column of the captions, such as `{"source": ["clotho"]}`."""


class Datastore:
    """One datastore or several as one, open for reading; vectors are memory-mapped, captions read when asked for.

    Example::

        store = Datastore.open("gs://captions/store")
        contexts = store.search(clap.embed_audio(waveforms), k=3)

    Attributes:
        path: where it was opened.
        manifests: what it says of itself; of several stores, in their order.
        support: what :meth:`project` projects on.
        shards: of all stores, in their order.
        device: where :meth:`to` put vectors.
    """

    def __init__(self, path: str, manifests: Sequence[Manifest], shards: Sequence[Shard], support: Support) -> None:
        self.path = path
        self.manifests = tuple(manifests)
        self.support = support
        self.shards = tuple(shards)
        self.device = "cpu"

    @classmethod
    def open(
        cls,
        path: str | Sequence[str],
        *,
        support: str | None = None,
        cache_dir: str | None = None,
        check: str = "sample",
        search: Search = "replicated",
    ) -> Datastore:
        """Open the datastore at a path or URL, or several as one.

        Of a caption that several stores hold, the first one counts, in search and, where the support is `all`, in
        projection. A support of its own has no captions, so its rows count in every store.

        Args:
            path: its directory; one that is not on this machine is copied to the cache once.
            support: another datastore whose support is used for projection in place of this one's own.
            cache_dir: where copies lie; by default `~/.cache/sonogloss`.
            check: how much is compared with the manifest before it is used: `sample` (sizes, and the digest of 1 MiB a
                file) or `full` (every byte).
            search: `partitioned` maps one shard after the other for each batch of queries, so that a store may exceed
                the process's memory, and copies a shard from elsewhere when it is first searched; results are the same.

        Raises:
            MissingInputError: there is no such directory.
            StoreFormatError: it is unfinished, damaged, or of an unknown version.
            FingerprintMismatchError: the stores, or the other support, were made with different CLAPs.
        """
        paths = [path] if isinstance(path, str) else list(path)
        keep = search == "replicated"
        stores = [cls._open_one(one, support is None, cache_dir, check, keep) for one in paths]
        first, shards = stores[0], [shard for store in stores for shard in store.shards]
        for store in stores[1:]:
            _require_same(first.clap_fingerprint, store.clap_fingerprint, f"The datastore {store.path!r}", first.path)
        if len(stores) > 1:
            hide_duplicates([store.shards for store in stores])
        parts = [part for store in stores for part in store.support.mapped]
        own = Support(parts, dim=first.dim, clap_fingerprint=first.clap_fingerprint)
        if support is not None:
            own = Support.open(support, cache_dir=cache_dir, check=check)
            _require_same(first.clap_fingerprint, own.clap_fingerprint, f"The support of {support!r}", first.path)
        return cls(", ".join(paths), [store.manifest for store in stores], shards, own)

    @classmethod
    def _open_one(cls, path: str, with_support: bool, cache_dir: str | None, check: str, keep: bool) -> Datastore:
        manifest = read_manifest(path)
        if manifest.index.kind not in KINDS:
            raise StoreFormatError(
                f"The datastore {path!r} has a {manifest.index.kind!r} index; this release reads {', '.join(KINDS)}.",
                "Install a release that reads it, or build the datastore again.",
            )
        if keep or files.local_path(path) is not None:
            everything = [file for shard in manifest.shards for file in shard.files]
            local = localise(path, manifest, everything, cache_dir, check)
            locate = [lambda: local] * len(manifest.shards)
        else:
            locate = [partial(localise, path, manifest, shard.files, cache_dir, check) for shard in manifest.shards]
        shards = [
            Shard(where, entry, manifest.index, manifest.vectors, keep=keep)
            for where, entry in zip(locate, manifest.shards, strict=True)
        ]
        if with_support and manifest.support.kind != ALL:
            support = Support.of_manifest(path, manifest, cache_dir=cache_dir, check=check, keep=keep)
        else:
            parts = [shard.mapped for shard in shards] if with_support else []
            support = Support(parts, dim=manifest.dim, clap_fingerprint=manifest.clap["fingerprint"])
        return cls(path, [manifest], shards, support)

    def to(self, device: str) -> Self:
        """Copy vectors to a GPU, where exact search and projection then run; returns the datastore itself.

        Shards go there one by one while they take at most half of the memory that is free. The others are searched on
        the processor, and so is every shard with an approximate index, or of a store that is searched partitioned.

        Args:
            device: as torch names it; `cpu` lets the copies go.
        """
        if device != self.device:
            for part in {id(part): part for part in (*(s.mapped for s in self.shards), *self.support.mapped)}.values():
                part.to(device)
            self.device = device
        return self

    @property
    def manifest(self) -> Manifest:
        """What the datastore says of itself; of several stores the first."""
        return self.manifests[0]

    @property
    def count(self) -> int:
        """Number of captions."""
        return sum(shard.mapped.count for shard in self.shards)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.manifest.dim

    @property
    def clap_fingerprint(self) -> str:
        """Which CLAP made the vectors: only its embeddings may be compared with them."""
        return str(self.manifest.clap["fingerprint"])

    @property
    def owns_support(self) -> bool:
        """Is the support the captions' own vectors, so that one pass serves search and projection?"""
        return len(self.support.mapped) == len(self.shards) and all(
            part is shard.mapped for part, shard in zip(self.support.mapped, self.shards, strict=True)
        )

    def blocks(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Walk all captions in order: their ids [n] and vectors [n, dim], views of the memory-mapped files."""
        for shard in self.shards:
            for start in range(0, len(shard.shown), _BLOCK):
                rows = shard.shown[start : start + _BLOCK]
                whole = shard.mapped.shown is None
                chosen = slice(start, start + _BLOCK) if whole else rows
                yield shard.ids[chosen], shard.vectors[chosen]

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
        starts = np.cumsum([0, *(shard.mapped.count for shard in self.shards)])
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            shard = self.shards[number]
            yield shard, places, shard.shown[np.asarray(rows)[places] - starts[number]]

    def caption(self, caption_id: int) -> tuple[FloatArray, str]:
        """Vector [dim] and text of the caption with this id.

        Raises:
            OptionError: there is none.
        """
        for shard in self.shards:
            for row in np.flatnonzero(shard.ids == caption_id)[:1]:
                return np.array(shard.vectors[row], np.float32), shard.words(int(row))[0]
            shard.release()
        raise OptionError(f"{self.path!r} holds no caption with the id {caption_id}.", "Take an id from a search.")

    def require_columns(self, names: Collection[str]) -> None:
        """Refuse columns that the captions do not have.

        Raises:
            OptionError: one is missing.
        """
        for shard in self.shards if names else ():
            if missing := set(names) - set(shard.column_names):
                raise OptionError(
                    f"The captions of {self.path!r} have no column {min(missing)!r}.",
                    f"They have {', '.join(shard.column_names)}.",
                )

    def require_clap(self, name: str, fingerprint: str, config: str | None = None) -> None:
        """Refuse a CLAP that did not make this datastore.

        Args:
            name: as the user gave it.
            fingerprint: of its weights, preprocessing and tokenizer.
            config: the digest of its configuration, which datastores of earlier releases did not record.

        Raises:
            FingerprintMismatchError: they differ from those of the CLAP that made it.
        """
        recorded = self.manifest.clap.get("config")
        if None not in (config, recorded) and config != recorded and fingerprint == self.clap_fingerprint:
            raise FingerprintMismatchError(
                f"The CLAP {name!r} has the weights that made the datastore {self.path!r}, but its config.json says "
                "another network.",
                "Restore its config.json, or build the datastore again.",
            )
        made_with = f"{self.path!r} (made with {self.manifest.clap['name']!r})"
        _require_same(self.clap_fingerprint, fingerprint, f"The CLAP {name!r}", made_with)

    def search(self, queries: Queries, k: int, *, where: Where | None = None) -> list[list[Context]]:
        """The `k` nearest captions of each query, best first; equal scores come by ascending caption id.

        Shards are searched apart and merged; the result of an exact index is that of one search in float64 over all
        captions, and a query's contexts do not depend on the other queries.

        Args:
            queries: [n, dim], unit rows; an array or a torch tensor.
            k: at least 0; all captions come back when the datastore holds fewer.
            where: only captions that have one of the values in each of these columns, such as
                `{"source": ["clotho", "bbc"]}`.

        Raises:
            OptionError: k is negative, or there is no such column.
            ClipError: a query holds NaN or infinity.
            FingerprintMismatchError: queries have another width.
        """
        self.require_columns(where or {})
        return self._look(queries, k, None, where)[0]

    def project(self, queries: Queries, *, temperature: float, renormalise: bool) -> FloatArray:
        """Queries carried onto the text support; see :meth:`sonogloss.indexes.support.Support.project`."""
        return self.support.project(queries, temperature=temperature, renormalise=renormalise)

    def search_and_project(
        self, queries: Queries, k: int, *, temperature: float, renormalise: bool, where: Where | None = None
    ) -> tuple[list[list[Context]], FloatArray]:
        """What :meth:`search` and :meth:`project` give, bit for bit, in one pass where the support is the captions'.

        Args:
            queries: [n, dim], unit rows.
            k: captions a query, at least 0.
            temperature: tau >= 0 of the softmax over the support.
            renormalise: scale the projected queries to unit length.
            where: as in :meth:`search`; the projection is on the whole support all the same.

        Returns:
            The contexts of each query, and the projected queries, float32 [n, dim].
        """
        self.support.require()
        check_temperature(temperature)
        queries = check_queries(queries, self.dim)
        if not self.owns_support or k <= 0 or len(queries) == 0:
            contexts = self.search(queries, k, where=where)
            return contexts, self.project(queries, temperature=temperature, renormalise=renormalise)
        self.require_columns(where or {})
        contexts, state = self._look(queries, k, temperature, where)
        return contexts, finish(state, renormalise=renormalise)

    def _look(
        self, queries: Queries, k: int, temperature: float | None, where: Where | None
    ) -> tuple[list[list[Context]], SoftmaxState]:
        """Ask every shard once, and put together what they found."""
        if k < 0:
            raise OptionError(f"{k} contexts cannot be fetched.", "Ask for zero or more.")
        checked = check_queries(queries, self.dim)
        state = empty_state(*checked.shape)
        found: list[list[Found]] = [[] for _ in checked]
        for number, shard in enumerate(self.shards if k and len(checked) else ()):
            nearest, softmax = look_in_shard(shard, number, checked, k=k, temperature=temperature, where=where or {})
            found = [sorted(best + more)[:k] for best, more in zip(found, nearest, strict=True)]
            if softmax is not None and temperature is not None:
                state = merge(state, softmax, temperature)
            shard.release()
        return contexts_of(self.shards, found), state


def _require_same(expected: str, given: str, who: str, store: str) -> None:
    if expected != given:
        raise FingerprintMismatchError(
            f"{who} has the fingerprint {given[:12]}, but the datastore {store} was made with {expected[:12]}.",
            "Use the CLAP that built the datastore, or build the datastore again with this one.",
        )
