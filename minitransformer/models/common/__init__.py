"""What architectures share and is none: the base of models, heads, losses, outputs, and what callers may look at."""
