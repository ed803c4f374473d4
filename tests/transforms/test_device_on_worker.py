"""The device is asked for where a model loads, not where the job is launched."""

from __future__ import annotations

import pickle

import pytest
import torch

from sonogloss.errors import OptionError
from sonogloss.methods import CaptionerSpec
from sonogloss.pipelines.running.inputs import device_for
from sonogloss.transforms import models
from sonogloss.transforms.models import CaptionerReference, ClapReference

REMOTE = ("--runner", "PortableRunner")


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without CUDA, and nothing loaded."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(models, "_loaded", {})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_remote_job_carries_the_device_as_it_was_asked_for(launcher: None, device: str) -> None:
    assert device_for(device, REMOTE) == device
    reference = ClapReference.of("pocket", device)
    assert pickle.loads(pickle.dumps(reference)).device == device


def test_a_local_job_has_the_device_of_this_machine(launcher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_for("auto", ()) == "cpu"
    with pytest.raises(OptionError, match="--device 'cuda': torch sees no CUDA device here"):
        device_for("cuda", ())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for("auto", ()) == "cuda"


def test_a_worker_without_cuda_refuses_in_words(launcher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    clap = ClapReference.of("pocket", "cuda")
    captioner = CaptionerReference.of(CaptionerSpec(name="pocket", device="cuda"))
    monkeypatch.setattr(models, "_loaded", {})  # what a worker begins with
    for reference in (clap, captioner):
        with pytest.raises(OptionError, match="torch sees no CUDA device here"):
            reference.load()


def test_auto_on_a_worker_is_what_the_worker_has(launcher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    clap = ClapReference.of("pocket", "auto")
    monkeypatch.setattr(models, "_loaded", {})
    asked: list[str] = []
    monkeypatch.setattr(models, "load_clap", lambda name, device: asked.append(device) or _Same(clap.fingerprint))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    clap.load()
    assert asked == ["cuda"]


class _Same:
    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
