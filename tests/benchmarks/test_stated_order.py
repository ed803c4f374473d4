"""The order that a caption states is that of its scene."""

from __future__ import annotations

import numpy as np

from benchmarks.stated_order import stated_order
from sonogloss.soundscapes.captions import caption, silent_scene


def test_captions_of_the_grammar_state_the_order_of_their_scenes() -> None:
    rng, sequences = np.random.default_rng(0), 0
    for _ in range(6000):
        scene = silent_scene(rng)
        if scene.kind == "sequence":
            sequences += 1
            assert stated_order(caption(scene, rng)) == tuple(scene.names)
        elif len(scene.events) == 2:
            assert stated_order(caption(scene, rng)) is None
    assert sequences > 500


def test_the_order_of_single_captions() -> None:
    assert stated_order("a dog barks before rain falls") == ("dog", "rain")
    assert stated_order("rain falling after a dog barking") == ("dog", "rain")
    assert stated_order("After a dog barks, rain falls") == ("dog", "rain")
    assert stated_order("a dog barks and rain falls") is None
    assert stated_order("a dog barks, then barks again") is None
    assert stated_order("a dog barks, then rain falls, then a cat meows") is None
