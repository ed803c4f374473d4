"""Procedural soundscapes: sounds with a known timeline, and true sentences for them.

The same scenes serve the demo, the tests and the training of the pocket pair. All of it is deterministic by seed.
"""

from sonogloss.soundscapes.captions import caption, caption_dump, references
from sonogloss.soundscapes.classes import CLASSES, SoundClass, mentioned
from sonogloss.soundscapes.scenes import Event, Scene, render_scene, render_variant, sample_scene
from sonogloss.soundscapes.signal import RATE

__all__ = [
    "CLASSES",
    "RATE",
    "Event",
    "Scene",
    "SoundClass",
    "caption",
    "caption_dump",
    "mentioned",
    "references",
    "render_scene",
    "render_variant",
    "sample_scene",
]
