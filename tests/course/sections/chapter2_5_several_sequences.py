"""Chapter 2, section 5: batches, padding, masks, and what is too long."""

# %%
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

checkpoint = "distilbert-base-uncased-finetuned-sst-2-english"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
sequence = "I have waited for a course like this one for years."
tokens = tokenizer.tokenize(sequence)
ids = tokenizer.convert_tokens_to_ids(tokens)

# %%
tokenized = tokenizer(sequence, return_tensors="pt")
print(tokenized["input_ids"])

# %%
input_ids = torch.tensor([ids])
output = model(input_ids)
print("Input:", input_ids.shape)
output.logits

# %%
batched = [[20, 21, 22], [20, 21, tokenizer.pad_token_id]]
[model(torch.tensor(row)).logits for row in ([[20, 21, 22]], [[20, 21]], batched)]

# %%
attention_mask = [[1, 1, 1], [1, 1, 0]]
outputs = model(torch.tensor(batched), attention_mask=torch.tensor(attention_mask))
outputs.logits

# %%
torch.allclose(outputs.logits[1:], model(torch.tensor([[20, 21]])).logits, atol=1e-5)
