"""From token ids to vectors: the sum of what is known about a token before it meets the others."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.layers.part import Part
from minitransformer.layers.taps import Tap


class Embeddings(Part):
    """Word vector, plus token type, plus position; then perhaps a norm.

    Args:
        word: the vocabulary's table, or whatever maps ids to vectors; see ``tied`` for how to share it.
        position: maps position ids to vectors (``LearnedPositions``, ``SinusoidalPositions``); None for none.
        token_type: a table for the first and second text of a pair, added when ids are given; None for none.
        norm: a norm on the sum; None for none.
        scale: factor on the word vectors, and on the token types'.
        dropout: probability on the result, in training.
    """

    def __init__(
        self,
        word: nn.Module,
        position: nn.Module | None = None,
        *,
        token_type: nn.Module | None = None,
        norm: nn.Module | None = None,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.word, self.position, self.token_type, self.norm, self.scale = word, position, token_type, norm, scale
        self.dropout = nn.Dropout(dropout)
        self.words = Tap("batch token hidden_size")
        self.token_types = Tap("batch token hidden_size")
        self.positions = Tap("batch token hidden_size")
        self.sum = Tap("batch token hidden_size")
        self.normed = Tap("batch token hidden_size")
        self.output = Tap("batch token hidden_size")

    def forward(
        self,
        input_ids: Int[Tensor, "batch token"],
        position_ids: Int[Tensor, "#batch token"] | None = None,
        token_type_ids: Int[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token hidden_size"]:
        """Look everything up and add it.

        Raises:
            InputError: token types are given, and the model has none.
        """
        x = self.words(self.word(input_ids))
        if token_type_ids is not None:  # before the position: the order of a float sum shows in its last bits
            if self.token_type is None:
                raise InputError("this model has no token types: leave token_type_ids out")
            x = x + self.token_types(self.token_type(token_type_ids))
        if self.scale != 1.0:
            x = x * self.scale
        if self.position is not None:
            x = x + self.positions(self.position(position_ids))
        x = self.sum(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.output(self.dropout(self.normed(x)))

    def check(
        self, input_ids: Tensor, position_ids: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> None:
        """Raise an InputError that names the id, if one lies outside of its table."""
        check_ids("input_ids", input_ids, self.word)
        if token_type_ids is not None:
            check_ids("token_type_ids", token_type_ids, self.token_type)
        num_positions = getattr(self.position, "num_positions", None)
        if position_ids is not None and num_positions is not None and position_ids.numel():
            last = int(position_ids.max())
            if last >= num_positions:
                raise InputError(
                    f"position {last} does not exist: the model has {num_positions} positions. "
                    "Shorten the input (tokenizer: truncation=True) or generate fewer tokens."
                )


def tied(table: nn.Embedding) -> nn.Embedding:
    """Another table with the very same weight, for a second place in a model.

    One module in two places would do as well, but ``torch.func.functional_call`` cannot put its weight back.
    """
    other = nn.Embedding(table.num_embeddings, table.embedding_dim, padding_idx=table.padding_idx, _weight=table.weight)
    other.weight = table.weight
    return other


def check_ids(name: str, ids: Tensor, table: nn.Module | int | None) -> None:
    """Raise an InputError that names the id, if one lies outside of a table, where that says how many rows it has."""
    size = table if isinstance(table, int) else getattr(table, "num_embeddings", None)
    if size is not None and ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < size):
        wrong = int(ids.max()) if int(ids.max()) >= size else int(ids.min())
        raise InputError(
            f"{name} holds {wrong}, but the model knows the ids 0 to {size - 1}: "
            "do the tokenizer and the model belong together?"
        )
