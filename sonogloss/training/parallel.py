"""Data-parallel training: each process computes its share of every batch, and gradients are summed.

The loss is computed outside the model's `forward`, so DistributedDataParallel would not see it; gradients are summed
here instead. Start the processes with `accelerate launch` or `torchrun`; a single process needs neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

_BUCKET = 1 << 24  # numbers in one message


class ProcessGroup:
    """The processes that train together; this class is a group of one.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
        device: device of this process as torch names it; None leaves the choice to the caller.
    """

    rank = 0
    world_size = 1
    device: str | None = None

    @property
    def is_main_process(self) -> bool:
        """True for the process that writes files and prints."""
        return self.rank == 0

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def barrier(self) -> None:
        """Wait until all processes have reached this point."""


class _LaunchedGroup(ProcessGroup):
    """A group started by `accelerate launch` or `torchrun`."""

    def __init__(self, *, cpu: bool) -> None:
        from accelerate import PartialState  # a second to import

        self._state = PartialState(cpu=cpu)
        self.rank, self.world_size = self._state.process_index, self._state.num_processes
        self.device = str(self._state.device)

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        from accelerate.utils import reduce

        for bucket in _buckets(tensors):
            summed = reduce(torch.cat([tensor.flatten() for tensor in bucket]), reduction="sum")
            for tensor, part in zip(bucket, summed.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def barrier(self) -> None:
        self._state.wait_for_everyone()


def join_process_group(device: str = "auto") -> ProcessGroup:
    """The process group that a launcher started, or a group of one.

    Args:
        device: `cpu` keeps the group off the GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ProcessGroup()
    return _LaunchedGroup(cpu=device == "cpu" or not torch.cuda.is_available())


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors of one dtype into messages of at most `_BUCKET` numbers."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(other.numel() for other in bucket) + tensor.numel() > _BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
