"""Chapter 6, section 2: a new tokenizer from an old one."""

# %%
from shelf import load_dataset

raw_datasets = load_dataset("code")
training_corpus = (raw_datasets["train"][i : i + 2]["content"] for i in range(0, 4, 2))


# %%
def get_training_corpus():
    dataset = raw_datasets["train"]
    for start in range(0, len(dataset), 2):
        yield dataset[start : start + 2]["content"]


# %%
from transformers import AutoTokenizer

old_tokenizer = AutoTokenizer.from_pretrained("gpt2")
example = '''def add_numbers(a, b):
    """Add the two numbers `a` and `b`."""
    return a + b'''
tokens = old_tokenizer.tokenize(example)
tokens

# %%
tokenizer = old_tokenizer.train_new_from_iterator(get_training_corpus(), 300)
tokens = tokenizer.tokenize(example)
print(len(tokens), len(old_tokenizer.tokenize(example)))
tokens

# %%
tokenizer.save_pretrained("code-tokenizer")
AutoTokenizer.from_pretrained("code-tokenizer")(example)["input_ids"]

# %%
[len(tokenizer), tokenizer.eos_token, tokenizer.is_fast]

# %%
bert = AutoTokenizer.from_pretrained("bert-base-uncased").train_new_from_iterator(get_training_corpus(), 120)
[len(bert), bert.cls_token_id, bert.mask_token, bert.tokenize("(a, b)")]
