"""Chapter 2, section 4: from text to ids and back."""

# %%
print("Jim Henson was a puppeteer".split())

# %%
from transformers import BertTokenizer

tokenizer = BertTokenizer.from_pretrained("bert-base-cased")

# %%
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("bert-base-cased")
tokenizer("Using a Transformer network is simple")

# %%
tokenizer.save_pretrained("my-tokenizer")
AutoTokenizer.from_pretrained("my-tokenizer")("Using a Transformer network is simple")

# %%
sequence = "Using a Transformer network is simple"
tokens = tokenizer.tokenize(sequence)
print(tokens)

# %%
ids = tokenizer.convert_tokens_to_ids(tokens)
print(ids)

# %%
tokenizer.decode(ids)

# %%
[tokenizer.vocab_size, len(tokenizer), tokenizer.all_special_tokens, tokenizer.cls_token, tokenizer.pad_token_id]
