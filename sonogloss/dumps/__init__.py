"""Dumps of captions: which files there are, and their rows, streamed, whatever is wrong with them."""
