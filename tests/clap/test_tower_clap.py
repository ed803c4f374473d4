"""Checkpoints of WavCaps, DRCap and MS-CLAP; tests/clap/test_msclap_parity.py has msclap itself beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoTokenizer

from sonogloss.clap import load_clap
from sonogloss.clap.cnn14 import Cnn14
from sonogloss.clap.convert import convert_checkpoint
from sonogloss.clap.frames import embed_frames
from sonogloss.clap.msclap_checkpoint import msclap_name
from sonogloss.clap.outline import outline_clap
from sonogloss.clap.prompted_text import PromptedLabels, embed_words
from sonogloss.clap.tower_clap import TowerClap
from sonogloss.clap.tower_config import Cnn14Config
from sonogloss.clap.wavcaps_checkpoint import wavcaps_name
from sonogloss.errors import ModelFormatError, OptionError
from tests.tower_checkpoints import KINDS, write_tower_checkpoint

GOLDEN = Path(__file__).parents[3] / "shared" / "data" / "golden" / "audio_free_prompt_tuning"
TEXTS = ["a dog barks", "rain falls", "a man speaks . a dog barks"]
NOISE = np.random.default_rng(0).standard_normal(220_000).astype(np.float32)
WAVES = [0.1 * NOISE, np.diff(NOISE[:30_000]) / 2, np.sin(NOISE.cumsum() / 99).astype(np.float32)]

Made = tuple[str, TowerClap, Path, Path]


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A kind of checkpoint, its model, the converted directory and the folder of checkpoint and tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    model, path, tokenizer = write_tower_checkpoint(folder, request.param)
    (folder / "clap").mkdir()
    convert_checkpoint(str(path), folder / "clap", tokenizer=str(tokenizer))
    return request.param, model, folder / "clap", folder


def test_a_converted_model_has_the_weights_that_were_saved(made: Made) -> None:
    kind, model, directory, _ = made
    clap = load_clap(str(directory))
    loaded = clap.model.state_dict()  # type: ignore[attr-defined]
    assert loaded.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.allclose(loaded[name], tensor, atol=1e-6), name
    rate, window = {"msclap2022": (44_100, 5.0), "msclap2023": (44_100, 7.0)}.get(kind, (32_000, 10.0))
    assert (clap.dim, clap.sample_rate, clap.window_s) == (32, rate, window)
    assert clap.temperature == pytest.approx(np.exp(-3), rel=1e-5)
    assert outline_clap(str(directory)).config_digest == clap.config_digest  # type: ignore[union-attr, attr-defined]


def test_embeddings_are_those_of_the_network(made: Made) -> None:
    _, model, directory, _ = made
    clap = load_clap(str(directory))
    text, audio = clap.embed_text(TEXTS), clap.embed_audio(WAVES)
    for rows in (text, audio):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert (rows @ rows.T)[~np.eye(3, dtype=bool)].max() < 0.9995
    features = clap._log_mel(WAVES)  # type: ignore[attr-defined]
    with torch.inference_mode():
        found = functional.normalize(model.get_audio_features(features).pooler_output, dim=-1)
    assert np.abs(audio - found.numpy()).max() < 1e-5


def test_a_checkpoint_is_a_clap_by_its_own_name(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, directory, folder = made
    name = f"{'wavcaps' if kind in ('wavcaps', 'drcap') else 'msclap'}:{kind}.pt"
    with pytest.raises(OptionError, match="is not on this machine"):
        load_clap(name.replace(":", f":{folder}/"))
    monkeypatch.chdir(folder)
    clap, converted = load_clap(name), load_clap(str(directory))
    assert (clap.name, clap.fingerprint) == (name, converted.fingerprint)
    assert np.array_equal(clap.embed_text(TEXTS), converted.embed_text(TEXTS))
    with pytest.raises(OptionError, match="not of LAION"):
        load_clap(f"laion:{kind}.pt")


def test_long_texts_are_cut_and_keep_their_end(made: Made) -> None:
    kind, _, directory, _ = made
    limit = {"msclap2022": 100, "msclap2023": 77}.get(kind, 30)
    (ids,) = load_clap(str(directory)).tokenize(["dog " * 200])  # type: ignore[attr-defined]
    assert len(ids) == limit
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert ids[-1] in (tokenizer.eos_token_id, tokenizer.sep_token_id)


def test_frames_cover_the_clip_and_words_need_both_directions(made: Made) -> None:
    kind, _, directory, _ = made
    clap = load_clap(str(directory))
    clips, frames = embed_frames(clap, WAVES)
    assert np.abs(clips - clap.embed_audio(WAVES)).max() < 1e-6
    assert frames.shape == (3, 19 if kind == "msclap2022" else 16 * 8, 32)
    if kind == "msclap2023":
        with pytest.raises(OptionError, match="GPT-2"):
            embed_words(clap, TEXTS)
        return
    sentences, _ = embed_words(clap, TEXTS)
    assert np.abs(sentences - clap.embed_text(TEXTS)).max() < 1e-5
    labels = PromptedLabels(clap, ["dog", "rain"], slots=2)
    assert labels.encode(torch.zeros(2, 128)).shape == (2, 32)


def test_where_the_authors_weights_lie() -> None:
    """Names written down from the authors' own code."""
    audio, text, own = "audio_model.audio_encoder.", "text_model.encoder.layer.1.", "audio_encoder.audio_enc."
    for name, place in {
        "logit_scale_a": ("temp", None),
        text + "output.dense.bias": ("text_encoder.text_encoder.encoder.layer.1.output.dense.bias", None),
        "text_projection.linear2.weight": ("text_proj.2.weight", None),
        "audio_projection.linear1.bias": ("audio_proj.0.bias", None),
        audio + "batch_norm.weight": (own + "bn0.weight", None),
        audio + "layers.2.blocks.5.attention.self.key.bias": (own + "layers.2.blocks.5.attn.qkv.bias", 1),
    }.items():
        assert wavcaps_name(name) == place
    for name, place in {
        "logit_scale_a": ("logit_scale", None),
        "text_model.wte.weight": ("caption_encoder.base.wte.weight", None),
        "text_projection.layer_norm.bias": ("caption_encoder.projection.layer_norm.bias", None),
        "audio_projection.linear1.weight": ("audio_encoder.projection.linear1.weight", None),
        "audio_model.conv_block6.bn2.running_var": ("audio_encoder.base.conv_block6.bn2.running_var", None),
        "audio_model.fc1.bias": ("audio_encoder.base.fc1.bias", None),
        audio + "norm.weight": ("audio_encoder.base.htsat.norm.weight", None),
    }.items():
        assert msclap_name(name) == place


