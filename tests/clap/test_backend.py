from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from transformers import ClapModel

from sonogloss.clap import Clap, backend, load_clap
from sonogloss.errors import InputError, MissingInputError, ModelFormatError, OptionError

TEXTS = ["a dog barks", "rain"]


@pytest.fixture
def copy(tiny_clap_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny CLAP's directory that a test may damage."""
    return Path(shutil.copytree(tiny_clap_dir, tmp_path / "copy"))


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_pocket_lies_in_the_package(
    tiny_clap_dir: Path, tiny_clap: Clap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_clap_dir, tmp_path / "pocket" / "weights" / "clap")
    monkeypatch.setattr(backend, "package_files", lambda package: tmp_path)
    clap = load_clap("pocket")
    assert (clap.name, clap.fingerprint) == ("pocket", tiny_clap.fingerprint)


def test_an_installation_without_pocket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "package_files", lambda package: tmp_path)
    with pytest.raises(MissingInputError, match="pocket"):
        load_clap("pocket")


def test_a_directory_behind_a_url(tiny_clap_dir: Path, tiny_clap: Clap) -> None:
    memory = fsspec.filesystem("memory")
    for path in tiny_clap_dir.iterdir():
        memory.pipe_file(f"/models/tiny/{path.name}", path.read_bytes())
    clap = load_clap("memory://models/tiny")
    assert clap.fingerprint == tiny_clap.fingerprint
    assert np.array_equal(clap.embed_text(TEXTS), tiny_clap.embed_text(TEXTS))
    with pytest.raises(MissingInputError, match="no model files"):
        load_clap("memory://models/other")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("laion:music.pt", MissingInputError, "is not a file"),
        ("laion_clap:music.pt", MissingInputError, "is not a file"),
        ("no-such-thing", MissingInputError, "not a directory"),
        ("/no/such/directory", MissingInputError, "not a directory"),
        ("./no/such", MissingInputError, "not a directory"),
        ("hf:nobody/nothing", MissingInputError, "loaded from the model hub"),
        ("models/clap", MissingInputError, "not a directory.*write hf:models/clap"),
        ("hf:a/b/c", MissingInputError, "not a directory"),
        ("gpt2", MissingInputError, "not a directory"),
        ("", MissingInputError, "not a directory"),
    ],
)
def test_names_that_lead_nowhere(name: str, error: type[InputError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        load_clap(name)
    assert caught.value.remedy.endswith(".")


@pytest.mark.parametrize("device", ["tpu-of-my-dreams", "cuda:99"])
def test_a_device_that_is_not_there(tiny_clap_dir: Path, device: str) -> None:
    with pytest.raises(OptionError, match=device):
        load_clap(str(tiny_clap_dir), device=device)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"])
def test_each_file_that_is_missing_or_broken_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    with pytest.raises(ModelFormatError, match=name):
        load_clap(str(copy))
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFormatError, match=name):
        load_clap(str(copy))
    (copy / name).write_bytes(b"[]")
    with pytest.raises(ModelFormatError, match=name):
        load_clap(str(copy))


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.witness}",)


def test_of_a_pickle_only_tensors_are_read(copy: Path, tiny_clap: Clap, tmp_path: Path) -> None:
    """Several published models come in no other form."""
    state: dict[str, Any] = dict(ClapModel.from_pretrained(copy).half().state_dict())
    (copy / "model.safetensors").unlink()
    torch.save(state | {"attack": Attack(tmp_path / "executed")}, copy / "pytorch_model.bin")
    clap = load_clap(str(copy))
    assert not (tmp_path / "executed").exists()
    rows = clap.embed_text(TEXTS)
    assert rows.dtype == np.float32
    assert (rows * tiny_clap.embed_text(TEXTS)).sum(axis=1).min() > 0.999
    memory = fsspec.filesystem("memory")
    for path in copy.iterdir():
        memory.pipe_file(f"/models/pickled/{path.name}", path.read_bytes())
    assert load_clap("memory://models/pickled").fingerprint == clap.fingerprint

    del state["text_projection.linear1.weight"]
    torch.save(state, copy / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match=r"lacks 1 weights, 'text_projection\.linear1\.weight'"):
        load_clap(str(copy))
    torch.save(["no", "weights"], copy / "pytorch_model.bin")
    with pytest.raises(ModelFormatError, match=r"pytorch_model\.bin"):
        load_clap(str(copy))
    (copy / "pytorch_model.bin").write_bytes(b"no archive")
    with pytest.raises(ModelFormatError, match=r"pytorch_model\.bin"):
        load_clap(str(copy))


