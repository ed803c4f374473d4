"""The output of build-datastore: what of it is ours, and so may be replaced; and a datastore that it adds captions to.

The manifest proves it, and of a build that did not end a marker that is written first; the footers prove dead letters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import FingerprintMismatchError, FormatError, MissingInputError, OutputError
from sonogloss.indexes.cache import check_files
from sonogloss.indexes.layout import CAPTIONS, FORMAT, MANIFEST, Manifest, read_manifest
from sonogloss.indexes.verify import FOLDERS, OURS, unlisted
from sonogloss.pipelines.config.datastores import BuildDatastoreConfig
from sonogloss.pipelines.running.caption_dumps import CaptionDumps
from sonogloss.pipelines.running.lease import LEASE_FILE
from sonogloss.pipelines.running.ownership import refuse_other_directory, refuse_results
from sonogloss.transforms.embed_text import UNITS
from sonogloss.transforms.part_files import DATASTORE, DEAD_LETTERS, KIND_KEY
from sonogloss.transforms.read_captions import merge_columns
from sonogloss.transforms.work_files import WORK_FOLDER, remove_work

MARKER = ".sonogloss-build.json"
_UNITS = re.compile(UNITS + r"/[0-9a-f]{16}-\d{6}-[0-9a-f]{16}-[0-9a-f]{16}\.(npy|parquet)")
_TYPES = {"int64": "int", "double": "float", "string": "str"}
_HALF_WRITTEN = re.compile(r"\.tmp-[0-9a-f]{8}$")
_OTHERS = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(MARKER)}|{DEAD_LETTERS}/part-[0-9a-f]{{16}}\.parquet")
"""What of a build goes only where it is half-written: that a whole file of such a name is ours is proved otherwise."""

_OUTCOMES = ("appended", "counts", "left_out_columns", "measured", "removed", "skipped")
"""What a manifest's options say of the outcome, and not of what was asked for."""


_LATER = {
    "vectors": "float32",
    "precision": "float32",
    "index_memory": 8.0,
    "recall": 0.95,
    "recall_audio": [],
    "support": "all",
    "layout": "auto",
    "min_words": None,
    "max_words": None,
}
"""Options that earlier releases did not have, with their defaults, at which they are not recorded."""


def check_datastore_output(output: str) -> None:
    """Look at the output before a build; nothing is changed.

    Raises:
        OutputError: it holds something else, or files of somebody else where those of the datastore go.
    """
    refuse_results(output)
    refuse_other_directory(output, but=FORMAT)
    foreign = []
    manifest = files.join(output, MANIFEST)
    built: dict[str, object] = {}
    if files.exists(manifest):
        content = _read(manifest)
        if isinstance(content, dict) and content.get("format") == FORMAT:
            built = content
        else:
            foreign.append(MANIFEST)
    ours = bool(built) or files.exists(files.join(output, MARKER))
    letters = _dead_letters_of(built)
    for folder in (*FOLDERS, UNITS, DEAD_LETTERS):
        root = files.join(output, folder)
        for path in files.list_below(root):
            name = f"{folder}/{path}"
            if files.base_name(path).startswith(".") or (ours and _is_ours(name)):
                continue
            if folder == DEAD_LETTERS and (name in letters or _is_dead_letters(files.join(root, path))):
                continue
            foreign.append(name)
    if foreign:
        named = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3:,} more" if len(foreign) > 3 else "")
        raise OutputError(
            f"--output {output!r} holds files that are not ours: {named}.",
            "Move them away, or name another directory.",
        )


def made_with_options(config: BuildDatastoreConfig, dumps: CaptionDumps) -> dict[str, Any]:
    """What the manifest is to say of the build: the options that shape a datastore, and the dumps."""
    options = config.as_json()
    for name in ("clap", "device", "max_dead_letters"):
        del options[name]
    # As earlier releases recorded them, so that their datastores are known again.
    for name in ("text_column", "license"):
        options[name] = options[name] if len(options[name]) > 1 else next(iter(options[name]), None)
    for name, default in _LATER.items():
        if options[name] == default:
            del options[name]
    return {**options, "dumps": list(dumps.sizes)}


def asked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest's options says what was asked for."""
    return {key: value for key, value in options.items() if key not in _OUTCOMES}


def is_built(output: str, made_with: dict[str, Any], config: BuildDatastoreConfig) -> bool:
    """Does the output hold what is asked for?

    Raises:
        OutputError: it holds another datastore, which may not be replaced.
    """
    if config.overwrite or not files.exists(files.join(output, MANIFEST)):
        return False
    manifest = read_manifest(output)
    if asked_options(manifest.options) != made_with or manifest.clap["name"] != str(config.clap):
        raise OutputError(
            f"--output {output!r} holds a datastore that was made with other options or dumps.",
            "Name another directory, or replace it with --overwrite.",
        )
    return True


