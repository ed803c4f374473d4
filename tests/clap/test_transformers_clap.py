from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, ClapProcessor

from sonogloss.clap import Clap, load_clap
from sonogloss.clap.transformers_clap import TransformersClap, token_batches
from sonogloss.records import FloatArray

WriteClap = Callable[..., None]

TEXTS = [
    "a dog barks",
    "",
    "rain falls on a roof while a man speaks and then a door closes and birds sing far away",
    "¿dónde está el perro? 犬",
    "a dog barks",
    "word " * 300,
]


def sounds() -> list[FloatArray]:
    """Noise, loud and quiet pure tones, silence and short clips."""
    noise = np.random.default_rng(0).standard_normal(320000)
    time = np.arange(320000) / 32000
    waves = [
        noise,
        np.sin(2 * np.pi * 440 * time),
        9.9 * np.sin(2 * np.pi * 440 * time),
        np.zeros(320000),
        noise[:96000],
        np.sin(2 * np.pi * 2000 * time[:5000]),
        np.where(time < 5, np.sin(2 * np.pi * 200 * time), 0),
    ]
    return [(0.1 * wave).astype(np.float32) for wave in waves]


def units(rows: FloatArray) -> bool:
    return rows.dtype == np.float32 and bool(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5))


def test_the_attributes_of_a_clap(tiny_clap: Clap, tiny_clap_dir: Path) -> None:
    assert tiny_clap.name == str(tiny_clap_dir)
    assert (tiny_clap.dim, tiny_clap.sample_rate, tiny_clap.window_s) == (32, 32000, 10.0)
    assert tiny_clap.temperature == pytest.approx(0.07, abs=1e-4)
    assert len(bytes.fromhex(tiny_clap.fingerprint)) == 32


def test_text_embeddings_equal_those_of_transformers(tiny_clap: Clap, tiny_clap_dir: Path) -> None:
    model = ClapModel.from_pretrained(tiny_clap_dir, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_clap_dir)
    rows = []
    for text in TEXTS:
        tokens = tokenizer([text], truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            output = model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        rows.append(output.pooler_output[0].numpy())
    got = tiny_clap.embed_text(TEXTS)
    assert units(got)
    assert np.abs(got - np.stack(rows)).max() < 1e-5


def test_audio_embeddings_equal_those_of_transformers(tiny_clap: Clap, tiny_clap_dir: Path) -> None:
    model = ClapModel.from_pretrained(tiny_clap_dir, dtype=torch.float32).eval()
    extractor = ClapFeatureExtractor.from_pretrained(tiny_clap_dir)
    rows = []
    for wave in sounds():
        features = extractor(wave, sampling_rate=32000, return_tensors="pt")["input_features"]
        with torch.inference_mode():
            rows.append(model.get_audio_features(input_features=features).pooler_output[0].numpy())
    got = tiny_clap.embed_audio(sounds())
    assert units(got)
    assert np.abs(got - np.stack(rows)).max() <= 1e-5


def test_embeddings_do_not_depend_on_the_number_of_threads(tiny_clap: Clap) -> None:
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append((tiny_clap.embed_audio(sounds()).tobytes(), tiny_clap.embed_text(TEXTS).tobytes()))
        assert torch.get_num_threads() == threads  # as it was found
    torch.set_num_threads(1)
    assert found[0] == found[1]


def test_inputs_differ_and_so_do_their_embeddings(tiny_clap: Clap) -> None:
    text = tiny_clap.embed_text(TEXTS)
    assert np.abs(text[0] - text[4]).max() < 1e-6
    assert np.abs(text[0] - text[2]).max() > 1e-2
    audio = tiny_clap.embed_audio(sounds())
    assert np.abs(audio[0] - audio[1]).max() > 1e-2


def test_nothing_gives_no_rows(tiny_clap: Clap) -> None:
    assert tiny_clap.embed_text([]).shape == (0, 32)
    assert tiny_clap.embed_audio([]).shape == (0, 32)


@settings(max_examples=10, deadline=None)
@given(texts=st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=40)), min_size=1, max_size=8))
def test_the_bytes_of_a_text_do_not_depend_on_its_neighbors(tiny_clap: Clap, texts: list[str]) -> None:
    together = tiny_clap.embed_text(texts)
    assert np.array_equal(together, np.concatenate([tiny_clap.embed_text([text]) for text in texts]))
    assert np.array_equal(together[::-1], tiny_clap.embed_text(texts[::-1]))


def test_many_texts_come_back_in_order(tiny_clap: Clap) -> None:
    texts = [f"{'a dog barks ' * (number % 7)}{number}" for number in range(600)]
    together = tiny_clap.embed_text(texts)
    for row in (0, 255, 256, 511, 599):
        assert np.array_equal(together[row], tiny_clap.embed_text([texts[row]])[0])


@settings(max_examples=10, deadline=None)
@given(cut=st.integers(0, 21), seed=st.integers(0, 9))
def test_the_bytes_of_a_clip_do_not_depend_on_its_neighbors(tiny_clap: Clap, cut: int, seed: int) -> None:
    waves = sounds() * 3  # more than one internal batch
    order = np.random.default_rng(seed).permutation(len(waves))
    together = tiny_clap.embed_audio(waves)
    mixed = [waves[row] for row in order]
    parts = [tiny_clap.embed_audio(some) for some in (mixed[:cut], mixed[cut:])]
    assert np.array_equal(together[order], np.concatenate(parts))


