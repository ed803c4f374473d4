"""captioner.json: what is written is what is read, nothing that decides a caption is left out, and damage is named."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.methods import ClapIdentity, ProjectionSettings
from sonogloss.methods.drcap.prompt import ComposedPrompt
from sonogloss.methods.manifest import LanguageModelReference, Manifest, read_manifest, write_manifest
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt

WEIGHTS = Path(__file__).parents[2] / "sonogloss" / "pocket" / "weights"

words = st.text(st.characters(codec="utf-8", exclude_characters="{}"), max_size=8)
searches = st.builds(
    DecodeSettings,
    num_beams=st.integers(1, 9),
    max_new_tokens=st.integers(1, 300),
    batch_size=st.integers(1, 64),
    scoring=st.sampled_from(["transformers", "average"]),
    stop=st.lists(words.filter(bool), max_size=2).map(tuple),
)
of_methods = st.one_of(
    st.tuples(
        st.just("drcap"),
        st.builds(
            ComposedPrompt,
            template=words.map(lambda word: word + "{prompt}"),
            prompt=words,
            answer=words.map(lambda word: word + "{answer}"),
            layout=st.sampled_from(["captions_first", "captions_in_prompt", "no_captions"]),
            audio_slots=st.integers(1, 5),
        ),
        searches,
    ),
    st.tuples(
        st.just("soft-hard"),
        st.builds(
            SoftHardPrompt,
            labels=st.integers(0, 9),
            template=words.map(lambda word: word + "{labels}"),
            nothing=words,
            soft_slots=st.integers(1, 20),
            hard=st.booleans(),
            bos=st.booleans(),
            languages=st.lists(words, max_size=3).map(tuple),
        ),
        searches,
    ),
    st.tuples(
        st.just("zeraucap"),
        st.builds(KeywordPrompt, keywords=st.integers(0, 9), objects=words.map(lambda word: word + "{keywords}")),
        st.builds(GuidedSettings, beta=st.floats(0, 9), candidates=st.integers(1, 99), compat=st.booleans()),
    ),
)
projections = st.none() | st.builds(
    ProjectionSettings, temperature=st.floats(0, 9) | st.just("clap"), renormalise=st.booleans()
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("card")
    return tmp_path


def example(folder: Path, **changes: Any) -> Manifest:
    card = {"path": "README.md", "bytes": 4, "sha256": hashlib.sha256(b"card").hexdigest()}
    made = Manifest(
        method="drcap",
        clap=ClapIdentity(name="tiny", fingerprint="0" * 64, dim=8),
        language_model=LanguageModelReference(path="language_model", adapter="adapter"),
        prompt=ComposedPrompt(),
        contexts=3,
        projection=ProjectionSettings(),
        decode=DecodeSettings(),
        files=(card,),
        training={"steps": 3},
    )
    return replace(made, **changes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(parts=of_methods, projection=projections, contexts=st.integers(0, 9), labels=st.none() | st.just("labels"))
def test_what_is_written_is_read(
    folder: Path, parts: tuple[str, Any, Any], projection: Any, contexts: int, labels: str | None
) -> None:
    method, prompt, decode = parts
    made = example(
        folder, method=method, prompt=prompt, decode=decode, projection=projection, contexts=contexts, labels=labels
    )
    write_manifest(str(folder), made)
    again = read_manifest(str(folder))
    assert again == made
    assert again.fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("folder", "fingerprint"),
    [
        ("drcap", "97b5d52b292f1687f1bf8a825b718aa8f3f859737118aca04c88febf1e2736b7"),
        ("soft-hard", "cccc7eb7d7e942d79934bdaa8409368659eb82ad665f6f06fcece8bea0c5bcbb"),
        ("zeraucap", "00cbd7fcbae27bf5df7e7ee5427a040e052db1ed59047c2253769267a69657e9"),
    ],
)
def test_the_shipped_captioners_keep_their_fingerprints(folder: str, fingerprint: str) -> None:
    """Results resume by them: a field more in a prompt or a search would change every one that was ever written."""
    assert read_manifest(str(WEIGHTS / folder)).fingerprint == fingerprint


def test_what_decides_a_caption_changes_the_fingerprint_and_nothing_else_does(folder: Path) -> None:
    first = example(folder)
    assert replace(first, training={"steps": 9}, created_by="sonogloss 9").fingerprint == first.fingerprint
    assert replace(first, clap=replace(first.clap, name="moved")).fingerprint == first.fingerprint
    assert replace(first, decode=DecodeSettings(batch_size=1)).fingerprint == first.fingerprint
    assert replace(first, files=()).fingerprint == first.fingerprint  # a model card
    changes: list[dict[str, Any]] = [
        {"contexts": 2},
        {"projection": None},
        {"decode": DecodeSettings(num_beams=1)},
        {"prompt": ComposedPrompt(prompt="say")},
        {"labels": "labels"},
        {"clap": replace(first.clap, fingerprint="1" * 64)},
        {"language_model": LanguageModelReference(name="owner/name")},
        {"files": ({"path": "mapper.safetensors", "bytes": 1, "sha256": "2"},)},
    ]
    fingerprints = {replace(first, **change).fingerprint for change in changes}
    assert len(fingerprints | {first.fingerprint}) == len(changes) + 1


@pytest.mark.parametrize("key", ["clap", "language_model", "prompt", "contexts", "projection", "decode", "files"])
def test_a_key_that_is_missing_is_named(folder: Path, key: str) -> None:
    write_manifest(str(folder), example(folder))
    content = json.loads((folder / "captioner.json").read_text())
    del content[key]
    (folder / "captioner.json").write_text(json.dumps(content))
    with pytest.raises(ModelFormatError, match=f"missing or malformed .*{key}"):
        read_manifest(str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "drkap"}, "no method 'drkap'. Choose one of .*did you mean 'drcap'"),
        ({"method": None}, "no method 'None'"),
        ({"method": "zeraucap"}, "missing or malformed"),
        ({"prompt": {"template": "{prompt}{prompt}"}}, r"must hold \{prompt\} once"),
        ({"decode": {"num_beams": 0}}, "num_beams is 0"),
        ({"decode": {"beams": 2}}, "beams"),
        ({"contexts": -1}, "contexts is -1"),
        ({"contexts": "many"}, "many"),
        ({"labels": "../elsewhere"}, "leaves the captioner's directory"),
        ({"language_model": {}}, "either a path or a hub id"),
        ({"language_model": {"path": "a", "name": "b"}}, "either a path or a hub id"),
        ({"language_model": {"path": "a", "adapter": "/etc"}}, "leaves the captioner's directory"),
        ({"files": [{"path": "README.md", "bytes": 3, "sha256": ""}]}, "README.md has 4 bytes instead of 3"),
        ({"files": [{"path": "mapper.safetensors", "bytes": 3, "sha256": ""}]}, "mapper.safetensors is missing"),
    ],
)
def test_damage_is_refused_in_words(folder: Path, change: dict[str, Any], message: str) -> None:
    write_manifest(str(folder), example(folder))
    content = json.loads((folder / "captioner.json").read_text())
    (folder / "captioner.json").write_text(json.dumps(content | change))
    with pytest.raises(ModelFormatError, match=message):
        read_manifest(str(folder))


def test_a_reference_names_one_language_model_inside_its_directory() -> None:
    for wrong in (
        {},
        {"path": "a", "name": "b"},
        {"path": "a\\b"},
        {"path": "a/../.."},
        {"name": "a", "adapter": "/x"},
    ):
        with pytest.raises(OptionError):
            LanguageModelReference(**wrong)
    assert asdict(LanguageModelReference(name="owner/name", revision="main"))["revision"] == "main"
