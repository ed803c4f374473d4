"""A job whose worker is on another host: a network namespace, reached over a cable by Beam's portable services."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from sonogloss.pipelines.command_line import main
from tests.archives import wav

ROOT = Path(__file__).parents[2]
CLIPS = 200
FLAGS = ["--runner", "PortableRunner", "--job_endpoint", "localhost:8099", "--environment_type", "EXTERNAL"]
FLAGS += ["--environment_config", "worker-host:50000"]


def may_make_hosts() -> bool:
    name = f"sonogloss-try-{os.getpid()}"
    if os.geteuid() or not all(map(shutil.which, ("ip", "unshare"))):
        return False
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    return subprocess.run(["ip", "netns", "delete", name], capture_output=True).returncode == 0


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    (tmp_path / "audio").mkdir()
    for number in range(CLIPS):
        (tmp_path / "audio" / f"{number:03d}.wav").write_bytes(wav(number, frames=8_000))
    (tmp_path / "dump.txt").write_text("a dog barks\nrain falls\n")
    store = str(tmp_path / "store")
    assert main(["build-datastore", "--captions", str(tmp_path / "dump.txt"), "--output", store]) == 0
    return ["caption", "--audio", str(tmp_path / "audio"), "--datastore", store, "--device", "cpu"]


def parts(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("part-*.parquet")}


@pytest.mark.slow
@pytest.mark.skipif(not may_make_hosts(), reason="network namespaces need root and iproute2")
def test_the_bytes_are_those_of_one_host_and_a_host_that_dies_costs_a_second_command(
    job: list[str], tmp_path: Path
) -> None:
    name = f"sg{uuid.uuid4().hex[:6]}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "TWO_HOSTS": name, "PATH": path, "PYTHONPATH": str(ROOT)}

    def start(output: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sonogloss", *job, "--output", str(tmp_path / output), *FLAGS]
        script = str(ROOT / "deploy" / "two-hosts.sh")
        return subprocess.Popen([script, *command], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def end(running: subprocess.Popen[bytes]) -> tuple[int, str]:
        said = running.communicate(timeout=300)[1].decode()
        return running.returncode, said

    assert main([*job, "--output", str(tmp_path / "one")]) == 0
    running = start("two")
    while not parts(tmp_path / "two"):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    listed = subprocess.run(["ip", "netns", "pids", f"{name}-far"], capture_output=True, check=True)
    for pid in listed.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    code, said = end(running)
    assert code == 1, said
    assert not (tmp_path / "two" / "run.json").exists()
    for output in ("two", "fresh"):  # what was begun goes on; what begins anew is the same
        code, said = end(start(output))
        assert code == 0, said
        assert parts(tmp_path / output) == parts(tmp_path / "one")
        assert main(["verify", str(tmp_path / output)]) == 0
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, check=True)
    assert name.encode() not in listed.stdout
