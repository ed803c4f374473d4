"""ClapModel directories in the forms in which people have them: the same embeddings, or one sentence with a remedy."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

from sonogloss.clap import Clap, is_pocket, load_clap
from sonogloss.clap.model_directory import read_config, read_tokenizer
from sonogloss.clap.outline import outline_clap
from sonogloss.clap.weights import stored_dtype, weight_files
from sonogloss.errors import ModelFormatError

TEXTS = ["a dog barks", "", "¿dónde está el perro? 犬", "  two  blanks ", "a <mask> and </s> inside", "rain " * 100]
NOISE = (0.1 * np.random.default_rng(0).standard_normal(40000)).astype(np.float32)

Change = Callable[[Path], None]


@pytest.fixture
def directory(tiny_clap_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny CLAP that a test may change."""
    return Path(shutil.copytree(tiny_clap_dir, tmp_path / "model"))


def same(found: Clap, wanted: Clap) -> bool:
    """Do two CLAPs give the same bytes for texts and sounds?"""
    return np.array_equal(found.embed_text(TEXTS), wanted.embed_text(TEXTS)) and np.array_equal(
        found.embed_audio([NOISE]), wanted.embed_audio([NOISE])
    )


def from_url(directory: Path) -> Clap:
    """The same files behind a URL."""
    memory = fsspec.filesystem("memory")
    for path in directory.iterdir():
        memory.pipe_file(f"/forms/{directory.parent.name}/{path.name}", path.read_bytes())
    return load_clap(f"memory://forms/{directory.parent.name}")


def as_transformers_5(directory: Path) -> None:
    """Save it anew with the processor's own method."""
    model = ClapModel.from_pretrained(directory)
    processor = ClapProcessor(ClapFeatureExtractor.from_pretrained(directory), AutoTokenizer.from_pretrained(directory))
    shutil.rmtree(directory)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    assert not (directory / "preprocessor_config.json").exists()


def in_safetensors_shards(directory: Path) -> None:
    model = ClapModel.from_pretrained(directory)
    (directory / "model.safetensors").unlink()
    model.save_pretrained(directory, max_shard_size="60KB")
    assert len(list(directory.glob("model-*-of-*.safetensors"))) > 2


