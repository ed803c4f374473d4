"""Several processes learn what one learns."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sonogloss.training.parallel import ProcessGroup, _buckets, join_process_group

from .conftest import CAPTIONS, SHORT, curve, drcap, run, unit, weights

ROOT = Path(__file__).resolve().parents[2]
_WORKER = """
import sys
from pathlib import Path

import safetensors.torch
import torch

torch.set_num_threads(1)
from tests.training.test_parallel import learn

found = learn(Path(sys.argv[1]))
import torch.distributed

safetensors.torch.save_file(found, f"{sys.argv[1]}/rank-{torch.distributed.get_rank()}.safetensors")
torch.distributed.destroy_process_group()
"""


def learn(directory: Path) -> dict[str, torch.Tensor]:
    """A short run: batches of five do not divide by two, and one of three parts of a share is empty."""
    from sonogloss.training.corpus import CaptionArrays

    config = replace(SHORT, batch_size=5, accumulation=3, tune="lora", lora_dropout=0.0, eval_every=2)
    source = drcap(config, validation=CaptionArrays(CAPTIONS[:3], unit(3, 9)))
    return {name: tensor.clone() for name, tensor in weights(*run(directory, config, source)).items()}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    alone = learn(tmp_path / "alone")
    worker, together = tmp_path / "worker.py", tmp_path / "together"
    worker.write_text(_WORKER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*launcher, worker, together], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    first, second = (safetensors.torch.load_file(together / f"rank-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == alone.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        assert torch.allclose(tensor, alone[name], atol=1e-5), name
    told, expected = curve(together), curve(tmp_path / "alone")
    for column in ("loss", "validation_loss"):
        numbers = [[float(row[column] or "nan") for row in rows] for rows in (told, expected)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, nan_ok=True)


def test_a_process_on_its_own_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = join_process_group()
    assert type(group) is ProcessGroup
    assert (group.rank, group.world_size, group.is_main_process, group.device) == (0, 1, True, None)


def test_messages_are_neither_too_small_nor_mixed() -> None:
    tensors = [torch.ones(3), torch.ones(2, 2), torch.ones(1, dtype=torch.float64), torch.ones(5)]
    assert [len(bucket) for bucket in _buckets(tensors)] == [2, 1, 1]
    assert [len(bucket) for bucket in _buckets([torch.empty(1 << 23)] * 5)] == [2, 2, 1]
