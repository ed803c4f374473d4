"""The recipe of `pocket:ordered` makes a CLAP that can be released."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recipes.pocket import release
from recipes.pocket.order import make_ordered, release_ordered
from recipes.pocket.recipe import PocketRecipe
from sonogloss.clap import load_clap


@pytest.mark.slow
def test_the_recipe_makes_a_clap_that_can_be_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = make_ordered(tmp_path, PocketRecipe(order_clips=2, order_steps=2))
    pocket, ordered = load_clap("pocket"), load_clap(str(finished))
    assert ordered.fingerprint != load_clap(str(tmp_path / "clap-ordered-first")).fingerprint != pocket.fingerprint
    made = (finished / "model.safetensors").stat().st_mtime_ns
    assert make_ordered(tmp_path, PocketRecipe()) == finished
    assert (finished / "model.safetensors").stat().st_mtime_ns == made  # what is there is not made again
    weights = tmp_path / "package" / "weights"
    shutil.copytree(release.WEIGHTS / "clap", weights / "clap")
    monkeypatch.setattr(release, "WEIGHTS", weights)
    report = {"scenes": 10, "retrieval": {"r@1": 0.5}, "zero_shot": 0.9, "order": 0.8}
    (tmp_path / "reports" / "soft-hard-ordered-quality").mkdir(parents=True)
    (tmp_path / "reports" / "soft-hard-ordered-quality" / "report.json").write_text(json.dumps(report))
    release_ordered(tmp_path, tmp_path / "reports")
    assert load_clap(str(weights / "clap-ordered")).fingerprint == ordered.fingerprint
    assert not (weights / "clap-ordered" / "training").exists()
    assert "0.800 of 200" in " ".join((weights / "clap-ordered" / "README.md").read_text().split())
    assert (weights / "clap-ordered" / "ATTRIBUTION.csv").exists()
