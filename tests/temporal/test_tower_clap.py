"""TeminAL on the CLAP of its paper, MS-CLAP 2022, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sonogloss.clap import load_clap
from sonogloss.clap.convert import convert_checkpoint
from sonogloss.errors import OptionError
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.towers import Towers
from tests.tower_checkpoints import write_tower_checkpoint

WAVE = np.random.default_rng(0).standard_normal(220_500).astype(np.float32)


def converted(folder: Path, kind: str) -> str:
    _, path, tokenizer = write_tower_checkpoint(folder, kind)
    (folder / "clap").mkdir()
    convert_checkpoint(str(path), folder / "clap", tokenizer=str(tokenizer))
    return str(folder / "clap")


@pytest.mark.parametrize("kind", ["msclap2022", "wavcaps"])
def test_its_last_layers_learn_and_are_saved(tmp_path: Path, kind: str) -> None:
    name = converted(tmp_path, kind)
    towers = Towers(name, PostTrainConfig(layers=1, text_layers=1, precision="float32"))
    learned = set(towers.parameters())
    assert {"audio_projection.linear1.weight", "text_model.encoder.layer.1.output.dense.weight"} <= learned
    assert not any(part.startswith(("text_model.encoder.layer.0", "text_model.embeddings")) for part in learned)
    assert ("audio_model.fc1.weight" in learned) == (kind == "msclap2022")
    texts = ["a dog barks", "rain falls"]
    with torch.no_grad():
        unit = torch.nn.functional.normalize(towers.embed_text(texts), dim=-1).numpy()
        assert np.abs(unit - load_clap(name).embed_text(texts)).max() < 1e-5
        towers.parameters()["audio_projection.linear1.weight"].mul_(-1)
    (tmp_path / "saved").mkdir()
    towers.save(str(tmp_path / "saved"), "a card")
    heard, before = load_clap(str(tmp_path / "saved")), load_clap(name)
    assert np.array_equal(heard.embed_text(texts), before.embed_text(texts))
    assert np.abs(heard.embed_audio([WAVE]) - before.embed_audio([WAVE])).max() > 1e-3


def test_a_tower_that_reads_in_one_direction_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="GPT-2"):
        Towers(converted(tmp_path, "msclap2023"), PostTrainConfig())
