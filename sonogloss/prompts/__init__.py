"""How an embedding and what was found near it become what a language model reads.

* :mod:`~sonogloss.prompts.composed` lays retrieved captions, audio slots and an instruction out (DRCap).
* :mod:`~sonogloss.prompts.hard` lays names of sounds and audio slots out (soft and hard prompts).
* :mod:`~sonogloss.prompts.labels` finds the names of sounds nearest to an embedding.
* :mod:`~sonogloss.prompts.soft` turns a CLAP embedding into the vectors that fill the slots.
"""
