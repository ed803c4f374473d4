"""What the rest of the house needs of a CLAP, and how the name a user gives leads to one."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib.resources import files as package_files
from pathlib import Path
from typing import Protocol

from sonogloss import files
from sonogloss.errors import MissingInputError
from sonogloss.records import FloatArray

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# What is fetched of a model, by name or pattern: large ones come in parts, which model.safetensors.index.json lists.
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
PICKLED = "pytorch_model.bin"  # fetched only where there is nothing better; its tensors are read, never its objects


class Clap(Protocol):
    """A contrastive language-audio model whose embeddings of a sound and of its description lie close together.

    Attributes:
        name: as the user named it.
        fingerprint: sha256 (hex) of weights, preprocessing values and tokenizer; equal wherever the model lies.
        dim: width of the embeddings.
        sample_rate: in Hz, of the waveforms it takes.
        window_s: seconds the audio tower takes at once.
        temperature: of its contrastive training; similarities are divided by it.
    """

    name: str
    fingerprint: str
    dim: int
    sample_rate: int
    window_s: float
    temperature: float

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows `[n, dim]`, float32, in the order given; independent of batch neighbours up to float32 rounding."""
        ...

    def embed_audio(self, waveforms: Sequence[FloatArray]) -> FloatArray:
        """Unit rows `[n, dim]`, float32, for mono waveforms at `sample_rate`, each at most `window_s` long."""
        ...


POCKET = {"pocket": "clap", "pocket:ordered": "clap-ordered"}
"""The CLAPs of this package: the names they have, and their folders among its weights."""


def is_pocket(name: str) -> bool:
    """Is this a CLAP of the package, which knows its fifty synthetic sounds only?"""
    return name in POCKET


def load_clap(name: str, *, device: str = "cpu") -> Clap:
    """Load a CLAP by the name a user gave.

    Args:
        name: `pocket` or `pocket:ordered` (shipped with this package), a directory (local or any fsspec URL) in the
            layout of transformers' ClapModel, a hub id `owner/name`, or `laion:` and the path or URL of a LAION
            checkpoint, which is converted on every load (`sonogloss convert-clap` does it once). `laion_clap:` runs
            such a checkpoint in LAION's own package instead, with the same embeddings and fingerprint. Only a hub id
            may use the network.
        device: where it runs, as torch names it (`cpu`, `cuda`, `cuda:1`).

    Raises:
        OptionError: the name or the device cannot be used.
        MissingInputError: there is no such directory or hub model.
        ModelFormatError: the directory lacks a file, or a file is not what it should be.
    """
    # The model libraries take seconds to import; naming a CLAP must not cost that.
    if name.startswith("laion_clap:"):
        from sonogloss.clap.laion import LaionClap

        return LaionClap.open(name.removeprefix("laion_clap:"), name=name, device=device)
    from sonogloss.clap.transformers_clap import TransformersClap

    with clap_directory(name) as directory:
        return TransformersClap.open(directory, name=name, device=device)


@contextmanager
def clap_directory(name: str) -> Iterator[Path]:
    """The local directory behind a name as in :func:`load_clap`, for as long as loading or copying takes."""
    if name in POCKET:
        directory = Path(str(package_files("sonogloss"))) / "pocket" / "weights" / POCKET[name]
        if not directory.is_dir():
            raise MissingInputError(
                f"This installation does not hold the weights of the CLAP {name!r}.",
                "Install the package from its wheel.",
            )
        yield directory
    elif name.startswith("laion:"):
        from sonogloss.clap.convert import convert_checkpoint

        with tempfile.TemporaryDirectory(prefix="clap-") as temporary:
            convert_checkpoint(name.removeprefix("laion:"), Path(temporary))
            yield Path(temporary)
    elif "://" in name:
        with tempfile.TemporaryDirectory(prefix="clap-") as temporary:
            listed = files.list_dir(name)
            paths = [path for path in listed if _is_model_file(files.base_name(path))]
            if not any(path.endswith(".safetensors") for path in paths):
                paths += [path for path in listed if files.base_name(path) == PICKLED]
            if not paths:
                raise MissingInputError(f"The CLAP {name!r} holds no model files.", "Check the URL.")
            for path in paths:
                with files.open_read(path) as source, (Path(temporary) / files.base_name(path)).open("wb") as target:
                    shutil.copyfileobj(source, target)
            yield Path(temporary)
    elif name and Path(name).is_dir():
        yield Path(name)
    elif _HUB_ID.fullmatch(name):
        yield _from_hub(name)
    else:
        raise MissingInputError(
            f"The CLAP {name!r} is not a directory.",
            "Name 'pocket', 'pocket:ordered', an existing directory, a hub id like 'owner/name' or 'laion:CKPT.pt'.",
        )


def _is_model_file(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        directory = Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))
        if not any(directory.glob("model*.safetensors")):
            snapshot_download(name, allow_patterns=PICKLED)
        return directory
    except Exception as error:  # the hub's client raises its own, requests' and the system's errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingInputError(
            f"The CLAP {name!r} is no directory here and could not be had from the model hub ({reason}).",
            "Check the name and the network, or name a local directory.",
        ) from error
