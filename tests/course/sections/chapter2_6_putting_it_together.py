"""Chapter 2, section 6: everything that one call of the tokenizer does."""

# %%
from transformers import AutoTokenizer

checkpoint = "distilbert-base-uncased-finetuned-sst-2-english"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model_inputs = tokenizer("I have waited for a course like this one.")
sequences = ["I have waited for a course like this one.", "So have I!"]
[model_inputs, tokenizer(sequences)]

# %%
tokenizer(sequences, padding="longest")

# %%
{name: [len(row) for row in rows] for name, rows in tokenizer(sequences, padding="max_length").items()}

# %%
tokenizer(sequences, padding="max_length", max_length=8)

# %%
tokenizer(sequences, max_length=8, truncation=True)

# %%
[tokenizer(sequences, padding=True, return_tensors=kind)["input_ids"] for kind in ("pt", "np")]

# %%
ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(sequences[0]))
print(model_inputs["input_ids"])
print(ids)
print(tokenizer.decode(model_inputs["input_ids"]))
print(tokenizer.decode(ids))

# %%
from transformers import AutoModelForSequenceClassification

model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
tokens = tokenizer(sequences, padding=True, truncation=True, return_tensors="pt")
output = model(**tokens)
output.logits
