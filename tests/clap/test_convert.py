from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel

from sonogloss.clap import Clap, load_clap
from sonogloss.clap.convert import Conversion, convert_checkpoint
from sonogloss.clap.laion_checkpoint import laion_name
from sonogloss.errors import ModelFormatError, OptionError
from tests.laion_checkpoints import laion_state, tiny_model, write_checkpoint, write_tokenizer

State = dict[str, torch.Tensor]
NOISE = np.random.default_rng(0).standard_normal(480_000)
# Faint, louder than full scale, a pure tone above nothing, and less than a hundredth of a second.
WAVES = [
    wave.astype(np.float32)
    for wave in (1e-4 * NOISE, 2 * NOISE, 0.5 * np.sin(2 * np.pi * 440 * np.arange(480_000) / 48_000), NOISE[:400])
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("laion") / "roberta-base"
    write_tokenizer(directory)
    return directory


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Path) -> int:
    return len(AutoTokenizer.from_pretrained(tokenizer))


@pytest.fixture
def convert(tmp_path: Path, tokenizer: Path) -> Callable[[State], tuple[Path, Conversion]]:
    """Save a state as a checkpoint and convert it."""

    def _convert(state: State) -> tuple[Path, Conversion]:
        write_checkpoint(tmp_path / "checkpoint.pt", state)
        directory = tmp_path / "clap"
        directory.mkdir()
        return directory, convert_checkpoint(str(tmp_path / "checkpoint.pt"), directory, tokenizer=str(tokenizer))

    return _convert


Convert = Callable[[State], tuple[Path, Conversion]]


@pytest.mark.parametrize("fused", [False, True])
def test_a_converted_model_is_the_one_that_was_saved(convert: Convert, vocabulary: int, fused: bool) -> None:
    model = tiny_model(vocabulary, fused=fused)
    directory, done = convert(laion_state(model))
    assert (done.layout, done.audio_tower, done.text_tower) == ("laion", "HTSAT", "RoBERTa")
    assert (done.fused, done.dim) == (fused, 32)
    assert done.parameters > 100_000
    loaded = ClapModel.from_pretrained(directory).eval()
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    for section in ("audio_config", "text_config"):
        found, meant = getattr(loaded.config, section).to_dict(), getattr(model.config, section).to_dict()
        assert {k for k in meant if found[k] != meant[k]} <= {"dtype", "architectures"}


def test_what_has_no_use_is_counted(convert: Convert, vocabulary: int) -> None:
    _, done = convert(laion_state(tiny_model(vocabulary)))
    assert done.left_out == {
        "audio_branch.spectrogram_extractor": 1,
        "audio_branch.logmel_extractor": 1,
        "audio_branch.layers": 1,  # a mask
        "audio_branch.tscam_conv": 1,
        "audio_branch.head": 2,
        "audio_transform": 1,
        "text_transform": 1,
    }


def test_where_published_weights_lie() -> None:
    """Names as they are in the published checkpoints, written down from LAION's own model."""
    audio, own = "audio_model.audio_encoder.", "audio_branch."
    block, own_block = audio + "layers.2.blocks.5.", own + "layers.2.blocks.5."
    for name, place in {
        "logit_scale_a": ("logit_scale_a", None),
        "text_model.embeddings.LayerNorm.bias": ("text_branch.embeddings.LayerNorm.bias", None),
        "text_model.encoder.layer.1.attention.self.query.weight": (
            "text_branch.encoder.layer.1.attention.self.query.weight",
            None,
        ),
        "text_model.encoder.layer.1.output.dense.bias": ("text_branch.encoder.layer.1.output.dense.bias", None),
        "text_projection.linear1.weight": ("text_projection.0.weight", None),
        "audio_projection.linear2.bias": ("audio_projection.2.bias", None),
        audio + "batch_norm.running_mean": (own + "bn0.running_mean", None),
        audio + "patch_embed.norm.weight": (own + "patch_embed.norm.weight", None),
        audio + "patch_embed.fusion_model.local_att.0.weight": (
            own + "patch_embed.fusion_model.local_att.0.weight",
            None,
        ),
        audio + "layers.0.downsample.norm.bias": (own + "layers.0.downsample.norm.bias", None),
        audio + "norm.weight": (own + "norm.weight", None),
        block + "layernorm_before.weight": (own_block + "norm1.weight", None),
        block + "attention.self.query.weight": (own_block + "attn.qkv.weight", 0),
        block + "attention.self.key.bias": (own_block + "attn.qkv.bias", 1),
        block + "attention.self.value.weight": (own_block + "attn.qkv.weight", 2),
        block + "attention.self.relative_position_index": (own_block + "attn.relative_position_index", None),
        block + "attention.output.dense.bias": (own_block + "attn.proj.bias", None),
        block + "layernorm_after.bias": (own_block + "norm2.bias", None),
        block + "intermediate.dense.weight": (own_block + "mlp.fc1.weight", None),
        block + "output.dense.weight": (own_block + "mlp.fc2.weight", None),
    }.items():
        assert laion_name(name) == place


