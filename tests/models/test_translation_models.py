"""mBART and Marian: where targets begin, two vocabularies, sinusoids in files, and what they refuse."""

from __future__ import annotations

import warnings

import pytest
import torch
from models.twins import marian, mbart
from models.twins.twin import VOCAB_SIZE, padded, random_ids
from safetensors.torch import load_file, save_file

from minitransformer import AutoConfig, AutoModel, AutoModelForSeq2SeqLM
from minitransformer.errors import ConfigError
from minitransformer.layers import SinusoidalPositions
from minitransformer.models.auto import architecture
from minitransformer.models.marian import MarianConfig
from minitransformer.models.mbart import MBartConfig, MBartForConditionalGeneration, MBartModel
from minitransformer.testing import assert_same, reference_twin


def test_a_target_begins_with_its_language():
    model = MBartForConditionalGeneration(MBartConfig.from_hf(mbart.CONFIG))
    ids = torch.tensor([[7, 8, 2, 50], [9, 2, 51, 1], [9, 2, 52, -100], [1, 9, 2, 53]])
    assert model.shift_right(ids).tolist() == [[50, 7, 8, 2], [51, 9, 2, 51], [52, 9, 2, 52], [53, 1, 9, 2]]
    assert ids[2, 3] == -100  # the caller's labels stay as they were
    with pytest.raises(ValueError, match="needs pad_token_id"):
        MBartModel(MBartConfig.from_hf({**mbart.CONFIG, "pad_token_id": None})).shift_right(ids)


def test_generation_begins_with_the_language_asked_for(tmp_path):
    reference_twin("MBartForConditionalGeneration", **mbart.CONFIG).save_pretrained(tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    written = model.generate(random_ids(2, 5), forced_bos_token_id=33, max_new_tokens=3)
    assert written[:, :2].tolist() == [[5, 33]] * 2
    written = model.generate(random_ids(2, 5), decoder_start_token_id=34, max_new_tokens=3)
    assert written[:, 0].tolist() == [34, 34]


def test_vocabularies_of_unequal_size(tmp_path):
    """The reference makes tables of one size, others by resizing; it can neither open what it saves, nor use beams."""
    config = {**marian.CONFIG, "share_encoder_decoder_embeddings": False}
    reference = reference_twin("MarianMTModel", **config)
    reference.resize_decoder_token_embeddings(VOCAB_SIZE + 11)
    with torch.no_grad():
        reference.model.decoder.embed_tokens.weight.normal_()
        reference.final_logits_bias.normal_()
    reference.save_pretrained(tmp_path)
    ours = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert ours.head.output.weight.shape == (VOCAB_SIZE + 11, 24)
    ids, mask = padded([3, 9], "right", VOCAB_SIZE - 1)
    inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": random_ids(2, 5, vocab_size=70, seed=1)}
    assert_same(ours, reference, inputs, keep=mask)
    options = {"max_new_tokens": 6, "max_length": None, "bad_words_ids": [[VOCAB_SIZE - 1]]}
    named = {"input_ids": ids, "attention_mask": mask, **options}
    assert torch.equal(ours.generate(**named, num_beams=1), reference.generate(**named, num_beams=1))
    assert ours.generate(**named, num_beams=3).shape[0] == 2


@pytest.mark.parametrize("hidden_size", [512, 15])
def test_sinusoids_of_marian(hidden_size):
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    theirs = MarianSinusoidalPositionalEmbedding(512, hidden_size)
    theirs._init_weight()
    ours = SinusoidalPositions(512, hidden_size, interleaved=False)
    torch.testing.assert_close(ours.table, theirs.weight.data, atol=6e-8, rtol=0)  # one rounding to float32


def test_files_with_and_without_sinusoids(tmp_path):
    reference = reference_twin("MarianMTModel", **marian.CONFIG)
    reference.save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    assert not any("embed_positions" in name for name in file)
    without = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64)
    for side in ("encoder", "decoder"):
        file[f"model.{side}.embed_positions.weight"] = reference.get_submodule(f"model.{side}.embed_positions").weight
    file.pop("final_logits_bias")
    save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    old = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64)
    inputs = {"input_ids": random_ids(2, 5), "decoder_input_ids": random_ids(2, 4)}
    torch.testing.assert_close(
        old(**inputs).logits + without.head.output.bias, without(**inputs).logits, atol=1e-12, rtol=0
    )


def test_what_needs_a_target_says_so(tmp_path):
    reference_twin("MarianModel", **marian.CONFIG).save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="pass decoder_input_ids"):
        model(random_ids(1, 4))
    with pytest.raises(ValueError, match="position 20 does not exist: the model has 20 positions"):
        model(random_ids(1, 21), decoder_input_ids=random_ids(1, 2))


@pytest.mark.parametrize("config", [MarianConfig, MBartConfig])
def test_configs_that_are_refused(config):
    for wrong, message in (
        (
            {"d_model": 30, "encoder_attention_heads": 4, "decoder_attention_heads": 5},
            "d_model=30 is not a multiple of encoder_attention_heads=4",
        ),
        ({"tie_encoder_decoder": True}, "tie_encoder_decoder=True is not supported"),
        ({"scale_embedding": "yes"}, "scale_embedding in config.json must be bool"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.from_hf(wrong)


OLD = """
    activation_dropout activation_function attention_dropout add_bias_logits add_final_layer_norm bos_token_id
    classif_dropout classifier_dropout d_model decoder_attention_heads decoder_ffn_dim decoder_layerdrop decoder_layers
    dropout encoder_attention_heads encoder_ffn_dim encoder_layerdrop encoder_layers extra_pos_embeddings init_std
    is_encoder_decoder max_length max_position_embeddings normalize_before normalize_embedding num_beams
    num_hidden_layers output_past pad_token_id scale_embedding static_position_embeddings use_cache vocab_size
""".split()


@pytest.mark.parametrize("model_type", ["bart", "marian", "mbart"])
def test_keys_of_the_first_published_files_are_known(model_type):
    raw = architecture(model_type).config.from_hf({}).to_hf()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an unknown key would warn
        config = AutoConfig.from_dict({name: raw.get(name, 0) for name in ["model_type", *OLD]})
    assert set(OLD) - set(config.to_hf()) <= {"bos_token_id"}  # None, Marian's default, goes unsaid
