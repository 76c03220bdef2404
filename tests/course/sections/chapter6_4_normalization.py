"""Chapter 6, section 4: what happens before a tokenizer's model."""

# %%
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
type(tokenizer.backend_tokenizer).__name__

# %%
tokenizer.backend_tokenizer.normalizer.normalize_str("Héllò hôw are ü?")

# %%
tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("Hello, how are  you?")

# %%
AutoTokenizer.from_pretrained("gpt2").backend_tokenizer.pre_tokenizer.pre_tokenize_str("Hello, how are  you?")

# %%
AutoTokenizer.from_pretrained("google-t5/t5-small").backend_tokenizer.pre_tokenizer.pre_tokenize_str(
    "Hello, how are  you?"
)
