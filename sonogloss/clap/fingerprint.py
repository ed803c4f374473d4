"""The identity of a CLAP: a digest of everything that decides what an embedding is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from sonogloss import files
from sonogloss.audio.mel import MelSettings
from sonogloss.clap.model_directory import weight_files


def fingerprint(directory: Path, settings: MelSettings) -> str:
    """The sha256 (hex) of a model directory's weights, preprocessing values and tokenizer.

    Names, paths, comments and the version that saved the directory do not count; embeddings of two CLAPs with the same
    fingerprint may be compared, others may not.

    Args:
        directory: holds `model.safetensors`, whole or in parts, and `tokenizer.json`.
        settings: the preprocessing values read from its `preprocessor_config.json`.
    """
    weights = [files.digest(str(path)) for path in weight_files(directory)]
    parts = {
        "weights": weights[0] if len(weights) == 1 else weights,
        "tokenizer": files.digest(str(directory / "tokenizer.json")),
        "preprocessing": {k: v for k, v in dataclasses.asdict(settings).items() if v is not None},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
