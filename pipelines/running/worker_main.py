"""A worker process of this machine: Beam's, that says nothing on the terminal and takes a GPU of its own."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import shlex
import sys
from collections.abc import MutableMapping

GPUS = "SONOGLOSS_GPUS"
"""The environment variable with the devices that workers take in turn, as CUDA_VISIBLE_DEVICES names them."""

COLLECT_EVERY = 50_000
"""Objects until the youngest are looked through for circles; at Python's 700 imports take a fifth longer."""


def worker_command() -> str:
    """The command line that starts one."""
    return shlex.join([sys.executable, "-m", "sonogloss.pipelines.running.worker_main"])


def take_gpu(environment: MutableMapping[str, str]) -> None:
    """Leave a single device visible: the one whose turn it is by Beam's number of the worker."""
    devices = [name for name in environment.get(GPUS, "").split(",") if name]
    number = re.search(r"\d+$", environment.get("WORKER_ID", ""))
    if devices and number:
        environment["CUDA_VISIBLE_DEVICES"] = devices[int(number[0]) % len(devices)]


def main() -> None:
    """Work until the job has no more work."""
    logging.getLogger().addHandler(logging.NullHandler())  # what is said before Beam listens goes nowhere
    gc.set_threshold(COLLECT_EVERY)
    take_gpu(os.environ)
    from apache_beam.runners.worker import sdk_worker_main

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # tracebacks, which the driver gets too
        sdk_worker_main.main(sys.argv)
    gc.freeze()  # else its end looks at all objects of torch again, and the job waits for one worker after the other


if __name__ == "__main__":
    main()
