"""Kernels that keep to one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[int]:
    """Compute with one thread; gives the number of threads that PyTorch had, and has again afterwards.

    On a CPU the last bit of a matrix product depends on how many threads share it, and an embedding must not depend on
    the cores of the machine that made it. Threads that share small products also wait for one another at the end of
    each, and for the slowest one where other processes want the cores, too.
    """
    import torch  # here, because opening a store does not need it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