def test_positions_may_or_may_not_be_there_and_prefixes_too(vocabulary: int, tokenizer: Path, tmp_path: Path) -> None:
    state = laion_state(tiny_model(vocabulary))
    without = {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}
    found = []
    for number, content in enumerate(
        [{"state_dict": state}, state, {"state_dict": without}, dict(reversed(state.items()))]
    ):
        torch.save(content, tmp_path / f"{number}.pt")
        (tmp_path / str(number)).mkdir()
        done = convert_checkpoint(str(tmp_path / f"{number}.pt"), tmp_path / str(number), tokenizer=str(tokenizer))
        found.append(done.fingerprint)
    write_checkpoint(tmp_path / "full.pt", state)
    (tmp_path / "full").mkdir()
    found.append(convert_checkpoint(str(tmp_path / "full.pt"), tmp_path / "full", tokenizer=str(tokenizer)).fingerprint)
    assert len(set(found)) == 1


def test_half_precision_stays_half_in_the_file(convert: Convert, vocabulary: int) -> None:
    state = laion_state(tiny_model(vocabulary))
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    directory, _ = convert(half)
    assert (directory / "model.safetensors").stat().st_size < 0.6 * sum(t.nbytes for t in state.values())
    assert load_clap(str(directory)).embed_text(["a dog"]).dtype == np.float32


def as_transformers_embeds(directory: Path, *, rounded: bool) -> Any:
    """Audio embeddings with transformers' own front end, which reads the directory; no clip marked as long."""
    model, extractor = ClapModel.from_pretrained(directory).eval(), ClapFeatureExtractor.from_pretrained(directory)
    rows = []
    for wave in WAVES:
        samples = np.trunc(np.clip(wave, -1, 1) * 32767) / 32767 if rounded else wave
        features = extractor(samples, sampling_rate=48000, return_tensors="pt")["input_features"]
        assert features.shape[-2:] == (1001, 64)
        with torch.inference_mode():
            is_longer = torch.tensor([[False]])
            rows.append(model.get_audio_features(input_features=features, is_longer=is_longer).pooler_output[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("fused", [False, True])
def test_samples_are_cut_to_16_bits_as_laion_does(convert: Convert, vocabulary: int, fused: bool) -> None:
    directory, _ = convert(laion_state(tiny_model(vocabulary, fused=fused)))
    clap = load_clap(str(directory))
    assert np.abs(clap.embed_audio(WAVES) - as_transformers_embeds(directory, rounded=True)).max() < 1e-5
    assert np.abs(clap.embed_audio(WAVES) - as_transformers_embeds(directory, rounded=False)).max() > 1e-5


def test_texts_are_cut_where_laion_cuts_them(convert: Convert, vocabulary: int) -> None:
    directory, _ = convert(laion_state(tiny_model(vocabulary)))
    rows = load_clap(str(directory)).embed_text(["a " * 75, "a " * 76, "a " * 300])
    assert np.abs(rows[0] - rows[1]).max() < 1e-5
    assert np.abs(rows[0] - rows[2]).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("text_branch.pooler.dense.bias", None, "lacks 1 weights, 'text_branch.pooler.dense.bias'"),
        ("audio_branch.layers.0.blocks.0.attn.qkv.weight", None, "attn.qkv.weight"),
        ("audio_projection.2.weight", None, "lacks 'audio_projection.2.weight'"),
        ("logit_scale_a", None, "the nearest is LAION, and nothing in it is named 'logit_scale_a'"),
        ("audio_branch.bn0.bias", torch.zeros(65), r"'audio_branch.bn0.bias' has the shape \[65\]"),
        ("audio_branch.norm.weight", torch.zeros(2, 2), r"'audio_branch.norm.weight' has the shape \[2, 2\]"),
        ("text_branch.embeddings.token_type_embeddings.weight", torch.zeros(2, 128), "not RoBERTa"),
        ("text_branch.embeddings.token_type_embeddings.weight", None, "not RoBERTa"),
        ("audio_branch.mel_conv1d.0.weight", torch.zeros(1), "aff_2d"),
        ("audio_branch.logmel_extractor.melW", torch.ones(513, 64), "mel filters"),
        ("audio_branch.logmel_extractor.melW", torch.ones(3), "mel filters"),
    ],
)
def test_why_a_checkpoint_cannot_be_used(
    convert: Convert, vocabulary: int, name: str, tensor: torch.Tensor | None, words: str
) -> None:
    state = laion_state(tiny_model(vocabulary))
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor
    with pytest.raises(ModelFormatError, match=words):
        convert(state)


