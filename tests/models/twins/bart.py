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
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "pad_token_id": 3,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
BASE = ("encoder-decoder", CONFIG)
SCALES = {"": {}, "scaled": {"scale_embedding": True}}
TWINS = [
    *twins("BartModel", "", *BASE, {**SCALES, "relu": {"activation_function": "relu"}}),
    *twins("BartForConditionalGeneration", "ForSeq2SeqLM", *BASE, {**SCALES, "untied": {"tie_word_embeddings": False}}),
    *twins("BartForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("BartForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
