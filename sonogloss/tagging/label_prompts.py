"""Learned label prompts, two sets of vectors, and their directory on disk.

They belong to one CLAP, whose fingerprint the manifest holds, but to no particular labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from sonogloss import __version__, files
from sonogloss.errors import FingerprintMismatchError, MissingInputError, ModelFormatError
from sonogloss.records import FloatArray
from sonogloss.tagging.config import TEMPERATURE

MANIFEST = "prompts.json"
WEIGHTS = "prompts.safetensors"
FORMAT = "sonogloss-label-prompts"
FORMAT_VERSION = 1
_REMEDY = "Restore the directory, or learn the prompts again with `sonogloss tune-labels`."


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelPrompts:
    """Vectors in front of a label in the text tower.

    Attributes:
        coarse: [slots, width], for comparing labels with whole clips.
        fine: [slots, width], for comparing labels with frames.
        clap: name of the CLAP they were learned with.
        clap_fingerprint: its fingerprint.
        labels: the labels they were learned on.
        multi_label: whether a text could have several labels.
        temperature: of the softmax over frames.
        compat: whether they pass the text tower as in the released code.
        training: record of the training.
    """

    coarse: FloatArray
    fine: FloatArray
    clap: str
    clap_fingerprint: str
    labels: tuple[str, ...]
    multi_label: bool = False
    temperature: float = TEMPERATURE
    compat: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.coarse.ndim != 2 or not len(self.coarse) or self.coarse.shape != self.fine.shape:
            raise ModelFormatError(
                f"Label prompts of shapes {self.coarse.shape} and {self.fine.shape} are not two equal sets.", _REMEDY
            )

    @property
    def fingerprint(self) -> str:
        """A digest of all that shapes a score: both sets, the temperature, the CLAP and their way through its tower."""
        parts = [np.ascontiguousarray(self.coarse).tobytes(), np.ascontiguousarray(self.fine).tobytes()]
        parts += [str(self.temperature).encode(), self.clap_fingerprint.encode(), *[b"compat"] * self.compat]
        return hashlib.sha256(b"\x00".join(parts)).hexdigest()

    def require_clap(self, name: str, fingerprint: str) -> None:
        """Refuse another CLAP than the one they were learned with.

        Raises:
            FingerprintMismatchError: it is another one.
        """
        if fingerprint != self.clap_fingerprint:
            raise FingerprintMismatchError(
                f"The label prompts were learned with the CLAP {self.clap!r} ({self.clap_fingerprint[:12]}), but "
                f"{name!r} is another one ({fingerprint[:12]}).",
                "Use that CLAP, or learn prompts for this one with `sonogloss tune-labels`.",
            )


def save_label_prompts(prompts: LabelPrompts, directory: str, *, options: Mapping[str, Any]) -> None:
    """Write the weights, and last the manifest."""
    weights = {name: np.ascontiguousarray(getattr(prompts, name), dtype=np.float32) for name in ("coarse", "fine")}
    files.write_bytes(files.join(directory, WEIGHTS), safetensors.numpy.save(weights))
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created_by": f"sonogloss {__version__}",
        "clap": {"name": prompts.clap, "fingerprint": prompts.clap_fingerprint},
        "slots": len(prompts.coarse),
        "width": int(prompts.coarse.shape[1]),
        "multi_label": prompts.multi_label,
        "temperature": prompts.temperature,
        **({"compat": True} if prompts.compat else {}),
        "labels": list(prompts.labels),
        "options": dict(options),
        "training": dict(prompts.training),
        "files": [files.file_entry(directory, WEIGHTS)],
    }
    files.write_json(files.join(directory, MANIFEST), manifest)


def load_label_prompts(directory: str) -> LabelPrompts:
    """Read a directory that `tune-labels` wrote.

    Raises:
        MissingInputError: there is no such directory, or it is unfinished.
        ModelFormatError: it has another version, or its content does not match the manifest.
    """
    path = files.join(directory, MANIFEST)
    if not files.exists(path):
        raise MissingInputError(
            f"The label prompts {directory!r} have no {MANIFEST}.", "Name a directory that `tune-labels` wrote."
        )
    manifest = files.read_json(path, error=ModelFormatError)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFormatError(f"{path!r} does not describe label prompts.", _REMEDY)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ModelFormatError(
            f"{path!r} has format_version {manifest.get('format_version')!r}, and this release reads {FORMAT_VERSION}.",
            "Install a release that reads it.",
        )
    if problems := verify_label_prompts(directory, manifest):
        raise ModelFormatError(f"{directory!r}: {problems[0]}", _REMEDY)
    try:
        weights = safetensors.numpy.load(files.read_bytes(files.join(directory, WEIGHTS)))
        return LabelPrompts(
            coarse=weights["coarse"],
            fine=weights["fine"],
            clap=manifest["clap"]["name"],
            clap_fingerprint=manifest["clap"]["fingerprint"],
            labels=tuple(manifest["labels"]),
            multi_label=bool(manifest["multi_label"]),
            temperature=float(manifest["temperature"]),
            compat=bool(manifest.get("compat", False)),
            training=manifest["training"],
        )
    except (KeyError, TypeError, ValueError, SafetensorError) as problem:
        raise ModelFormatError(f"{directory!r} does not hold label prompts ({problem}).", _REMEDY) from problem


def verify_label_prompts(directory: str, manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for each file that differs from the manifest."""
    problems = []
    entries: Sequence[Mapping[str, Any]] = manifest.get("files", [])
    for entry in entries:
        path = files.join(directory, entry["path"])
        if not files.exists(path):
            problems.append(f"{entry['path']} is missing.")
        elif files.digest(path) != entry["sha256"]:
            problems.append(f"{entry['path']} has another sha256 than the manifest says.")
    return problems or ([] if entries else [f"{MANIFEST} names no files."])
