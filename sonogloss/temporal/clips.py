"""Labelled clips: a folder of recordings of one class each, or rendered soundscapes.

A clip's id is a digest of its name inside the collection, so pairs and splits stay the same when a folder moves, grows
or is listed in another order.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from sonogloss import files
from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.errors import RETRYABLE, ClipError, Code, FormatError, MissingInputError, OptionError
from sonogloss.records import DeadLetter, FloatArray
from sonogloss.soundscapes import CLASSES, RATE, render_variant
from sonogloss.tables import read_table

SOUNDSCAPES = "pocket"
_SCHEME = "soundscape:"
_METADATA = "metadata.csv"


@dataclass(frozen=True, kw_only=True)
class LabelledClip:
    """A recording of one class.

    Attributes:
        id: 32 hex digits, a digest of the name inside the collection.
        uri: of the file; `soundscape:...` is rendered.
        label: its class as words of a sentence.
        source: the recording it was cut from (column `src_id`), else its own id. A split keeps a source on one side.
        fold: the collection's own split (column `fold`), if it has one.
        collection: the one of several collections that it belongs to. Classes of two collections are never compared,
            as they may be the same under two names.
    """

    id: str
    uri: str
    label: str
    source: str
    fold: str | None = None
    collection: str = ""


def rank(*parts: object) -> int:
    """A uniform 63-bit hash of these parts: the source of all random choices here, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\x00".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def read_collection(name: str, *, split: str, seed: int = 0, per_class: int = 40) -> list[LabelledClip]:
    """The clips of a collection, in order of id.

    Args:
        name: a folder with `metadata.csv` (columns `file_name` and `label`, or `filename` and `class`; optional `fold`
            and `src_id`), or with one sub-folder a class; or `pocket`, rendered sounds of the pocket labels.
        split: `train` or `test`: soundscapes of the two have no sound in common. Folders have folds instead.
        seed: of the soundscapes.
        per_class: number of soundscapes of each class.

    Raises:
        InputError: there is no such folder, or it holds no labelled clips.
    """
    if name == SOUNDSCAPES:
        return soundscape_clips(per_class, split=f"{split}-{seed}")
    if not files.is_dir(name):
        raise MissingInputError(
            f"--clips {name!r} is not a directory.",
            f"Name a folder with {_METADATA} or one sub-folder a class, or {SOUNDSCAPES!r}.",
        )
    path = files.join(name, _METADATA)
    found = _from_metadata(name, path) if files.exists(path) else _from_folders(name)
    if len({clip.label for clip in found}) < 2:
        raise FormatError(
            f"--clips {name!r} holds {len(found)} clips of fewer than two classes.",
            f"Give it a {_METADATA} with the columns file_name and label, or one sub-folder a class.",
        )
    return sorted(found, key=lambda clip: clip.id)


def soundscape_clips(per_class: int, *, split: str) -> list[LabelledClip]:
    """Sounds of every class of the synthesizer, named by (split, class, number) and rendered when they are read."""
    found = []
    for name, sound in CLASSES.items():
        for number in range(per_class):
            uri = f"{_SCHEME}{split}/{name}/{number}"
            found.append(_clip(uri, uri, sound.label, collection=SOUNDSCAPES))
    return sorted(found, key=lambda clip: clip.id)


def read_samples(clip: LabelledClip, sample_rate: int, longest_s: float) -> FloatArray:
    """The first `longest_s` seconds of a clip, mono float32 at a rate.

    Raises:
        ClipError: it cannot be read; the code says why.
    """
    if clip.uri.startswith(_SCHEME):
        name, seed = clip.uri.split("/")[1], rank(clip.uri)
        seconds = float(np.random.default_rng([seed, 7]).uniform(CLASSES[name].shortest, CLASSES[name].longest))
        samples = render_variant(name, seed, seconds)[0]
        if sample_rate != RATE:
            samples = soxr.resample(samples, RATE, sample_rate).astype(np.float32)
        return samples[: round(longest_s * sample_rate)]
    try:
        data = files.read_bytes(clip.uri)
    except Exception as error:  # each file system raises its own errors; one costs one clip only
        raise ClipError(Code.READ_ERROR, f"The file cannot be read ({type(error).__name__}: {error}).") from error
    policy = WindowPolicy(window_s=longest_s, hop_s=longest_s)
    return next(cut_clips(data, Cutting(uri=clip.uri, policy=policy, sample_rate=sample_rate))).samples


