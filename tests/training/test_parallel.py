"""Several processes add up what they compute, and together train as one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.caption_arrays import CaptionArrays
from sonogloss.training.parallel import _BUCKET, ProcessGroup, _buckets, join_process_group

from .conftest import CAPTIONS, SHORT, curve, drcap, run, unit, weights

ROOT = Path(__file__).resolve().parents[2]
_GROUP = """
import json, sys
from pathlib import Path

import torch

from sonogloss.training.parallel import join_process_group

torch.set_num_threads(1)
group = join_process_group("cpu")
rank, directory = group.rank, Path(sys.argv[1])
tensors = [torch.full((2, 3), rank + 1.0), torch.tensor(10.0 * (rank + 1), dtype=torch.float64), torch.ones(0)]
group.all_reduce(tensors)
if rank == 1:
    (directory / "before").touch()
group.barrier()
facts = [rank, group.world_size, group.is_main_process, group.device]
sums = [tensor.flatten().tolist() for tensor in tensors]
(directory / f"{rank}.json").write_text(json.dumps([facts, sums, (directory / "before").exists()]))
torch.distributed.destroy_process_group()
"""
_TRAINING = """
import json, os, sys
from pathlib import Path

import safetensors.torch
import torch

torch.set_num_threads(1)
from tests.training.test_parallel import train_shortly

directory, rank, lines = Path(sys.argv[1]), os.environ["RANK"], []
safetensors.torch.save_file(train_shortly(directory / "run", lines.append), directory / f"{rank}.safetensors")
(directory / f"{rank}.json").write_text(json.dumps(lines))
torch.distributed.destroy_process_group()
"""


def train_shortly(directory: Path, log: object = print) -> dict[str, torch.Tensor]:
    """A short run: batches of five do not divide by two, and one of three parts of a share is empty."""
    config = replace(SHORT, batch_size=5, accumulation=3, tune="lora", lora_dropout=0.0, eval_every=2)
    source = drcap(config, validation=CaptionArrays(CAPTIONS[:3], unit(3, 9)))
    return {name: tensor.clone() for name, tensor in weights(*run(directory, config, source, log=log)).items()}


def launch(program: str, directory: Path, processes: int = 2) -> list[Any]:
    """Run a program as torchrun does: one process a rank, which meet at a port. Returns what each wrote as json."""
    directory.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, directory],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)},
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(processes)
    ]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * processes, errors
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(processes)]


def test_processes_sum_their_tensors_and_wait_for_one_another(tmp_path: Path) -> None:
    first, second = launch(_GROUP, tmp_path / "group")
    assert first[0][:3] == [0, 2, True]
    assert second[0][:3] == [1, 2, False]
    assert all(device.startswith("cpu") for device in (first[0][3], second[0][3]))
    assert first[1] == second[1] == [[3.0] * 6, [30.0], []]
    assert first[2]
    assert second[2]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    together = tmp_path / "together"
    lines, other_lines = launch(_TRAINING, together)
    assert lines[0].startswith("precision float32, device cpu")
    assert other_lines == []
    alone = train_shortly(tmp_path / "alone", lambda line: None)
    first, second = (safetensors.torch.load_file(together / f"{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == alone.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        assert torch.allclose(tensor, alone[name], atol=1e-5), name
    found, expected = curve(together / "run"), curve(tmp_path / "alone")
    for column in ("loss", "validation_loss"):
        numbers = [[float(row[column] or "nan") for row in rows] for rows in (found, expected)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("world_size", [None, "1"])
def test_a_process_on_its_own_needs_no_launcher(monkeypatch: pytest.MonkeyPatch, world_size: str | None) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size is not None:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    group = join_process_group()
    assert type(group) is ProcessGroup
    assert (group.rank, group.world_size, group.is_main_process, group.device) == (0, 1, True, None)
    tensor = torch.arange(3.0)
    group.all_reduce([tensor])
    group.barrier()
    assert tensor.tolist() == [0, 1, 2]


@settings(deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([torch.float32, torch.float64])), max_size=12))
def test_messages_hold_all_tensors_in_order_and_one_dtype_each(sizes: list[tuple[int, torch.dtype]]) -> None:
    tensors = [torch.empty(size << 22, dtype=dtype, device="meta") for size, dtype in sizes]
    buckets = list(_buckets(tensors))
    assert [id(tensor) for bucket in buckets for tensor in bucket] == [id(tensor) for tensor in tensors]
    for bucket in buckets:
        assert len({tensor.dtype for tensor in bucket}) == 1
        assert len(bucket) == 1 or sum(tensor.numel() for tensor in bucket) <= _BUCKET
