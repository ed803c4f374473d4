"""What a datastore directory looks like, and its manifest as a dataclass.

::

    manifest.json                      written last: a directory without it is unfinished
    shards/00000/captions.parquet      id int64, text, source, then the source file's other columns
    shards/00000/vectors.npy           float32 or float16 [rows, dim], row i belongs to row i of captions.parquet
    support/part-00000.npy             the embeddings that queries are projected on, where they are not the shards'

Everything opens with the tools it belongs to (`pyarrow.parquet.read_table`, `numpy.load` with `allow_pickle=False`),
and vectors can be memory-mapped: they begin at a multiple of 64 bytes. Format 1 kept the vectors twice, in
`shards/00000/vectors.faiss` for `faiss.read_index` and in the support. The support is separate from the contexts,
because domain adaptation exchanges the one without the other: see `Datastore.open(..., support=...)`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sonogloss import files
from sonogloss.errors import MissingInputError, StoreFormatError

FORMAT = "sonogloss-datastore"
FORMAT_VERSION = 2
READS = (1, 2)
MANIFEST = "manifest.json"
CAPTIONS = "captions.parquet"
VECTORS = {1: "vectors.faiss", 2: "vectors.npy"}
"""The file of a shard's vectors, by version of the format."""

INDEX = "index.faiss"
TRAINED = "index/trained.faiss"
"""The file of a shard's index, and the trained one, of kinds that have them."""

QUERIES = "index/queries.npy"
"""Embeddings of recordings that recall is measured with."""

DTYPES = ("float32", "float16")
"""What vectors may be stored as."""

OWN, ALL = "own", "all"
"""Kinds of support: vectors of its own, and those of the shards."""

