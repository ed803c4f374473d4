from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from sonogloss.decoding.adapter import attach_adapter
from sonogloss.errors import InputError, MissingInputError, ModelFormatError, OptionError
from sonogloss.methods import (
    ClapIdentity,
    DecodeSettings,
    NewCaptioner,
    ProjectionSettings,
    load_captioner,
    save_captioner,
    verify_captioner,
)
from sonogloss.methods.drcap.captioner import DrcapCaptioner
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.mapper import Mapper
from tests.language_models import tiny_gpt2, tiny_llama, tiny_tokenizer

EMBEDDINGS = np.eye(8, dtype=np.float32)[:4]
CONTEXTS = [[], ["a dog barks"], ["a cat meows", "rain"], ["a bell rings"]]


def save(directory: str, **changes: Any) -> None:
    torch.manual_seed(5)
    options: dict[str, Any] = {
        "clap": ClapIdentity(name="tiny", fingerprint="0" * 64, dim=8),
        "language_model": tiny_gpt2(),
        "tokenizer": tiny_tokenizer(),
        "mapper": Mapper(8, 32, hidden=16),
        "prompt": ComposedPrompt(template="{prompt}", prompt="describe the audio you hear.", answer=" {answer}"),
        "contexts": 2,
        "projection": ProjectionSettings(temperature=0.03, renormalise=True),
        "decode": DecodeSettings(num_beams=2, max_new_tokens=8),
        "training": {"steps": 1},
    }
    save_captioner(directory, NewCaptioner(**(options | changes)))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save(str(tmp_path / "captioner"))
    return tmp_path / "captioner"


def test_a_saved_captioner_loads_and_captions(directory: Path) -> None:
    captioner = load_captioner(str(directory))
    assert isinstance(captioner, DrcapCaptioner)
    assert (captioner.method, captioner.contexts, captioner.clap.dim) == ("drcap", 2, 8)
    assert captioner.projection == ProjectionSettings(temperature=0.03, renormalise=True)
    captions = captioner.caption(EMBEDDINGS, CONTEXTS)
    assert len(captions) == 4
    assert captions == load_captioner(str(directory)).caption(EMBEDDINGS, CONTEXTS)
    assert verify_captioner(str(directory)) == []
    greedy = load_captioner(str(directory), beams=1)
    assert isinstance(greedy, DrcapCaptioner)
    assert greedy.decode.num_beams == 1


def test_what_is_on_disk_is_what_was_agreed(directory: Path) -> None:
    said = json.loads((directory / "captioner.json").read_text(encoding="utf-8"))
    assert said["format"] == "sonogloss-captioner"
    assert said["format_version"] == 1
    assert said["language_model"] == {"path": "language_model"}
    listed = {entry["path"] for entry in said["files"]}
    there = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert listed == there - {"captioner.json"}
    assert {"mapper.safetensors", "README.md", "language_model/model.safetensors"} <= listed
    assert not [path for path in there if path.endswith((".bin", ".pt", ".pkl"))]


def test_half_precision_is_half_as_large_and_still_captions(directory: Path, tmp_path: Path) -> None:
    save(str(tmp_path / "half"), half=True)
    weights = "language_model/model.safetensors"
    assert (tmp_path / "half" / weights).stat().st_size < 0.6 * (directory / weights).stat().st_size
    assert len(load_captioner(str(tmp_path / "half")).caption(EMBEDDINGS, CONTEXTS)) == 4


