"""Audio in: the bytes of a file become clips. The mel front end lies apart in `sonogloss.audio.mel`: it needs torch."""

from sonogloss.audio.decode import AudioLimits, Recording, read_recording
from sonogloss.audio.windows import WindowPolicy, cut_clips, expected_windows, resample

__all__ = ["AudioLimits", "Recording", "WindowPolicy", "cut_clips", "expected_windows", "read_recording", "resample"]
