"""The loss of a character transformer that `expand` has made dense, computed with nothing but NumPy, by nanoGPT's names:
run_gpt.py DENSE.safetensors TEXT CONTEXT HEADS prints nats per character over the last tenth of the text, in windows side
by side. What it has in common with the library is the file."""
import json
import math
import struct
import sys

import numpy as np


def tensors_of(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + begin : 8 + length + end], "<f4")
        found[name] = values.reshape(entry["shape"]).astype(np.float64)
    return found


def norm(x, weight):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * weight


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(x, w, heads):
    places, width = x.shape
    q, k, v = np.split(x @ w["c_attn.weight"].T, 3, axis=1)
    out = np.empty_like(x)
    for h in range(heads):
        part = slice(h * width // heads, (h + 1) * width // heads)
        scores = q[:, part] @ k[:, part].T / math.sqrt(width // heads)
        scores[np.triu_indices(places, 1)] = -np.inf
        out[:, part] = softmax(scores) @ v[:, part]
    return out @ w["c_proj.weight"].T


def feed(x, w):
    x = x @ w["c_fc.weight"].T
    x = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x @ w["c_proj.weight"].T


def part_of(w, name):
    return {key[len(name) + 1 :]: value for key, value in w.items() if key.startswith(name + ".")}


def logits(w, ids, heads):
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: len(ids)]
    n = 0
    while f"transformer.h.{n}.ln_1.weight" in w:
        block = part_of(w, f"transformer.h.{n}")
        x = x + attention(norm(x, block["ln_1.weight"]), part_of(block, "attn"), heads)
        x = x + feed(norm(x, block["ln_2.weight"]), part_of(block, "mlp"))
        n += 1
    return norm(x, w["transformer.ln_f.weight"]) @ w["transformer.wte.weight"].T


def main():
    w = tensors_of(sys.argv[1])
    text = open(sys.argv[2], encoding="utf-8", newline="").read()
    context, heads = int(sys.argv[3]), int(sys.argv[4])
    kinds = sorted(set(text))
    ids = np.array([kinds.index(c) for c in text])[len(text) - len(text) // 10 :]
    total = 0.0
    for first in range(0, len(ids) - 1, context):
        window = ids[first : first + context + 1]
        p = softmax(logits(w, window[:-1], heads))
        total -= np.log(p[np.arange(len(window) - 1), window[1:]]).sum()
    print(f"{total / (len(ids) - 1):.4f}")


main()
