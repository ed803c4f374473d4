"""The weights of a ClapModel directory (safetensors, or files of torch.save; whole or in shards), and its identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from sonogloss import files
from sonogloss.audio.mel import MelSettings
from sonogloss.clap.model_directory import RESTORE, read_json, tokenizer_files
from sonogloss.clap.pickle_data import StoredTensor
from sonogloss.clap.torch_file import open_torch_file
from sonogloss.clap.tower_config import TowerConfig
from sonogloss.errors import ModelFormatError

_WHOLE = ("model.safetensors", "pytorch_model.bin")  # in the order of preference; shards have an index of this name
_DERIVED = (".position_ids", ".token_type_ids", ".relative_position_index")


def weight_files(directory: Path) -> list[Path]:
    """The files with the weights: one, or the shards that an index lists.

    Several models were published as `pytorch_model.bin` only; its tensors are read without unpickling.

    Raises:
        ModelFormatError: there are none, or a shard is missing.
    """
    for name in _WHOLE:
        if (directory / name).is_file():
            return [directory / name]
        if (directory / f"{name}.index.json").is_file():
            return _shards(directory / f"{name}.index.json", Path(name).suffix)
    for name in _WHOLE:
        stem, suffix = name.split(".")
        if any(directory.glob(f"{stem}-*-of-*.{suffix}")):
            raise ModelFormatError(
                f"The CLAP directory {str(directory)!r} has shards of weights, but no {name}.index.json.",
                "Copy that file into the directory.",
            )
    raise ModelFormatError(
        f"The CLAP directory {str(directory)!r} has no weights: no model.safetensors, no pytorch_model.bin, and no "
        "index of shards.",
        RESTORE,
    )


def _shards(index: Path, suffix: str) -> list[Path]:
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(_is_shard(name, suffix) for name in listed.values()):
        raise ModelFormatError(f"{str(index)!r} does not list the files of the weights.", RESTORE)
    shards = [index.parent / name for name in sorted(set(listed.values()))]
    for shard in shards:
        if not shard.is_file():
            raise ModelFormatError(
                f"{str(index)!r} lists {shard.name}, which is missing.", "Copy that file into the directory."
            )
    return shards


def _is_shard(name: Any, suffix: str) -> bool:
    return isinstance(name, str) and name.endswith(suffix) and "/" not in name and "\\" not in name


def read_model(directory: Path, config: Any) -> Any:
    """The ClapModel or :class:`~sonogloss.clap.tower_clap.TowerClap` as float32, whatever the precision of its files.

    Raises:
        ModelFormatError: a file is missing or damaged, or a weight is missing or has another shape.
    """
    paths = weight_files(directory)
    try:
        model, absent = _from_pickles(paths, config) if paths[0].suffix == ".bin" else _from_safetensors(paths, config)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ModelFormatError(f"{str(paths[0])!r} cannot be loaded ({error}).", RESTORE) from error
    # Tables of positions follow from the sizes: some versions of transformers save them, and all of them make them.
    missing = sorted(name for name in absent if not name.endswith(_DERIVED))
    if missing:
        raise ModelFormatError(f"{str(paths[0])!r} lacks {len(missing)} weights, {missing[0]!r} for one.", RESTORE)
    return model


def stored_dtype(directory: Path) -> torch.dtype:
    """float16 if the weights are stored so, else float32."""
    for path in weight_files(directory):
        if path.suffix == ".bin":
            with open_torch_file(str(path)) as file:
                half = any(stored.storage.dtype == torch.float16 for stored in _tensors(file.content).values())
        else:
            with path.open("rb") as handle:
                header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
            half = any(entry.get("dtype") == "F16" for entry in header.values())
        if half:
            return torch.float16
    return torch.float32


def _model_class(config: Any) -> Any:
    """The class of the model; its module takes a second to import, and to tell which model this is needs none of it."""
    if isinstance(config, TowerConfig):
        from sonogloss.clap.tower_clap import TowerClap

        return TowerClap
    from transformers import ClapModel

    return ClapModel


def _from_safetensors(paths: list[Path], config: Any) -> tuple[Any, list[str]]:
    """The model, and the names of the weights that its files lack."""
    if isinstance(config, TowerConfig):
        tower = _model_class(config)(config)
        state = {name: tensor.float() for path in paths for name, tensor in load_file(path).items()}
        return tower, list(tower.load_state_dict(state, strict=False).missing_keys)
    load: Any = _model_class(config).from_pretrained
    with _without_output():
        model, info = load(
            paths[0].parent,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    return model, list(info["missing_keys"])


def _from_pickles(paths: list[Path], config: Any) -> tuple[Any, list[str]]:
    """The model, and the names of the weights that its files lack."""
    model = _model_class(config)(config)
    state: dict[str, torch.Tensor] = {}
    for path in paths:
        with open_torch_file(str(path)) as file:
            state |= {name: file.read(stored) for name, stored in _tensors(file.content).items()}
    return model, list(model.load_state_dict(state, strict=False).missing_keys)


def _tensors(content: Any) -> dict[str, StoredTensor]:
    """The tensors of a state dict."""
    items = content.items() if isinstance(content, dict) else ()
    return {str(name): stored for name, stored in items if isinstance(stored, StoredTensor)}


@contextmanager
def _without_output() -> Iterator[None]:
    """Hide the progress bar and the table of missing weights that transformers draws; ours is an error."""
    bars: Any = transformers_logging
    shown, verbosity = bars.is_progress_bar_enabled(), bars.get_verbosity()
    bars.disable_progress_bar()
    bars.set_verbosity_error()
    try:
        yield
    finally:
        bars.set_verbosity(verbosity)
        if shown:
            bars.enable_progress_bar()


def fingerprint(directory: Path, settings: MelSettings) -> str:
    """The sha256 (hex) of a model directory's weights, preprocessing values and tokenizer.

    Names, paths, comments and the version that saved the directory do not count. Embeddings of two CLAPs with the same
    fingerprint can be compared, others cannot.

    Args:
        directory: holds weights and a tokenizer.
        settings: its preprocessing values.
    """
    parts = {
        "weights": _digests(weight_files(directory)),
        "tokenizer": _digests(tokenizer_files(directory)),
        "preprocessing": {k: v for k, v in dataclasses.asdict(settings).items() if v is not None},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digests(paths: list[Path]) -> str | list[str]:
    digests = [files.digest(str(path)) for path in paths]
    return digests[0] if len(digests) == 1 else digests
