"""Whose checkpoint it is follows from the names of its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonogloss.clap.convert import convert_checkpoint
from sonogloss.errors import ModelFormatError, OptionError
from tests.tower_checkpoints import write_tower_checkpoint


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("audio_encoder.audio_enc.bn0.weight", "text_proj.0.weight", "temp"), r"nearest is WavCaps \(ASE\).*text_enc"),
        (("audio_encoder.base.x", "logit_scale"), "nearest is MS-CLAP.*named 'audio_encoder.projection.'"),
        (("clap.audio_encoder.base.x",), r"of a known layout\."),
    ],
)
def test_an_unknown_layout_is_told_with_the_nearest(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    torch.save({"model": {f"module.{name}": torch.zeros(2) for name in names}, "epoch": 3}, tmp_path / "theirs.pt")
    with pytest.raises(ModelFormatError, match=said):
        convert_checkpoint(str(tmp_path / "theirs.pt"), tmp_path)


def test_a_layout_that_is_named_must_be_the_checkpoints_own(tmp_path: Path) -> None:
    _, path, tokenizer = write_tower_checkpoint(tmp_path, "msclap2022")
    with pytest.raises(OptionError, match="one of MS-CLAP, not of WavCaps") as caught:
        convert_checkpoint(str(path), tmp_path, tokenizer=str(tokenizer), layout="wavcaps")
    assert "msclap:" in caught.value.remedy
