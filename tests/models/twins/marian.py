from models.twins.twin import VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 36,
    "max_position_embeddings": 20,
    "activation_function": "swish",
    "dropout": 0.0,
    "pad_token_id": VOCAB_SIZE - 1,
    "eos_token_id": 0,
    "decoder_start_token_id": VOCAB_SIZE - 1,
}
BASE = ("encoder-decoder", CONFIG)
TWO_VOCABULARIES = {"share_encoder_decoder_embeddings": False}
VARIANTS = {
    "": {},
    "scaled": {"scale_embedding": True},
    "two_vocabularies": TWO_VOCABULARIES,
}
UNTIED = {"tie_word_embeddings": False}
TWINS = [
    *twins("MarianModel", "", *BASE, {**VARIANTS, "odd": {"d_model": 15, "encoder_attention_heads": 5}}, target=True),
    *twins(
        "MarianMTModel",
        "ForSeq2SeqLM",
        *BASE,
        {**VARIANTS, "untied": UNTIED, "untied_two_vocabularies": UNTIED | TWO_VOCABULARIES},
    ),
]