def in_pickle_shards(directory: Path, shards: int = 3) -> None:
    """As transformers 4 saved a large model: shards of torch.save and an index."""
    state = ClapModel.from_pretrained(directory).state_dict()
    (directory / "model.safetensors").unlink()
    place = {name: f"pytorch_model-{i % shards + 1:05d}-of-{shards:05d}.bin" for i, name in enumerate(state)}
    for shard in set(place.values()):
        torch.save({name: tensor for name, tensor in state.items() if place[name] == shard}, directory / shard)
    index = {"metadata": {"total_size": 0}, "weight_map": place}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def in_one_pickle(directory: Path) -> None:
    torch.save(ClapModel.from_pretrained(directory).state_dict(), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


@pytest.mark.parametrize("change", [as_transformers_5, in_safetensors_shards, in_pickle_shards, in_one_pickle])
def test_the_same_model_in_another_form(directory: Path, tiny_clap: Clap, change: Change) -> None:
    change(directory)
    clap = load_clap(str(directory))
    assert same(clap, tiny_clap)
    assert clap.temperature == tiny_clap.temperature
    remote = from_url(directory)
    assert remote.fingerprint == clap.fingerprint
    assert same(remote, tiny_clap)


def test_the_two_places_of_preprocessing_values_give_one_fingerprint(directory: Path, tiny_clap: Clap) -> None:
    values = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").unlink()
    nested = {"feature_extractor": values, "processor_class": "ClapProcessor"}
    (directory / "processor_config.json").write_text(json.dumps(nested))
    assert load_clap(str(directory)).fingerprint == tiny_clap.fingerprint


def test_a_preprocessor_file_comes_before_a_processor_file(directory: Path, tiny_clap: Clap) -> None:
    nested = {"feature_extractor": {"sampling_rate": 8000}, "processor_class": "ClapProcessor"}
    (directory / "processor_config.json").write_text(json.dumps(nested))
    assert load_clap(str(directory)).fingerprint == tiny_clap.fingerprint


def test_safetensors_come_before_pickles(directory: Path, tiny_clap: Clap) -> None:
    torch.save({"other": torch.ones(1)}, directory / "pytorch_model.bin")
    (directory / "pytorch_model.bin.index.json").write_text("{}")
    assert weight_files(directory) == [directory / "model.safetensors"]
    assert load_clap(str(directory)).fingerprint == tiny_clap.fingerprint


def with_vocabulary_files(directory: Path) -> None:
    """RoBERTa's two files in place of tokenizer.json."""
    model = json.loads((directory / "tokenizer.json").read_text())["model"]
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


def test_vocabulary_and_merges_are_read_as_transformers_reads_them(directory: Path, tmp_path: Path) -> None:
    with_vocabulary_files(directory)
    clap = load_clap(str(directory))
    reference = RobertaTokenizer.from_pretrained(directory)
    for text in TEXTS:
        ids = reference(text, truncation=True, max_length=64)["input_ids"]
        assert clap.tokenize([text]) == [ids], text  # type: ignore[attr-defined]
    other = Path(shutil.copytree(directory, tmp_path / "other"))
    reference.save_pretrained(other)
    for name in ("vocab.json", "merges.txt"):
        (other / name).unlink(missing_ok=True)
    assert (other / "tokenizer.json").is_file()
    assert same(load_clap(str(other)), clap)
    assert from_url(directory).fingerprint == clap.fingerprint


def test_both_vocabulary_files_count_for_the_fingerprint(directory: Path) -> None:
    with_vocabulary_files(directory)
    first = load_clap(str(directory)).fingerprint
    merges = (directory / "merges.txt").read_text()
    (directory / "merges.txt").write_text(merges.replace("#version: 0.2\n", ""))
    second = load_clap(str(directory)).fingerprint
    (directory / "vocab.json").write_text((directory / "vocab.json").read_text() + "\n")
    assert len({first, second, load_clap(str(directory)).fingerprint}) == 3


def test_a_tokenizer_file_comes_before_vocabulary_files(directory: Path, tiny_clap: Clap) -> None:
    tokenizer = (directory / "tokenizer.json").read_bytes()
    with_vocabulary_files(directory)
    (directory / "tokenizer.json").write_bytes(tokenizer)
    assert load_clap(str(directory)).fingerprint == tiny_clap.fingerprint


def refusal(directory: Path) -> ModelFormatError:
    with pytest.raises(ModelFormatError) as caught:
        load_clap(str(directory))
    message = str(caught.value)
    assert re.fullmatch(r"[^\n]+\. [^\n]+\.", message), message
    return caught.value


def without(*names: str) -> Change:
    def change(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return change


def written(name: str, content: str, *, first: Change = lambda directory: None) -> Change:
    def change(directory: Path) -> None:
        first(directory)
        (directory / name).write_text(content)

    return change


def shard_lost(make: Change, pattern: str) -> Change:
    def change(directory: Path) -> None:
        make(directory)
        sorted(directory.glob(pattern))[1].unlink()

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("config.json"), "has no config.json"),
        (without("preprocessor_config.json"), "has neither preprocessor_config.json nor processor_config.json"),
        (
            written(
                "processor_config.json",
                '{"processor_class": "ClapProcessor"}',
                first=without("preprocessor_config.json"),
            ),
            "processor_config.json has no 'feature_extractor'",
        ),
        (
            written(
                "processor_config.json",
                '{"feature_extractor": {"truncation": "fusion"}}',
                first=without("preprocessor_config.json"),
            ),
            "processor_config.json has no 'sampling_rate'",
        ),
        (
            written("processor_config.json", "{", first=without("preprocessor_config.json")),
            "processor_config.json' is not valid JSON",
        ),
        (without("model.safetensors"), "no model.safetensors, no pytorch_model.bin, and no index of shards"),
        (
            shard_lost(in_safetensors_shards, "model-*.safetensors"),
            "model.safetensors.index.json' lists model-00002-of-",
        ),
        (
            shard_lost(in_pickle_shards, "pytorch_model-*.bin"),
            "lists pytorch_model-00002-of-00003.bin, which is missing",
        ),
        (
            lambda directory: (in_pickle_shards(directory), without("pytorch_model.bin.index.json")(directory)),
            "has shards of weights, but no pytorch_model.bin.index.json",
        ),
        (
            lambda directory: (in_safetensors_shards(directory), without("model.safetensors.index.json")(directory)),
            "has shards of weights, but no model.safetensors.index.json",
        ),
        (
            written(
                "pytorch_model.bin.index.json", '{"weight_map": {"a": "../up.bin"}}', first=without("model.safetensors")
            ),
            "does not list",
        ),
        (
            written(
                "pytorch_model.bin.index.json", '{"weight_map": {"a": "code.py"}}', first=without("model.safetensors")
            ),
            "does not list",
        ),
        (written("pytorch_model.bin.index.json", "{}", first=without("model.safetensors")), "does not list"),
        (without("tokenizer.json"), "has no tokenizer.json, and no vocab.json and no merges.txt"),
        (written("model.safetensors", "cut off"), "model.safetensors' cannot be loaded"),
        (written("vocab.json", "{}", first=without("tokenizer.json")), "has no tokenizer.json, and no merges.txt"),
        (written("merges.txt", "", first=without("tokenizer.json")), "has no tokenizer.json, and no vocab.json"),
        (written("vocab.json", "[]", first=with_vocabulary_files), "vocab.json' is not a tokenizer"),
        (written("vocab.json", '{"a": 0}', first=with_vocabulary_files), "vocab.json' is not a tokenizer"),
        (
            written("merges.txt", "#version: 0.2\nx y z\n", first=with_vocabulary_files),
            "vocab.json' is not a tokenizer",
        ),
    ],
)
def test_what_is_missing_is_one_sentence_with_a_remedy(directory: Path, change: Change, words: str) -> None:
    change(directory)
    assert words in refusal(directory).what
    with suppress(ModelFormatError):  # to look at it says the same, or nothing
        outline_clap(str(directory))


