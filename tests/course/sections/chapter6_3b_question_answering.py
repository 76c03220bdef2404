"""Chapter 6, section 3b: how the question-answering pipeline finds a span, also in a long context."""

# %%
from transformers import pipeline

question_answerer = pipeline("question-answering")
context = "My name is Sarah and I work in Berlin. My brother Tom lives in France with his dog."
question = "Where does Tom live?"
question_answerer(question=question, context=context)

# %%
long_context = " ".join([context] * 4)
question_answerer(question=question, context=long_context, max_seq_len=40, doc_stride=12)

# %%
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model_checkpoint = "distilbert-base-cased-distilled-squad"
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
model = AutoModelForQuestionAnswering.from_pretrained(model_checkpoint)
inputs = tokenizer(question, context, return_tensors="pt")
outputs = model(**inputs)
start_logits = outputs.start_logits
end_logits = outputs.end_logits
print(start_logits.shape, end_logits.shape)

# %%
sequence_ids = inputs.sequence_ids()
mask = [i != 1 for i in sequence_ids]
mask[0] = False
mask = torch.tensor(mask)[None]
start_logits[mask] = -10000
end_logits[mask] = -10000
start_probabilities = torch.nn.functional.softmax(start_logits, dim=-1)[0]
end_probabilities = torch.nn.functional.softmax(end_logits, dim=-1)[0]
[start_probabilities, end_probabilities]

# %%
scores = torch.triu(start_probabilities[:, None] * end_probabilities[None, :])
max_index = scores.argmax().item()
start_index = max_index // scores.shape[1]
end_index = max_index % scores.shape[1]
offsets = tokenizer(question, context, return_offsets_mapping=True)["offset_mapping"]
start_char, _ = offsets[start_index]
_, end_char = offsets[end_index]
{"answer": context[start_char:end_char], "start": start_char, "end": end_char, "score": scores.max()}

# %%
inputs = tokenizer(
    question,
    long_context,
    stride=12,
    max_length=40,
    padding="longest",
    truncation="only_second",
    return_overflowing_tokens=True,
    return_offsets_mapping=True,
)
_ = inputs.pop("overflow_to_sample_mapping")
offsets = inputs.pop("offset_mapping")
inputs = inputs.convert_to_tensors("pt")
print(inputs["input_ids"].shape)
offsets

# %%
outputs = model(**inputs)
start_logits, end_logits = outputs.start_logits, outputs.end_logits
sequence_ids = inputs.sequence_ids()
mask = [i != 1 for i in sequence_ids]
mask[0] = False
mask = torch.logical_or(torch.tensor(mask)[None], (inputs["attention_mask"] == 0))
start_logits[mask] = -10000
end_logits[mask] = -10000
candidates = []
for start_probs, end_probs in zip(start_logits.softmax(-1), end_logits.softmax(-1)):
    scores = torch.triu(start_probs[:, None] * end_probs[None, :])
    idx = scores.argmax().item()
    candidates.append((idx // scores.shape[1], idx % scores.shape[1], scores.flatten()[idx].item()))
candidates

# %%
[long_context[offset[start][0] : offset[end][1]] for (start, end, _), offset in zip(candidates, offsets)]

# %%
tokenizer(
    "This sentence is not too long but we are going to split it anyway.",
    truncation=True,
    return_overflowing_tokens=True,
    max_length=6,
    stride=2,
)
