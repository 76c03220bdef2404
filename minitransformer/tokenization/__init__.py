"""Text to ids and back: `AutoTokenizer` over the ``tokenizers`` library, one file a family."""

from __future__ import annotations

from minitransformer.tokenization.auto import AutoTokenizer, register_tokenizer
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.encoding import Encoding

__all__ = ["AutoTokenizer", "Encoding", "Tokenizer", "register_tokenizer"]
