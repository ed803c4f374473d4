"""The models and the store that the workers of one process share.

Each is loaded once a process, under its name and the fingerprint the driver saw: a worker that finds another model
under the same name stops instead of mixing two models in one output.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from indexes import Datastore
from sonogloss import files
from sonogloss.captioners import Captioner, load_captioner
from sonogloss.clap import Clap, load_clap
from sonogloss.errors import FingerprintMismatchError

M = TypeVar("M")

_loaded: dict[tuple[str, ...], object] = {}
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ClapReference:
    """A CLAP by name, the fingerprint it must have, and where it runs (`cpu`, `cuda`)."""

    name: str
    fingerprint: str
    device: str = "cpu"

    def load(self) -> Clap:
        """The CLAP, loaded once a process."""
        return _once(("clap", self.name, self.fingerprint, self.device), self._load)

    def _load(self) -> Clap:
        clap = load_clap(self.name, device=self.device)
        _require("CLAP", self.name, self.fingerprint, clap.fingerprint)
        return clap


def _once(key: tuple[str, ...], load: Callable[[], M]) -> M:
    with _lock:
        if key not in _loaded:
            _loaded[key] = load()
        return _loaded[key]  # type: ignore[return-value]  # the key's first word decides the type


def _require(kind: str, name: str, expected: str, found: str) -> None:
    if found != expected:
        raise FingerprintMismatchError(
            f"The {kind} {name!r} has fingerprint {found[:12]} on this worker, the job was started with {expected[:12]}.",
            "Give every worker the same files.",
        )
