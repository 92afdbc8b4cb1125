"""Weights as PyTorch would store them, for tests/programs.sh, and checks of what compress_weights made of them.

    write_weights.py OUT.safetensors INPUTS.npy   also writes turned.safetensors and nan.safetensors beside OUT
    write_weights.py --same A B NAME..            these tensors are the same in both files; X=Y: X in A, Y in B
    write_weights.py --mean A B INPUTS.npy        fc gives the same mean output in both
    write_weights.py --rename IN OUT OLD NEW      a model whose layer OLD is called NEW, and with the text made.by
    write_weights.py --network OUT INPUTS.npy     a state_dict of the network body.0 relu body.2 relu head
    write_weights.py --forward A B INPUTS.npy E   its outputs with B differ by E from those with A, and on the way each layer
                                                  of B gives the mean that A's gives for the same inputs
    write_weights.py --nested MODEL PLAIN         a model of layers inside layers, and its weights as PyTorch has them
"""
import json
import os
import struct
import sys
import zlib

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}


def write(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, v in tensors.items():
        kind = next(t for t, numpy_type in TYPES.items() if v.dtype == numpy_type)
        header[name] = {"dtype": kind, "shape": v.shape, "data_offsets": [offset, offset + v.nbytes]}
        offset += v.nbytes
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


def read(path):
    raw = open(path, "rb").read()
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    header, tensors = json.loads(raw[8:data]), {}
    assert header.pop("__metadata__").get("format", "pt") == "pt"
    for name, t in header.items():
        if t["dtype"] in TYPES:
            begin, end = t["data_offsets"]
            tensors[name] = np.frombuffer(raw[data + begin : data + end], TYPES[t["dtype"]]).reshape(t["shape"])
    return tensors


def smooth_matrix(out, inputs):
    r, c = np.mgrid[:out, :inputs]
    return np.exp(-(((r / out - c / inputs) / 0.2) ** 2)).astype("<f4")


def make(path, inputs_path):
    rng = np.random.default_rng(1)
    tensors = {
        "fc.weight": smooth_matrix(48, 64),
        "fc.bias": rng.normal(size=48).astype("<f4"),
        "half": rng.normal(size=(20, 30)).astype("<f2"),
        "wide": np.cos(np.arange(32 * 40).reshape(32, 40) / 100),
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype("<f4"),
        "steps": np.array(7, "<i8"),
        "nothing": np.zeros((0, 5), "<f4"),
    }
    write(path, tensors)
    np.save(inputs_path, np.maximum(rng.normal(size=(200, 64)) + 0.3, 0).astype("<f4"))
    folder = os.path.dirname(path)
    write(f"{folder}/turned.safetensors", {"fc.weight": tensors["fc.weight"].T.copy()})
    spoilt = tensors["fc.weight"].copy()
    spoilt[0, 1] = np.nan
    write(f"{folder}/nan.safetensors", {"fc.weight": spoilt})


def rename(path, out, old, new):
    raw = open(path, "rb").read()
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    digits = raw.index(b'"rbe.crc32":"') + len(b'"rbe.crc32":"')
    rest = raw[digits + 8 : data].replace(rf'\"name\":\"{old}\"'.encode(), rf'\"name\":\"{new}\"'.encode())
    rest = rest.replace(b'"rbe.format"', b'"made.by":"a test","rbe.format"')
    header = raw[8:digits] + b"%08x" % zlib.crc32(rest) + rest
    open(out, "wb").write(struct.pack("<Q", len(header)) + header + raw[data:])


def network(path, inputs_path):
    rng = np.random.default_rng(3)
    tensors = {}
    for name, out, inputs in (("body.0", 48, 64), ("body.2", 40, 48), ("head", 5, 40)):
        noise = rng.normal(size=(out, inputs))
        tensors[f"{name}.weight"] = (smooth_matrix(out, inputs) - 0.3 + 0.02 * noise).astype("<f4")
        tensors[f"{name}.bias"] = rng.normal(size=out).astype("<f4")
    write(path, tensors)
    x = (np.cumsum(rng.normal(size=(300, 64)), 1) / 8).astype("<f4")
    np.save(inputs_path, x)
    np.save(inputs_path.replace(".npy", "-narrow.npy"), x[:, :63])
    write(path.replace(".safetensors", "-tied.safetensors"), {"cell.weight": smooth_matrix(24, 24)})
    tensors["forgotten.weight"] = tensors["head.weight"]
    write(path.replace(".safetensors", "-more.safetensors"), tensors)
    del tensors["forgotten.weight"], tensors["body.2.weight"]
    write(path.replace(".safetensors", "-less.safetensors"), tensors)


def forward(a, b, inputs_path, error):
    def layer(t, name, x):
        return x @ t[f"{name}.weight"].T.astype(float) + t[f"{name}.bias"]

    a, b, x = read(a), read(b), np.load(inputs_path).astype(float)
    expected, found = x, x
    for name in ("body.0", "body.2", "head"):
        means = [layer(t, name, found).mean(0) for t in (a, b)]
        assert np.abs(means[0] - means[1]).max() < 1e-4 * np.abs(means[0]).max(), name
        expected, found = layer(a, name, expected), layer(b, name, found)
        if name != "head":
            expected, found = np.maximum(expected, 0), np.maximum(found, 0)
    measured = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 0 < measured < 0.2 and abs(measured - float(error)) < 1e-3 * measured + 1e-6, (measured, error)


def nested(path, plain):
    """x + f(x) with f = up, tanh, down; the same again; a head: as docs/format.md, section 11, describes it."""
    rng = np.random.default_rng(2)
    weights = {"block.0.up": (6, 4), "block.0.dense": (4, 6), "head": (3, 4)}
    weights = {name: rng.normal(size=shape).astype("<f4") for name, shape in weights.items()}
    bias = rng.normal(size=3).astype("<f4")
    write(plain, dict({f"{name}.weight": w for name, w in weights.items()}, **{"head.bias": bias}))
    dense = [{"kind": "dense", "name": name, "in": i, "out": o} for name, i, o in (("up", 4, 6), ("", 6, 4), ("head", 4, 3))]
    inner = {"kind": "sequential", "name": "0", "children": [dense[0], {"kind": "tanh"}, dense[1]]}
    stages = [{"kind": "residual", "name": "block", "children": [inner]}, {"kind": "shared", "of": "0"}, dense[2]]
    tensors = dict(zip(("0.0.0.weight", "0.0.2.weight", "2.weight"), weights.values()), **{"2.bias": bias})
    crcs = " ".join("%08x" % zlib.crc32(v.tobytes()) for v in tensors.values())
    meta = {"rbe.crc32": "00000000", "rbe.data_crc32": crcs, "rbe.format": "model", "rbe.version": "1"}
    header, offset = {"__metadata__": dict(meta, **{"rbe.stages": json.dumps(stages)})}, 0
    for name, v in tensors.items():
        header[name] = {"dtype": "F32", "shape": v.shape, "data_offsets": [offset, offset + v.nbytes]}
        offset += v.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    digits = text.index(b"00000000")
    text = text[:digits] + b"%08x" % zlib.crc32(text[digits + 8 :]) + text[digits + 8 :]
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


if sys.argv[1] == "--same":
    a, b = read(sys.argv[2]), read(sys.argv[3])
    for name in sys.argv[4:]:
        x, _, y = name.partition("=")
        x, y = a[x], b[y or x]
        assert x.dtype == y.dtype and np.array_equal(x, y), name
elif sys.argv[1] == "--mean":
    a, b, x = read(sys.argv[2]), read(sys.argv[3]), np.load(sys.argv[4]).astype(float)
    means = [(x @ t["fc.weight"].T.astype(float) + t["fc.bias"]).mean(0) for t in (a, b)]
    assert np.abs(means[0] - means[1]).max() < 1e-5
    assert not np.array_equal(a["fc.bias"], b["fc.bias"])
elif sys.argv[1] == "--network":
    network(*sys.argv[2:])
elif sys.argv[1] == "--forward":
    forward(*sys.argv[2:])
elif sys.argv[1] == "--nested":
    nested(*sys.argv[2:])
elif sys.argv[1] == "--rename":
    rename(*sys.argv[2:])
else:
    make(*sys.argv[1:3])
