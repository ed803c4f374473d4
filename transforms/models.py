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
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from sonogloss.clap import Clap, load_clap
from sonogloss.clap.device import choose_device, device_or_cpu
from sonogloss.clap.outline import ClapOutline, outline_clap
from sonogloss.errors import FingerprintMismatchError
from sonogloss.indexes import Datastore
from sonogloss.indexes.datastore import Search
from sonogloss.indexes.layout import Manifest, read_manifest, to_json
from sonogloss.methods import Captioner, CaptionerSpec, load_captioner
from sonogloss.methods.directory import CaptionerOutline, outline_captioner

if TYPE_CHECKING:
    from sonogloss.tagging.tagger import Tagger

M = TypeVar("M")

_loaded: dict[object, object] = {}
_outlines: dict[object, object] = {}
_devices: set[str] = set()
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
    def of(cls, name: str, device: str = "cpu", *, look: bool = False) -> ClapReference:
        """The reference to the CLAP that has this name now; to look at it loads no weights, where that can be."""
        if look and (outline := outline_clap(name)) is not None:
            return _seen(cls(name=name, fingerprint=outline.fingerprint, device=device), outline)
        clap = load_clap(name, device=_device_here(device))
        reference = cls(name=name, fingerprint=clap.fingerprint, device=device)
        return _keep(reference, clap)

    def load(self) -> Clap:
        """The CLAP, loaded once a process."""
        return _once(self, self._load)

    @property
    def outline(self) -> ClapOutline | Clap:
        """What it is: looked at, or loaded."""
        return cast(ClapOutline | None, _outlines.get(self)) or self.load()

    @property
    def config_digest(self) -> str | None:
        """Of the values of its configuration that decide an embedding; None where the backend does not tell."""
        return getattr(self.outline, "config_digest", None)

    def _load(self) -> Clap:
        clap = load_clap(self.name, device=_noted(choose_device(self.device)))
        _require("CLAP", self.name, self.fingerprint, clap.fingerprint)
        return clap


@dataclass(frozen=True, kw_only=True)
class CaptionerReference:
    """A captioner by its spec, and the fingerprint it must have; all of the spec but the precision is part of that."""

    spec: CaptionerSpec
    fingerprint: str

    @classmethod
    def of(cls, spec: CaptionerSpec, *, look: bool = False) -> CaptionerReference:
        """The reference to the captioner that has this name now; to look at it loads no weights."""
        if look:
            outline = outline_captioner(spec)
            return _seen(cls(spec=spec, fingerprint=outline.fingerprint), outline)
        captioner = load_captioner(replace(spec, device=_device_here(spec.device)))
        return _keep(cls(spec=spec, fingerprint=captioner.fingerprint), captioner)

    @property
    def outline(self) -> CaptionerOutline | Captioner:
        """What it is: looked at, or loaded."""
        return cast(CaptionerOutline | None, _outlines.get(self)) or self.load()

    def load(self) -> Captioner:
        """The captioner, loaded once a process."""
        return _once(self, self._load)

    def load_with(self, clap: ClapReference) -> Captioner:
        """The captioner; one that embeds text while it captions shares this CLAP."""
        captioner = self.load()
        captioner.read_text_with(clap.load())
        return captioner

    def _load(self) -> Captioner:
        captioner = load_captioner(replace(self.spec, device=_noted(choose_device(self.spec.device))))
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
class TaggerReference:
    """Labels of a tag job, which are embedded where they are used.

    `templates` hold `{label}`. `prompts`, a directory of learned label prompts with this fingerprint, take their place.
    """

    labels: tuple[str, ...]
    clap: ClapReference
    templates: tuple[str, ...] = ()
    prompts: str | None = None
    prompts_fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of all that shapes a score, including the labels and their order; no model is needed for it."""
        shape = [self.clap.fingerprint, self.prompts_fingerprint, self.templates, self.labels]
        return hashlib.sha256(json.dumps(shape).encode()).hexdigest()

    @property
    def needs_frames(self) -> bool:
        """True if labels are compared with frames too."""
        return self.prompts is not None

    def load(self) -> Tagger:
        """The embedded labels, once a process."""
        clap = self.clap.load()
        return _once(self, lambda: self._load(clap))

    def _load(self, clap: Clap) -> Tagger:
        from sonogloss.tagging.label_prompts import load_label_prompts  # all of it stands on torch
        from sonogloss.tagging.tagger import plain_tagger, prompted_tagger

        if self.prompts is None:
            return plain_tagger(self.labels, clap, self.templates)
        prompts = load_label_prompts(self.prompts)
        _require("label prompts", self.prompts, str(self.prompts_fingerprint), prompts.fingerprint)
        return prompted_tagger(self.labels, clap, prompts)


@dataclass(frozen=True, kw_only=True)
class DatastoreReference:
    """A datastore, or several as one, by path and the digest of its manifest, which holds the digest of every file.

    `support` is another datastore whose text support takes the place of this one's own; `search` says whether shards
    stay mapped (see :meth:`Datastore.open`), which changes no result. `device` is where vectors are compared.
    """

    path: str | tuple[str, ...]
    fingerprint: str
    support: str | None = None
    support_fingerprint: str | None = None
    search: Search = "replicated"
    device: str = "cpu"

    @classmethod
    def of(
        cls,
        path: str | Sequence[str],
        support: str | None = None,
        *,
        search: Search = "replicated",
        check: str = "sample",
        device: str = "cpu",
        look: bool = False,
    ) -> DatastoreReference:
        """The reference to the datastore that lies there now; `check` is that of :meth:`Datastore.open`.

        To look at one that lies elsewhere reads its manifest and copies nothing.
        """
        datastore = Datastore.open(path, support=support, search="partitioned" if look else search, check=check)
        reference = cls(
            path=path if isinstance(path, str) else tuple(path),
            fingerprint=_fingerprint(datastore),
            support=support,
            support_fingerprint=_digest_of(support),
            search=search,
            device=device,
        )
        return _seen(reference, datastore) if look else _keep(reference, datastore)

    @property
    def outline(self) -> Datastore:
        """What it is: looked at, or opened, with no vectors on a GPU."""
        return cast(Datastore | None, _outlines.get(self)) or _once(self, self._load)

    def load(self) -> Datastore:
        """The datastore, opened once a process, with its vectors on the device."""
        return _once(self, self._load).to(choose_device(self.device))

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
    return _noted(device_or_cpu(device))


def _noted(device: str) -> str:
    _devices.add(device.partition(":")[0])
    return device


def devices_used() -> str | None:
    """Where models of this process run: `cpu`, `cuda`, or both with a plus between; None before one is loaded."""
    return "+".join(sorted(_devices)) or None


def _once(reference: object, load: Callable[[], M]) -> M:
    with _lock:
        if reference not in _loaded:
            _loaded[reference] = load()
        return _loaded[reference]  # type: ignore[return-value]  # the reference's class decides the type


def _keep(reference: M, loaded: object) -> M:
    with _lock:
        _loaded.setdefault(reference, loaded)
        _outlines.pop(reference, None)  # of an earlier job of this process, which only looked
    return reference


def _seen(reference: M, outline: object) -> M:
    _outlines[reference] = outline
    return reference


def _require(kind: str, name: str, expected: str, found: str) -> None:
    if found != expected:
        raise FingerprintMismatchError(
            f"The {kind} {name!r} has the fingerprint {found[:12]} on a worker; the job began with {expected[:12]}.",
            "Give every worker the same files.",
        )
