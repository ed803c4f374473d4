"""`captioner.json`: the manifest of a captioner directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sonogloss import __version__, files
from sonogloss.errors import MissingInputError, ModelFormatError, OptionError
from sonogloss.later_fields import values_that_count
from sonogloss.methods.base import ClapIdentity, ProjectionSettings, Prompt
from sonogloss.methods.registry import Method, get_method

NAME = "captioner.json"
FORMAT = "sonogloss-captioner"
FORMAT_VERSION = 1
MAPPER = "mapper.safetensors"
_REMEDY = "Restore the directory or train the captioner again."


@dataclass(frozen=True, kw_only=True)
class LanguageModelReference:
    """Where a captioner's language model is: a folder `path` of its directory, or a hub id `name` (with `revision`).

    `adapter` is a folder with a peft adapter for it.
    """

    path: str | None = None
    name: str | None = None
    revision: str | None = None
    adapter: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.name is None):
            raise OptionError("A language model is named by either a path or a hub id.", "Give one of the two.")
        for folder in (self.path, self.adapter):
            _check_inside(folder)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `captioner.json`, without its format's name and version.

    `labels` is the folder of the names that a prompt chooses from; `projection` is None where embeddings are taken as
    they are.
    """

    method: str
    clap: ClapIdentity
    language_model: LanguageModelReference
    prompt: Prompt
    contexts: int
    projection: ProjectionSettings | None
    decode: Any
    files: tuple[Mapping[str, Any], ...]
    labels: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    created_by: str = f"sonogloss {__version__}"

    def __post_init__(self) -> None:
        _check_inside(self.labels)
        if self.contexts < 0:
            raise OptionError(f"contexts is {self.contexts}.", "Give 0 or more.")

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that decides a caption. The model card and the record of the training do not."""
        content = _values(self)
        for name in ("training", "created_by"):
            del content[name]
        content["files"] = [entry for entry in content["files"] if entry["path"] != "README.md"]
        content["clap"].pop("name")
        content["decode"].pop("batch_size")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _values(manifest: Manifest) -> dict[str, Any]:
    """The fields of a manifest, without settings that joined later and are at their defaults."""
    settings = {"prompt": manifest.prompt, "decode": manifest.decode}
    return asdict(manifest) | {name: values_that_count(each) for name, each in settings.items()}


def write_manifest(directory: str, manifest: Manifest) -> None:
    """Write `captioner.json`: the last step of making a captioner."""
    values = _values(manifest)
    values["language_model"] = {key: value for key, value in values["language_model"].items() if value is not None}
    order = ["created_by", "method", "clap", "language_model", "prompt", "contexts", "projection", "decode", "training"]
    if manifest.labels is not None:
        order.insert(order.index("contexts"), "labels")
    content = {"format": FORMAT, "format_version": FORMAT_VERSION} | {key: values[key] for key in [*order, "files"]}
    files.write_json(files.join(directory, NAME), content)


def read_manifest(directory: str, *, every_byte: bool = False) -> Manifest:
    """Read `captioner.json` and see that the files it lists are there, with their sizes.

    Args:
        directory: the captioner's path or URL.
        every_byte: compare their digests too.

    Raises:
        MissingInputError: there is no such directory.
        ModelFormatError: `captioner.json` or a file it lists is missing, or it is not what it should be.
    """
    path = files.join(directory, NAME)
    if not files.exists(path):
        if not files.is_dir(directory):
            raise MissingInputError(f"The captioner {directory!r} is not a directory.", "Name 'pocket' or a directory.")
        raise ModelFormatError(
            f"{directory!r} has no {NAME}: it is no captioner, or was not finished.", "Train the captioner again."
        )
    content = files.read_json(path, error=ModelFormatError)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelFormatError(f"{path!r} is not of the format {FORMAT!r}.", "Name a captioner directory.")
    if content.get("format_version") != FORMAT_VERSION:
        raise ModelFormatError(
            f"{path!r} has format version {content.get('format_version')!r}; this release reads {FORMAT_VERSION}.",
            "Use the release that wrote it, or train the captioner again.",
        )
    try:
        method = get_method(str(content.get("method")))
    except OptionError as error:
        raise ModelFormatError(f"{path!r} cannot be read. {error.what}", error.remedy) from error
    try:
        manifest = _from_json(content, method)
    except (KeyError, TypeError, ValueError, OptionError) as error:
        raise ModelFormatError(f"{path!r} has an entry missing or malformed ({error}).", _REMEDY) from error
    for entry in manifest.files:
        if problem := (_problem if every_byte else _size_problem)(directory, entry):
            raise ModelFormatError(f"The captioner {directory!r} is damaged: {problem}", _REMEDY)
    return manifest


def verify_captioner(directory: str) -> list[str]:
    """Recompute the digest of every file of a captioner directory.

    Returns:
        One sentence a problem; empty when all is well.

    Raises:
        MissingInputError: there is no such directory.
    """
    try:
        content = files.read_json(files.join(directory, NAME), error=ModelFormatError)
        listed = [dict(entry) for entry in content["files"]]
    except FileNotFoundError:
        read_manifest(directory)  # names what is missing
        raise
    except (ModelFormatError, KeyError, TypeError, ValueError) as error:
        return [f"{NAME} cannot be read ({error})."]
    problems = [problem for entry in listed if (problem := _problem(directory, entry))]
    if not problems:
        try:
            read_manifest(directory)
        except ModelFormatError as error:
            problems.append(str(error))
    return problems


def _from_json(content: Mapping[str, Any], method: Method) -> Manifest:
    entries = tuple(content["files"])
    for entry in entries:
        if not {"path", "bytes", "sha256"} <= set(entry):
            raise ValueError("an entry of files lacks path, bytes or sha256")
    projection = content["projection"]
    return Manifest(
        method=method.name,
        clap=ClapIdentity(**content["clap"]),
        language_model=LanguageModelReference(**content["language_model"]),
        prompt=method.prompt(**content["prompt"]),
        labels=content.get("labels"),
        contexts=int(content["contexts"]),
        projection=None if projection is None else ProjectionSettings(**projection),
        decode=type(method.decode)(**content["decode"]),
        files=entries,
        training=content.get("training", {}),
        created_by=str(content.get("created_by", "")),
    )


def _check_inside(folder: str | None) -> None:
    if folder is not None and (folder.startswith("/") or "\\" in folder or ".." in folder.split("/")):
        raise OptionError(f"The folder {folder!r} leaves the captioner's directory.", "Name one inside it.")


def _size_problem(directory: str, entry: Mapping[str, Any]) -> str | None:
    path = files.join(directory, entry["path"])
    if not files.exists(path):
        return f"{entry['path']} is missing."
    if (found := files.size(path)) != entry["bytes"]:
        return f"{entry['path']} has {found} bytes instead of {entry['bytes']}."
    return None


def _problem(directory: str, entry: Mapping[str, Any]) -> str | None:
    if problem := _size_problem(directory, entry):
        return problem
    if files.digest(files.join(directory, entry["path"])) != entry["sha256"]:
        return f"{entry['path']} has another content than when it was written."
    return None
