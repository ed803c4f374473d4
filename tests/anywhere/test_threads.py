"""Several threads of one worker process: one model in memory, and the files of a run with one thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sonogloss.clap import Clap
from sonogloss.pipelines.command_line import main
from sonogloss.transforms import models, work
from tests.archives import wav

THREADS = ["--direct_num_workers", "4", "--direct_running_mode", "multi_threading"]


def test_threads_share_one_model_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread has batches of its own, of one unit of work; so their sizes and the files are the same."""
    (tmp_path / "audio").mkdir()
    for number in range(12):
        (tmp_path / "audio" / f"{number:02d}.wav").write_bytes(wav(number, frames=8_000))
    monkeypatch.setattr(work, "SMALLEST_UNIT", 3)
    load, met = models.load_clap, threading.Barrier(2)
    loads: list[str] = []
    calls: list[tuple[int, int]] = []
    wait = False

    def counted(name: str, **options: Any) -> Clap:
        loads.append(name)
        clap = load(name, **options)
        embed = clap.embed_audio

        def noted(waveforms: Sequence[Any], **options: Any) -> Any:
            calls.append((threading.get_ident(), len(waveforms)))
            if wait and len(calls) <= 2:
                met.wait(60)  # two threads are in the model at the same time, else this breaks
            return embed(waveforms, **options)

        monkeypatch.setattr(clap, "embed_audio", noted)
        return clap

    monkeypatch.setattr(models, "load_clap", counted)
    found = {}
    for name, flags in (("one", []), ("several", THREADS)):
        monkeypatch.setattr(models, "_loaded", {})
        loads.clear()
        calls.clear()
        wait = name == "several"
        words = ["classify", "--audio", tmp_path / "audio", "--labels", "pocket", "--output", tmp_path / name, *flags]
        assert main([str(word) for word in words]) == 0
        parts = {path.name: path.read_bytes() for path in (tmp_path / name).rglob("part-*")}
        found[name] = (len(loads), sorted(size for _, size in calls), parts)
    assert found["one"] == found["several"]
    assert found["several"][:2] == (1, [3, 3, 3, 3])
    assert len({thread for thread, _ in calls}) > 1
