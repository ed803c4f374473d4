"""msclap itself against what we make of its checkpoints. It needs that package: `make test-msclap`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, PreTrainedTokenizerBase

from sonogloss.clap import load_clap
from sonogloss.records import FloatArray
from tests.laion_checkpoints import randomize
from tests.tower_checkpoints import write_bert_tokenizer, write_gpt2_tokenizer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("msclap") is None,
    reason="msclap is not installed: it asks for an older transformers, so it has an environment of its own "
    "(make test-msclap)",
)

TEXTS = ["a dog barks", "", "rain falls . a man speaks", "A man speaks! Rain falls!!", "¿犬?"]


def sounds(samples: int) -> list[FloatArray]:
    """A full window, a third of one, less than a hundredth, one that clips, a pure tone, silence."""
    noise = np.random.default_rng(0).standard_normal(samples)
    tone = np.sin(2 * np.pi * 440 * np.arange(samples) / 44_100)
    waves = [0.1 * noise, np.diff(noise[: samples // 3]), noise[:400], 2 * noise, tone, np.zeros(samples)]
    return [wave.astype(np.float32) for wave in waves]


class Original:
    """msclap's own wrapper with random weights, in the folder where its tokenizer and text tower are."""

    def __init__(self, folder: Path, version: str) -> None:
        self.path = folder / "random.pth"
        if version == "2022":
            sizes = {"vocab_size": write_bert_tokenizer(folder / "bert-base-uncased"), "num_hidden_layers": 2}
            BertModel(BertConfig(**sizes)).save_pretrained(folder / "bert-base-uncased")
        else:
            entries = write_gpt2_tokenizer(folder / "gpt2")
            tower: Any = GPT2Model(GPT2Config(vocab_size=entries, n_layer=2, bos_token_id=None, eos_token_id=None))
            tower.save_pretrained(folder / "gpt2")
        torch.save({"model": {}}, self.path)  # the wrapper loads what is there, and that is nothing yet
        self.wrapper = wrapper(self.path, version)
        clap = self.wrapper.clap
        audio = clap.audio_encoder.base
        clap.logit_scale_a = clap.logit_scale  # the name that `randomize` knows
        randomize(clap, audio.bn0 if version == "2022" else audio.htsat.bn0)
        for module in audio.modules() if version == "2022" else ():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.data *= 2
        del clap.logit_scale_a
        torch.save({"model": clap.state_dict()}, self.path)

    def text(self, texts: list[str]) -> FloatArray:
        """Unit rows, from the wrapper's own tokens."""
        # transformers 5 has this method under the name of a call only.
        plus = mock.patch.object(PreTrainedTokenizerBase, "encode_plus", PreTrainedTokenizerBase.__call__, create=True)
        with plus:
            return unit(self.wrapper.get_text_embeddings(texts))

    def audio(self, waves: list[FloatArray]) -> FloatArray:
        """Unit rows, from the wrapper's own padding."""
        read = [(torch.from_numpy(wave)[None], 44_100) for wave in waves]
        with mock.patch.object(self.wrapper, "read_audio", side_effect=read):
            return unit(self.wrapper.get_audio_embeddings([""] * len(waves)))


def wrapper(path: Path, version: str) -> Any:
    """CLAPWrapper; torchaudio, which it imports and only calls for files, is an empty module meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torchaudio", "torchaudio.transforms"):
            patch.setitem(sys.modules, name, mock.MagicMock())
        package: Any = importlib.import_module("msclap")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")  # its HTSAT, under newer versions of torch
        return package.CLAP(str(path), version=version)


def unit(rows: torch.Tensor) -> FloatArray:
    result: FloatArray = torch.nn.functional.normalize(rows, dim=-1).numpy()
    return result


@pytest.fixture(scope="module", params=["2022", "2023"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Original:
    folder = tmp_path_factory.mktemp(f"msclap-{request.param}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return Original(folder, request.param)


@pytest.fixture(autouse=True)
def beside_the_tokenizer(original: Original, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(original.path.parent)


def test_embeddings_are_those_of_the_original(original: Original) -> None:
    clap = load_clap(f"msclap:{original.path}")
    waves = sounds(int(clap.window_s * clap.sample_rate))
    text, audio = original.text(TEXTS), original.audio(waves)
    assert (clap.embed_text(TEXTS).astype(np.float64) * text).sum(axis=1).min() >= 0.99999
    assert (clap.embed_audio(waves).astype(np.float64) * audio).sum(axis=1).min() >= 0.99999
    assert clap.temperature == pytest.approx(float(torch.exp(-original.wrapper.clap.logit_scale)), rel=1e-5)
    # The comparison means something: the inputs lie apart.
    assert (text @ text.T)[~np.eye(len(text), dtype=bool)].max() < 0.99
    assert (audio @ audio.T)[~np.eye(len(audio), dtype=bool)].min() < 0.98