# Fields that format 1 did not have. At their default they are left out, so that the digest of an old manifest stays.
_SINCE_2: dict[str, Any] = {"since": 2}


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file below the datastore's directory; `sample` is its :func:`sonogloss.files.sample_digest`."""

    path: str
    bytes: int
    sha256: str
    sample: str | None = field(default=None, metadata=_SINCE_2)

    def __post_init__(self) -> None:
        """Refuse names that lead out of the directory: a manifest may come from somebody else."""
        normal = posixpath.normpath(self.path)
        if self.path != normal or normal.startswith(("/", "..")) or "\\" in normal:
            raise ValueError(f"the file name {self.path!r} leaves the directory")


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A part of the contexts: captions and vectors in the same order; `sources` counts captions by source."""

    number: int
    count: int
    dim: int
    sources: Mapping[str, int]
    files: tuple[FileEntry, ...]

    def file(self, name: str) -> FileEntry:
        """The entry of `captions.parquet` and so on."""
        for entry in self.files:
            if files.base_name(entry.path) == name:
                return entry
        raise ValueError(f"shard {self.number} lists no {name}")

    @property
    def vectors(self) -> FileEntry:
        """The entry of the vectors, whatever the version of the format."""
        for entry in self.files:
            if files.base_name(entry.path) in VECTORS.values():
                return entry
        raise ValueError(f"shard {self.number} lists no vectors")


@dataclass(frozen=True, kw_only=True)
class SupportPart:
    """A part of the support: one .npy file."""

    number: int
    count: int
    dim: int
    file: FileEntry


@dataclass(frozen=True, kw_only=True)
class SupportEntry:
    """The whole support; a count of 0 means that the datastore has none and only retrieves.

    `kind` is `all` where the shards' vectors are the support, and `parts` are empty then. Otherwise it says where the
    parts come from: `sample:N`, `kmeans:N`, `copy` of another datastore's, or `own`.
    """

    count: int = 0
    parts: tuple[SupportPart, ...] = ()
    kind: str = field(default=OWN, metadata=_SINCE_2)


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """How vectors are indexed: `kind` by our name, `factory` by FAISS's, and what that costs in recall.

    `parameters` are those of the search (`nprobe`, `candidates`), `recall_wanted` what the build was asked for, and
    `trained` the index without rows that shards were filled from. `queries` are the audio embeddings that recall was
    measured with beside captions, where the user named recordings.
    """

    kind: str
    factory: str
    recall_at_10: float
    measured_on: str
    recall_at_1: float | None = field(default=None, metadata=_SINCE_2)
    recall_wanted: float | None = field(default=None, metadata=_SINCE_2)
    parameters: Mapping[str, int] | None = field(default=None, metadata=_SINCE_2)
    trained: FileEntry | None = field(default=None, metadata=_SINCE_2)
    queries: FileEntry | None = field(default=None, metadata=_SINCE_2)
    audio_recall_at_10: float | None = field(default=None, metadata=_SINCE_2)
    audio_recall_at_1: float | None = field(default=None, metadata=_SINCE_2)


@dataclass(frozen=True, kw_only=True)
class SourceEntry:
    """Where captions came from; `license` is None where it was not given."""

    name: str
    license: str | None
    count: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of `manifest.json`.

    `clap` holds at least `name`, `fingerprint` and `dim` of the CLAP whose text tower made the vectors.
    """

    created_by: str
    options: Mapping[str, Any]
    count: int
    dim: int
    clap: Mapping[str, Any]
    shards: tuple[ShardEntry, ...]
    sources: tuple[SourceEntry, ...]
    support: SupportEntry
    index: IndexEntry
    vectors: str = field(default="float32", metadata=_SINCE_2)
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Check that the parts add up."""
        if self.count != sum(shard.count for shard in self.shards):
            raise ValueError(f"count is {self.count}, but its shards hold {sum(s.count for s in self.shards)} captions")
        listed = self.count if self.support.kind == ALL else sum(part.count for part in self.support.parts)
        if self.support.count != listed:
            raise ValueError("the support's count is not the sum of its parts")
        if self.vectors not in DTYPES:
            raise ValueError(f"vectors are of the type {self.vectors!r}")
        if missing := {"name", "fingerprint", "dim"} - set(self.clap):
            raise ValueError(f"clap lacks {', '.join(sorted(missing))}")
        dims = {self.dim, self.clap["dim"], *(s.dim for s in self.shards), *(p.dim for p in self.support.parts)}
        if len(dims) > 1:
            raise ValueError(f"vectors of several widths ({', '.join(map(str, sorted(dims)))}) are listed")
        for shard in self.shards:
            shard.file(CAPTIONS), shard.file(VECTORS[self.format_version])

    def files(self) -> list[FileEntry]:
        """Every file that the manifest lists."""
        index = [entry for entry in (self.index.trained, self.index.queries) if entry]
        return [f for s in self.shards for f in s.files] + [part.file for part in self.support.parts] + index


def shard_from_json(value: Mapping[str, Any]) -> ShardEntry:
    """A shard's entry from plain JSON values."""
    return ShardEntry(**{**value, "files": tuple(FileEntry(**f) for f in value["files"])})


def part_from_json(value: Mapping[str, Any]) -> SupportPart:
    """A support part's entry from plain JSON values."""
    return SupportPart(**{**value, "file": FileEntry(**value["file"])})


