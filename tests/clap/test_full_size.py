"""A CLAP of the size that LAION publishes, with random weights: 153 million parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import ClapConfig, ClapModel

from tests.laion_checkpoints import laion_state, write_checkpoint, write_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc"),
]

# In a process of its own: the peak is the whole process's, torch and transformers included.
EMBED = """
import sys, numpy as np
from sonogloss.clap import load_clap
clap = load_clap(sys.argv[1])
waves = [np.random.default_rng(n).standard_normal(480_000).astype(np.float32) for n in range(16)]
assert clap.embed_audio(waves).shape == (16, 512)
assert clap.embed_text(["a dog barks while rain falls on a roof"] * 64).shape == (64, 512)
"""
CONVERT = """
import sys
from pathlib import Path
from sonogloss.clap.convert import convert_checkpoint
convert_checkpoint(sys.argv[1], Path(sys.argv[2]), tokenizer=sys.argv[3])
"""
# The high-water mark of this program alone: getrusage would start with that of the process it was forked from.
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`random.pt`, a checkpoint as large as LAION's, and `tokenizer`."""
    folder = tmp_path_factory.mktemp("full")
    config = ClapConfig(text_config={"layer_norm_eps": 1e-5})
    entries = write_tokenizer(folder / "tokenizer")
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    never_used = {f"never used {number}": number for number in range(entries, config.text_config.vocab_size)}
    content["model"]["vocab"] |= never_used
    path.write_text(json.dumps(content))
    write_checkpoint(folder / "random.pt", laion_state(ClapModel(config)))
    return folder


def peak_mb(script: str, *arguments: Path) -> int:
    command = [sys.executable, "-c", script + PEAK, *map(str, arguments)]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout) // 1000


@pytest.mark.parametrize("form", ["whole", "parts", "half", "pickled"])
def test_it_converts_loads_and_embeds_in_little_memory(folder: Path, tmp_path: Path, form: str) -> None:
    converting = peak_mb(CONVERT, folder / "random.pt", tmp_path, folder / "tokenizer")
    weights = tmp_path / "model.safetensors"
    megabytes = weights.stat().st_size // 1_000_000
    assert megabytes > 600
    if form == "pickled":
        torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
        weights.unlink()
    elif form != "whole":
        model = ClapModel.from_pretrained(tmp_path, dtype=torch.float16 if form == "half" else None)
        weights.unlink()
        model.save_pretrained(tmp_path, max_shard_size="100MB" if form == "parts" else "5GB")
    embedding = peak_mb(EMBED, tmp_path)
    # Beside the interpreter and its libraries, some 500 MB: the weights once, when read in another form twice, and the
    # activations of 16 clips.
    assert converting < 600 + 1.5 * megabytes
    assert embedding < 1000 + 2 * megabytes
