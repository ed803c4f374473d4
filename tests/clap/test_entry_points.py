"""A CLAP of another package is loaded by its entry point, without a line of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sonogloss.clap import load_clap
from sonogloss.errors import MissingInputError, OptionError

BACKEND = """
import numpy as np


class Coin:
    dim, sample_rate, window_s, temperature = 2, 8000, 1.0, 0.1

    def __init__(self, side, name, device):
        self.side, self.name, self.fingerprint = side, name, f"{side} on {device}"

    def embed_text(self, texts):
        return np.tile(np.eye(2, dtype=np.float32)[int(self.side == "tails")], (len(texts), 1))

    def embed_audio(self, waveforms, *, sample_rate=None):
        return self.embed_text(waveforms)


def open_clap(side, *, name, device):
    return Coin(side, name, device)
"""


def install(folder: Path, entry: str) -> str:
    (folder / "coin-1.0.dist-info").mkdir(parents=True)
    (folder / "coin_clap.py").write_text(BACKEND)
    (folder / "coin-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: coin\nVersion: 1.0\n")
    (folder / "coin-1.0.dist-info" / "entry_points.txt").write_text(f"[sonogloss.claps]\n{entry}\n")
    return str(folder)


@pytest.fixture
def without_coin() -> Iterator[None]:
    yield
    sys.modules.pop("coin_clap", None)


def test_the_backend_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_coin: None) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "coin = coin_clap:open_clap"))
    clap = load_clap("coin:tails")
    assert (clap.name, clap.fingerprint) == ("coin:tails", "tails on cpu")
    assert np.array_equal(clap.embed_text(["rain"]), [[0, 1]])
    assert load_clap("coin:").fingerprint == " on cpu"


def test_a_backend_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_coin: None
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "coin = coin_clap:nothing"))
    with pytest.raises(OptionError, match="'coin_clap:nothing', which cannot be loaded"):
        load_clap("coin:tails")


def test_our_own_names_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_coin: None) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, "laion = coin_clap:open_clap"))
    with pytest.raises(MissingInputError, match="not a file"):
        load_clap("laion:tails")
