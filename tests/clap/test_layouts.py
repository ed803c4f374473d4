"""A checkpoint of somebody else is named for what it looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonogloss.clap.convert import convert_checkpoint
from sonogloss.errors import ModelFormatError

WAVCAPS = (
    "audio_encoder.audio_enc.bn0.weight",
    "text_encoder.embeddings.weight",
    "audio_proj.0.weight",
    "text_proj.0.weight",
    "temp",
)
MSCLAP = (
    "audio_encoder.base.fc1.weight",
    "caption_encoder.base.x",
    "caption_encoder.projection.linear1.weight",
    "logit_scale",
)


@pytest.mark.parametrize(
    ("names", "prefix", "said"),
    [
        (WAVCAPS, "", "looks like a checkpoint of WavCaps"),
        (MSCLAP, "module.", "looks like a checkpoint of MS-CLAP"),
        (("encoder.weight", "decoder.weight"), "", r"no weights of a LAION CLAP\."),
    ],
)
def test_what_a_foreign_checkpoint_looks_like(tmp_path: Path, names: tuple[str, ...], prefix: str, said: str) -> None:
    torch.save({"model": {prefix + name: torch.zeros(2) for name in names}, "epoch": 3}, tmp_path / "theirs.pt")
    with pytest.raises(ModelFormatError, match=said):
        convert_checkpoint(str(tmp_path / "theirs.pt"), tmp_path)
