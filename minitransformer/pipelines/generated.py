"""What ``generate`` gave, for one prompt of a batch: its sequences, and what was asked for beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minitransformer.generation import GenerateOutput

if TYPE_CHECKING:
    from minitransformer.tokenization import Tokenizer


def without_padding(sequences: Tensor, left: int, prompt: int, eos: int | list[int] | None) -> Tensor:
    """The sequences of one prompt, as they would be if it had been alone in its batch.

    Args:
        sequences: (sequences, tokens) token ids.
        left: tokens of padding before the prompt.
        prompt: tokens of the prompt, or of what the decoder starts with.
        eos: ids that end a text, after which there is only padding.
    """
    sequences = sequences[:, left:]
    ends = torch.isin(sequences, torch.tensor([] if eos is None else eos, dtype=sequences.dtype).view(-1))
    ends[:, :prompt] = False
    lengths = [int(row.nonzero()[0]) + 1 if row.any() else sequences.shape[1] for row in ends]
    return sequences[:, : max(lengths)]


def describe_tokens(
    sequences: Tensor, logprobs: Tensor, eos: int | list[int] | None, tokenizer: Tokenizer
) -> list[list[dict[str, Any]]]:
    """For each sequence, the tokens that were generated, up to the end, with their log probabilities.

    These are of the distribution from which a token was chosen, after all options that change it. With beams they
    are what the search adds up.

    Args:
        sequences: (sequences, tokens) ids.
        logprobs: (sequences, new tokens).
        eos: ids that end a text.
        tokenizer: knows the text of a token.
    """
    ends = {eos} if isinstance(eos, int) else set(eos or ())
    described = []
    for ids, scores in zip(sequences[:, -logprobs.shape[1] :].tolist(), logprobs.tolist(), strict=True):
        length = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
        described.append(
            [
                {"token": tokenizer.decode([token]), "token_id": token, "logprob": score}
                for token, score in zip(ids[:length], scores[:length], strict=True)
            ]
        )
    return described


def other_outputs(output: GenerateOutput, row: int, alike: bool = False) -> dict[str, Any]:
    """What ``return_dict_in_generate`` has for one sequence: of the outputs with a row for each sequence, that row.

    4.57 (``alike``) leaves some out where there are several sequences, and all of them beside token ids.
    """
    several = len(output.sequences) > 1
    found: dict[str, Any] = {}
    for name in set(output.keys()) - {"sequences", "past_key_values"}:
        value = output[name]
        if isinstance(value, Tensor) and len(value) == len(output.sequences) and not (alike and several):
            found[name] = value[row : row + 1].tolist()
        elif isinstance(value, tuple) and isinstance(value[0], Tensor) and len(value[0]) == len(output.sequences):
            found[name] = [step[row].tolist() for step in value]
    return {name: found[name] for name in output.keys() if name in found}
