"""laion_clap itself against what we make of its checkpoints. It needs that package: `make test-laion`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ClapConfig

from sonogloss.clap import load_clap
from sonogloss.clap.convert import convert_checkpoint
from sonogloss.errors import OptionError
from sonogloss.records import FloatArray
from tests.laion_checkpoints import randomize, write_checkpoint, write_tokenizer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("laion_clap") is None,
    reason="laion_clap is not installed: it brings numpy 1.26, so it has an environment of its own (make test-laion)",
)

TEXTS = ["a dog barks", "", "rain falls on a roof while a man speaks and then a door closes", "word " * 300, "¿犬?"]


def sounds() -> list[FloatArray]:
    """Ten seconds, three seconds, one that clips, silence, half a second of a quiet tone."""
    noise = np.random.default_rng(0).standard_normal(480_000)
    tone = np.sin(2 * np.pi * 440 * np.arange(480_000) / 48_000)
    waves = [0.1 * noise, 0.1 * noise[:144_000], noise, np.zeros(480_000), 0.01 * tone[:24_000], 0.5 * tone]
    return [wave.astype(np.float32) for wave in waves]


class Original:
    """A checkpoint of random weights in a folder where roberta-base is, and laion_clap's own model with the same."""

    def __init__(self, folder: Path, *, fused: bool) -> None:
        self.path = folder / "random.pt"
        vocabulary = write_tokenizer(folder / "roberta-base")
        self.module = build(vocabulary, fused=fused)
        randomize(self.module.model, self.module.model.audio_branch.bn0)
        self.state = self.module.model.state_dict()
        # Published checkpoints hold this; what re-saves them does not.
        write_checkpoint(self.path, self.state | {"text_branch.embeddings.position_ids": torch.arange(514)[None]})
        self.module.eval()


def build(vocabulary: int, *, fused: bool) -> Any:
    """CLAP_Module of HTSAT-tiny and two layers of RoBERTa."""
    from sonogloss.clap import laion

    config = ClapConfig(text_config={"vocab_size": vocabulary, "num_hidden_layers": 2, "layer_norm_eps": 1e-5})
    return laion.build(SimpleNamespace(config=config, amodel="HTSAT-tiny", fused=fused), torch.device("cpu"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tmp_path_factory.mktemp("laion"), fused=False)


@pytest.fixture(autouse=True)
def beside_the_tokenizer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where roberta-base is a folder, it is on this machine."""
    if "original" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("original").path.parent)


def cosine(left: FloatArray, right: FloatArray) -> float:
    assert left.shape == right.shape
    return float((left.astype(np.float64) * right).sum(axis=1).min())


def tokens(texts: list[str]) -> dict[str, torch.Tensor]:
    """As CLAP_Module asks its tokenizer: padded and cut to 77."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("roberta-base")
    return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt")


@pytest.mark.parametrize("kind", ["laion", "laion_clap"])
def test_embeddings_are_those_of_the_original(original: Original, kind: str) -> None:
    clap = load_clap(f"{kind}:{original.path}")
    with torch.inference_mode():
        text = original.module.get_text_embedding(TEXTS, tokenizer=tokens)
        audio = original.module.get_audio_embedding_from_data(sounds())
    assert cosine(clap.embed_text(TEXTS), text) >= 0.99999
    assert cosine(clap.embed_audio(sounds()), audio) >= 0.99999
    assert clap.temperature == pytest.approx(np.exp(-3), rel=1e-5)
    assert (clap.dim, clap.sample_rate, clap.window_s) == (512, 48_000, 10.0)
    # The comparison means something: the inputs lie apart.
    assert (text @ text.T)[~np.eye(len(text), dtype=bool)].max() < 0.99
    assert (audio @ audio.T)[~np.eye(len(audio), dtype=bool)].min() < 0.9


def test_both_ways_and_a_converted_directory_are_the_same_clap(original: Original, tmp_path: Path) -> None:
    converted = convert_checkpoint(str(original.path), tmp_path)
    claps = [load_clap(name) for name in (str(tmp_path), f"laion:{original.path}", f"laion_clap:{original.path}")]
    assert {clap.fingerprint for clap in claps} == {converted.fingerprint}


def test_without_rounding_to_16_bits_embeddings_differ(original: Original, tmp_path: Path) -> None:
    """What the key `quantise` is for."""
    convert_checkpoint(str(original.path), tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"quantise": "int16"', '"quantise": null'))
    rounded, not_rounded = load_clap(f"laion:{original.path}"), load_clap(str(tmp_path))
    assert rounded.fingerprint != not_rounded.fingerprint
    assert cosine(rounded.embed_audio(sounds()), not_rounded.embed_audio(sounds())) < 0.99999


def test_the_surroundings_are_as_they_were(original: Original) -> None:
    search = list(sys.path)
    load_clap(f"laion_clap:{original.path}")
    assert sys.path == search
    assert "torchvision" not in sys.modules


def test_a_long_clip_is_an_error_and_never_a_random_crop(original: Original) -> None:
    with pytest.raises(ValueError, match="480000"):
        load_clap(f"laion_clap:{original.path}").embed_audio([np.zeros(480_001, dtype=np.float32)])


def test_the_network_with_fusion_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fusion laion_clap needs torchaudio for the mel image. It is given ours, so the network alone is compared."""
    original = Original(tmp_path, fused=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="torchaudio"):
        load_clap(f"laion_clap:{original.path}")
    clap = load_clap(f"laion:{original.path}")
    rows = []
    for wave in sounds():
        features = clap._log_mel([wave])[0]  # type: ignore[attr-defined]
        sample = {"mel_fusion": features.expand(4, -1, -1), "longer": torch.tensor([False])}
        with torch.inference_mode():
            rows.append(original.module.model.get_audio_embedding([sample])[0].numpy())
        original.module.eval()
    with torch.inference_mode():
        text = original.module.get_text_embedding(TEXTS, tokenizer=tokens)
    assert cosine(clap.embed_text(TEXTS), text) >= 0.99999
    assert cosine(clap.embed_audio(sounds()), np.stack(rows)) >= 0.99999
