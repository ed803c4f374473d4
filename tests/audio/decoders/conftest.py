from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sonogloss.audio.decoder_pool import DecoderPool
from tests.audio import hostile_decoders as decoders
from tests.audio.decoders.pools import SHORT, children, make, open_files, opened


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before, shared = open_files(), set(os.listdir("/dev/shm"))
    yield
    for pool in opened:
        pool.close()
    assert children() == set()
    assert open_files() == before
    assert set(os.listdir("/dev/shm")) == shared


@pytest.fixture(scope="module")
def echo() -> DecoderPool:
    return make(decoders.echo)


@pytest.fixture(scope="module")
def misbehaving() -> DecoderPool:
    return make(decoders.misbehave, SHORT)
