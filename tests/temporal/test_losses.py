"""TNCE is InfoNCE where it should be, removes what it should remove, and computes what was released when asked to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sonogloss.errors import OptionError
from sonogloss.temporal.config import TnceSettings
from sonogloss.temporal.losses import tnce, tnce_logits

STACKS = {"A": ("single", "double"), "B": ("f", "r", "w")}


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    folder = shared_data / "golden" / "teminal"
    with np.load(folder / "losses.npz", allow_pickle=False) as arrays:
        return json.loads((folder / "losses.json").read_text())["cases"], dict(arrays)


def stacked(arrays: dict[str, np.ndarray], case: dict[str, Any], modality: str) -> torch.Tensor:
    names = [f"set{case['set']}.{modality}_{variant}" for variant in STACKS[case["stage"]]]
    return torch.from_numpy(np.concatenate([arrays[name] for name in names]))


def of(case: dict[str, Any], *, released: bool) -> TnceSettings:
    return TnceSettings(
        alpha_same=case["alpha_same"],
        alpha_cross=case["alpha_cross"],
        beta=case["beta"],
        weight=case["lambda_"],
        released=released,
    )


def test_the_released_computation_is_reproduced(golden: Any) -> None:
    cases, arrays = golden
    assert len(cases) == 18
    for case in cases:
        audio, text = (stacked(arrays, case, modality) for modality in ("audio", "text"))
        chosen, blocks = of(case, released=True), len(STACKS[case["stage"]])
        total = tnce(audio, text, blocks=blocks, settings=chosen)
        assert float(total) == pytest.approx(case["official_total"], rel=1e-6), case
        assert float(total) / case["lambda_"] == pytest.approx(case["official_contrastive"], rel=1e-6)
        for direction, first, second in (("t2a", text, audio), ("a2t", audio, text)):
            logits = tnce_logits(first @ second.T, blocks, chosen).numpy()
            np.testing.assert_allclose(logits, arrays[f"{case['matrices']}.{direction}_logits"], rtol=1e-5, atol=1e-5)


def test_the_equations_are_the_mended_release(golden: Any) -> None:
    """Real removal at alpha 0, and beta from the second block on: what the fixtures call derived."""
    cases, arrays = golden
    for case in cases:
        audio, text = (stacked(arrays, case, modality) for modality in ("audio", "text"))
        total = float(tnce(audio, text, blocks=len(STACKS[case["stage"]]), settings=of(case, released=False)))
        if "derived_total_with_minus_infinity" in case:
            assert total == pytest.approx(case["derived_total_with_minus_infinity"], rel=1e-6), case
        elif "derived_total_beta_index_fixed" in case:
            assert total == pytest.approx(case["derived_total_beta_index_fixed"], rel=1e-6), case


def rows(seed: int, count: int, width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio, text = (torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2))
    return functional.normalize(audio, dim=-1), functional.normalize(text, dim=-1)


def info_nce(audio: torch.Tensor, text: torch.Tensor, scale: float) -> torch.Tensor:
    logits, target = scale * audio @ text.T, torch.arange(len(audio))
    return functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 6), blocks=st.sampled_from([2, 3]), scale=st.floats(0.5, 20))
def test_alphas_of_one_are_info_nce_on_batches_of_any_size(seed: int, size: int, blocks: int, scale: float) -> None:
    audio, text = rows(seed, blocks * size)
    total = tnce(audio, text, blocks=blocks, settings=TnceSettings(weight=1.0), scale=scale)
    assert float(total) == pytest.approx(float(info_nce(audio, text, scale)), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 5))
def test_alphas_of_zero_delete_the_blocks(seed: int, size: int) -> None:
    """Every block is then a batch of its own."""
    audio, text = rows(seed, 3 * size)
    alone = TnceSettings(alpha_same=0, alpha_cross=0, weight=1.0)
    blocks = zip(audio.split(size), text.split(size), strict=True)
    expected = sum(float(info_nce(a, t, 5.0)) for a, t in blocks) / 3
    assert float(tnce(audio, text, blocks=3, settings=alone, scale=5.0)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_an_alpha_between_weighs_the_denominator() -> None:
    audio, text = rows(1, 6)
    chosen = TnceSettings(alpha_same=0.3, alpha_cross=0.7, weight=1.0)
    weights = np.ones((6, 6))
    for row in range(6):
        for column in range(6):
            if row // 2 != column // 2:
                weights[row, column] = 0.3 if row % 2 == column % 2 else 0.7
    terms = np.exp(4.0 * (audio @ text.T).numpy())
    by_audio = -np.log(np.diagonal(terms) / (terms * weights).sum(1)).mean()
    by_text = -np.log(np.diagonal(terms) / (terms * weights).sum(0)).mean()
    assert float(tnce(audio, text, blocks=3, settings=chosen, scale=4.0)) == pytest.approx(by_audio + by_text, rel=1e-9)


def test_beta_of_zero_leaves_the_forward_rows() -> None:
    audio, text = rows(2, 6)
    logits, target = audio @ text.T, torch.arange(6)
    expected = sum(functional.cross_entropy(m[:2], target[:2]) for m in (logits, logits.T))
    total = tnce(audio, text, blocks=3, settings=TnceSettings(beta=0, weight=1.0))
    assert float(total) == pytest.approx(float(expected), rel=1e-9)


def test_what_is_also_true_is_no_negative() -> None:
    audio, text = rows(3, 4)
    also_true = torch.eye(4, dtype=torch.bool)
    also_true[0, 1] = True  # text 1 fits sound 0, but text 0 does not fit sound 1
    total = tnce(audio, text, blocks=2, settings=TnceSettings(weight=1.0), also_true=also_true)
    logits, target = audio @ text.T, torch.arange(4)
    logits[0, 1] = -torch.inf
    expected = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    assert float(total) == pytest.approx(float(expected), rel=1e-9)


def test_gradients_are_finite_where_negatives_are_removed() -> None:
    audio, text = rows(4, 9)
    audio.requires_grad_(True)
    tnce(audio, text, blocks=3, settings=TnceSettings(alpha_same=0, alpha_cross=0), scale=10.0).backward()
    assert torch.isfinite(audio.grad).all()


@pytest.mark.parametrize("name", ["alpha_same", "alpha_cross", "beta", "weight"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_are_checked(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=name):
        TnceSettings(**{name: value})


def test_rows_must_be_whole_blocks() -> None:
    audio, text = rows(5, 4)
    with pytest.raises(ValueError, match="3 blocks"):
        tnce(audio, text, blocks=3, settings=TnceSettings())
