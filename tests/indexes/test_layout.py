import json
from pathlib import Path

import pytest

from sonogloss import files
from sonogloss.errors import MissingInputError, StoreFormatError
from sonogloss.indexes import Datastore, read_manifest
from sonogloss.indexes.layout import manifest_from_json, to_json
from tests.indexes.conftest import edit_manifest


def test_manifest_survives_json(store_dir):
    manifest = read_manifest(store_dir)
    assert manifest_from_json(json.loads(json.dumps(to_json(manifest))), where="x") == manifest


def test_keys_of_later_minor_versions_are_ignored(store_dir):
    value = files.read_json(f"{store_dir}/manifest.json") | {"mood": "cheerful"}
    assert manifest_from_json(value, where="x").count == 20


def change(store_dir: str, **changes: object) -> None:
    edit_manifest(store_dir, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 3}, "format_version 3"),
        ({"format_version": "one"}, "format_version 'one'"),
        ({"format": "sonogloss-results"}, "not the manifest of a datastore"),
        ({"count": 3}, "count is 3"),
        ({"shards": "none"}, "malformed"),
        ({"shards": [{"number": 0}]}, "malformed"),
        ({"support": {"count": 1, "parts": []}}, "support"),
        ({"support": {"count": 1, "parts": [], "kind": "all"}}, "support"),
        ({"vectors": "int3"}, "int3"),
        ({"clap": {"name": "x"}}, "dim, fingerprint"),
        ({"index": {"kind": "ivf", "factory": "IVF4096,Flat", "recall_at_10": 0.9, "measured_on": "x"}}, "ivf"),
    ],
)
def test_manifests_that_cannot_be_used_are_refused_in_words(store_dir, changes, words):
    change(store_dir, **changes)
    with pytest.raises(StoreFormatError, match=words):
        Datastore.open(store_dir)


def test_missing_keys_and_broken_json(store_dir):
    value = files.read_json(f"{store_dir}/manifest.json")
    del value["sources"]
    files.write_json(f"{store_dir}/manifest.json", value)
    with pytest.raises(StoreFormatError, match="sources"):
        Datastore.open(store_dir)
    Path(store_dir, "manifest.json").write_text("{")
    with pytest.raises(StoreFormatError, match="JSON"):
        Datastore.open(store_dir)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "shards/../../x", "a\\b"])
def test_files_outside_the_directory_are_refused(store_dir, path):
    value = files.read_json(f"{store_dir}/manifest.json")
    value["support"]["parts"][0]["file"]["path"] = path
    files.write_json(f"{store_dir}/manifest.json", value)
    with pytest.raises(StoreFormatError, match="leaves the directory"):
        Datastore.open(store_dir)


def test_unfinished_and_absent(tmp_path):
    with pytest.raises(StoreFormatError, match="unfinished"):
        Datastore.open(str(tmp_path))
    with pytest.raises(MissingInputError, match="does not exist"):
        Datastore.open(str(tmp_path / "nothing"))