def test_other_audio_towers_are_refused(convert: Convert, vocabulary: int) -> None:
    state = laion_state(tiny_model(vocabulary))
    other = {name: tensor for name, tensor in state.items() if not name.startswith("audio_branch.layers")}
    with pytest.raises(ModelFormatError, match="not HTSAT"):
        convert(other)


@pytest.mark.parametrize("content", [[], {"state_dict": 7}, {"state_dict": {"weight": torch.ones(1)}}, torch.ones(1)])
def test_what_holds_no_clap_is_refused(tmp_path: Path, tokenizer: Path, content: object) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ModelFormatError, match="no weights of a CLAP of a known layout"):
        convert_checkpoint(str(tmp_path / "file.pt"), tmp_path, tokenizer=str(tokenizer))


def test_the_tokenizer_must_be_the_checkpoints_own(vocabulary: int, tokenizer: Path, tmp_path: Path) -> None:
    torch.save(laion_state(tiny_model(vocabulary + 1)), tmp_path / "file.pt")
    with pytest.raises(OptionError, match=f"has {vocabulary} entries") as caught:
        convert_checkpoint(str(tmp_path / "file.pt"), tmp_path, tokenizer=str(tokenizer))
    assert "roberta-base" in caught.value.remedy
    with pytest.raises(OptionError, match="--tokenizer"):
        convert_checkpoint(str(tmp_path / "file.pt"), tmp_path, tokenizer=str(tmp_path))


def test_the_checkpoint_is_a_clap_by_its_own_name(
    convert: Convert, vocabulary: int, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, done = convert(laion_state(tiny_model(vocabulary)))
    name = f"laion:{directory.parent / 'checkpoint.pt'}"
    with pytest.raises(OptionError, match="roberta-base is not on this machine"):
        load_clap(name)
    monkeypatch.chdir(tokenizer.parent)
    clap: Clap = load_clap(name)
    assert (clap.name, clap.fingerprint) == (name, done.fingerprint)
    assert np.array_equal(clap.embed_audio(WAVES), load_clap(str(directory)).embed_audio(WAVES))


@pytest.mark.skipif(importlib.util.find_spec("laion_clap") is not None, reason="laion_clap is installed")
def test_laion_clap_is_asked_for_only_where_it_is_named(vocabulary: int, tmp_path: Path) -> None:
    torch.save(laion_state(tiny_model(vocabulary)), tmp_path / "small.pt")
    with pytest.raises(OptionError, match="of a size that laion_clap does not build") as caught:
        load_clap(f"laion_clap:{tmp_path / 'small.pt'}")
    assert "laion:" in caught.value.remedy


def test_the_same_checkpoint_gives_the_same_bytes(
    convert: Convert, vocabulary: int, tokenizer: Path, tmp_path: Path
) -> None:
    directory, _ = convert(laion_state(tiny_model(vocabulary)))
    (tmp_path / "again").mkdir()
    convert_checkpoint(str(tmp_path / "checkpoint.pt"), tmp_path / "again", tokenizer=str(tokenizer))
    for path in directory.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
    assert json.loads((directory / "config.json").read_text())["architectures"] == ["ClapModel"]
