"""What all tests share: an offline, single-threaded process and a tiny random CLAP on disk."""

from __future__ import annotations

import os

# Before anything imports a model library: never look at the network, never start a thread pool.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from sonogloss.clap import Clap, load_clap

torch.set_num_threads(1)

TINY_SENTENCES = [
    "a dog barks twice while rain falls on a roof",
    "a man speaks and then a door closes",
    "birds sing far away as a car passes by",
    "a siren wails, an engine idles and people talk",
    "water drips slowly into a sink",
    "a cat meows and a clock ticks",
    "thunder rumbles over the wind and the sea",
    "a crowd applauds, someone laughs and a bell rings",
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test, and every process it starts, stays away from the model hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""
    monkeypatch.setattr("sonogloss.retries.pause", lambda seconds: None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and captions beside the repository; tests that need it skip without it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the shared data is not beside this repository")
    return path


@pytest.fixture(scope="session")
def tiny_clap_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ClapModel directory like a real one (32 kHz, 64 mel bins, 10 s, width 32), random and about 200 kB."""
    directory = tmp_path_factory.mktemp("tiny-clap")
    write_tiny_clap(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_clap(tiny_clap_dir: Path) -> Clap:
    """The tiny CLAP, loaded. Its embeddings mean nothing, but differ between inputs."""
    return load_clap(str(tiny_clap_dir))


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode samples `[frames]` or `[frames, channels]` as the bytes of an audio file, by default a 16-bit WAV."""

    def _encode(
        samples: npt.ArrayLike, sample_rate: int = 32000, *, container: str = "WAV", subtype: str | None = None
    ) -> bytes:
        target = io.BytesIO()
        soundfile.write(target, np.asarray(samples), sample_rate, format=container, subtype=subtype)
        return target.getvalue()

    return _encode


@pytest.fixture(scope="session")
def write_clap() -> Callable[..., None]:
    """The function behind `tiny_clap_dir`, for tests that need a CLAP of their own."""
    return write_tiny_clap


def write_tiny_clap(directory: Path, *, seed: int = 0, enable_fusion: bool = False, sample_rate: int = 32000) -> None:
    """Write a tiny random ClapModel with its preprocessing and a byte-level BPE tokenizer in RoBERTa's layout."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    from recipes.pocket.recipe import train_tokenizer

    tokenizer = train_tokenizer(TINY_SENTENCES)
    tokenizer.save_pretrained(directory)
    ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=sample_rate,
        hop_length=sample_rate // 100,
        fft_window_size=1024,
        frequency_min=50,
        frequency_max=14000,
        truncation="fusion" if enable_fusion else "rand_trunc",
        padding="repeatpad",
    ).save_pretrained(directory)

    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 66,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "layer_norm_eps": 1e-5,
        },
        audio_config={
            "spec_size": 256,
            "num_mel_bins": 64,
            "patch_size": 8,
            "patch_stride": [8, 8],
            "window_size": 4,
            "patch_embeds_hidden_size": 8,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "hidden_size": 16,
            "enable_fusion": enable_fusion,
            "fusion_type": "aff_2d" if enable_fusion else None,
            "aff_block_r": 2,
            "drop_path_rate": 0.0,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        projection_dim=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClapModel(config).eval()
        with torch.no_grad():
            # The usual small initial weights would map every input to nearly the same embedding.
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=3.0 * parameter[0].numel() ** -0.5)
            norm = model.audio_model.audio_encoder.batch_norm
            norm.running_mean.fill_(-40.0)
            norm.running_var.fill_(400.0)
    model.save_pretrained(directory)
