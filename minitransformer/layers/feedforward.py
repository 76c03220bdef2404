"""The position-wise feed-forward network (https://arxiv.org/abs/1706.03762, section 3.3)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from minitransformer.layers.activations import Activation, as_function
from minitransformer.layers.kernels import linear
from minitransformer.layers.making import remembers_arguments
from minitransformer.layers.part import Part
from minitransformer.layers.taps import Tap


@remembers_arguments
class FeedForward(Part):
    """Each token alone: widen, bend, narrow.

    Args:
        hidden_size: width of input and output.
        intermediate_size: width in between.
        activation: the function in between, or its name.
        dropout: probability on the activated values, in training (BART's ``activation_dropout``).
        bias: whether the two projections have biases.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Activation | str,
        *,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.activation = as_function(activation)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self.pre = Tap("batch token intermediate_size")
        self.hidden = Tap("batch token intermediate_size")
        self.out = Tap("batch token hidden_size")

    def forward(self, x: Float[Tensor, "batch token hidden_size"]) -> Float[Tensor, "batch token hidden_size"]:
        """Transform every token by itself."""
        hidden = self.hidden(self.activation(self.pre(linear(self.up, x))))  # (B, T, F)
        return self.out(self.narrow(self.dropout(hidden)))  # (B, T, D)

    def narrow(self, hidden: Tensor) -> Tensor:
        """The last projection."""
        return linear(self.down, hidden)


@remembers_arguments
class GatedFeedForward(Part):
    """Each token alone, with a gate: what one projection lets through of another (https://arxiv.org/abs/2002.05202).

    Args:
        hidden_size: width of input and output.
        intermediate_size: width in between.
        activation: the function on the gate, or its name.
        dropout: probability on the gated values, in training.
        bias: whether the three projections have biases.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Activation | str,
        *,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.activation = as_function(activation)
        self.linear = nn.Linear(hidden_size, intermediate_size, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(intermediate_size, hidden_size, bias=bias)
        self.pre = Tap("batch token intermediate_size")
        self.gated = Tap("batch token intermediate_size")
        self.hidden = Tap("batch token intermediate_size")
        self.out = Tap("batch token hidden_size")

    def forward(self, x: Float[Tensor, "batch token hidden_size"]) -> Float[Tensor, "batch token hidden_size"]:
        """Transform every token by itself."""
        gate = self.activation(self.pre(linear(self.gate, x)))
        hidden = self.hidden(gate * self.gated(linear(self.linear, x)))  # (B, T, F)
        return self.out(self.narrow(self.dropout(hidden)))  # (B, T, D)

    def narrow(self, hidden: Tensor) -> Tensor:
        """The last projection."""
        return linear(self.down, hidden)
