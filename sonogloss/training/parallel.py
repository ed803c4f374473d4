"""Several processes that train together, one a GPU: each computes its share of every batch, and gradients are summed.

The model's own head and loss are computed outside its `forward`, so the wrappers that average gradients behind the
scenes would not see them; summing is done here, in the open. Start the processes with `accelerate launch` or
`torchrun`; a process that was started alone needs neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

_BUCKET = 1 << 24  # numbers summed at a time


class Crew:
    """This process and those that train with it.

    Attributes:
        rank: this process's number, from 0.
        count: how many there are.
        device: where this one computes, as torch names it; None when it works alone and is free to choose.
    """

    rank = 0
    count = 1
    device: str | None = None

    @property
    def leads(self) -> bool:
        """Does this process write the files?"""
        return self.rank == 0

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""

    def wait(self) -> None:
        """Go on when all processes have come here."""


class _SeveralProcesses(Crew):
    def __init__(self, *, cpu: bool) -> None:
        from accelerate import PartialState  # peft brings it; a second to import

        self._state = PartialState(cpu=cpu)
        self.rank, self.count = self._state.process_index, self._state.num_processes
        self.device = str(self._state.device)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        from accelerate.utils import reduce

        for bucket in _buckets(tensors):
            summed = reduce(torch.cat([tensor.flatten() for tensor in bucket]), reduction="sum")
            for tensor, part in zip(bucket, summed.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        self._state.wait_for_everyone()


def join_crew(device: str = "auto") -> Crew:
    """The processes that a launcher started together with this one; alone when there was none.

    Args:
        device: `cpu` to compute on processors though there are GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Crew()
    return _SeveralProcesses(cpu=device == "cpu" or not torch.cuda.is_available())


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one kind, as many as are worth one message."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        full = sum(other.numel() for other in bucket) + tensor.numel() > _BUCKET
        if bucket and (full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
