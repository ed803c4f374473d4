"""The precision that `auto` stands for, on pretended hardware."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonogloss.errors import OptionError
from sonogloss.training import precision
from sonogloss.training.precision import autocast, choose_precision, describe_precision

INFO = "processor\t: 0\nmodel name\t: Some {name}\nflags\t\t: fpu sse4_2 avx2 {flags}\nbugs\t\t: none\n"


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "_CPU_INFO", path)
    return path


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx512f avx512_bf16", "bfloat16"),
        ("amx_bf16 amx_tile", "bfloat16"),
        ("avx512f avx512_vnni", "float32"),
        ("not_avx512_bf16_at_all", "float32"),
    ],
)
def test_auto_on_a_cpu_follows_its_flags(cpu_info: Path, flags: str, expected: str) -> None:
    cpu_info.write_text(INFO.format(name="avx512_bf16 in a name", flags=flags))
    assert choose_precision("auto", "cpu") == expected


def test_auto_is_float32_where_the_cpu_is_unknown(cpu_info: Path) -> None:
    assert not cpu_info.exists()  # macOS
    assert choose_precision("auto", "cpu") == "float32"
    cpu_info.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")  # ARM
    assert choose_precision("auto", "cpu") == "float32"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_on_a_gpu_asks_for_units_and_not_for_emulation(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return supported or including_emulation

    monkeypatch.setattr("torch.cuda.is_bf16_supported", is_supported)
    assert choose_precision("auto", "cuda") == choose_precision("auto", "cuda:1") == expected


def test_a_named_precision_is_taken_as_it_is(cpu_info: Path) -> None:
    assert [choose_precision(name, "cpu") for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert choose_precision("float16", "cuda") == "float16"
    with pytest.raises(OptionError, match="'float16', which a CPU does not train in"):
        choose_precision("float16", "cpu")


def test_the_choice_is_explained(cpu_info: Path) -> None:
    assert describe_precision("auto", "cpu") == "precision float32 (auto: this CPU has no fast bfloat16)"
    assert describe_precision("bfloat16", "cpu") == "precision bfloat16"
    cpu_info.write_text(INFO.format(name="CPU", flags="amx_bf16"))
    assert describe_precision("auto", "cpu") == "precision bfloat16 (auto: this CPU has fast bfloat16)"


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_products_are_computed_in_it(name: str) -> None:
    with autocast("cpu", name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, name)
