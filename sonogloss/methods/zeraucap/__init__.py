"""ZerAuCap: keywords, a language model as it comes, and CLAP-guided decoding (arXiv 2311.08396)."""
