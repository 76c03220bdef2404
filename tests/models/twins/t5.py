from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "d_model": 24,
    "d_kv": 5,
    "num_heads": 4,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "d_ff": 40,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "dropout_rate": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
VARIANTS = {
    "": {},
    "gated_gelu": {"feed_forward_proj": "gated-gelu"},
    "gated_silu": {"feed_forward_proj": "gated-silu"},
    "same_depth": {"num_decoder_layers": None},
}
UNTIED = {"untied": {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}}
BASE = ("encoder-decoder", CONFIG)
TWINS = [
    *twins("T5Model", "", *BASE, VARIANTS, target=True),
    *twins("T5EncoderModel", "ForTextEncoding", "encoder", CONFIG, VARIANTS),
    *twins("T5ForConditionalGeneration", "ForSeq2SeqLM", *BASE, {**VARIANTS, **UNTIED}),
    *twins("T5ForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("T5ForTokenClassification", "ForTokenClassification", "encoder", CONFIG, {"": {"id2label": TAGS}}),
    *twins("T5ForQuestionAnswering", "ForQuestionAnswering", *BASE),
    *twins("MT5Model", "", *BASE, target=True),
    *twins("MT5EncoderModel", "ForTextEncoding", "encoder", CONFIG),
    *twins("MT5ForConditionalGeneration", "ForSeq2SeqLM", *BASE, {"": {}, "tied": {"tie_word_embeddings": True}}),
    *twins("MT5ForSequenceClassification", "ForSequenceClassification", *BASE),
    *twins("MT5ForTokenClassification", "ForTokenClassification", "encoder", CONFIG, {"": {"id2label": TAGS}}),
    *twins("MT5ForQuestionAnswering", "ForQuestionAnswering", *BASE),
    *twins("UMT5Model", "", *BASE, target=True),
    *twins("UMT5EncoderModel", "ForTextEncoding", "encoder", CONFIG),
    *twins("UMT5ForConditionalGeneration", "ForSeq2SeqLM", *BASE, {"": {}, "untied": {"tie_word_embeddings": False}}),
    *twins("UMT5ForSequenceClassification", "ForSequenceClassification", *BASE),
    *twins("UMT5ForTokenClassification", "ForTokenClassification", "encoder", CONFIG, {"": {"id2label": TAGS}}),
    *twins("UMT5ForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
