"""A language model in one GGUF file: its weights dequantized, once, into a directory as transformers has it.

The directory lies in the user's cache under the digest of the file, so that every later load, by whatever name, reads
safetensors and needs the package `gguf` no more. Weights are stored as float16, which holds more than a file of four or
eight bits a weight did.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sonogloss import files
from sonogloss.errors import ModelFormatError, OptionError

SUFFIX = ".gguf"
CACHE_VARIABLE = "SONOGLOSS_CACHE"


def gguf_directory(path: Path) -> Path:
    """The directory with the model of a GGUF file; made at the first call, which takes a minute for 100 M weights.

    Args:
        path: an existing file. Its architecture must be one that transformers reads from GGUF.

    Raises:
        OptionError: the package `gguf` is not installed.
        ModelFormatError: the file is damaged, or holds another kind of model.
    """
    directory = _cache() / files.digest(str(path))
    if (directory / "config.json").is_file():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gguf-", dir=directory.parent) as temporary:
        _dequantize(path, Path(temporary) / "model")
        try:
            (Path(temporary) / "model").rename(directory)
        except OSError:  # another process was faster
            shutil.rmtree(Path(temporary) / "model")
    return directory


def _cache() -> Path:
    """`$SONOGLOSS_CACHE/gguf`, by default below the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(named) if named else home / "sonogloss") / "gguf"


def _dequantize(path: Path, directory: Path) -> None:
    try:
        import gguf  # transformers imports it by itself, and says less when it is missing
    except ImportError as error:
        raise OptionError(
            f"The language model {str(path)!r} is a GGUF file, and the package gguf is not installed.",
            "Run `pip install sonogloss[gguf]`, or name a directory with safetensors weights.",
        ) from error
    load: Any = AutoModelForCausalLM.from_pretrained
    options = {"gguf_file": path.name, "local_files_only": True}
    try:
        loaded = load(path.parent, dtype=torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
        end = gguf.GGUFReader(path).fields.get("tokenizer.ggml.eos_token_id")
    except Exception as error:  # transformers and gguf raise of every kind on files that they cannot read
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFormatError(
            f"The language model {str(path)!r} cannot be read as GGUF ({reason}).",
            "Get the file again, or name a directory with safetensors weights.",
        ) from error
    if end is not None:  # some releases of transformers take another token for the end of a text
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(int(end.contents()))
    # A model read from GGUF refuses to be saved: its weights move to one that never heard of it.
    config = type(loaded.config)(**{k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"})
    plain: Any = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    plain.half().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
