"""Which weights are trained, and that the towers embed as the CLAP does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sonogloss.audio.mel import LogMel
from sonogloss.clap import load_clap
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.post_train import _groups
from sonogloss.temporal.towers import POSITIONS, Towers, unit


def towers(clap: Path, **changes: Any) -> Towers:
    return Towers(str(clap), PostTrainConfig(**{"precision": "float32", **changes}))


def test_what_is_trained(tiny_clap_dir: Path) -> None:
    names = set(towers(tiny_clap_dir).parameters())
    assert {name.split(".")[0] for name in names} == {
        "audio_model",
        "text_model",
        "audio_projection",
        "text_projection",
    }
    last = {name for name in names if ".layers." in name or ".encoder.layer." in name}
    assert last
    assert all(".layers.1." in name or ".encoder.layer.0." in name for name in last)
    assert any(POSITIONS in name for name in names)
    all_audio = set(towers(tiny_clap_dir, layers=2).parameters())
    assert any(".layers.0." in name for name in all_audio - names)
    adapted = set(towers(tiny_clap_dir, tune="lora").parameters())
    assert all("lora_" in name or "projection" in name for name in adapted)
    assert any(".layers.0." in name for name in adapted)


def test_every_parameter_is_in_one_group_of_the_optimizer(tiny_clap_dir: Path) -> None:
    config = PostTrainConfig(weight_decay=0.3, position_rate=7.0, precision="float32")
    parameters = towers(tiny_clap_dir).parameters()
    groups = _groups(parameters, config)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, parameters.values()))
    by_id = {id(p): group for group in groups for p in group["params"]}
    for name, parameter in parameters.items():
        group = by_id[id(parameter)]
        position = POSITIONS in name
        assert group.get("rate", 1.0) == (7.0 if position else 1.0)
        assert group["weight_decay"] == (0.3 if parameter.ndim >= 2 and not position else 0.0)


def test_in_training_mode_batch_norms_keep_their_statistics(tiny_clap_dir: Path) -> None:
    found = towers(tiny_clap_dir)
    found.train()
    norms = [module for module in found.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert found.model.training
    assert not any(norm.training for norm in norms)
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    found.embed_audio(torch.zeros(2, 1, found.mel.frames, found.mel.mel_bins))
    after = [norm.running_mean for norm in norms if norm.running_mean is not None]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    found.eval()
    assert not found.model.training


@torch.no_grad()
@pytest.mark.parametrize("fused", [False, True])
def test_embeddings_are_those_of_the_clap(tmp_path: Path, write_clap: Callable[..., None], fused: bool) -> None:
    write_clap(tmp_path / "clap", enable_fusion=fused)
    found = towers(tmp_path / "clap")
    found.eval()
    clap = load_clap(str(tmp_path / "clap"))
    sound = (0.1 * np.random.default_rng(0).standard_normal(10 * 32000)).astype(np.float32)
    mels = torch.from_numpy(np.asarray(LogMel(found.mel)([sound])))
    np.testing.assert_allclose(unit(found.embed_audio(mels))[0].numpy(), clap.embed_audio([sound])[0], atol=1e-5)
    texts = ["dog before rain", "a", "dog before rain", "the sound of a very long sentence about sirens"]
    rows = found.embed_text(texts)
    np.testing.assert_allclose(unit(rows).numpy(), clap.embed_text(texts), atol=1e-5)
    assert torch.equal(rows[0], rows[2])


@torch.no_grad()
def test_every_distinct_text_is_encoded_once(tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = towers(tiny_clap_dir)
    found.eval()
    encode, sizes = found.model.text_model.forward, list[int]()

    def counted(*args: Any, **options: Any) -> Any:
        sizes.append(len(options["input_ids"]))
        return encode(*args, **options)

    monkeypatch.setattr(found.model.text_model, "forward", counted)
    assert found.embed_text(["a", "b", "a", "a", "c"]).shape[0] == 5
    assert sizes == [3]


@torch.no_grad()
def test_half_precision_gives_float32_rows_nearby(tiny_clap_dir: Path) -> None:
    exact, half = towers(tiny_clap_dir), towers(tiny_clap_dir, precision="bfloat16")
    mels = torch.randn(2, 1, exact.mel.frames, exact.mel.mel_bins, generator=torch.Generator().manual_seed(0))
    for found in (exact, half):
        found.eval()
    one, other = exact.embed_audio(mels), half.embed_audio(mels)
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert (unit(one) * unit(other)).sum(-1).min() > 0.99


def test_weights_are_stored_in_the_dtype_of_the_base(tmp_path: Path, tiny_clap_dir: Path) -> None:
    import json

    import safetensors.torch

    half = tmp_path / "half"
    half.mkdir()
    for path in tiny_clap_dir.iterdir():
        (half / path.name).write_bytes(path.read_bytes())
    tensors = safetensors.torch.load_file(half / "model.safetensors")
    small = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(small, half / "model.safetensors", {"format": "pt"})
    for base, expected in ((tiny_clap_dir, torch.float32), (half, torch.float16)):
        target = tmp_path / f"saved-{base.name}"
        towers(base).save(str(target), "a card")
        saved = safetensors.torch.load_file(target / "model.safetensors")
        assert {tensor.dtype for tensor in saved.values() if tensor.is_floating_point()} == {expected}
        assert all(torch.equal(saved[name], tensor) for name, tensor in (small if base == half else tensors).items())
        assert (target / "README.md").read_text() == "a card"
        for name in ("config.json", "preprocessor_config.json"):
            assert json.loads((target / name).read_text()) == json.loads((base / name).read_text())
