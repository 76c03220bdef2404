from models.twins.twin import VOCAB_SIZE, twins

CONFIG = {
    "langs": ["en", "de"],
    "src_vocab_size": VOCAB_SIZE,
    "tgt_vocab_size": VOCAB_SIZE + 11,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 36,
    "max_position_embeddings": 20,
    "dropout": 0.0,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "use_cache": False,  # with a cache the reference scores the last token only
}
BASE = ("encoder-decoder", CONFIG)
VARIANTS = {
    "": {},
    "unscaled": {"scale_embedding": False},
    "odd": {"d_model": 15, "encoder_attention_heads": 5, "activation_function": "gelu"},
    "three_way_tied": {"tie_word_embeddings": True, "tgt_vocab_size": VOCAB_SIZE},
}
TWINS = twins("FSMTForConditionalGeneration", "ForSeq2SeqLM", *BASE, VARIANTS)
