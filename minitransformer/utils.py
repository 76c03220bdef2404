"""``from minitransformer.utils import logging``: where scripts for transformers look for it."""

from minitransformer.compat import logging

__all__ = ["logging"]
