"""Compares what python/rbe_reader.py finds in a file with what the library found, and writes a file for the library.

    read_model.py FILE NAME,.. W.npy [KEY=TEXT ..]   arrays, one below the other, and all texts that the file must have
    read_model.py --write OUT                        writes a dense safetensors file
"""
import json
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
sys.dont_write_bytecode = True
import rbe_reader  # noqa: E402


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
    file = rbe_reader.load(sys.argv[1])
    found, expected = np.concatenate([file.arrays[name] for name in sys.argv[2].split(",")]), np.load(sys.argv[3])
    assert found.dtype == np.float32 and found.shape == expected.shape, (found.dtype, found.shape)
    error = np.linalg.norm(found.astype(float) - expected) / np.linalg.norm(expected)
    print("relative difference", error)
    assert error < 1e-5
    assert file.texts == dict(text.split("=") for text in sys.argv[4:]), file.texts
