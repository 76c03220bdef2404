"""Chapter 6, section 5: byte-pair encoding by hand, on the words of GPT-2's pre-tokenizer."""

# %%
from collections import defaultdict

from transformers import AutoTokenizer

corpus = ["This is the course.", "This chapter is about tokenization.", "This section shows several algorithms."]
tokenizer = AutoTokenizer.from_pretrained("gpt2")
word_freqs = defaultdict(int)
for text in corpus:
    for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text):
        word_freqs[word] += 1
print(word_freqs)

# %%
vocab = ["<|endoftext|>", *sorted({letter for word in word_freqs for letter in word})]
splits = {word: list(word) for word in word_freqs}


def compute_pair_freqs(splits):
    pair_freqs = defaultdict(int)
    for word, freq in word_freqs.items():
        for pair in zip(splits[word], splits[word][1:]):
            pair_freqs[pair] += freq
    return pair_freqs


def merge_pair(a, b, splits):
    for word, split in splits.items():
        i = 0
        while i < len(split) - 1:
            if (split[i], split[i + 1]) == (a, b):
                split = [*split[:i], a + b, *split[i + 2 :]]
            else:
                i += 1
        splits[word] = split
    return splits


merges = {}
while len(vocab) < 40:
    pair_freqs = compute_pair_freqs(splits)
    best = max(pair_freqs, key=pair_freqs.get)
    splits = merge_pair(*best, splits)
    merges[best] = "".join(best)
    vocab.append("".join(best))
vocab


# %%
def tokenize(text):
    words = [word for word, _ in tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    splits = [list(word) for word in words]
    for pair, merge in merges.items():
        for idx, split in enumerate(splits):
            i = 0
            while i < len(split) - 1:
                if (split[i], split[i + 1]) == pair:
                    split = [*split[:i], merge, *split[i + 2 :]]
                else:
                    i += 1
            splits[idx] = split
    return sum(splits, [])


tokenize("This is not a token.")
