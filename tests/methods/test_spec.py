from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import FingerprintMismatchError
from sonogloss.methods import CaptionerSpec, load_captioner
from sonogloss.transforms.models import CaptionerReference

SPECS = st.builds(
    CaptionerSpec,
    name=st.sampled_from(["pocket", "memory://a", "/b"]),
    device=st.sampled_from(["cpu", "cuda"]),
    precision=st.sampled_from([None, "float32", "int8"]),
    parity=st.booleans(),
    beams=st.none() | st.integers(1, 9),
    language=st.none() | st.sampled_from(["en", "fr"]),
    fast=st.booleans(),
)


@given(one=SPECS, other=SPECS)
def test_specs_are_values(one: CaptionerSpec, other: CaptionerSpec) -> None:
    """They are keys of what a process has loaded and travel to workers: two that differ anywhere must not be one."""
    same = all(getattr(one, field.name) == getattr(other, field.name) for field in fields(CaptionerSpec))
    assert (one == other) is same
    if same:
        assert hash(one) == hash(other)
    reference = CaptionerReference(spec=one, fingerprint="f")
    assert pickle.loads(pickle.dumps(reference)) == reference
    assert (reference == CaptionerReference(spec=other, fingerprint="f")) is same


def test_a_name_a_spec_and_settings_beside_a_name_load_the_same() -> None:
    assert load_captioner("pocket").fingerprint == load_captioner(CaptionerSpec(name="pocket")).fingerprint
    two = load_captioner(CaptionerSpec(name="pocket", beams=2))
    assert (two.beams, two.fingerprint) == (2, load_captioner("pocket", beams=2).fingerprint)
    assert two.fingerprint != load_captioner("pocket").fingerprint


def test_a_path_is_a_name(tmp_path: Path) -> None:
    assert CaptionerSpec(name=tmp_path) == CaptionerSpec(name=str(tmp_path))  # type: ignore[arg-type]  # as users do
    weights = Path(__file__).parents[2] / "sonogloss" / "pocket" / "weights" / "drcap"
    assert load_captioner(weights).fingerprint == load_captioner("pocket").fingerprint


def test_a_setting_that_there_is_not_is_an_error_of_the_caller() -> None:
    with pytest.raises(TypeError, match="beam"):
        load_captioner("pocket", beam=2)
    with pytest.raises(TypeError, match="beside a spec"):
        load_captioner(CaptionerSpec(name="pocket"), beams=2)


def test_a_reference_loads_once_and_refuses_another_captioner(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = CaptionerSpec(name="pocket:zeraucap", fast=True)
    reference = CaptionerReference.of(spec)
    assert reference.load() is reference.load()
    calls: list[Any] = []

    def counted(spec: CaptionerSpec) -> Any:
        calls.append(spec)
        return load_captioner(spec)

    monkeypatch.setattr("sonogloss.transforms.models.load_captioner", counted)
    assert CaptionerReference(spec=spec, fingerprint=reference.fingerprint).load() is reference.load()
    assert calls == []
    other = CaptionerReference(spec=spec, fingerprint="0" * 64)
    with pytest.raises(FingerprintMismatchError, match="job began with 000000000000"):
        other.load()
    assert calls == [spec]
