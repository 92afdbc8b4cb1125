"""Model files without the library, as src/io/FORMAT.md describes them: json, struct and numpy.

    read_model.py MODEL STAGE W.npy   rebuilds the matrix of a compressed stage and compares
    read_model.py --write OUT         writes a dense safetensors file
"""
import json
import struct
import sys
import zlib

import numpy as np

TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "U16": "<u2", "U32": "<u4"}


def read(path):
    raw = open(path, "rb").read()
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:data])
    meta, tensors = header.pop("__metadata__"), {}
    assert meta["rbe.crc32"] == "%08x" % zlib.crc32(raw[raw.index(b'","', 8):data])
    for (name, t), crc in zip(sorted(header.items(), key=lambda i: i[1]["data_offsets"]), meta["rbe.data_crc32"].split()):
        part = raw[data + t["data_offsets"][0]:data + t["data_offsets"][1]]
        assert crc == "%08x" % zlib.crc32(part), name
        value = np.frombuffer(part, TYPES[t["dtype"]]).reshape(t["shape"])
        tensors[name] = (value.astype("<u4") << 16).view("<f4") if t["dtype"] == "BF16" else value
    return json.loads(meta["rbe.stages"]), tensors


def lists_of(stage, n, t):
    """Columns of each list (group g, output frequency i), in this order."""
    if f"{n}.lists" in t:
        return np.split(t[f"{n}.columns"].astype(int), t[f"{n}.lists"][1:-1])
    numbers, low, shift, lists = [], 0, 0, []
    for byte in t[f"{n}.deltas"].tolist():
        low, shift = low | (byte & 127) << shift, shift + 7
        if byte < 128:
            numbers, low, shift = numbers + [low], 0, 0
    while numbers:
        lists.append(np.cumsum(np.array(numbers[1:1 + numbers[0]], int) + 1) - 1)
        numbers = numbers[1 + numbers[0]:]
    return lists


def matrix(stage, n, t):
    B, group, rows, cols = stage["block"], stage["group"], -(-stage["out"] // stage["block"]), -(-stage["in"] // stage["block"])
    S, at, lists = np.zeros((rows * B, cols * B)), 0, lists_of(stage, n, t)
    for number, columns in enumerate(lists):
        g, i = divmod(number, B)
        members = np.arange(g * group, min(rows, g * group + group))
        S[members[:, None] * B + i, columns] = t[f"{n}.values"][at:at + len(columns) * len(members)].reshape(-1, len(members)).T
        at += len(columns) * len(members)
    if f"{n}.scales" in t:
        S *= t[f"{n}.scales"][:, None]
    k, c = np.mgrid[:B, :B]
    L = R = np.sqrt(np.where(k == 0, 1, 2) / B) * np.cos(np.pi * (2 * c + 1) * k / (2 * B))  # "dct"
    W = np.kron(np.eye(rows), L.T) @ S @ np.kron(np.eye(cols), R)
    if f"{n}.alpha" in t:
        y, x = 2 * np.mgrid[:B, :B] / (B - 1) - 1
        d, cx, cy = np.hypot(x, y), np.cos(np.pi * x), np.cos(np.pi * y)
        phi = [x * 0 + 1, cx, cy, np.cos(2 * np.pi * x), np.cos(2 * np.pi * y), cx * cy, d * d, d]
        q, r = np.linalg.qr(np.stack([f.ravel() for f in phi], 1))
        psi = (q * np.sign(np.diag(r))).T.reshape(8, B, B)
        W += np.einsum("pql,lyx->pyqx", t[f"{n}.alpha"].astype(float), psi).reshape(W.shape)
    return W[:stage["out"], :stage["in"]]


def write(path):
    tensors = {"a": np.arange(12, dtype="<f4").reshape(3, 4) / 7, "b": np.arange(5, dtype="<f2") / 8}
    header, offset = {}, 0
    for name, v in tensors.items():
        kind = {"<f4": "F32", "<f2": "F16"}[v.dtype.str]
        header[name] = {"dtype": kind, "shape": v.shape, "data_offsets": [offset, offset + v.nbytes]}
        offset += v.nbytes
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


if sys.argv[1] == "--write":
    write(sys.argv[2])
else:
    stages, tensors = read(sys.argv[1])
    number = int(sys.argv[2])
    found, expected = matrix(stages[number], number, tensors), np.load(sys.argv[3])
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print("relative difference", error)
    sys.exit(not error < 1e-5)