def test_a_vocabulary_without_special_tokens_is_refused(directory: Path) -> None:
    with_vocabulary_files(directory)
    vocabulary = json.loads((directory / "vocab.json").read_text())
    vocabulary["other"] = vocabulary.pop("<pad>")
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    assert "special tokens" in refusal(directory).what


def test_a_shard_in_a_pickle_is_not_unpickled(directory: Path) -> None:
    in_pickle_shards(directory)
    shard = sorted(directory.glob("pytorch_model-*.bin"))[0]
    torch.save({**torch.load(shard), "path": Path("/")}, shard)
    load_clap(str(directory))
    shard.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "checkpoint of torch" in refusal(directory).what


def test_a_weight_that_no_shard_holds_is_named(directory: Path) -> None:
    in_pickle_shards(directory)
    shard = sorted(directory.glob("pytorch_model-*.bin"))[0]
    state = torch.load(shard)
    name = next(name for name in state if name.endswith(".weight"))
    torch.save({key: tensor for key, tensor in state.items() if key != name}, shard)
    assert f"lacks 1 weights, {name!r}" in refusal(directory).what


def test_positions_limit_texts_unless_the_tokenizer_does(directory: Path) -> None:
    path = directory / "tokenizer_config.json"
    values: dict[str, Any] = json.loads(path.read_text())
    for length, expected in ((16, 16), (10**30, 64), (None, 64), ("many", 64)):
        path.write_text(json.dumps(values | {"model_max_length": length}))
        [ids] = load_clap(str(directory)).tokenize(["rain " * 200])  # type: ignore[attr-defined]
        assert len(ids) == expected
    path.unlink()
    [ids] = load_clap(str(directory)).tokenize(["rain " * 200])  # type: ignore[attr-defined]
    assert len(ids) == 64


@pytest.mark.parametrize("change", [lambda directory: None, in_one_pickle, in_pickle_shards])
@pytest.mark.parametrize("half", [False, True])
def test_the_precision_of_the_files(directory: Path, change: Change, half: bool) -> None:
    if half:
        ClapModel.from_pretrained(directory).half().save_pretrained(directory)
    change(directory)
    assert stored_dtype(directory) == (torch.float16 if half else torch.float32)


def test_the_mask_may_be_missing(directory: Path) -> None:
    with_vocabulary_files(directory)
    vocabulary = json.loads((directory / "vocab.json").read_text())
    del vocabulary["<mask>"]
    (directory / "vocab.json").write_text(json.dumps(vocabulary))
    assert read_tokenizer(directory, read_config(directory)).token_to_id("<mask>") is None


def test_only_names_of_the_package_are_pocket_claps(tiny_clap_dir: Path) -> None:
    assert is_pocket("pocket")
    assert is_pocket("pocket:ordered")
    assert not any(map(is_pocket, ("", "pocket:drcap", "Pocket", str(tiny_clap_dir), "laion/clap-htsat-unfused")))
