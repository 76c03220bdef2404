"""Chapter 2, section 3: making, loading and saving models."""

# %%
from transformers import BertConfig, BertModel

config = BertConfig()
model = BertModel(BertConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32))
[config.hidden_size, config.num_hidden_layers, config.max_position_embeddings, config.vocab_size, config.hidden_act]

# %%
[config.to_dict()[name] for name in ("hidden_size", "vocab_size")], config.model_type

# %%
[model.config.num_attention_heads, model.num_parameters(), model.dtype == model.get_input_embeddings().weight.dtype]

# %%
from transformers import AutoModel

model = AutoModel.from_pretrained("bert-base-cased")
type(model).__name__

# %%
model = BertModel.from_pretrained("bert-base-cased")
model.save_pretrained("a-folder")

# %%
import os

sorted(os.listdir("a-folder"))

# %%
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("bert-base-cased")
encoded = tokenizer("Hello, I'm a single sentence!")
print(encoded)
encoded

# %%
tokenizer.decode(encoded["input_ids"])

# %%
encoded = tokenizer("How are you?", "I'm fine, thank you!", return_tensors="pt")
encoded

# %%
encoded = tokenizer(["How are you?", "I'm fine, thank you!"], padding=True, return_tensors="pt")
encoded

# %%
tokenizer("This is a very very very very very long sentence.", truncation=True, max_length=5)["input_ids"]

# %%
encoded = tokenizer(
    ["How are you?", "I'm fine, thank you!"], padding=True, truncation=True, max_length=5, return_tensors="pt"
)
encoded

# %%
import torch

ids = [[101 % 90, 7, 8, 9], [10, 11, 12, 13]]
output = model(torch.tensor(ids))
output.last_hidden_state

# %%
again = BertModel.from_pretrained("a-folder")
torch.equal(again(torch.tensor(ids)).pooler_output, output.pooler_output)
