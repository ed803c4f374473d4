"""The models and the store that the workers of one process share.

Each is loaded once a process, under its name and the fingerprint the driver saw: a worker that finds another model
under the same name stops, for otherwise two models would be mixed in one output.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from indexes import Datastore
from indexes.layout import Manifest, to_json
from sonogloss.clap import Clap, load_clap
from sonogloss.errors import FingerprintMismatchError

if TYPE_CHECKING:
    from sonogloss.captioners import Captioner

M = TypeVar("M")

_loaded: dict[object, object] = {}
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ClapReference:
    """A CLAP by name, the fingerprint it must have, and the device it runs on (`cpu`, `cuda`)."""

    name: str
    fingerprint: str
    device: str = "cpu"

    @classmethod
    def of(cls, name: str, device: str = "cpu") -> ClapReference:
        """The reference to the CLAP that has this name now."""
        clap = load_clap(name, device=device)
        reference = cls(name=name, fingerprint=clap.fingerprint, device=device)
        return _keep(reference, clap)

    def load(self) -> Clap:
        """The CLAP, loaded once a process."""
        return _once(self, self._load)

    def _load(self) -> Clap:
        clap = load_clap(self.name, device=self.device)
        _require("CLAP", self.name, self.fingerprint, clap.fingerprint)
        return clap


@dataclass(frozen=True, kw_only=True)
class CaptionerReference:
    """A captioner by name, the digest it must have, and the device it runs on."""

    name: str
    fingerprint: str
    device: str = "cpu"
    beams: int | None = None

    @classmethod
    def of(cls, name: str, device: str = "cpu", beams: int | None = None) -> CaptionerReference:
        """The reference to the captioner that has this name now."""
        captioner = _load_captioner(name, device, beams)
        reference = cls(name=name, fingerprint=captioner.fingerprint, device=device, beams=beams)
        return _keep(reference, captioner)

    def load(self) -> Captioner:
        """The captioner, loaded once a process."""
        return _once(self, self._load)

    def _load(self) -> Captioner:
        captioner = _load_captioner(self.name, self.device, self.beams)
        _require("captioner", self.name, self.fingerprint, captioner.fingerprint)
        return captioner


def _load_captioner(name: str, device: str, beams: int | None) -> Captioner:
    # Here and not above: building a datastore needs no decoder.
    from sonogloss.captioners import load_captioner

    return load_captioner(name, device=device, beams=beams)


@dataclass(frozen=True, kw_only=True)
class DatastoreReference:
    """A datastore by its path and the digest of its manifest, which in turn holds the digest of every file."""

    path: str
    fingerprint: str

    @classmethod
    def of(cls, path: str) -> DatastoreReference:
        """The reference to the datastore that lies there now."""
        datastore = Datastore.open(path)
        return _keep(cls(path=path, fingerprint=manifest_digest(datastore.manifest)), datastore)

    def load(self) -> Datastore:
        """The datastore, opened once a process."""
        return _once(self, self._load)

    def _load(self) -> Datastore:
        datastore = Datastore.open(self.path)
        _require("datastore", self.path, self.fingerprint, manifest_digest(datastore.manifest))
        return datastore


def manifest_digest(manifest: Manifest) -> str:
    """The sha256 of what a datastore is: its files' digests and its CLAP, whatever options it was made with."""
    plain = to_json(manifest)
    plain.pop("options")
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


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
