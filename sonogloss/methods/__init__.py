"""Captioning methods: captioners as directories on disk and as objects in memory.

Importing this package costs little; torch comes with the first captioner that is loaded or saved.
"""

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.base import Captioner, CaptionerSpec, ClapIdentity, ProjectionSettings, Retriever
from sonogloss.methods.directory import NewCaptioner, load_captioner, save_captioner
from sonogloss.methods.manifest import verify_captioner

__all__ = [
    "Captioner",
    "CaptionerSpec",
    "Retriever",
    "ClapIdentity",
    "NewCaptioner",
    "ProjectionSettings",
    "DecodeSettings",
    "load_captioner",
    "save_captioner",
    "verify_captioner",
]
