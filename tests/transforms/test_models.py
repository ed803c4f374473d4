"""References: loaded once a process, and never another model under the same name."""

from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sonogloss.errors import FingerprintMismatchError, MissingInputError
from sonogloss.methods import Captioner, CaptionerSpec
from sonogloss.transforms import models
from sonogloss.transforms.models import (
    CaptionerReference,
    CaptionerWithClap,
    ClapReference,
    DatastoreReference,
    manifest_digest,
)
from tests.indexes.conftest import build, unit_rows


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own, as far as references know."""
    monkeypatch.setattr(models, "_loaded", {})


def test_a_clap_is_loaded_once_and_knows_its_fingerprint(tiny_clap_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    load = models.load_clap
    monkeypatch.setattr(models, "load_clap", lambda name, device: calls.append(name) or load(name, device=device))
    reference = ClapReference.of(str(tiny_clap_dir))
    first = reference.load()
    assert reference.fingerprint == first.fingerprint
    assert pickle.loads(pickle.dumps(reference)).load() is first
    assert calls == [str(tiny_clap_dir)]


def test_threads_that_ask_at_once_share_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clap:
        fingerprint = "f"

    calls = []
    barrier = threading.Barrier(4)
    monkeypatch.setattr(models, "load_clap", lambda name, device: calls.append(name) or Clap())
    found: list[Any] = []

    def ask() -> None:
        barrier.wait()
        found.append(ClapReference(name="a", fingerprint="f").load())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len({id(clap) for clap in found}) == 1


def test_another_clap_under_the_same_name_stops_the_worker(tiny_clap_dir: Path) -> None:
    stale = ClapReference(name=str(tiny_clap_dir), fingerprint="0" * 64)
    with pytest.raises(FingerprintMismatchError, match="began with 000000000000"):
        stale.load()
    with pytest.raises(FingerprintMismatchError):
        stale.load()  # the failure is not kept as if it were the model


def test_devices_of_one_clap_are_told_apart() -> None:
    one, two = (ClapReference(name="a", fingerprint="f", device=device) for device in ("cpu", "cuda"))
    assert one != two
    assert hash(one) == hash(ClapReference(name="a", fingerprint="f", device="cpu"))


def test_a_datastore_is_known_by_its_content_and_not_by_its_options(tmp_path: Path) -> None:
    contents = {"a": unit_rows(9), "b": unit_rows(9), "c": unit_rows(9, seed=3)}
    first, second, third = (DatastoreReference.of(build(tmp_path / name, rows)) for name, rows in contents.items())
    assert first.fingerprint == second.fingerprint != third.fingerprint
    manifest = first.load().manifest
    assert manifest_digest(manifest) == first.fingerprint
    assert "x.txt" in str(manifest.options)


def test_a_datastore_that_changed_since_stops_the_worker(tmp_path: Path) -> None:
    path = build(tmp_path / "store", unit_rows(9))
    reference = DatastoreReference.of(path)
    models._loaded.clear()
    build(tmp_path / "store", unit_rows(9, seed=3))
    with pytest.raises(FingerprintMismatchError, match="datastore"):
        reference.load()


def test_a_support_is_part_of_the_reference(tmp_path: Path) -> None:
    store, support = (build(tmp_path / name, unit_rows(9, seed=seed)) for seed, name in enumerate(("store", "support")))
    reference = DatastoreReference.of(store, support=support)
    assert reference.support_fingerprint == DatastoreReference.of(support).fingerprint
    assert DatastoreReference.of(store).support_fingerprint is None
    models._loaded.clear()
    build(tmp_path / "support", unit_rows(9, seed=7))
    with pytest.raises(FingerprintMismatchError, match="support"):
        reference.load()


def test_a_job_that_loads_sees_more_than_an_earlier_one_that_looked() -> None:
    spec = CaptionerSpec(name="pocket:soft-hard")
    looked = CaptionerReference.of(spec, look=True)
    assert not isinstance(looked.outline, Captioner)
    loaded = CaptionerReference.of(spec)
    assert loaded == looked
    assert isinstance(loaded.outline, Captioner)


def test_what_is_not_there_is_a_mistake_in_words(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="does not exist"):
        DatastoreReference.of(str(tmp_path / "none"))


def test_a_captioner_is_given_the_clap_of_the_job() -> None:
    class Captioner:
        def load_with(self, clap: Any) -> str:
            return f"captioner with {clap}"

    assert CaptionerWithClap(captioner=Captioner(), clap="clap").load() == "captioner with clap"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pocket", "tiny", "bin"])
def test_a_clap_that_is_looked_at_is_the_one_that_loads(name: str, tiny_clap_dir: Path, tmp_path: Path) -> None:
    if name == "bin":  # what tells only when it is loaded
        shutil.copytree(tiny_clap_dir, tmp_path / "bin")
        torch.save(load_file(tmp_path / "bin" / "model.safetensors"), tmp_path / "bin" / "pytorch_model.bin")
        (tmp_path / "bin" / "model.safetensors").unlink()
    path = {"tiny": str(tiny_clap_dir), "bin": str(tmp_path / "bin")}.get(name, name)
    looked = ClapReference.of(path, look=True)
    assert (looked in models._loaded) == (name == "bin")
    loaded = looked.load()
    for attribute in ("name", "fingerprint", "config_digest", "dim", "sample_rate", "window_s", "temperature"):
        assert getattr(looked.outline, attribute) == getattr(loaded, attribute)


@pytest.mark.parametrize("name", ["pocket", "pocket:soft-hard", "pocket:zeraucap"])
@pytest.mark.parametrize("parity", [False, True])
def test_a_captioner_that_is_looked_at_is_the_one_that_loads(name: str, parity: bool) -> None:
    looked = CaptionerReference.of(CaptionerSpec(name=name, parity=parity), look=True)
    assert looked not in models._loaded
    loaded = looked.load()
    for attribute in ("method", "clap", "contexts", "projection", "fingerprint", "has_keywords"):
        assert getattr(looked.outline, attribute) == getattr(loaded, attribute)
    assert looked.outline.max_prompt_tokens in (None, loaded.max_prompt_tokens)
