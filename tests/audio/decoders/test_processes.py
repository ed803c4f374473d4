from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonogloss.audio import decoder_pool
from sonogloss.audio.decoder_pool import DecoderPool, shared_pool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.errors import ClipError, Code
from tests.audio import hostile_decoders as decoders
from tests.audio.decoders.pools import SHORT, make, opened, outcome

# Child processes, hangs and crashes take a minute on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="decoder processes need Linux")]


ROOT = Path(__file__).resolve().parents[3]


def test_two_hundred_files_need_one_process() -> None:
    pool = make(decoders.process_id)
    assert len({pid for _ in range(200) for pid in pool.decode(b"")}) == 1
    assert pool.processes_started == 1


def test_threads_share_a_pool() -> None:
    pool = make(decoders.echo)
    barrier = threading.Barrier(2)
    wrong: list[int] = []

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(100):
            items = [np.full(5000, number), number]
            found = list(pool.decode(b"", items))
            if len(found) != 2 or found[1] != number or (found[0] != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pool.processes_started == 2
    # The threads are gone and the processes they asked for are not.
    assert list(pool.decode(b"", [1])) == [1]
    assert pool.processes_started == 2


def test_an_idle_process_that_was_killed_is_replaced() -> None:
    pool = make(decoders.process_id)
    (first,) = pool.decode(b"")
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    (second,) = pool.decode(b"")
    assert second != first
    assert pool.processes_started == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_workers(number: signal.Signals) -> None:
    pool = make(decoders.process_id)
    (first,) = pool.decode(b"")
    os.kill(first, number)
    assert list(pool.decode(b"")) == [first]


def test_the_kernel_takes_decoders_first_and_dumps_no_core() -> None:
    (pid,) = (pool := make(decoders.process_id)).decode(b"")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    limits = {line[:25].strip(): line[25:].split()[0] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert limits["Max core file size"] == "0"
    assert int(limits["Max data size"]) < 3 << 30
    pool.close()


def test_decoders_import_no_model() -> None:
    code = "import sys, sonogloss.audio.decoder_child; print(*sys.modules)"
    assert {"torch", "apache_beam", "transformers"} & set(run_worker(code).split()) == set()


def test_a_closed_pool_can_be_used_again() -> None:
    pool = make(decoders.process_id)
    first = list(pool.decode(b""))
    pool.close()
    assert not Path(f"/proc/{first[0]}").exists()
    assert list(pool.decode(b"")) != first


def test_a_pickled_pool_is_the_pool_of_its_process() -> None:
    pool = make(decoders.echo, SHORT)
    twin = pickle.loads(pickle.dumps(pool))
    opened.append(twin)
    assert twin is pickle.loads(pickle.dumps(twin)) is shared_pool(decoders.echo, SHORT)
    assert list(twin.decode(b"", [1])) == [1]


def test_a_function_that_others_cannot_import_is_refused() -> None:
    def local(handle: Any, options: Any) -> Iterator[Any]:
        yield

    for function in (local, lambda handle, options: iter(())):
        with pytest.raises(ValueError, match="importable"):
            DecoderPool(function)
    with pytest.raises(ValueError, match="stall_s"):
        DecoderLimits(stall_s=0)


def test_where_processes_cannot_be_isolated_the_function_runs_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoder_pool, "isolated", lambda: False)
    assert list(DecoderPool(decoders.process_id).decode(b"")) == [os.getpid()]
    assert list(DecoderPool(decoders.echo).decode(b"", [None, 1])) == [1]
    pool = DecoderPool(decoders.misbehave)
    assert outcome(pool, b"", "clip_error")[0][1:] == [1]
    for deed in ("clip_error", "other_error"):
        error = outcome(pool, b"", deed)[1]
        assert isinstance(error, ClipError)
        assert error.code is Code.CORRUPT
    error = outcome(pool, str(tmp_path / "missing"), "good")[1]
    assert isinstance(error, ClipError)
    assert error.code is Code.READ_ERROR


def run_worker(code: str, **arguments: Any) -> str:
    """What a worker of its own prints last."""
    return subprocess.run(
        worker_command(code), env=worker_env(), capture_output=True, text=True, check=True, **arguments
    ).stdout.strip()


def worker_command(code: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]


def worker_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("deed", ["spin_in_c", "sleep", "good"])
def test_a_killed_worker_leaves_no_decoder(deed: str) -> None:
    code = f"""
        import time
        from sonogloss.audio.decoder_pool import DecoderPool
        from tests.audio.hostile_decoders import misbehave
        pool = DecoderPool(misbehave)
        stream = pool.decode(b"", "good")
        list(stream)
        print(pool._idle[0].pid, flush=True)
        for item in pool.decode(b"", {deed!r}):
            pass
        time.sleep(1000)
    """
    with subprocess.Popen(worker_command(code), env=worker_env(), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert runs(pid)
        worker.kill()
    deadline = time.monotonic() + 10
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(pid)


def runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_worker_that_ends_leaves_no_decoder_and_says_nothing() -> None:
    code = """
        from sonogloss.audio.decoder_pool import DecoderPool
        from tests.audio.hostile_decoders import process_id, misbehave
        print(*DecoderPool(process_id).decode(b""))
        pool = DecoderPool(misbehave)
        stream = pool.decode(b"", "sleep")
        next(stream)  # and left in the middle
    """
    done = subprocess.run(worker_command(code), env=worker_env(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not runs(int(done.stdout))


def test_a_forked_worker_starts_decoders_of_its_own() -> None:
    code = """
        import os, warnings
        warnings.simplefilter("ignore")  # of later Pythons: that threads do not survive a fork
        from sonogloss.audio.decoder_pool import DecoderPool
        from tests.audio.hostile_decoders import process_id
        pool = DecoderPool(process_id)
        (first,) = pool.decode(b"")
        if (child := os.fork()) == 0:
            (other,) = pool.decode(b"")
            pool.close()
            os._exit(other == first)
        _, status = os.waitpid(child, 0)
        print(status, list(pool.decode(b"")) == [first], pool.processes_started)
    """
    assert run_worker(code) == "0 True 1"


def test_a_decoder_that_does_not_start_is_named(tmp_path: Path) -> None:
    lines = ["import os", "if 'DECODER' in os.environ:", "    raise RuntimeError('no library')", "def f(h, o): yield 1"]
    (tmp_path / "only_here.py").write_text("\n".join(lines))
    code = f"""
        import os, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from sonogloss.audio.decoder_pool import DecoderPool
        import only_here
        os.environ["DECODER"] = "1"
        try:
            list(DecoderPool(only_here.f).decode(b""))
        except RuntimeError as error:
            print("does not start" in str(error), "no library" in str(error))
    """
    assert run_worker(code) == "True True"
