from models.twins.twin import LABELS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 20,
    "afn": "gelu",
    "layer_norm_epsilon": 1e-4,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "pad_token_id": 3,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
BASE = ("decoder", CONFIG)
TYPES = {"token_types": VOCAB_SIZE}  # looked up among the words
ACTIVATIONS = {"": {}, "relu": {"afn": "relu"}, "silu": {"afn": "silu"}, "swish": {"afn": "swish"}}
TWINS = [
    *twins("OpenAIGPTModel", "", *BASE, ACTIVATIONS),
    *twins("OpenAIGPTModel", "", *BASE, {"types": {}}, **TYPES),
    *twins("OpenAIGPTLMHeadModel", "ForCausalLM", *BASE, {"": {}, "untied": {"tie_word_embeddings": False}}),
    *twins("OpenAIGPTForSequenceClassification", "ForSequenceClassification", *BASE, LABELS, **TYPES),
]
