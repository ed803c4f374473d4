"""From audio files to clips. The mel front end, `sonogloss.audio.mel`, needs torch and is not imported."""

from sonogloss.audio.decode import AudioLimits, read_recording
from sonogloss.audio.rates import resample
from sonogloss.audio.recording import Recording
from sonogloss.audio.windows import INFORMATIVE_FLAGS, Cutting, WindowPolicy, cut_clips, expected_windows

__all__ = [
    "INFORMATIVE_FLAGS",
    "AudioLimits",
    "Cutting",
    "Recording",
    "WindowPolicy",
    "cut_clips",
    "expected_windows",
    "read_recording",
    "resample",
]
