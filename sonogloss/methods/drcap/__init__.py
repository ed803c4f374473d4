"""DRCap: retrieved captions, a projected embedding, an instruction (arXiv 2410.09472)."""
