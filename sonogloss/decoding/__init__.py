"""Language models: load them, and decode captions with beam search."""
