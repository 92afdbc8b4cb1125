"""Model files without the library, as src/io/FORMAT.md describes them: json, struct and numpy.

    read_model.py MODEL stage N W.npy      rebuilds the matrix of a compressed stage and compares
    read_model.py FILE matrix NAME W.npy   the same of a compressed matrix of a tensor file
    read_model.py --write OUT              writes a dense safetensors file
"""
import json
import struct
import sys
import zlib

import numpy as np

TYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
TYPES |= {"I8": "i1", "U8": "u1", "U16": "<u2", "U32": "<u4"}


def read(path):
    """The metadata and the tensors of a file."""
    raw = open(path, "rb").read()
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:data])
    meta, tensors = header.pop("__metadata__"), {}
    assert meta["rbe.crc32"] == "%08x" % zlib.crc32(raw[raw.index(b'","', 8) : data])
    in_order = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    for (name, t), crc in zip(in_order, meta["rbe.data_crc32"].split()):
        begin, end = t["data_offsets"]
        part = raw[data + begin : data + end]
        assert crc == "%08x" % zlib.crc32(part), name
        value = np.frombuffer(part, TYPES[t["dtype"]]).reshape(t["shape"])
        tensors[name] = (value.astype("<u4") << 16).view("<f4") if t["dtype"] == "BF16" else value
    return meta, tensors


# ---- positions: the columns of each list (group g, output frequency i), in this order


def from_deltas(code):
    numbers, low, shift, lists = [], 0, 0, []
    for byte in code.tolist():
        low, shift = low | (byte & 127) << shift, shift + 7
        if byte < 128:
            numbers, low, shift = numbers + [low], 0, 0
    while numbers:
        lists.append(np.cumsum(np.array(numbers[1 : 1 + numbers[0]], int) + 1) - 1)
        numbers = numbers[1 + numbers[0] :]
    return lists


def mix(z):
    most = 2**64 - 1
    z = (z + 0x9E3779B97F4A7C15) & most
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & most
    z = (z ^ z >> 27) * 0x94D049BB133111EB & most
    return z ^ z >> 31


def from_seed(stage, rows, columns):
    B, groups = stage["block"], group_rows(stage, rows)
    each, rest = divmod(stage["limit"], rows)
    counts = np.full((len(groups), B), each)
    for i in range(B):
        for g, members in enumerate(groups):
            if each < columns and rest >= len(members):
                counts[g, i] += 1
                rest -= len(members)
    twister, c, lists = np.random.MT19937(), np.arange(columns), []
    twister._legacy_seeding(mix(int(stage["seed"]) ^ mix(1)) >> 32 or 4357)
    for count in counts.ravel():
        if "image_height" in stage:
            weight = 1 + 65536 * B // (B + c)
        elif stage.get("pattern") == 2 and stage["column_transform"] == "identity":
            weight = np.where(c < (columns if "overlap" in stage else stage["in"]), 65536, 1)
        else:
            weight = 65536 // (1 + c % B)
        drawn = []
        for _ in range(count):
            target = int(twister.random_raw() / 2**32 * float(weight.sum()))
            drawn.append(int(np.searchsorted(np.cumsum(weight), target, side="right")))
            weight[drawn[-1]] = 0
        lists.append(np.array(sorted(drawn), int))
    return lists


def lists_of(stage, n, t, rows, columns):
    if f"{n}.lists" in t:
        return np.split(t[f"{n}.columns"].astype(int), t[f"{n}.lists"][1:-1])
    return from_deltas(t[f"{n}.deltas"]) if f"{n}.deltas" in t else from_seed(stage, rows, columns)


# ---- the matrix


def group_rows(stage, rows):
    return np.array_split(np.arange(R := rows // stage["block"]), range(stage["group"], R, stage["group"]))


def dct(n):
    k, c = np.mgrid[:n, :n]
    return np.sqrt(np.where(k == 0, 1, 2) / n) * np.cos(np.pi * (2 * c + 1) * k / (2 * n))


def window_map(n, B, o):
    """E of an axis of n elements whose blocks overlap by o."""
    K = 1 if n <= B else -(-(n - o) // (B - o))
    E = np.zeros((K * B, n))
    for k in range(K):
        for t in range(min(B, n - k * (B - o))):
            near = t if t < o and k > 0 else B - 1 - t if B - 1 - t < o and k + 1 < K else None
            E[k * B + t, k * (B - o) + t] = 1 if near is None else np.sin(np.pi / 2 * (near + 0.5) / o)
    return E


def image_map(height, width):
    u, v = np.divmod(np.arange(height * width), width)
    return np.kron(dct(height), dct(width))[np.lexsort((np.where((u + v) % 2, u, -u), u + v))]


def matrix(stage, n, t):
    B, o = stage["block"], stage.get("overlap", 0)
    Eout, Ein = window_map(stage["out"], B, o), window_map(stage["in"], B, o)
    if "image_height" in stage:
        Ein = image_map(stage["image_height"], stage["image_width"])
    C = -(-len(Ein) // B)
    R = -(-len(Eout) // B)
    S, at = np.zeros((R * B, C * B)), 0
    for number, columns in enumerate(lists_of(stage, n, t, R * B, C * B)):
        members = group_rows(stage, R * B)[number // B]
        part = t[f"{n}.values"][at : at + len(columns) * len(members)].reshape(-1, len(members))
        S[members[:, None] * B + number % B, columns] = part.T
        at += part.size
    if f"{n}.scales" in t:
        S *= t[f"{n}.scales"][:, None]
    known = {"dct": dct(B), "identity": np.eye(B)}
    W = np.kron(np.eye(R), known[stage["row_transform"]].T) @ S @ np.kron(np.eye(C), known[stage["column_transform"]])
    if f"{n}.alpha" in t:
        y, x = 2 * np.mgrid[:B, :B] / (B - 1) - 1
        d, cx, cy = np.hypot(x, y), np.cos(np.pi * x), np.cos(np.pi * y)
        phi = [x * 0 + 1, cx, cy, np.cos(2 * np.pi * x), np.cos(2 * np.pi * y), cx * cy, d * d, d]
        q, r = np.linalg.qr(np.stack([f.ravel() for f in phi], 1))
        psi = (q * np.sign(np.diag(r))).T.reshape(8, B, B)
        W += np.einsum("pql,lyx->pyqx", t[f"{n}.alpha"].astype(float), psi).reshape(W.shape)
    return Eout.T @ W[: len(Eout), : len(Ein)] @ Ein


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
    meta, tensors = read(sys.argv[1])
    what, name = sys.argv[2:4]
    stage = json.loads(meta[f"rbe.matrix.{name}"] if what == "matrix" else meta["rbe.stages"])
    found = matrix(stage if what == "matrix" else stage[int(name)], name, tensors)
    expected = np.load(sys.argv[4])
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print("relative difference", error)
    sys.exit(not error < 1e-5)
