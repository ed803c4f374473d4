"""A folder of a store comes page by page, and what it says of a file is what the file says of itself."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from sonogloss.sources import Source, list_sources, pages
from sonogloss.sources.places import look
from tests.anywhere.conftest import Store

NAMES = ["a/x.wav", "a/y.wav", "a.wav", "a-b/x.wav", "b.wav", "c/d/e.wav", "c/d/f.wav", "c/g.wav", "é.wav", "z z+1.wav"]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pages_of_any_size_give_each_file_once(store: Store, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(pages, "PAGE", size)
    for name in NAMES:
        path = f"{store.root}/{name}"
        if "://" not in path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with fsspec.open(path, "wb") as handle:
            handle.write(name.encode())
    found = [source for source in list_sources([store.root]) if isinstance(source, Source)]
    assert sorted(source.uri.removeprefix(f"{store.root}/") for source in found) == sorted(NAMES)
    assert len(found) == len(list(list_sources([store.root])))
    for source in found:
        there = look(source.uri)
        assert there is not None
        assert (source.bytes, source.version) == (there.bytes, there.version)
    deep = [each.uri for each in found if each.uri.removeprefix(f"{store.root}/").count("/") == 1]
    assert sorted(source.uri for source in list_sources([f"{store.root}/*/*.wav"])) == sorted(deep)
