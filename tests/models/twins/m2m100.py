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
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
BASE = ("encoder-decoder", CONFIG)
VARIANTS = {
    "": {},
    "unscaled": {"scale_embedding": False},
    "gelu": {"activation_function": "gelu"},
    "odd": {"d_model": 15, "encoder_attention_heads": 5},
}
TWINS = [
    *twins("M2M100Model", "", *BASE, VARIANTS, target=True),
    *twins(
        "M2M100ForConditionalGeneration", "ForSeq2SeqLM", *BASE, {**VARIANTS, "untied": {"tie_word_embeddings": False}}
    ),
]
