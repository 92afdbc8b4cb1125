#!/usr/bin/env python3
"""Writes the four IDX files of a folder again, with the pixels of all images in one random order.

    shuffle_pixels.py DIR OUT       DIR has MNIST's files, with .gz; OUT is created
"""
import gzip
import os
import random
import shutil
import sys

if len(sys.argv) != 3:
    print(__doc__)
    sys.exit(0 if "--help" in sys.argv else 2)
source, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
order = list(range(28 * 28))
random.Random(1).shuffle(order)
for part in ("train", "t10k"):
    labels = f"{part}-labels-idx1-ubyte.gz"
    shutil.copy(os.path.join(source, labels), os.path.join(out, labels))
    images = f"{part}-images-idx3-ubyte.gz"
    with gzip.open(os.path.join(source, images)) as file:
        header, pixels = file.read(16), file.read()
    with gzip.open(os.path.join(out, images), "wb") as file:
        file.write(header)
        for begin in range(0, len(pixels), len(order)):
            file.write(bytes(pixels[begin + n] for n in order))
