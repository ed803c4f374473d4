"""The settings that the released systems run with, where ours differ: see `docs/methods.md`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sonogloss import files
from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError
from sonogloss.methods.base import ProjectionSettings
from sonogloss.methods.manifest import DRCAP, SOFT_HARD, ZERAUCAP, Manifest
from sonogloss.methods.zeraucap.settings import GuidedSettings

DECODE: dict[str, DecodeSettings | GuidedSettings] = {
    DRCAP: DecodeSettings(num_beams=4, max_new_tokens=200, scoring="transformers"),
    SOFT_HARD: DecodeSettings(num_beams=3, max_new_tokens=67, scoring="average", stop=(".",)),
    ZERAUCAP: GuidedSettings(),
}
CONTEXTS = {DRCAP: 3, SOFT_HARD: 0, ZERAUCAP: 0}
_PROJECTION = {DRCAP: ProjectionSettings(temperature="clap", renormalise=False), SOFT_HARD: None, ZERAUCAP: None}
MAX_WINDOWS = 1  # they hear ten seconds of a recording and nothing else


def as_released(manifest: Manifest, directory: Path) -> Manifest:
    """A captioner as its method's released code would run it; words and weights stay its own.

    Captions take at most half of a language model's positions: the released 200 tokens are never used up by a caption,
    and a small language model of our own would have no room left for its prompt.

    Args:
        manifest: what it says of itself.
        directory: where its parts are.
    """
    decode = replace(DECODE[manifest.method], batch_size=manifest.decode.batch_size)
    if isinstance(decode, GuidedSettings):
        decode = replace(decode, compat=True)
    elif positions := _positions(manifest, directory):
        decode = replace(decode, max_new_tokens=min(decode.max_new_tokens, positions // 2))
    return replace(manifest, contexts=CONTEXTS[manifest.method], projection=_PROJECTION[manifest.method], decode=decode)


def _positions(manifest: Manifest, directory: Path) -> int | None:
    """How many positions the language model has, where its configuration lies in the directory and says so."""
    path = None if manifest.language_model.path is None else directory / manifest.language_model.path / "config.json"
    if path is None or not path.is_file():
        return None
    config = files.read_json(str(path), error=ModelFormatError)
    found = config.get("max_position_embeddings", config.get("n_positions"))
    return int(found) if found else None
