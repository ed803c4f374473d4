"""Load a CLAP by the name a user gives.

A backend of another package registers in its own `pyproject.toml`, and its CLAPs are named by the entry point and
whatever it needs to find a model, as in `my-clap:DIRECTORY`::

    [project.entry-points."sonogloss.claps"]
    my-clap = "my_package.backend:open_clap"

The function is called as `open_clap("DIRECTORY", name="my-clap:DIRECTORY", device="cpu")` and gives a
:class:`~sonogloss.clap.protocol.Clap`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files as package_files
from pathlib import Path

from sonogloss import files
from sonogloss.clap.protocol import Clap
from sonogloss.errors import MissingInputError, OptionError
from sonogloss.hub import hub_hint, hub_id

GROUP = "sonogloss.claps"
CHECKPOINTS = ("laion", "wavcaps", "msclap")
"""Names of the layouts of checkpoints, see :mod:`sonogloss.clap.layouts`."""
_OWN = ("pocket", "laion_clap", "hf", *CHECKPOINTS)  # what another package's name cannot hide
_POCKET = {"pocket": "clap", "pocket:ordered": "clap-ordered"}  # names, and their folders among the package's weights
# The files of a model that are copied or downloaded, as patterns.
_MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
)
# Needed only where there is no safetensors file; tensors are read from it and nothing is unpickled.
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")


def is_transformers(name: str) -> bool:
    """Is this a directory of transformers' ClapModel, or what becomes one?"""
    return not name.startswith("laion_clap:") and _entry_point(name) is None


def is_pocket(name: str) -> bool:
    """Is this a CLAP of the package, which knows its fifty synthetic sounds only?"""
    return name in _POCKET


def load_clap(name: str, *, device: str = "cpu") -> Clap:
    """Load a CLAP by its name.

    Args:
        name: `pocket` or `pocket:ordered` (shipped with this package), a directory (local or any fsspec URL) in the
            layout of transformers' ClapModel, `hf:owner/name` on the model hub, or `laion:`, `wavcaps:` or `msclap:`
            and the path or URL of such a checkpoint, which is converted on every load (`sonogloss convert-clap` does it
            once). `laion_clap:` runs one of LAION in LAION's own package instead, with the same embeddings and
            fingerprint. Only `hf:` may use the network. The entry points of the group `sonogloss.claps` add names of
            other packages.
        device: where it runs, as torch names it (`cpu`, `cuda`, `cuda:1`).

    Raises:
        OptionError: the name or the device cannot be used.
        MissingInputError: there is no such directory or hub model.
        ModelFormatError: the directory lacks a file, or a file is malformed.
    """
    # The model libraries take seconds to import, and importing this module must not cost that.
    if name.startswith("laion_clap:"):
        from sonogloss.clap.laion import LaionClap

        return LaionClap.open(name.removeprefix("laion_clap:"), name=name, device=device)
    if (entry := _entry_point(name)) is not None:
        return _open_entry(entry, name, device)
    from sonogloss.clap.transformers_clap import TransformersClap

    with clap_directory(name) as directory:
        return TransformersClap.open(directory, name=name, device=device)


def _entry_point(name: str) -> EntryPoint | None:
    """The backend of another package that a name asks for; our own names and URLs come first."""
    backend, colon, rest = name.partition(":")
    if not colon or rest.startswith("//") or backend in _OWN:
        return None
    return next(iter(entry_points(group=GROUP, name=backend)), None)


def _open_entry(entry: EntryPoint, name: str, device: str) -> Clap:
    try:
        open_clap = entry.load()
    except (ImportError, AttributeError) as problem:
        raise OptionError(
            f"The CLAP {name!r} needs {entry.value!r}, which cannot be loaded ({problem}).",
            "Repair or remove its package.",
        ) from problem
    clap: Clap = open_clap(name.partition(":")[2], name=name, device=device)
    return clap


@contextmanager
def clap_directory(name: str) -> Iterator[Path]:
    """The local directory of a name as in :func:`load_clap`; a temporary one is removed at the end of the context."""
    if is_pocket(name):
        directory = Path(str(package_files("sonogloss"))) / "pocket" / "weights" / _POCKET[name]
        if not directory.is_dir():
            raise MissingInputError(
                f"This installation does not hold the weights of the CLAP {name!r}.",
                "Install the package from its wheel.",
            )
        yield directory
    elif (layout := name.partition(":")[0]) in CHECKPOINTS and name != layout:
        from sonogloss.clap.convert import convert_checkpoint

        with tempfile.TemporaryDirectory(prefix="clap-") as temporary:
            convert_checkpoint(name.partition(":")[2], Path(temporary), layout=layout)
            yield Path(temporary)
    elif "://" in name:
        with tempfile.TemporaryDirectory(prefix="clap-") as temporary:
            _copy(name, Path(temporary))
            yield Path(temporary)
    elif name and Path(name).is_dir():
        yield Path(name)
    elif (on_hub := hub_id(name)) is not None:
        yield _from_hub(on_hub)
    else:
        raise MissingInputError(
            f"The CLAP {name!r} is not a directory.",
            "Name 'pocket', 'pocket:ordered', an existing directory, or laion:, wavcaps: or msclap:CKPT; "
            f"{hub_hint(name)}.",
        )


def _copy(url: str, directory: Path) -> None:
    """Copy the files of a model from a remote directory."""
    listed = {files.base_name(path): path for path in files.list_dir(url)}
    chosen = _matching(listed, _MODEL_FILES)
    if not any(name.endswith(".safetensors") for name in chosen):
        chosen += _matching(listed, _PICKLES)
    if not chosen:
        raise MissingInputError(f"The CLAP {url!r} holds no model files.", "Check the URL.")
    for name in chosen:
        with files.open_read(listed[name]) as source, (directory / name).open("wb") as target:
            shutil.copyfileobj(source, target)


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _from_hub(name: str) -> Path:
    """The local snapshot of a hub model."""
    from huggingface_hub import snapshot_download

    try:
        directory = Path(snapshot_download(name, allow_patterns=list(_MODEL_FILES)))
        if not any(directory.glob("model*.safetensors")):
            snapshot_download(name, allow_patterns=list(_PICKLES))
        return directory
    except Exception as error:  # the hub's client raises its own, requests' and the system's errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingInputError(
            f"The CLAP {name!r} cannot be loaded from the model hub ({reason}).",
            "Check the name and the network, or name a local directory.",
        ) from error
