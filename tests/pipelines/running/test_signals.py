"""A second Ctrl-C does not wait for what the first one began."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import time
from sonogloss.pipelines.running import signals
signals.GRACE_S = 3600.0
signals.end_on_signals()
try:
    print("ready", flush=True)
    time.sleep(3600)
finally:
    print("cleaning", flush=True)
    time.sleep(3600)  # a model that does not come back
"""


def test_a_second_signal_ends_a_process_that_is_still_cleaning() -> None:
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "cleaning\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 130
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