def test_embedding_twice_gives_the_same_bytes_and_moves_nothing(tiny_clap_dir: Path) -> None:
    clap = load_clap(str(tiny_clap_dir))
    model = clap.model  # type: ignore[attr-defined]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = clap.embed_audio(sounds())
    assert np.array_equal(first, clap.embed_audio(sounds()))
    assert np.array_equal(clap.embed_text(TEXTS), clap.embed_text(TEXTS))
    assert not model.training
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("running_mean" in name for name in before)


def test_models_with_fusion_never_mark_a_clip_as_long(tmp_path: Path, write_clap: WriteClap) -> None:
    write_clap(tmp_path, enable_fusion=True)
    clap = load_clap(str(tmp_path))
    model = ClapModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    extractor = ClapFeatureExtractor.from_pretrained(tmp_path)
    rows, marked = [], []
    for wave in sounds():
        features = extractor(wave, sampling_rate=32000, return_tensors="pt")["input_features"]
        for long, into in ((False, rows), (True, marked)):
            with torch.inference_mode():
                output = model.get_audio_features(input_features=features, is_longer=torch.tensor([[long]]))
            into.append(output.pooler_output[0].numpy())
    got = clap.embed_audio(sounds())
    assert np.abs(got - np.stack(rows)).max() <= 1e-5
    assert np.abs(np.stack(rows) - np.stack(marked)).max() > 1e-3  # the mark would have mattered
    assert np.array_equal(got, clap.embed_audio(sounds()))


def test_the_sample_rate_is_read_and_not_assumed(tmp_path: Path, write_clap: WriteClap) -> None:
    write_clap(tmp_path, sample_rate=48000)
    clap = load_clap(str(tmp_path))
    assert (clap.sample_rate, clap.window_s) == (48000, 10.0)
    assert units(clap.embed_audio([np.zeros(480000, dtype=np.float32)]))


def test_half_precision_weights_are_computed_in_single_precision(tmp_path: Path, write_clap: WriteClap) -> None:
    write_clap(tmp_path)
    full = load_clap(str(tmp_path)).embed_audio(sounds())
    ClapModel.from_pretrained(tmp_path).half().save_pretrained(tmp_path)
    clap = load_clap(str(tmp_path))
    assert {parameter.dtype for parameter in clap.model.parameters()} == {torch.float32}  # type: ignore[attr-defined]
    half = clap.embed_audio(sounds())
    assert units(half)
    assert (half * full).sum(axis=1).min() > 0.999


def test_a_length_saved_with_the_tokenizer_has_no_effect(tmp_path: Path, write_clap: WriteClap) -> None:
    write_clap(tmp_path)
    before = load_clap(str(tmp_path)).embed_text(TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer(TEXTS, truncation=True, padding="max_length", max_length=8)
    tokenizer.save_pretrained(tmp_path)
    assert '"max_length": 8' in (tmp_path / "tokenizer.json").read_text()
    clap = load_clap(str(tmp_path))
    assert np.abs(clap.embed_text(TEXTS) - before).max() < 1e-6
    assert units(clap.embed_audio(sounds()))


def test_the_combined_processor_is_never_made(tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a length saved with the tokenizer would leak into the audio arguments")

    monkeypatch.setattr(ClapProcessor, "__init__", refuse)
    monkeypatch.setattr(ClapProcessor, "from_pretrained", refuse)
    clap = load_clap(str(tiny_clap_dir))
    assert len(clap.embed_text(TEXTS)) == len(TEXTS)
    assert len(clap.embed_audio(sounds())) == len(sounds())


def test_loading_prints_nothing(tiny_clap_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_clap(str(tiny_clap_dir))
    assert capfd.readouterr() == ("", "")


def test_naming_a_clap_does_not_load_torch() -> None:
    code = "import sys, sonogloss.clap, sonogloss.audio; assert 'torch' not in sys.modules"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


@pytest.mark.parametrize("name", ["torchvision", "torchaudio"])
def test_the_environment_has_no_package_that_breaks_transformers(name: str) -> None:
    # Beside a CPU torch, importing transformers' ClapModel fails when either is installed.
    assert importlib.util.find_spec(name) is None


# -- batches of text --------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 512), max_size=800))
def test_every_text_is_in_one_batch_of_its_length_within_the_budget(lengths: list[int]) -> None:
    batches = list(token_batches(lengths, 512))
    assert sorted({row for batch, _ in batches for row in batch}) == list(range(len(lengths)))
    assert sum(len(set(batch)) for batch, _ in batches) == len(lengths)
    for batch, length in batches:
        assert 4 <= len(batch) <= 256
        assert length * len(batch) <= 8192
        assert all(length - 1 <= lengths[row] <= length for row in batch)


def test_captions_of_usual_lengths_are_hardly_padded() -> None:
    lengths = np.random.default_rng(0).gamma(5, 2.5, 25_000).astype(int) + 4
    padded = sum(len(batch) * length for batch, length in token_batches(lengths.tolist(), 512))
    assert padded / lengths.sum() <= 1.05


def test_batches_give_what_single_texts_give(tiny_clap: TransformersClap) -> None:
    texts = [("a dog barks " * (1 + number % 9)).strip() + str(number) for number in range(40)]
    together = np.empty((40, tiny_clap.dim), np.float32)
    for rows, vectors in tiny_clap.embed_text_batches(texts):
        assert len(rows) == len(vectors) == len(set(rows))
        together[rows] = vectors
    np.testing.assert_array_equal(together, tiny_clap.embed_text(texts))
    np.testing.assert_array_equal(together, np.concatenate([tiny_clap.embed_text([text]) for text in texts]))
    (rows, halves), *_ = tiny_clap.embed_text_batches(texts, precision="bfloat16")
    assert halves.dtype == np.float32
    assert 0.99 < (halves * together[rows]).sum(axis=1).min() < 1 + 1e-6