def begin_datastore(output: str) -> None:
    """Remove what an earlier build left, the manifest first: from then on the directory is unfinished.

    A datastore that grows does not begin so: its manifest stays until the next one takes its place.
    """
    files.write_json(files.join(output, MARKER), {"format": FORMAT, "unfinished": True})
    for path in [files.join(output, MANIFEST), *files.list_dir(files.join(output, DEAD_LETTERS), ".parquet")]:
        if files.exists(path):
            files.remove(path)


def end_datastore(output: str) -> None:
    """The manifest is written: what of ours it does not list goes, and the marker.

    These are units, shards of earlier builds, and what was half-written when a build was killed. Files of somebody else
    stay; a build does not begin where there are any.
    """
    stale = unlisted(output, read_manifest(output))
    stale += [files.base_name(path) for path in files.list_dir(output)]
    stale += [
        f"{folder}/{name}" for folder in (UNITS, DEAD_LETTERS) for name in files.list_below(files.join(output, folder))
    ]
    for name in stale:
        if _is_ours(name):
            files.remove(files.join(output, name))
    remove_work(output)
    files.remove_empty_folders(output, (*FOLDERS, UNITS))
    files.remove(files.join(output, MARKER))


def is_swept(output: str) -> bool:
    """Did the build that wrote the manifest also remove what it no longer needs?"""
    left = (MARKER, LEASE_FILE, UNITS, WORK_FOLDER)
    return not any(files.exists(files.join(output, name)) for name in left)


def kept_units(output: str, made_with: str) -> int:
    """How many finished units of an earlier build with this CLAP and precision lie there."""
    names = files.list_below(files.join(output, UNITS))
    return sum(name.endswith(".npy") and name.split("-")[2] == made_with[:16] for name in names)


def _is_ours(name: str) -> bool:
    plain = _HALF_WRITTEN.sub("", name)
    return bool(OURS.fullmatch(plain) or _UNITS.fullmatch(plain) or (plain != name and _OTHERS.fullmatch(plain)))


def _read(path: str) -> object:
    try:
        return files.read_json(path)
    except FormatError:
        return None


def _dead_letters_of(manifest: dict[str, object]) -> set[str]:
    """Names of the dead letter files of a datastore, which an earlier release did not mark."""
    options = manifest.get("options")
    dumps = options.get("dumps", []) if isinstance(options, dict) else []
    digests = (hashlib.sha256(dump["uri"].encode("utf-8", "surrogateescape")).hexdigest() for dump in dumps)
    return {f"{DEAD_LETTERS}/part-{digest[:16]}.parquet" for digest in digests}


def _is_dead_letters(path: str) -> bool:
    try:
        with files.open_read(path) as handle:
            return (pq.read_metadata(handle).metadata or {}).get(KIND_KEY) == DATASTORE.encode()
    except (OSError, pa.ArrowException):
        return False


def read_base(output: str, *, clap: str, fingerprint: str, check: str = "sample") -> Manifest:
    """The manifest of the datastore that is to grow, whose files are compared with it; `check` says how far.

    Raises:
        MissingInputError: there is none.
        OutputError: it has format 1.
        StoreFormatError: it is damaged.
        FingerprintMismatchError: another CLAP made it.
    """
    if not files.exists(files.join(output, MANIFEST)):
        raise MissingInputError(f"--append: {output!r} holds no finished datastore.", "Leave --append out.")
    manifest = read_manifest(output)
    if manifest.format_version == 1:
        raise OutputError(
            f"--append: {output!r} has format 1.",
            f"Run `sonogloss compact {output}` first, which brings it to format 2.",
        )
    if manifest.clap["fingerprint"] != fingerprint:
        raise FingerprintMismatchError(
            f"--append: {output!r} was made with the CLAP {manifest.clap['name']!r}, and {clap!r} is another one.",
            "Use that one, or build a datastore of its own.",
        )
    check_files(output, manifest, check)
    return manifest


def known_captions(output: str, base: Manifest) -> tuple[str, ...]:
    """The files with the captions that it has."""
    return tuple(files.join(output, shard.file(CAPTIONS).path) for shard in base.shards)


def known_columns(output: str, base: Manifest) -> dict[str, str]:
    """The further columns that it has, and their types."""
    columns: dict[str, str] = {}
    for path in known_captions(output, base):
        with files.open_read(path) as handle:
            schema = pq.read_schema(handle)
        found = {field.name: _TYPES.get(str(field.type), "str") for field in schema}
        columns = merge_columns(columns, {name: kind for name, kind in found.items() if name not in schema.names[:3]})
    return columns