def test_an_adapter_travels_beside_its_copied_base(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    adapted = attach_adapter(tiny_llama(), rank=2, alpha=4, dropout=0.0)
    with pytest.raises(OptionError, match="needs its base"):
        save(str(tmp_path / "captioner"), language_model=adapted)
    save(str(tmp_path / "captioner"), language_model=adapted, base=str(tmp_path / "base"))
    said = json.loads((tmp_path / "captioner" / "captioner.json").read_text(encoding="utf-8"))
    assert said["language_model"] == {"path": "language_model", "adapter": "adapter"}
    assert len(load_captioner(str(tmp_path / "captioner")).caption(EMBEDDINGS, CONTEXTS)) == 4


def test_a_captioner_far_away_is_fetched(directory: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(directory), "/far/captioner", recursive=True)
    near, far = load_captioner(str(directory)), load_captioner("memory://far/captioner")
    assert far.fingerprint == near.fingerprint
    assert far.caption(EMBEDDINGS, CONTEXTS) == near.caption(EMBEDDINGS, CONTEXTS)
    assert verify_captioner("memory://far/captioner") == []


def test_the_fingerprint_follows_what_decides_a_caption(directory: Path, tmp_path: Path) -> None:
    first = load_captioner(str(directory)).fingerprint
    save(str(tmp_path / "card"), model_card="another card", training={"steps": 2})
    assert load_captioner(str(tmp_path / "card")).fingerprint == first
    save(str(tmp_path / "prompt"), contexts=1)
    assert load_captioner(str(tmp_path / "prompt")).fingerprint != first


@pytest.mark.parametrize("part", ["mapper.safetensors", "language_model/model.safetensors", "README.md"])
def test_a_missing_part_is_named(directory: Path, part: str) -> None:
    (directory / part).unlink()
    with pytest.raises(ModelFormatError, match=f"{part} is missing"):
        load_captioner(str(directory))
    assert verify_captioner(str(directory)) == [f"{part} is missing."]


def test_one_changed_byte_is_found(directory: Path) -> None:
    path = directory / "mapper.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert verify_captioner(str(directory)) == ["mapper.safetensors has another content than when it was written."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something-else"}, "not of the format"),
        ({"format_version": 2}, "format version 2"),
        ({"method": "telepathy"}, "'telepathy'"),
        ({"clap": {"name": "x"}}, "missing or malformed"),
        ({"language_model": {"path": "../elsewhere"}}, "leaves the captioner's directory"),
        ({"projection": {"temperature": -1, "renormalise": True}}, "temperature"),
        ({"files": [{"path": "README.md"}]}, "lacks path, bytes or sha256"),
    ],
)
def test_a_strange_manifest_is_refused_in_words(directory: Path, change: dict[str, Any], message: str) -> None:
    path = directory / "captioner.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ModelFormatError, match=message):
        load_captioner(str(directory))


def test_what_is_no_captioner_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="not a directory"):
        load_captioner("telepathy")
    with pytest.raises(ModelFormatError, match=r"no captioner\.json"):
        load_captioner(str(tmp_path))
    with pytest.raises(InputError):
        load_captioner("memory://nowhere/at/all")
    with pytest.raises(MissingInputError):
        verify_captioner(str(tmp_path / "nowhere"))


def test_importing_the_room_does_not_import_torch() -> None:
    check = "import sys, sonogloss.methods; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_parity_is_the_released_systems_setting(directory: Path) -> None:
    captioner = load_captioner(str(directory), parity=True, beams=2)
    assert isinstance(captioner, DrcapCaptioner)
    assert captioner.contexts == 3
    assert captioner.projection == ProjectionSettings(temperature="clap", renormalise=False)
    assert captioner.decode == DecodeSettings(num_beams=2, max_new_tokens=128)  # half of the tiny model's positions
    assert captioner.fingerprint != load_captioner(str(directory)).fingerprint


def test_a_temperature_is_a_number_or_the_claps_own() -> None:
    own = ProjectionSettings(temperature="clap", renormalise=True)
    assert own.resolved(0.07) == ProjectionSettings(temperature=0.07, renormalise=True)
    assert own.resolved(0.07).tau == 0.07
    with pytest.raises(OptionError, match="resolved"):
        _ = own.tau
    for wrong in ("warm", -1.0, float("nan"), None):
        with pytest.raises(OptionError, match="not usable"):
            ProjectionSettings(temperature=wrong, renormalise=True)  # type: ignore[arg-type]  # the mistake


def test_a_pocket_captioner_that_there_is_not() -> None:
    with pytest.raises(OptionError, match=r"no captioner 'pocket:telepathy'. Choose one of pocket, "):
        load_captioner("pocket:telepathy")


def test_a_captioner_without_projection(directory: Path, tmp_path: Path) -> None:
    save(str(tmp_path / "plain"), projection=None, contexts=None)
    captioner = load_captioner(str(tmp_path / "plain"))
    assert (captioner.projection, captioner.contexts) == (None, 3)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '"captioner"', "{}", '{"files": 3}', '{"files": [3]}', '{"files": []}']
)
def test_a_damaged_manifest_is_a_problem_that_verify_names(directory: Path, content: str) -> None:
    (directory / "captioner.json").write_text(content, encoding="utf-8")
    problems = verify_captioner(str(directory))
    assert problems
    assert all("captioner.json" in problem for problem in problems)
