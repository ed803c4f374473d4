from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods import (
    CaptionerSpec,
    ClapIdentity,
    NewCaptioner,
    ProjectionSettings,
    load_captioner,
    save_captioner,
)
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.manifest import LanguageModelReference, Manifest
from sonogloss.methods.mapper import Mapper
from sonogloss.methods.registry import METHODS, fit_positions, get_method, method_names, method_of
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt
from tests.language_models import tiny_gpt2, tiny_tokenizer
from tests.third_party_method import install

CLAP = ClapIdentity(name="tiny", fingerprint="0" * 64, dim=8)
PROMPTS = {"drcap": ComposedPrompt(), "soft-hard": SoftHardPrompt(), "zeraucap": KeywordPrompt()}


@pytest.fixture
def without_toy() -> Iterator[None]:
    """Let a package of one test not be there for the next."""
    yield
    for name in [name for name in sys.modules if name == "toy" or name.startswith("toy.")]:
        del sys.modules[name]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_toy: None) -> Path:
    folder = install(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    return folder


def manifest(method: str, **changes: Any) -> Manifest:
    kind = get_method(method)
    made = Manifest(
        method=method,
        clap=CLAP,
        language_model=LanguageModelReference(path="language_model"),
        prompt=kind.prompt(),
        contexts=7,
        projection=ProjectionSettings(temperature=0.5),
        decode=replace(kind.decode, batch_size=3),
        files=(),
    )
    return replace(made, **changes)


def test_ours_are_there_under_their_names_and_know_their_prompts() -> None:
    assert method_names()[:3] == list(METHODS) == ["drcap", "soft-hard", "zeraucap"]
    for name, prompt in PROMPTS.items():
        method = get_method(name)
        assert method.name == name
        assert method_of(prompt) is method
        assert method.captioner_class().method == name


@pytest.mark.parametrize(
    ("name", "hint"), [("drcup", "did you mean 'drcap'?"), ("ZerAuCap", "did you mean 'zeraucap'?"), ("x", "zeraucap.")]
)
def test_an_unknown_method_is_answered_with_the_choices_and_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(OptionError) as error:
        get_method(name)
    assert str(error.value).startswith(f"There is no method {name!r}. Choose one of drcap, soft-hard, zeraucap")
    assert str(error.value).endswith(hint)


def test_prompts_of_no_method_are_refused() -> None:
    with pytest.raises(OptionError, match="prompts of the class int"):
        method_of(3)


def test_nothing_heavy_is_imported_for_names_and_manifests(tmp_path: Path) -> None:
    """Parsers are built and captioner.json is read with the registry; a heavy one would cost every `--help` seconds."""
    path = Path(__file__).parents[2] / "sonogloss" / "pocket" / "weights" / "zeraucap"
    code = (
        "import sys; from sonogloss.methods.registry import METHODS, get_method; "
        "from sonogloss.methods.manifest import read_manifest; "
        f"[get_method(name) for name in METHODS]; read_manifest({str(path)!r}); "
        "print(*{'torch', 'transformers', 'apache_beam', 'faiss'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_training_never_imports_a_captioner() -> None:
    code = (
        "import sys, sonogloss.methods.drcap.examples, sonogloss.methods.soft_hard.examples, sonogloss.training.loop; "
        "print(*(name for name in sys.modules if name.endswith('captioner')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_parity_is_the_released_setting_of_each_method() -> None:
    """The numbers of the released code, by hand; words, batch size and weights stay the captioner's own."""
    drcap = get_method("drcap").released(manifest("drcap"), None)
    assert (drcap.contexts, drcap.projection) == (3, ProjectionSettings(temperature="clap", renormalise=False))
    assert drcap.decode == DecodeSettings(num_beams=4, max_new_tokens=200, scoring="transformers", batch_size=3)
    soft_hard = get_method("soft-hard").released(manifest("soft-hard"), None)
    assert (soft_hard.contexts, soft_hard.projection) == (0, None)
    assert soft_hard.decode == DecodeSettings(
        num_beams=3, max_new_tokens=67, scoring="average", stop=(".",), batch_size=3
    )
    zeraucap = get_method("zeraucap").released(manifest("zeraucap", decode=GuidedSettings(beta=2, batch_size=3)), 10)
    assert zeraucap.decode == GuidedSettings(compat=True, batch_size=3)


@given(positions=st.integers(1, 5000), wanted=st.integers(1, 5000))
def test_captions_take_at_most_half_of_the_positions(positions: int, wanted: int) -> None:
    fitted = fit_positions(DecodeSettings(max_new_tokens=wanted), positions)
    assert fitted.max_new_tokens == min(wanted, max(1, positions // 2))
    assert fit_positions(DecodeSettings(max_new_tokens=wanted), None).max_new_tokens == wanted
    assert fit_positions(GuidedSettings(max_tokens=wanted), positions) == GuidedSettings(max_tokens=wanted)


def test_a_spec_changes_what_it_names_and_nothing_else() -> None:
    spec = CaptionerSpec(name="c")
    for name in METHODS:
        assert get_method(name).configured(manifest(name), spec) == manifest(name)
    drcap = get_method("drcap").configured(manifest("drcap"), replace(spec, beams=9))
    assert drcap == manifest("drcap", decode=replace(manifest("drcap").decode, num_beams=9))
    fast = get_method("zeraucap").configured(manifest("zeraucap"), replace(spec, fast=True))
    assert fast == manifest("zeraucap", decode=GuidedSettings(beta=0.0, batch_size=3))
    several = SoftHardPrompt(languages=("en", "fr"))
    french = get_method("soft-hard").configured(manifest("soft-hard", prompt=several), replace(spec, language="fr"))
    assert french.prompt == SoftHardPrompt(languages=("en", "fr"), language_tag="fr")


@pytest.mark.parametrize(
    ("method", "wish", "message"),
    [
        ("zeraucap", {"beams": 2}, "searches without beams"),
        ("drcap", {"fast": True}, "not guided"),
        ("soft-hard", {"fast": True}, "not guided"),
        ("drcap", {"language": "fr"}, "one language only"),
        ("soft-hard", {"language": "fr"}, "one language only"),
    ],
)
def test_what_a_method_cannot_do_is_refused(method: str, wish: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        get_method(method).configured(manifest(method), CaptionerSpec(name="c", **wish))


def save_toy(directory: Path) -> str:
    from toy.settings import ToyPrompt  # type: ignore[import-not-found]  # on the path in these tests only

    torch.manual_seed(0)
    save_captioner(
        str(directory),
        NewCaptioner(
            clap=CLAP,
            language_model=tiny_gpt2(),
            tokenizer=tiny_tokenizer(),
            mapper=Mapper(8, 32, hidden=4),
            prompt=ToyPrompt(lead="There is"),
            projection=None,
        ),
    )
    return str(directory)


def test_a_method_of_another_package_saves_and_loads_without_a_line_here(tmp_path: Path, toy: Path) -> None:
    assert method_names() == [*METHODS, "toy"]
    directory = save_toy(tmp_path / "captioner")
    content = json.loads((tmp_path / "captioner" / "captioner.json").read_text())
    assert (content["method"], content["prompt"], content["contexts"]) == ("toy", {"lead": "There is"}, 1)
    assert (tmp_path / "captioner" / "README.md").read_text().startswith("# A toy")
    captioner = load_captioner(CaptionerSpec(name=directory, beams=3, parity=True))
    assert captioner.decode == DecodeSettings(num_beams=3, max_new_tokens=6)
    embeddings = np.eye(8, dtype=np.float32)[:2]
    assert captioner.caption(embeddings, [["rain"], ["a dog", "wind"]]) == ["There is rain ", "There is a dog, wind "]
    # What it does not write itself has defaults.
    assert (captioner.has_keywords, captioner.keywords(embeddings)) == (False, [(), ()])
    assert captioner.beams is None
    with pytest.raises(OptionError, match="one caption a clip"):
        captioner.candidates(embeddings, [["rain"], ["wind"]], 2)
    with pytest.raises(OptionError, match=r"\(1, 8\)"):
        captioner.caption(embeddings, [["rain"]])


def test_a_captioner_of_a_method_that_is_gone_is_refused_in_words(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = save_toy(tmp_path / "captioner")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(toy)])
    with pytest.raises(ModelFormatError, match="no method 'toy'"):
        load_captioner(directory)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("toy = toy.nowhere:METHOD", "cannot be loaded from 'toy.nowhere:METHOD'"),
        ("toy = toy.method:OTHER", "cannot be loaded from 'toy.method:OTHER'"),
        ("toy = toy.method:own", "does not name a Method called 'toy'"),
        ("other = toy.method:METHOD", "does not name a Method called 'other'"),
    ],
)
def test_a_package_that_is_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_toy: None, entry: str, message: str
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "site", entry=entry))
    with pytest.raises(OptionError, match=message):
        get_method(entry.partition(" ")[0])
    assert method_of(ComposedPrompt()).name == "drcap"  # ours are not disturbed


def test_a_package_cannot_take_the_name_of_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_toy: None
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "site", entry="drcap = toy.method:METHOD"))
    assert method_names() == list(METHODS)
    assert get_method("drcap").prompt is ComposedPrompt
