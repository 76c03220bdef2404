from models.twins import llama
from models.twins.twin import LABELS, TAGS, twins

CONFIG = {**llama.CONFIG, "sliding_window": 4, "head_dim": 10}
BASE = ("decoder", CONFIG)
VARIANTS = {
    "": {},
    "no_window": {"sliding_window": None},
    "window_of_one": {"sliding_window": 1},
    "wide_window": {"sliding_window": 100},
    "many_kv_heads": {"num_key_value_heads": None, "head_dim": None},
    "llama3": {"rope_scaling": llama.LLAMA3},
}
# The loss of question answering takes padding in. Where a window hides all from it, the reference's gradients are those
# of scores to which the lowest number was added; here they are zero. So that window is wide enough.
TWINS = [
    *twins("MistralModel", "", *BASE, VARIANTS),
    *twins("MistralForCausalLM", "ForCausalLM", *BASE, {"": {}, "tied": {"tie_word_embeddings": True}}),
    *twins("MistralForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("MistralForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}),
    *twins("MistralForQuestionAnswering", "ForQuestionAnswering", *BASE, {"": {"sliding_window": 6}}),
]
