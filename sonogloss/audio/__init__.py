"""Audio in: bytes of a file to clips. The mel front end is in `sonogloss.audio.mel`, apart because it needs torch."""
