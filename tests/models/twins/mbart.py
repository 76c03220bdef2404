from models.twins.twin import LABELS, VOCAB_SIZE, twins

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
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 5,
}
BASE = ("encoder-decoder", CONFIG)
SCALES = {"": {}, "scaled": {"scale_embedding": True}}
TWINS = [
    *twins("MBartModel", "", *BASE, {**SCALES, "relu": {"activation_function": "relu"}}),
    *twins(
        "MBartForConditionalGeneration", "ForSeq2SeqLM", *BASE, {**SCALES, "untied": {"tie_word_embeddings": False}}
    ),
    *twins("MBartForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("MBartForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
