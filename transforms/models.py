"""The models and the store that the workers of one process share.

Each is loaded once a process, under its name and the fingerprint the driver saw: a worker that finds another model
under the same name stops, for otherwise two models would be mixed in one output.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from sonogloss.clap import Clap, load_clap
from sonogloss.clap.device import choose_device
from sonogloss.errors import FingerprintMismatchError, OptionError
from sonogloss.indexes import Datastore
from sonogloss.indexes.datastore import Search
from sonogloss.indexes.layout import Manifest, read_manifest, to_json
from sonogloss.methods import Captioner, CaptionerSpec, load_captioner

M = TypeVar("M")

_loaded: dict[object, object] = {}
_lock = threading.Lock()


@runtime_checkable
class Reference(Protocol):
    """What travels to the workers in place of a model or a store, and is loaded there once."""

    def load(self) -> Any:
        """What it stands for."""


@dataclass(frozen=True, kw_only=True)
class ClapReference:
    """A CLAP by name, the fingerprint it must have, and the device it runs on (`auto`, `cpu`, `cuda`).

    What `auto` is, and whether there is a `cuda`, is asked where the model loads.
    """

    name: str
    fingerprint: str
    device: str = "cpu"

    @classmethod
    def of(cls, name: str, device: str = "cpu") -> ClapReference:
        """The reference to the CLAP that has this name now."""
        clap = load_clap(name, device=_device_here(device))
        reference = cls(name=name, fingerprint=clap.fingerprint, device=device)
        return _keep(reference, clap)

    def load(self) -> Clap:
        """The CLAP, loaded once a process."""
        return _once(self, self._load)

    @property
    def config_digest(self) -> str | None:
        """Of the values of its configuration that decide an embedding; None where the backend does not tell."""
        return getattr(self.load(), "config_digest", None)

    def _load(self) -> Clap:
        clap = load_clap(self.name, device=choose_device(self.device))
        _require("CLAP", self.name, self.fingerprint, clap.fingerprint)
        return clap


@dataclass(frozen=True, kw_only=True)
class CaptionerReference:
    """A captioner by its spec, and the fingerprint it must have; all of the spec but the precision is part of that."""

    spec: CaptionerSpec
    fingerprint: str

    @classmethod
    def of(cls, spec: CaptionerSpec) -> CaptionerReference:
        """The reference to the captioner that has this name now."""
        captioner = load_captioner(replace(spec, device=_device_here(spec.device)))
        return _keep(cls(spec=spec, fingerprint=captioner.fingerprint), captioner)

    def load(self) -> Captioner:
        """The captioner, loaded once a process."""
        return _once(self, self._load)

    def load_with(self, clap: ClapReference) -> Captioner:
        """The captioner; one that embeds text while it captions shares this CLAP."""
        captioner = self.load()
        captioner.read_text_with(clap.load())
        return captioner

    def _load(self) -> Captioner:
        captioner = load_captioner(replace(self.spec, device=choose_device(self.spec.device)))
        _require("captioner", self.spec.name, self.fingerprint, captioner.fingerprint)
        return captioner


@dataclass(frozen=True, kw_only=True)
class CaptionerWithClap:
    """A captioner that shares the job's CLAP, where it embeds text while it captions."""

    captioner: CaptionerReference
    clap: ClapReference

    def load(self) -> Captioner:
        """The captioner, loaded once a process."""
        return self.captioner.load_with(self.clap)


@dataclass(frozen=True, kw_only=True)
class DatastoreReference:
    """A datastore, or several as one, by path and the digest of its manifest, which holds the digest of every file.

    `support` is another datastore whose text support takes the place of this one's own; `search` says whether shards
    stay mapped (see :meth:`Datastore.open`), which changes no result.
    """

    path: str | tuple[str, ...]
    fingerprint: str
    support: str | None = None
    support_fingerprint: str | None = None
    search: Search = "replicated"

    @classmethod
    def of(
        cls,
        path: str | Sequence[str],
        support: str | None = None,
        *,
        search: Search = "replicated",
        check: str = "sample",
    ) -> DatastoreReference:
        """The reference to the datastore that lies there now; `check` is that of :meth:`Datastore.open`."""
        datastore = Datastore.open(path, support=support, search=search, check=check)
        reference = cls(
            path=path if isinstance(path, str) else tuple(path),
            fingerprint=_fingerprint(datastore),
            support=support,
            support_fingerprint=_digest_of(support),
            search=search,
        )
        return _keep(reference, datastore)

    def load(self) -> Datastore:
        """The datastore, opened once a process."""
        return _once(self, self._load)

    def _load(self) -> Datastore:
        datastore = Datastore.open(self.path, support=self.support, search=self.search)
        _require("datastore", datastore.path, self.fingerprint, _fingerprint(datastore))
        _require("support", str(self.support), str(self.support_fingerprint), str(_digest_of(self.support)))
        return datastore


def _fingerprint(datastore: Datastore) -> str:
    """The digest of the manifest; of several stores that of their digests in order."""
    digests = [manifest_digest(manifest) for manifest in datastore.manifests]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest_of(path: str | None) -> str | None:
    return None if path is None else manifest_digest(read_manifest(path))


def manifest_digest(manifest: Manifest) -> str:
    """The sha256 of what a datastore is: its files' digests and its CLAP, whatever options it was made with."""
    plain = to_json(manifest)
    plain.pop("options")
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _device_here(device: str) -> str:
    """What the launching machine has of a device that the workers are to use; it only looks at the models."""
    try:
        return choose_device(device)
    except OptionError:
        return "cpu"


def _once(reference: object, load: Callable[[], M]) -> M:
    with _lock:
        if reference not in _loaded:
            _loaded[reference] = load()
        return _loaded[reference]  # type: ignore[return-value]  # the reference's class decides the type


def _keep(reference: M, loaded: object) -> M:
    with _lock:
        _loaded.setdefault(reference, loaded)
    return reference


def _require(kind: str, name: str, expected: str, found: str) -> None:
    if found != expected:
        raise FingerprintMismatchError(
            f"The {kind} {name!r} has the fingerprint {found[:12]} on a worker; the job began with {expected[:12]}.",
            "Give every worker the same files.",
        )
