"""Soft and hard prompts: mapped embeddings and names of sounds (arXiv 2406.06295)."""
