"""What tools that were written for transformers ask every model: its tables, its parts, its size.

PEFT, accelerate, transformers' own ``Trainer`` and many scripts call these by name. Each is a door to what the library
does in its own way; nothing in the library needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from minitransformer.errors import ArgumentError, ConfigError, HubError
from minitransformer.layers.part import Part
from minitransformer.models.common.encoder import Encoder
from minitransformer.models.common.names import named_as_elsewhere
from minitransformer.models.common.recomputing import blocks_of, recompute
from minitransformer.weights import WeightMap, under_our_names


class Habits(Part):
    """Methods of ``PretrainedModel`` that people and tools know from transformers."""

    config: Any
    WEIGHTS: ClassVar[WeightMap]
    _recomputed: bool = False

    @property
    def num_labels(self) -> int:
        """Number of classes of a classification head, as the config says."""
        found: int = self.config.num_labels
        return found

    @property
    def base_model(self) -> Any:
        """The model below the head; a model without a head is its own."""
        return self._modules.get("backbone") or self

    def _place_of_words(self, side: str = "") -> tuple[Any, str]:
        """The module that holds the table of words, and the table's name in it."""
        base: Any = self.base_model
        sides = [side] if side else ["", "encoder_", "decoder_"]
        for owner in (getattr(base, f"{each}embeddings", None) for each in sides):
            if owner is not None and isinstance(getattr(owner, "word", None), nn.Module):
                return owner, "word"
        raise ConfigError(f"{type(self).__name__} has no table of all words: it shares them out by how common they are")

    def get_input_embeddings(self) -> nn.Module:
        """The table of words.

        Raises:
            ConfigError: there is none in one piece (Transformer-XL).
        """
        owner, name = self._place_of_words()
        found: nn.Module = getattr(owner, name)
        return found

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another table of words in the place of this one, and of those that were the same.

        A head that shares the old table's weights goes on with these.
        """
        owner, name = self._place_of_words()
        old = getattr(owner, name)
        for module in self.modules():
            for child, held in list(module._modules.items()):
                if held is old:
                    module._modules[child] = value

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer that scores the words, or None."""
        wanted = getattr(self.config, "target_vocab_size", self.config.vocab_size)
        head = self._modules.get("head")
        layers = [] if head is None else [m for m in head.modules() if getattr(m, "out_features", None) == wanted]
        return layers[-1] if layers else None

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Any = None) -> None:
        """Compute blocks again in the backward pass instead of remembering them: less memory, more time.

        Args:
            gradient_checkpointing_kwargs: not used: there is one way (without reentrance).
        """
        if self._recomputed:
            return
        for block in blocks_of(self):
            block.forward = recompute(block.forward)
        self._recomputed = True

    def gradient_checkpointing_disable(self) -> None:
        """Remember what blocks computed, as usual."""
        if self._recomputed:
            for block in blocks_of(self):
                del block.forward
        self._recomputed = False

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether blocks are computed again in the backward pass."""
        return self._recomputed

    supports_gradient_checkpointing = True

    def enable_input_require_grads(self) -> None:
        """Let gradients reach what the table of words gives, as adapters need with recomputed blocks."""
        self.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))

    def tie_weights(self) -> None:
        """Nothing to do: shared weights are one parameter."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take weights from a state dict under this library's names or under those of transformers.

        Args:
            state_dict: names and tensors.
            strict: whether what is missing or has no place is an error; both are told under our names.
            assign: take the tensors themselves instead of copying their numbers.

        Raises:
            RuntimeError: something does not fit; as PyTorch tells it.
        """
        return super().load_state_dict(under_our_names(self, type(self).WEIGHTS, state_dict), strict, assign)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters; those of norms are also found by transformers' names, see ``ParameterName``."""
        pairs = super().named_parameters(prefix, recurse, remove_duplicate)
        return pairs if torch.compiler.is_compiling() or not recurse else named_as_elsewhere(self, prefix, pairs)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """What the decoder reads when it learns these labels, (batch, token): the labels, one to the right.

        Raises:
            ConfigError: the model has no encoder and decoder.
        """
        shift: Any = getattr(self, "shift_right", None)
        if shift is None:
            raise ConfigError(f"{type(self).__name__} has no decoder that reads shifted labels")
        shifted: Tensor = shift(labels)
        return shifted

    _shift_right = prepare_decoder_input_ids_from_labels
    """The same, as scripts reach for it in transformers' T5."""

    def init_weights(self) -> None:
        """Draw all weights anew, as for pretraining."""
        self.initialise()  # type: ignore[operator]  # every model's own

    def post_init(self) -> None:
        """Nothing to do: a model's weights are drawn when its ``__init__`` ends."""

    def get_encoder(self) -> nn.Module:
        """The encoder, of a model that has one; that of an encoder-decoder takes ids, as a model does."""
        part = self._part("encoder")
        return Encoder(self.base_model) if hasattr(self.base_model, "encoder_embeddings") else part

    def get_decoder(self) -> nn.Module:
        """The decoder, of a model that has one."""
        return self._part("decoder")

    def _part(self, name: str) -> nn.Module:
        found = getattr(self.base_model, name, None)
        if not isinstance(found, nn.Module):
            raise ConfigError(f"{type(self).__name__} has no {name}")
        return found

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload model",
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        tokenizer: Any = None,
        **options: Any,
    ) -> Any:
        """Write the model as ``save_pretrained`` does, and send it to the Hub.

        Args:
            repo_id: where; made if it does not exist.
            commit_message: of the change.
            private: whether a new repository is.
            token: access token; by default the one that huggingface_hub finds.
            revision: branch.
            create_pr: propose the change instead of making it.
            tokenizer: to send with it.
            **options: of ``save_pretrained``.

        Raises:
            HubError: the Hub could not be reached, or refused.
        """
        return push(self, repo_id, [tokenizer] if tokenizer is not None else [], locals(), options)


def push(model: Any, repo_id: str, others: list[Any], given: dict[str, Any], options: dict[str, Any]) -> Any:
    """Write into a folder of its own, and upload that."""
    from tempfile import TemporaryDirectory

    from huggingface_hub import HfApi

    if not isinstance(repo_id, str) or not repo_id:
        raise ArgumentError(f"push_to_hub needs the id of a repository, such as 'me/my-model', not {repo_id!r}")
    with TemporaryDirectory() as folder:
        for each in (model, *others):
            each.save_pretrained(Path(folder), **(options if each is model else {}))
        api = HfApi(token=given["token"])
        try:
            made = api.create_repo(repo_id, private=given["private"], exist_ok=True)
            return api.upload_folder(
                folder_path=folder,
                repo_id=made.repo_id,
                commit_message=given["commit_message"],
                revision=given["revision"],
                create_pr=given["create_pr"],
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise HubError(f"{repo_id} could not be sent to the Hub: {error}") from error
