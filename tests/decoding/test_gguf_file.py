"""GGUF files: dequantized once into the cache, and refused in words where they cannot be read."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from sonogloss.decoding import gguf_file
from sonogloss.decoding.gguf_file import gguf_directory
from sonogloss.decoding.language_model import load_language_model
from sonogloss.errors import ModelFormatError, OptionError
from tests.language_models import tiny_llama, tiny_tokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SONOGLOSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF and nothing else")
    return path


def test_a_file_is_dequantized_once_whatever_its_name(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def dequantize(path: Path, directory: Path) -> None:
        made.append(path.name)
        tiny_llama().half().save_pretrained(directory)
        tiny_tokenizer().save_pretrained(directory)

    monkeypatch.setattr(gguf_file, "_dequantize", dequantize)
    first = load_language_model(str(file))
    other = file.rename(file.with_name("renamed.gguf"))
    assert gguf_directory(other).parent == cache
    assert load_language_model(str(other)).vocabulary == first.vocabulary
    assert made == ["tiny.gguf"]
    assert [path.name for path in cache.iterdir()] == [gguf_directory(other).name]  # nothing half made stays


def test_without_the_package_the_extra_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(OptionError, match="package gguf is not installed") as caught:
        load_language_model(str(file))
    assert "sonogloss[gguf]" in caught.value.remedy


@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="needs the extra gguf")
def test_a_damaged_file_is_refused(file: Path) -> None:
    with pytest.raises(ModelFormatError, match="cannot be read as GGUF"):
        load_language_model(str(file))


def test_a_folder_of_gguf_names_the_file_to_take(file: Path) -> None:
    (file.parent / "config.json").write_text("{}")
    with pytest.raises(ModelFormatError, match="holds GGUF") as caught:
        load_language_model(str(file.parent))
    assert caught.value.remedy == f"Name the file: {str(file)!r}."
