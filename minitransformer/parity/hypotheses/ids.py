"""Other ids than the trace's: read off the rows of the table that a port has looked up."""

from __future__ import annotations

import torch
from torch import Tensor


def ids_of_rows(x: Tensor, table: Tensor, limit: float) -> Tensor | None:
    """The ids whose rows these are.

    Args:
        x: (batch, token, size).
        table: (ids, size).
        limit: how far a row may be from the table's, as a share of the table's root mean square.

    Returns:
        (batch, token), or None if some row is none of the table's.
    """
    if x.dim() != 3 or x.shape[-1] != table.shape[-1]:
        return None
    words = x.flatten(0, 1).double()
    rows = torch.cat([torch.cdist(words[i : i + 64], table).argmin(-1) for i in range(0, len(words), 64)])
    ids = rows.reshape(x.shape[:2])
    furthest = float((table[ids] - x).abs().max())
    return ids if furthest <= limit * float(table.pow(2).mean().sqrt()) else None


def told_difference(theirs: Tensor, ours: Tensor) -> str:
    """In which way ids differ, in words.

    Args:
        theirs: (batch, token).
        ours: (batch, token), perhaps of another length.
    """
    first, last = ours[:, 0].tolist(), ours[:, -1].tolist()
    short, long = theirs.shape[1], ours.shape[1]
    if short >= long and torch.equal(theirs[:, 1:long], ours[:, : long - 1]) and not torch.equal(theirs, ours):
        return f"a token stands before the first, id {theirs[0, 0]}: BOS is added"
    if torch.equal(theirs[:, : min(short, long - 1)], ours[:, 1 : 1 + min(short, long - 1)]):
        return f"the first token is missing, id {first[0]}: BOS, if the model has one"
    if short == long - 1 and torch.equal(theirs, ours[:, :-1]):
        return f"the last token is missing, id {last[0]}: EOS, if the model has one"
    if short == long and all(
        any(torch.equal(a.roll(n), b) for n in range(long)) for a, b in zip(theirs, ours, strict=True)
    ):
        return "padding stands on the other side, or tokens are moved in a circle"
    if short == long and torch.equal(theirs.sort(-1).values, ours.sort(-1).values):
        return "the tokens are in another order"
    return f"other ids are read: {theirs[0, :8].tolist()}, not {ours[0, :8].tolist()}"
