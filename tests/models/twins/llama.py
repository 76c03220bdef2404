from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "rope_theta": 100.0,
    "rms_norm_eps": 1e-4,
    "classifier_dropout": 0.0,
    "pad_token_id": 3,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
BASE = ("decoder", CONFIG)
VARIANTS = {
    "": {},
    "many_kv_heads": {"num_key_value_heads": None},
    "one_kv_head": {"num_key_value_heads": 1},
    "wide_heads": {"head_dim": 10},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "llama3": {"rope_scaling": LLAMA3},
    "old_default": {"rope_scaling": {"type": "default"}, "hidden_act": "gelu"},
}
TWINS = [
    *twins("LlamaModel", "", *BASE, VARIANTS),
    *twins("LlamaForCausalLM", "ForCausalLM", *BASE, {"": {}, "tied": {"tie_word_embeddings": True}}),
    *twins("LlamaForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("LlamaForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}),
    *twins("LlamaForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
