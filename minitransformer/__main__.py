"""``python -m minitransformer`` is the command line."""

from __future__ import annotations

from minitransformer.cli import app

app()
