from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sonogloss.errors import OptionError
from sonogloss.methods.drcap.method import DrcapSettings
from sonogloss.methods.soft_hard.method import SoftHardSettings

from .conftest import SHORT


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (SHORT, {"steps": 0}),
        (SHORT, {"warmup_steps": 6}),
        (SHORT, {"accumulation": 5}),
        (SHORT, {"precision": "int8"}),
        (SHORT, {"betas": (0.9, 1.0)}),
        (SHORT, {"learning_rate": float("nan")}),
        (DrcapSettings(), {"band": (0.9, 0.8)}),
        (DrcapSettings(), {"context_dropout": 1.5}),
        (SoftHardSettings(), {"mask": -0.1}),
        (SoftHardSettings(), {"noise_variance": float("inf")}),
        (SoftHardSettings(), {"neighbours": 0}),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        replace(settings, **wrong)


def test_the_learning_rate_rises_and_falls() -> None:
    released = replace(SHORT, steps=40_000, learning_rate=1e-5, warmup_steps=1000)
    assert released.learning_rate_at(999) == pytest.approx(1e-5)
    assert released.learning_rate_at(500) == pytest.approx(0.501e-5)
    assert released.learning_rate_at(20_500) == pytest.approx(0.5e-5)
    assert released.learning_rate_at(39_999) < 3e-10
    cosine = replace(released, schedule="cosine")
    assert cosine.learning_rate_at(20_500) == pytest.approx(0.5e-5)
    assert cosine.learning_rate_at(10_750) > released.learning_rate_at(10_750)
