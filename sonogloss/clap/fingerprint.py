"""The identity of a CLAP: a digest of everything that decides an embedding."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from sonogloss import files
from sonogloss.audio.mel import MelSettings
from sonogloss.clap.model_directory import tokenizer_files
from sonogloss.clap.weights import weight_files


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
