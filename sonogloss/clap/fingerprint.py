"""The identity of a CLAP: a digest of everything that decides what an embedding is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from sonogloss import files
from sonogloss.audio.mel import MelSettings


def fingerprint(directory: Path, settings: MelSettings) -> str:
    """The sha256 (hex) of a model directory's weights, preprocessing values and tokenizer.

    Names, paths, comments and the version that saved the directory do not count; embeddings of two CLAPs with the same
    fingerprint may be compared, others may not.

    Args:
        directory: holds `model.safetensors` and `tokenizer.json`.
        settings: the preprocessing values read from its `preprocessor_config.json`.
    """
    parts = {
        "weights": files.digest(str(directory / "model.safetensors")),
        "tokenizer": files.digest(str(directory / "tokenizer.json")),
        "preprocessing": {k: v for k, v in dataclasses.asdict(settings).items() if v is not None},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
