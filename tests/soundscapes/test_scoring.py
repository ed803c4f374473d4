"""What a caption says of order is what its scene holds."""

from __future__ import annotations

import numpy as np

from sonogloss.soundscapes.captions import caption, silent_scene
from sonogloss.soundscapes.scoring import told_order


def test_the_order_that_captions_of_the_grammar_tell_is_the_scenes() -> None:
    rng, asked = np.random.default_rng(0), 0
    for _ in range(6000):
        scene = silent_scene(rng)
        if scene.kind == "sequence":
            asked += 1
            assert told_order(caption(scene, rng)) == tuple(scene.names)
        elif len(scene.events) == 2:
            assert told_order(caption(scene, rng)) is None
    assert asked > 500


def test_what_tells_no_order_has_none() -> None:
    assert told_order("a dog barks before rain falls") == ("dog", "rain")
    assert told_order("rain falling after a dog barking") == ("dog", "rain")
    assert told_order("After a dog barks, rain falls") == ("dog", "rain")
    assert told_order("a dog barks and rain falls") is None
    assert told_order("a dog barks, then barks again") is None
    assert told_order("a dog barks, then rain falls, then a cat meows") is None
