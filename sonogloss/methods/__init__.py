"""Captioners: a method with its trained parts, as a directory on disk and as an object that captions.

Importing this room costs little; torch comes with the first captioner that is loaded or saved.
"""

from sonogloss.decoding.settings import DecodeSettings
from sonogloss.methods.base import Captioner, ClapReference, ProjectionSettings, Retriever
from sonogloss.methods.directory import load_captioner, save_captioner, verify_captioner

__all__ = [
    "Captioner",
    "Retriever",
    "ClapReference",
    "ProjectionSettings",
    "DecodeSettings",
    "load_captioner",
    "save_captioner",
    "verify_captioner",
]
