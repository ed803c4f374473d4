"""How an embedding and retrieved captions become what a language model reads.

* :mod:`~sonogloss.prompts.composed` lays tokens and audio slots out in one sequence (DRCap).
* :mod:`~sonogloss.prompts.soft` turns a CLAP embedding into the vectors that fill the slots.
"""
