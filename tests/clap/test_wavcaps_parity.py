"""The code of WavCaps and of DRCap against what we make of their checkpoints.

Neither is a package: name clones of XinhaoMei/WavCaps and X-LANCE/SLAM-LLM in WAVCAPS_CODE and SLAM_LLM_CODE, and run
`make test-msclap`, whose environment has what they import.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoTokenizer, BertConfig, BertModel, RobertaConfig, RobertaModel

from sonogloss.clap import load_clap
from tests.laion_checkpoints import randomize, write_tokenizer
from tests.tower_checkpoints import write_bert_tokenizer

WINDOW = 320_000
TEXTS = ["a dog barks", "", "rain falls . a man speaks", "dog " * 60, "¿犬?"]
AUDIO = {"sr": 32000, "n_fft": 1024, "hop_length": 320, "f_min": 50, "f_max": 14000, "n_mels": 64}
# What their modules import and ASE does not use.
UNUSED = ("wandb", "loguru", "sentence_transformers", "ruamel", "ruamel.yaml", "matplotlib.pyplot")


def sounds() -> list[Any]:
    """A full window, a third of one, one that clips, a pure tone, silence, less than a hundredth."""
    noise = np.random.default_rng(0).standard_normal(WINDOW)
    tone = np.sin(2 * np.pi * 440 * np.arange(WINDOW) / 32_000)
    waves = [0.1 * noise, np.diff(noise[: WINDOW // 3]), 2 * noise, tone, np.zeros(WINDOW), noise[:400]]
    return [wave.astype(np.float32) for wave in waves]


def build(code: Path, kind: str, folder: Path) -> Any:
    """Their ASE, with HTSAT and two layers of the text tower."""
    if kind == "wavcaps":
        root, package, usual = code / "retrieval", "models.ase_model", "bert-base-uncased"
        entries = write_bert_tokenizer(folder / usual)
        classes = (transformers.BertTokenizer, BertModel)
        tower: Any = BertModel(BertConfig(vocab_size=entries, num_hidden_layers=2), add_pooling_layer=False)
    else:
        root, package, usual = code / "src" / "slam_llm" / "models", "CLAP.ase_model", "roberta-base"
        sizes = {"vocab_size": write_tokenizer(folder / usual), "num_hidden_layers": 2, "type_vocab_size": 1}
        classes = (transformers.RobertaTokenizer, RobertaModel)
        config = RobertaConfig(**sizes, max_position_embeddings=514, layer_norm_eps=1e-5)
        tower = RobertaModel(config, add_pooling_layer=False)
    values = {
        "embed_size": 1024,
        "temp": 0.07,
        "embed_regularization": True,
        "audio_args": AUDIO,
        "audio_encoder_args": {"type": "transformer", "model": "htsat", "pretrained": False, "freeze": False},
        "text_encoder_args": {"type": usual, "freeze": False},
        "training": {"spec_augmentation": True},
    }
    tokenizer = AutoTokenizer.from_pretrained(folder / usual)
    with pytest.MonkeyPatch.context() as patch:
        for name in UNUSED:
            patch.setitem(sys.modules, name, mock.MagicMock())
        patch.syspath_prepend(root)
        patch.setattr(classes[0], "from_pretrained", lambda name: tokenizer)
        patch.setattr(classes[1], "from_pretrained", lambda name, **_: tower)
        return importlib.import_module(package).ASE(values).eval()


@pytest.mark.filterwarnings("ignore")  # of older torch and numpy than those they are run with
@pytest.mark.parametrize(("kind", "variable"), [("wavcaps", "WAVCAPS_CODE"), ("drcap", "SLAM_LLM_CODE")])
def test_embeddings_are_those_of_the_original(
    kind: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = os.environ.get(variable)
    if not code:
        pytest.skip(f"{variable} names no clone of their code")
    model = build(Path(code), kind, tmp_path)
    model.logit_scale_a = torch.nn.Parameter(torch.zeros(()))  # the name that `randomize` knows
    randomize(model, model.audio_encoder.audio_enc.bn0)
    del model.logit_scale_a
    torch.save({"model": model.state_dict(), "epoch": 1}, tmp_path / "random.pt")
    monkeypatch.chdir(tmp_path)
    clap = load_clap("wavcaps:random.pt")
    padded = [np.pad(wave, (0, WINDOW - len(wave))) for wave in sounds()]
    with torch.inference_mode():
        audio = model.encode_audio(torch.from_numpy(np.stack(padded))).numpy()
        text = model.encode_text(TEXTS).numpy()
    assert (clap.embed_audio(sounds()).astype(np.float64) * audio).sum(axis=1).min() >= 0.99999
    assert (clap.embed_text(TEXTS).astype(np.float64) * text).sum(axis=1).min() >= 0.99999
    assert clap.temperature == pytest.approx(0.07, rel=1e-5)
    # The comparison means something: the inputs lie apart.
    assert (text @ text.T)[~np.eye(len(text), dtype=bool)].max() < 0.99
    assert (audio @ audio.T)[~np.eye(len(audio), dtype=bool)].min() < 0.9
