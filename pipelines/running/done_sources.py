"""Which sources of a job an earlier run has done: its units are compared with the listing one after the other.

What is remembered of the listing is two dozen bytes a source; the names that a unit holds are forgotten with it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sonogloss.sources import SourceTable, source_key
from sonogloss.sources.names import SeenNames
from sonogloss.transforms.work import DoneSource

Name = tuple[str, str | None]
"""Of a recording: uri and member."""

NAMED = 5
"""How many vanished recordings are named."""

_NO_KEY = "0" * 32


class DoneSources:
    """The comparison of a listing with what is done.

    Args:
        table: the sources of the job.
        again: recordings that are done again, whatever was done.

    Attributes:
        vanished: the names of recordings with rows that the job does not name, as a set of hashes.
        first_vanished: the first of them by name.
    """

    def __init__(self, table: SourceTable, again: Collection[Name] = ()) -> None:
        self._table, self._again = table, again
        # An earlier release did long recordings in one piece, so a part is done with its own key or with that one.
        parts = np.flatnonzero(table.parts >= 0)
        whole = [bytes.fromhex(source_key(replace(part, part=None))) for part in table.take(parts)]
        keys = np.concatenate([table.digests, np.array(whole, "S16")])
        order = np.argsort(keys)
        self._keys = keys[order]
        self._rows = np.concatenate([np.arange(len(table)), parts])[order]
        self._seen = np.zeros(len(order), bool)
        self._done = np.zeros(len(order), bool)
        self._strangers, self._unversioned = SeenNames(), SeenNames()
        self.vanished = SeenNames()
        self.first_vanished: list[Name] = []

    @cached_property
    def names(self) -> SeenNames:
        """Of all recordings of the job."""
        return SeenNames(self._table.names())

    def take(self, sources: Sequence[DoneSource]) -> frozenset[Name] | None:
        """Note what a unit has done.

        A recording that is listed, but in another version or in other ranges than the unit holds, is replaced there as
        a whole: so no clip can have rows from two versions. So is one that is done again. Of an earlier format no
        versions are known, and what is done counts.

        Returns:
            The recordings whose rows in the unit are replaced. None where another unit has done one of the sources
            already; then nothing is noted.
        """
        places = self._places(sources)
        strangers = [source for source, place in zip(sources, places.tolist(), strict=True) if place < 0]
        if self._seen[places[places >= 0]].any() or any(_identity(source) in self._strangers for source in strangers):
            return None
        self._seen[places[places >= 0]] = True
        for source in strangers:
            self._strangers.add(_identity(source))
        drop = {name for source in strangers if source.key is not None and (name := _name(source)) in self.names}
        if self._again:
            drop |= {name for source in sources if (name := _name(source)) in self._again}
        if drop:
            places[[_name(source) in drop for source in sources]] = -1
        self._done[places[places >= 0]] = True
        kept = [source for source in strangers if _name(source) not in drop]
        for source in kept:
            if source.key is None:
                self._unversioned.add(_name(source))
        gone = {name for source in kept if (name := _name(source)) not in self.names and self.vanished.add(name)}
        self.first_vanished = heapq.nsmallest(NAMED, [*self.first_vanished, *gone], key=_place)
        return frozenset(drop)

    def rows(self) -> npt.NDArray[np.bool_]:
        """Which rows of the listing need no work."""
        done = np.zeros(len(self._table), bool)
        first = np.searchsorted(self._keys, self._keys)  # all parts of a recording share its key
        done[self._rows[self._done[first]]] = True
        if self._unversioned:
            done |= np.fromiter((name in self._unversioned for name in self._table.names()), bool, len(done))
        return done

    def _places(self, sources: Sequence[DoneSource]) -> npt.NDArray[np.int64]:
        """Where the keys of sources stand among those of the listing; -1 for strangers."""
        content = bytes.fromhex("".join(source.key or _NO_KEY for source in sources))
        wanted = np.frombuffer(content, "S16")
        if not len(self._keys):
            return np.full(len(wanted), -1)
        places = np.searchsorted(self._keys, wanted)
        places[self._keys[np.minimum(places, len(self._keys) - 1)] != wanted] = -1
        return places


def _name(source: DoneSource) -> Name:
    return source.uri, source.member


def _place(name: Name) -> tuple[str, str]:
    return name[0], name[1] or ""


def _identity(source: DoneSource) -> tuple[str | None, str, str | None]:
    return source.key, source.uri, source.member