def test_another_kind_of_model_is_refused(copy: Path) -> None:
    change(copy / "config.json", model_type="gpt2")
    with pytest.raises(ModelFormatError, match="'gpt2' model, not a CLAP"):
        load_clap(str(copy))


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    change(copy / "config.json", projection_dim=48)
    with pytest.raises(ModelFormatError, match=r"model\.safetensors"):
        load_clap(str(copy))


def test_weights_that_are_not_all_there_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["text_projection.linear1.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFormatError, match=r"text_projection\.linear1\.weight"):
        load_clap(str(copy))


def test_an_image_that_does_not_fit_the_audio_tower_is_refused(copy: Path) -> None:
    change(copy / "preprocessor_config.json", hop_length=160)
    with pytest.raises(ModelFormatError, match="2001 frames"):
        load_clap(str(copy))


def test_a_tokenizer_of_another_model_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["vocab_size"] = 100
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFormatError, match="the text tower knows 100"):
        load_clap(str(copy))


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(copy: Path, tiny_clap: Clap) -> None:
    change(copy / "config.json", _name_or_path="elsewhere", transformers_version="0")
    values = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(dict(reversed(values.items()))))
    assert load_clap(str(copy)).fingerprint == tiny_clap.fingerprint


def test_the_fingerprint_changes_with_the_preprocessing(copy: Path, tiny_clap: Clap) -> None:
    change(copy / "preprocessor_config.json", frequency_min=0)
    assert load_clap(str(copy)).fingerprint != tiny_clap.fingerprint


def test_the_fingerprint_changes_with_weights_and_tokenizer(
    copy: Path, tiny_clap: Clap, tmp_path: Path, write_clap: Callable[..., None]
) -> None:
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + "\n")
    other = tmp_path / "other"
    write_clap(other, seed=1)
    assert len({load_clap(str(copy)).fingerprint, load_clap(str(other)).fingerprint, tiny_clap.fingerprint}) == 3


def test_weights_in_several_files(copy: Path, tiny_clap: Clap) -> None:
    ClapModel.from_pretrained(copy).save_pretrained(copy, max_shard_size="60KB")
    (copy / "model.safetensors").unlink(missing_ok=True)
    parts = sorted(copy.glob("model-*.safetensors"))
    assert len(parts) > 1
    clap = load_clap(str(copy))
    assert np.array_equal(clap.embed_text(TEXTS), tiny_clap.embed_text(TEXTS))
    memory = fsspec.filesystem("memory")
    for path in copy.iterdir():
        memory.pipe_file(f"/models/parts/{path.name}", path.read_bytes())
    assert load_clap("memory://models/parts").fingerprint == clap.fingerprint

    content = bytearray(parts[-1].read_bytes())
    content[-1] ^= 1
    parts[-1].write_bytes(content)
    assert load_clap(str(copy)).fingerprint != clap.fingerprint
    parts[-1].unlink()
    with pytest.raises(ModelFormatError, match=f"{parts[-1].name}, which is missing"):
        load_clap(str(copy))


@pytest.mark.parametrize("name", ["../model.safetensors", "model.bin", 7])
def test_an_index_may_name_files_of_its_directory_only(copy: Path, name: object) -> None:
    (copy / "model.safetensors").rename(copy.parent / "model.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"logit_scale_a": name}}))
    with pytest.raises(ModelFormatError, match="does not list"):
        load_clap(str(copy))


def test_tables_that_older_versions_left_out_are_made(
    copy: Path, tiny_clap: Clap, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    tables = [name for name in weights if name.endswith(("_ids", "relative_position_index"))]
    assert tables
    kept = {name: tensor for name, tensor in weights.items() if name not in tables}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    assert np.array_equal(load_clap(str(copy)).embed_text(TEXTS), tiny_clap.embed_text(TEXTS))
    assert capfd.readouterr().err == ""