def dead_clip(clip: LabelledClip, stage: str, error: ClipError) -> DeadLetter:
    """The dead letter of a clip that could not be used."""
    return DeadLetter(
        clip_id=clip.id,
        uri=clip.uri,
        member=None,
        stage=stage,
        code=error.code.value,
        message=error.message,
        byte_offset=error.byte_offset,
        retryable=error.code in RETRYABLE,
    )


def select_folds(clips: Iterable[LabelledClip], folds: Collection[str]) -> list[LabelledClip]:
    """The clips of some folds.

    Raises:
        OptionError: a fold has no clips.
    """
    clips = list(clips)
    known = {clip.fold for clip in clips if clip.fold is not None}
    if unknown := sorted(set(folds) - known):
        there = ", ".join(sorted(known)) or "none: metadata.csv has no column fold"
        raise OptionError(f"--folds: no clip lies in fold {unknown[0]!r}.", f"The folds are {there}.")
    return [clip for clip in clips if clip.fold in folds]


def hold_out_classes(
    clips: Sequence[LabelledClip], share: float, seed: int = 0
) -> tuple[list[LabelledClip], list[LabelledClip]]:
    """Split by class: (the rest, the held-out classes), the latter about `share` of all, at least two if any.

    The choice follows from the names of the classes alone, so training and evaluation agree on it.
    """
    labels = sorted({clip.label for clip in clips}, key=lambda label: rank("class", seed, label))
    held_out = set(labels[: max(2, round(share * len(labels)))] if share > 0 else ())
    return [c for c in clips if c.label not in held_out], [c for c in clips if c.label in held_out]


def hold_out_sources(
    clips: Sequence[LabelledClip], share: float, seed: int = 0
) -> tuple[list[LabelledClip], list[LabelledClip]]:
    """Split by source: (the rest, about `share` of the clips), no recording on both sides."""
    limit = round(share * 2**63)
    held_out = {clip.id for clip in clips if rank("source", seed, clip.source) < limit}
    return [c for c in clips if c.id not in held_out], [c for c in clips if c.id in held_out]


def classes_by_collection(clips: Iterable[LabelledClip]) -> Counter[str]:
    """The number of classes in each collection."""
    return Counter(collection for collection, _ in {(clip.collection, clip.label) for clip in clips})


def _from_metadata(folder: str, path: str) -> list[LabelledClip]:
    table = read_table(path, option="--clips")
    name_column, label_column = table.require("filename", "file_name"), table.require("class", "label")
    found = []
    for place, row in table.rows:
        name, label = (row[column].strip() for column in (name_column, label_column))
        if not name or not label:
            raise table.wrong(place, f"no {name_column} or no {label_column}")
        source = (row.get("src_id") or "").strip()
        found.append(
            _clip(name, files.join(folder, name), label, source=source, fold=row.get("fold"), collection=folder)
        )
    if repeated := [name for name, count in Counter(clip.uri for clip in found).items() if count > 1]:
        raise FormatError(f"{path!r} names {repeated[0]!r} more than once.", "Give every clip one row.")
    return found


def _from_folders(folder: str) -> list[LabelledClip]:
    found = []
    for inside in files.list_dir(folder):
        if not files.is_dir(inside):
            continue
        label = files.base_name(inside)
        for uri in files.list_dir(inside):
            name = files.base_name(uri)
            if not name.startswith(".") and not files.is_dir(uri):
                found.append(_clip(f"{label}/{name}", uri, label, collection=folder))
    return found


def _clip(
    name: str, uri: str, label: str, *, source: str = "", fold: str | None = None, collection: str = ""
) -> LabelledClip:
    own = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    words = " ".join(label.replace("_", " ").split())
    return LabelledClip(id=own, uri=uri, label=words, source=source or own, fold=fold, collection=collection)
