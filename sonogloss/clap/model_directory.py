"""Read a directory in the layout of transformers' ClapModel, and say in words what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import ClapConfig, ClapModel
from transformers.utils import logging as transformers_logging

from sonogloss.audio.mel import MelSettings
from sonogloss.clap.torch_file import StoredTensor, open_torch_file
from sonogloss.errors import ModelFormatError

# Configurations and models are Any here and beyond: transformers types them in part, as unions with dict and None.

_DERIVED = (".position_ids", ".token_type_ids", ".relative_position_index")
_RESTORE = "Restore the directory as transformers' ClapModel saved it."


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in one of the directory's files.

    Raises:
        ModelFormatError: as all functions here.
    """
    if not path.is_file():
        raise ModelFormatError(f"The CLAP directory {str(path.parent)!r} has no {path.name}.", _RESTORE)
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFormatError(f"{str(path)!r} is not valid JSON ({error}).", _RESTORE) from error
    if not isinstance(values, dict):
        raise ModelFormatError(f"{str(path)!r} does not hold a JSON object.", _RESTORE)
    return values


def read_config(directory: Path) -> Any:
    """The ClapConfig in `config.json`."""
    values = read_json(directory / "config.json")
    if values.get("model_type") != "clap":
        raise ModelFormatError(
            f"{str(directory / 'config.json')!r} describes a {values.get('model_type')!r} model, not a CLAP.",
            "Name the directory of a ClapModel.",
        )
    try:
        return ClapConfig.from_dict(values)
    except Exception as error:  # transformers checks values in several ways, each with its own exception
        raise ModelFormatError(f"{str(directory / 'config.json')!r} cannot be used ({error}).", _RESTORE) from error


def check_image(settings: MelSettings, config: Any) -> None:
    """The mel image must fit the audio tower, which stretches anything smaller and fails on anything larger."""
    audio = config.audio_config
    longest = audio.spec_size * (audio.spec_size // audio.num_mel_bins)
    if settings.mel_bins != audio.num_mel_bins or settings.frames > longest:
        raise ModelFormatError(
            f"preprocessor_config.json gives {settings.frames} frames of {settings.mel_bins} mel bins, but the audio "
            f"tower of config.json takes at most {longest} frames of {audio.num_mel_bins}.",
            _RESTORE,
        )


def max_tokens(directory: Path, config: Any) -> int:
    """Tokens of the longest text: positions start after the padding id, and a tokenizer may set a lower limit."""
    positions = config.text_config.max_position_embeddings - config.text_config.pad_token_id - 1
    path = directory / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    return int(min(positions, limit)) if isinstance(limit, int | float) and limit > 2 else int(positions)


def read_tokenizer(path: Path, config: Any) -> Tokenizer:
    """The tokenizer, which may know no more entries than the text tower."""
    if not path.is_file():
        raise ModelFormatError(f"The CLAP directory {str(path.parent)!r} has no {path.name}.", _RESTORE)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise ModelFormatError(f"{str(path)!r} is not a tokenizer ({error}).", _RESTORE) from error
    entries, known = tokenizer.get_vocab_size(), config.text_config.vocab_size
    if entries > known:
        raise ModelFormatError(f"{str(path)!r} has {entries} entries, but the text tower knows {known}.", _RESTORE)
    return tokenizer


def weight_files(directory: Path) -> list[Path]:
    """The files with the weights.

    `model.safetensors`, or the parts that `model.safetensors.index.json` lists, or `pytorch_model.bin`: several models
    were published in no other form, and its tensors are read without unpickling.
    """
    index, pickle = directory / "model.safetensors.index.json", directory / "pytorch_model.bin"
    if (whole := directory / "model.safetensors").is_file():
        return [whole]
    if not index.is_file():
        if pickle.is_file():
            return [pickle]
        raise ModelFormatError(f"The CLAP directory {str(directory)!r} has no model.safetensors.", _RESTORE)
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(_is_part(name) for name in listed.values()):
        raise ModelFormatError(f"{str(index)!r} does not list the files of the weights.", _RESTORE)
    parts = [directory / name for name in sorted(set(listed.values()))]
    for part in parts:
        if not part.is_file():
            raise ModelFormatError(f"{str(index)!r} lists {part.name}, which is missing.", _RESTORE)
    return parts


def _is_part(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and "/" not in name and "\\" not in name


def read_model(directory: Path, config: Any) -> Any:
    """The ClapModel, as float32, whatever precision it was saved in; complete or an error. Nothing is unpickled."""
    weights = weight_files(directory)[0]
    try:
        model, absent = (
            _read_tensors(weights, config) if weights.suffix == ".bin" else _read_safetensors(weights, config)
        )
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ModelFormatError(f"{str(weights)!r} cannot be loaded ({error}).", _RESTORE) from error
    # Tables of positions follow from the sizes: older versions of transformers left some out, and newer ones make them.
    missing = sorted(name for name in absent if not name.endswith(_DERIVED))
    if missing:
        raise ModelFormatError(f"{str(weights)!r} lacks {len(missing)} weights, {missing[0]!r} for one.", _RESTORE)
    return model


def _read_safetensors(weights: Path, config: Any) -> tuple[Any, Iterable[str]]:
    """The model in the directory of these weights, and the names of those it lacks."""
    load: Any = ClapModel.from_pretrained
    with _quiet():
        model, info = load(
            weights.parent,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    return model, info["missing_keys"]


def _read_tensors(weights: Path, config: Any) -> tuple[Any, Iterable[str]]:
    """The model with the tensors of a file that torch.save wrote, and the names of those it lacks."""
    model = ClapModel(config)
    with open_torch_file(str(weights)) as file:
        content = file.content if isinstance(file.content, dict) else {}
        state = {name: file.read(stored) for name, stored in content.items() if isinstance(stored, StoredTensor)}
    return model, model.load_state_dict(state, strict=False).missing_keys


@contextmanager
def _quiet() -> Iterator[None]:
    """The bar and the table that transformers draws on standard error for every load, one per worker, say nothing new.

    What a table would tell of missing weights is an error here.
    """
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