def test_an_exclamation_mark_ends_a_gpt2s_text_earlier_as_in_msclap(tmp_path: Path) -> None:
    model, *_ = write_tower_checkpoint(tmp_path, "msclap2023")
    ids = torch.tensor([[5, 6, 0, 7], [5, 6, 0, 8]])
    with torch.inference_mode():
        rows = model.get_text_features(ids, torch.ones_like(ids)).pooler_output
    # Three tokens count, so the third, the mark itself, is taken for the last.
    assert torch.allclose(rows[0], rows[1], atol=1e-5)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded outputs of the released code are not here")
def test_frames_of_cnn14_are_those_of_audio_free_prompt_tuning() -> None:
    arrays = np.load(GOLDEN / "arrays.npz")
    tower = Cnn14(Cnn14Config(channels=(12,), hidden_size=12, num_mel_bins=64)).eval()
    tower.fc1.weight.data = torch.from_numpy(arrays["frame_pool.fc1_weight"])
    tower.fc1.bias.data = torch.from_numpy(arrays["frame_pool.fc1_bias"])
    with torch.inference_mode():
        found = tower.frames(torch.from_numpy(arrays["frame_pool.x"]))
    assert np.abs(found.numpy() - arrays["frame_pool.out"]).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [({"head": "cosine"}, "neither relu nor residual"), ({"text_config": {"model_type": "t5"}}, "t5")],
)
def test_a_damaged_configuration_is_told(tmp_path: Path, change: dict[str, object], words: str) -> None:
    _, path, tokenizer = write_tower_checkpoint(tmp_path, "msclap2022")
    (tmp_path / "clap").mkdir()
    convert_checkpoint(str(path), tmp_path / "clap", tokenizer=str(tokenizer))
    config = tmp_path / "clap" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ModelFormatError, match=words):
        load_clap(str(tmp_path / "clap"))
