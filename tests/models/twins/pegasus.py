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
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
BASE = ("encoder-decoder", CONFIG)
VARIANTS = {
    "": {},
    "scaled": {"scale_embedding": True},
    "relu": {"activation_function": "relu"},
    "odd": {"d_model": 15, "encoder_attention_heads": 5},
}
TWINS = [
    *twins("PegasusModel", "", *BASE, VARIANTS, target=True),
    *twins(
        "PegasusForConditionalGeneration", "ForSeq2SeqLM", *BASE, {**VARIANTS, "untied": {"tie_word_embeddings": False}}
    ),
]
