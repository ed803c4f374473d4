"""Zero-shot tagging of audio, with plain label names or with prompts learned from text alone.

:mod:`~sonogloss.tagging.tagger` embeds labels and scores clips. Audio-free prompt tuning (arXiv 2309.08357) is in
:mod:`~sonogloss.tagging.tune`, with its texts (:mod:`~sonogloss.tagging.texts`), numbers
(:mod:`~sonogloss.tagging.config`), scores and losses (:mod:`~sonogloss.tagging.scores`)
and result (:mod:`~sonogloss.tagging.label_prompts`).
"""