def to_json(entry: Manifest | ShardEntry | SupportPart) -> dict[str, Any]:
    """An entry, or the whole manifest, as plain JSON values; a manifest begins with its format."""
    plain: dict[str, Any] = _plain(entry)
    first = {key: plain.pop(key) for key in ("format", "format_version") if key in plain}
    return first | plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = [f for f in dataclasses.fields(value) if not (f.metadata and getattr(value, f.name) == f.default)]
        return {f.name: _plain(getattr(value, f.name)) for f in kept}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def manifest_from_json(value: Any, *, where: str) -> Manifest:
    """A manifest from plain JSON values; unknown keys at the top are left for later versions.

    Raises:
        StoreFormatError: it is not a datastore's manifest, its version is unknown, or its parts do not fit together.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise StoreFormatError(f"{where!r} is not the manifest of a datastore.", "Name a datastore's directory.")
    version = value.get("format_version")
    if version not in READS:
        raise StoreFormatError(
            f"{where!r} has format_version {version!r}, and this release reads {' and '.join(map(str, READS))}.",
            "Install a release that reads it, or build the datastore again.",
        )
    known = {f.name for f in dataclasses.fields(Manifest)}
    try:
        return Manifest(
            **{key: item for key, item in value.items() if key in known}
            | {
                "shards": tuple(shard_from_json(s) for s in value["shards"]),
                "sources": tuple(SourceEntry(**s) for s in value["sources"]),
                "support": _support_from_json(value["support"]),
                "index": _index_from_json(value["index"]),
            }
        )
    except KeyError as error:
        raise _malformed(where, f"it lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _malformed(where, str(error)) from error


def _support_from_json(value: Mapping[str, Any]) -> SupportEntry:
    return SupportEntry(
        count=value["count"], parts=tuple(part_from_json(p) for p in value["parts"]), kind=value.get("kind", OWN)
    )


def _index_from_json(value: Mapping[str, Any]) -> IndexEntry:
    listed = {name: FileEntry(**value[name]) for name in ("trained", "queries") if value.get(name) is not None}
    return IndexEntry(**{**value, **listed})


def unusable(path: str, why: str) -> StoreFormatError:
    """The error for a file of a datastore whose content is not what the manifest says."""
    return StoreFormatError(
        f"{path!r} cannot be used: {why}.", "Run `sonogloss verify`; restore the file or build the datastore again."
    )


def _malformed(where: str, why: str) -> StoreFormatError:
    return StoreFormatError(f"{where!r} is malformed: {why}.", "Restore the file or build the datastore again.")


def read_manifest(directory: str) -> Manifest:
    """The manifest of a datastore's directory.

    Raises:
        MissingInputError: there is no such directory.
        StoreFormatError: it has no manifest (it is unfinished), or one that cannot be used.
    """
    path = files.join(directory, MANIFEST)
    if not files.exists(path):
        remedy = "Check the path, or run `sonogloss build-datastore` to its end."
        if not files.is_dir(directory):
            raise MissingInputError(f"The datastore {directory!r} does not exist.", remedy)
        raise StoreFormatError(f"The datastore {directory!r} is unfinished: it has no {MANIFEST}.", remedy)
    content = files.read_json(path, error=StoreFormatError)
    manifest = manifest_from_json(content, where=path)
    if manifest.format_version > 1 and content.pop("sha256", None) != _digest(content):
        raise _malformed(path, "its own sha256 does not match, so it was damaged or edited")
    return manifest


def write_manifest(directory: str, manifest: Manifest) -> None:
    """Write the manifest, with the sha256 of what it says as its last key."""
    files.write_bytes(files.join(directory, MANIFEST), manifest_bytes(manifest))


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as it is on disk."""
    content = to_json(manifest)
    return files.json_bytes({**content, "sha256": _digest(content)})


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe(manifest: Manifest) -> dict[str, Any]:
    """What a person wants to know of a datastore, one line a key."""
    listed: Sequence[FileEntry] = manifest.files()
    audio_recall = manifest.index.audio_recall_at_10
    return {
        "format": f"{manifest.format} {manifest.format_version}",
        "created_by": manifest.created_by,
        "captions": manifest.count,
        "dim": manifest.dim,
        "clap": manifest.clap["name"],
        "clap_fingerprint": manifest.clap["fingerprint"],
        "index": manifest.index.kind,
        "recall_at_10": manifest.index.recall_at_10,
        **({} if audio_recall is None else {"audio_recall_at_10": audio_recall}),
        "shards": len(manifest.shards),
        "vectors": manifest.vectors,
        "support": manifest.support.count,
        "support_kind": manifest.support.kind,
        "sources": {s.name: {"count": s.count, "license": s.license} for s in manifest.sources},
        "bytes": sum(entry.bytes for entry in listed),
        "options": dict(manifest.options),
    }
