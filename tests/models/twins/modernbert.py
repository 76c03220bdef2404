from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "local_attention": 10,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 300.0,
    "local_rope_theta": 50.0,
    "norm_eps": 1e-4,
    "pad_token_id": 3,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
# Losses take padding in. Where a window hides all from it, the reference's gradients are those of scores to which the
# lowest number was added; here they are zero. So windows of models with a head are wide enough.
BASE = ("encoder", CONFIG)
VARIANTS = {
    "": {},
    "narrow": {"local_attention": 4},
    "biases": {"attention_bias": True, "mlp_bias": True, "norm_bias": True},
    "every_third": {"global_attn_every_n_layers": 3, "hidden_activation": "silu"},
    "all_global": {"global_attn_every_n_layers": 1},
    "odd_window": {"local_attention": 7, "local_rope_theta": None},
}
HEADS = {"": {}, "untied": {"tie_word_embeddings": False}, "biases": {"classifier_bias": True, "decoder_bias": False}}
POOLS = {**LABELS, "mean": {"id2label": TAGS, "classifier_pooling": "mean", "classifier_activation": "relu"}}
TWINS = [
    *twins("ModernBertModel", "", *BASE, VARIANTS),
    *twins("ModernBertForMaskedLM", "ForMaskedLM", *BASE, HEADS),
    *twins("ModernBertForSequenceClassification", "ForSequenceClassification", *BASE, POOLS),
    *twins("ModernBertForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}),
    *twins("ModernBertForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
