"""One page that shows a model at work on a text: a single file, without a network, for all three families."""

from __future__ import annotations

from minitransformer.study.page.build import page

__all__ = ["page"]
