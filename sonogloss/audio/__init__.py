"""From the bytes of audio files to clips. The mel front end, `sonogloss.audio.mel`, needs torch and is not imported."""

from sonogloss.audio.decode import AudioLimits, Recording, read_recording
from sonogloss.audio.windows import WindowPolicy, cut_clips, expected_windows, resample

__all__ = ["AudioLimits", "Recording", "WindowPolicy", "cut_clips", "expected_windows", "read_recording", "resample"]
