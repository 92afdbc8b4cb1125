#!/usr/bin/env python3
"""Files of librbe without librbe: models and compressed matrices as dense NumPy arrays. docs/format.md of the
library describes them; this needs one file, Python 3.8 and NumPy.

    import rbe_reader
    file = rbe_reader.load("model.safetensors")
    file.arrays["fc1.weight"]         float32, out x in, as torch.nn.Linear has it; "fc1.bias"
    file.arrays["block.0.up.weight"]  of a layer inside others: their names, as PyTorch has them; shared ones once
    file.stages                       of a model: dictionaries with "kind", "name", .. in the order of computation,
                                      and in "children" those inside
    file.texts                        what rbe_model_set_metadata has stored

    rbe_reader.py FILE                prints what is in a file
    rbe_reader.py FILE OUT.npz        writes its arrays, too

A file that is damaged, or of a newer version, is a ValueError.
"""
import json
import math
import struct
import sys
import zlib
from collections import namedtuple

import numpy as np

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
TYPES.update({"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"})
PREFIX = b'{"__metadata__":{"rbe.crc32":"'

File = namedtuple("File", "arrays stages texts")


# ---- the container: docs/format.md, section 1


def require(condition, text):
    if not condition:
        raise ValueError(text)


def read(path):
    """The metadata and the tensors of a safetensors file, as they stand in it; bfloat16 as float32."""
    with open(path, "rb") as file:
        raw = file.read()
    require(len(raw) >= 8, f"{path}: too short")
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    require(data <= len(raw), f"{path}: too short")
    header = json.loads(raw[8:data])
    meta, tensors, crcs = header.pop("__metadata__", {}), {}, None
    if any(key.startswith("rbe.") for key in meta):
        digits = 8 + len(PREFIX)
        found = raw[8:digits] == PREFIX and b"%08x" % zlib.crc32(raw[digits + 8 : data]) == raw[digits : digits + 8]
        crcs = meta.get("rbe.data_crc32", "").split()
        require(found and len(crcs) == len(header), f"{path}: the header is damaged")
    for n, (name, t) in enumerate(sorted(header.items(), key=lambda item: item[1]["data_offsets"])):
        begin, end = t["data_offsets"]
        part = raw[data + begin : data + end]
        require(crcs is None or crcs[n] == "%08x" % zlib.crc32(part), f"{path}: tensor {name} is damaged")
        require(t["dtype"] in TYPES, f"{path}: tensor {name}: the type {t['dtype']} is unknown")
        value = np.frombuffer(part, TYPES[t["dtype"]]).reshape(t["shape"])
        tensors[name] = (value.astype("<u4") << 16).view("<f4") if t["dtype"] == "BF16" else value
    return meta, tensors


# ---- transforms: section 6


def dct(n):
    k, c = np.mgrid[:n, :n]
    return np.sqrt(np.where(k == 0, 1, 2) / n) * np.cos(np.pi * (2 * c + 1) * k / (2 * n))


def walsh(n):
    matrix = np.ones((1, 1))
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    changes = (np.diff(np.sign(matrix), axis=1) != 0).sum(1)
    return matrix[np.argsort(changes)] / math.sqrt(n)


def halfband(n):
    """The coefficients, lowest first, of P(y) = sum_k binomial(n - 1 + k, k) y^k, k < n."""
    return [math.comb(n - 1 + k, k) for k in range(n)]


def binomial_filter(n):
    """((1 + z) / 2)^n"""
    return np.array([math.comb(n, k) for k in range(n + 1)]) / 2.0**n


def daubechies(taps):
    """Extremal phase: of each pair of roots z, 1 / z that a root y = (2 - z - 1 / z) / 4 of P has, the smaller."""
    roots = []
    for y in np.roots(halfband(taps // 2)[::-1]):
        pair = np.roots([1, 4 * y - 2, 1])
        roots.append(pair[np.argmin(abs(pair))])
    low = np.convolve(binomial_filter(taps // 2), np.poly(roots).real)
    low *= math.sqrt(2) / low.sum()
    return low, low[::-1] * (-1.0) ** np.arange(taps)


def bspline(member):
    """The synthesis pair of Cohen, Daubechies and Feauveau: splines of p taps more than one, duals by q and P."""
    p, q = divmod(member, 100)
    dual, power, sum_of_powers = binomial_filter(q), np.ones(1), np.zeros(1)
    for coefficient in halfband((p + q) // 2):
        width = len(power) - len(sum_of_powers)
        sum_of_powers = np.pad(sum_of_powers, width // 2) + coefficient * power
        power = np.convolve(power, [-0.25, 0.5, -0.25])
    dual = np.convolve(dual, sum_of_powers) * math.sqrt(2)
    low = np.pad(binomial_filter(p) * math.sqrt(2), (len(dual) - p - 1) // 2)
    if len(dual) % 2:
        low, dual = np.append(low, 0), np.append(dual, 0)
    return low, dual[::-1] * (-1.0) ** np.arange(len(dual)) * (1 if p == 1 else -1)


def pyramid(low, high, n):
    x = np.eye(n)
    while n > 1:
        taps = (2 * np.arange(n // 2)[:, None] + np.arange(len(low))) % n
        x[:n] = np.concatenate([np.einsum("k,ikc->ic", f, x[taps]) for f in (low, high)])
        n //= 2
    return x


def transform(name, n):
    """The matrix whose rows are atoms."""
    if name in ("dct", "identity", "wht"):
        return {"dct": dct, "identity": np.eye, "wht": walsh}[name](n)
    if name == "haar":
        return pyramid(*daubechies(2), n)
    for family, filters in (("db", daubechies), ("bspline", bspline)):
        if name.startswith(family) and name[len(family) :].isdigit():
            return pyramid(*filters(int(name[len(family) :])), n)
    raise ValueError(f"the transform {name} is unknown")


# ---- positions: the columns of each list (group g, output frequency i), in this order: sections 4 and 8


def group_rows(stage, rows):
    blocks = rows // stage["block"]
    return np.array_split(np.arange(blocks), range(stage["group"], blocks, stage["group"]))


def from_deltas(code):
    numbers, low, shift = [], 0, 0
    for byte in code.tolist():
        low, shift = low | (byte & 127) << shift, shift + 7
        if byte < 128:
            numbers.append(low)
            low, shift = 0, 0
    lists, at = [], 0
    while at < len(numbers):
        end = at + 1 + numbers[at]
        lists.append(np.cumsum(np.array(numbers[at + 1 : end], int) + 1) - 1)
        at = end
    return lists


def mix(z):
    most = 2**64 - 1
    z = (z + 0x9E3779B97F4A7C15) & most
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & most
    z = (z ^ z >> 27) * 0x94D049BB133111EB & most
    return z ^ z >> 31


def list_lengths(stage, rows, columns):
    B, groups = stage["block"], group_rows(stage, rows)
    each, rest = divmod(stage["limit"], rows)
    counts = np.full((len(groups), B), each)
    for i in range(B):
        for g, members in enumerate(groups):
            if each < columns and rest >= len(members):
                counts[g, i] += 1
                rest -= len(members)
    return counts.ravel()


def column_weights(stage, columns):
    B, c = stage["block"], np.arange(columns)
    if "image_height" in stage:
        return 1 + 65536 * B // (B + c)
    if stage.get("pattern") == 2 and stage["column_transform"] == "identity":
        return np.where(c < (columns if "overlap" in stage else stage["in"]), 65536, 1)
    return 65536 // (1 + c % B)


def from_seed(stage, rows, columns):
    twister, lists = np.random.MT19937(), []
    twister._legacy_seeding(mix(int(stage["seed"]) ^ mix(1)) >> 32 or 4357)
    for count in list_lengths(stage, rows, columns):
        weight, drawn = column_weights(stage, columns), []
        for _ in range(count):
            target = int(twister.random_raw() / 2**32 * float(weight.sum()))
            drawn.append(int(np.searchsorted(np.cumsum(weight), target, side="right")))
            weight[drawn[-1]] = 0
        lists.append(np.array(sorted(drawn), int))
    return lists


def lists_of(stage, owner, t, rows, columns):
    if f"{owner}.lists" in t:
        return np.split(t[f"{owner}.columns"].astype(int), t[f"{owner}.lists"][1:-1])
    if f"{owner}.deltas" in t:
        return from_deltas(t[f"{owner}.deltas"])
    return from_seed(stage, rows, columns)


# ---- packed layers: section 13


class Bits:
    def __init__(self, code):
        self.bits, self.at = np.unpackbits(code).tolist(), 0

    def take(self, width):
        value = 0
        for bit in self.bits[self.at : self.at + width]:
            value = value << 1 | bit
        require(self.at + width <= len(self.bits), "a packed layer ends too early")
        self.at += width
        return value

    def golomb(self, mean):
        """A number by the mean [sum, count] of those before it, which it joins."""
        m, ones = max(1, (11 * mean[0] + 8 * mean[1]) // (16 * mean[1])), 0
        while ones < 32 and self.take(1):
            ones += 1
        if ones == 32:
            value = self.take(32)
        else:
            width = (m - 1).bit_length()
            shorter = (1 << width) - m
            rest = self.take(max(0, width - 1))
            if rest >= shorter and width > 0:
                rest = 2 * rest + self.take(1) - shorter
            value = ones * m + rest
        mean[0] += value
        mean[1] += 1
        return value

    def alike(self, count, guess, difference):
        """Numbers by their differences from the one before, or from the mean of all, whichever has been nearer."""
        numbers, differences, total, off_last, off_mean, last = [], [2 * difference, 2], 0, 0, 0, guess
        for n in range(count):
            mean = total // n if n else guess
            code = self.golomb(differences)
            number = (mean if off_mean < off_last else last) + (-(code + 1) // 2 if code % 2 else code // 2)
            off_last, off_mean = off_last + abs(number - last), off_mean + abs(number - mean)
            last, total = number, total + number
            numbers.append(number)
        return numbers


def arithmetic(bits, width, count):
    """Numbers of `width` bits."""
    half, quarter = 1 << 31, 1 << 30
    chances, low, high, start = [[1 << 15, 0] for _ in range(64)], 0, (1 << 32) - 1, bits.at
    bits.bits += [0] * 32  # a reader looks ahead
    ahead, numbers, doublings = bits.take(32), [], 0
    for _ in range(count):
        found = 1
        for n in range(width):
            p, k = chance = chances[found] if n < 6 else [1 << 15, 0]
            split = low + ((high - low + 1) * p >> 16)
            bit = int(ahead < split)
            low, high = (low, split - 1) if bit else (split, high)
            p += ((1 << 16) - p) // (k + 2) if bit else -(p // (k + 2))
            chance[:] = min(max(p, 32), (1 << 16) - 32), min(k + 1, 126)
            while high < half or low >= half or (low >= quarter and high < half + quarter):
                d = 0 if high < half else half if low >= half else quarter
                low, high, ahead = 2 * (low - d), 2 * (high - d) + 1, 2 * (ahead - d) + bits.take(1)
                doublings += 1
            found = 2 * found + bit
        numbers.append(found - (1 << width))
    bits.at = start + doublings + 2
    del bits.bits[-32:]
    return numbers


def packed_table(bits):
    """(name, bits of a value, rows, columns) of each parameter."""

    def number():
        width = bits.take(6)
        return 1 << width - 1 | bits.take(width - 1) if width else 0

    def name():
        return b"".join(iter(lambda: bytes([bits.take(8)]), b"\0")).decode()

    table = []
    for _ in range(bits.take(8)):
        width = bits.take(4)
        table.append((name(), width, number(), number()))
    return table


def packed_lists(bits, lists, rows, columns, values):
    lengths, found = bits.alike(lists, values // rows, 1), []
    entries = sum(lengths)
    means = [[4 * (columns * lists - entries) // (entries + lists), 4] for _ in range(16)]
    for length in lengths:
        found.append([])
        for _ in range(length):
            start = found[-1][-1] + 1 if found[-1] else 0
            found[-1].append(start + bits.golomb(means[start * 16 // columns]))
    return found


def packed_values(bits, width, count, rows):
    """`rows`: the row of each value; those of the steps are in the order in which they first stand there."""
    if width == 0:
        return np.array([bits.take(32) for _ in range(count)], "<u4").view("<f4")
    order = list(dict.fromkeys(rows))
    steps = (np.array(bits.alike(len(order), 0x3C00, 64), "<u4") << 16).view("<f4")
    numbers = np.array(arithmetic(bits, width, count), int) - (1 << width - 1)
    place = {row: n for n, row in enumerate(order)}
    return numbers.astype("f4") * steps[[place[row] for row in rows]]


def unpacked(stage, owner, code):
    """The tensors of a layer that is packed, as sections 3 and 4 have them."""
    bits, parts = Bits(code), {}
    table = packed_table(bits)
    if "row_transform" in stage:
        P, Q, B = *grid(stage), stage["block"]
        groups, values = group_rows(stage, P * B), next(count for name, _, _, count in table if name == "values")
        if "seed" in stage:
            lists = from_seed(stage, P * B, Q * B)
        else:
            lists = packed_lists(bits, len(groups) * B, P * B, Q * B, values)
        parts["lists"] = np.cumsum([0] + [len(columns) for columns in lists])
        parts["columns"] = np.concatenate([np.array(columns, int) for columns in lists])
        of_values = [p * B + n % B for n, columns in enumerate(lists) for _ in columns for p in groups[n // B].tolist()]
    for name, width, rows, columns in table:
        count = rows * columns if rows else columns
        of = of_values if name == "values" else np.repeat(range(rows or 1), columns).tolist()
        parts[name] = packed_values(bits, width, count, of)
        if rows:
            parts[name] = parts[name].reshape(rows, columns)
    if "alpha" in parts and "row_transform" in stage:
        parts["alpha"] = parts["alpha"].reshape(P, Q, 8)
    return {f"{owner}.{name}": value for name, value in parts.items()}


# ---- the matrix: sections 4, 5 and 7


def block_count(n, B, o):
    return 1 if n <= B else -(-(n - o) // (B - o))


def window_map(n, B, o):
    """E of an axis of n elements whose blocks overlap by o."""
    K = block_count(n, B, o)
    E = np.zeros((K * B, n))
    for k in range(K):
        for t in range(min(B, n - k * (B - o))):
            near = t if t < o and k > 0 else B - 1 - t if B - 1 - t < o and k + 1 < K else None
            E[k * B + t, k * (B - o) + t] = 1 if near is None else np.sin(np.pi / 2 * (near + 0.5) / o)
    return E


def image_map(height, width):
    u, v = np.divmod(np.arange(height * width), width)
    return np.kron(dct(height), dct(width))[np.lexsort((np.where((u + v) % 2, u, -u), u + v))]


def extents(stage):
    """The rows of E_out and E_in, or as many as W has where there is none."""
    B, o = stage["block"], stage.get("overlap", 0)
    out, inputs = (B * block_count(n, B, o) if o else n for n in (stage["out"], stage["in"]))
    return out, stage["in"] if "image_height" in stage else inputs


def grid(stage):
    """P and Q."""
    return [-(-extent // stage["block"]) for extent in extents(stage)]


def smooth_functions(B):
    y, x = 2 * np.mgrid[:B, :B] / (B - 1) - 1
    d, cx, cy = np.hypot(x, y), np.cos(np.pi * x), np.cos(np.pi * y)
    phi = [x * 0 + 1, cx, cy, np.cos(2 * np.pi * x), np.cos(2 * np.pi * y), cx * cy, d * d, d]
    q, r = np.linalg.qr(np.stack([f.ravel() for f in phi], 1))
    return (q * np.sign(np.diag(r))).T.reshape(8, B, B)


def scaled(rows, t, scales):
    """Section 3: whole numbers times the scales of their rows; other values as they are."""
    return rows * t[scales][:, None] if scales in t else rows


def coefficients(stage, owner, t, rows, columns):
    """S."""
    B, S, at = stage["block"], np.zeros((rows, columns)), 0
    groups = group_rows(stage, rows)
    for number, list_columns in enumerate(lists_of(stage, owner, t, rows, columns)):
        members = groups[number // B]
        part = t[f"{owner}.values"][at : at + len(list_columns) * len(members)].reshape(-1, len(members))
        S[members[:, None] * B + number % B, list_columns] = part.T
        at += part.size
    return scaled(S, t, f"{owner}.scales")


def matrix(stage, owner, t):
    """W of a compressed stage or matrix whose tensors are called owner.values and so on."""
    B, o = stage["block"], stage.get("overlap", 0)
    to_outputs = window_map(stage["out"], B, o) if o else None
    to_inputs = window_map(stage["in"], B, o) if o else None
    if "image_height" in stage:
        to_inputs = image_map(stage["image_height"], stage["image_width"])
    (out, inputs), (P, Q) = extents(stage), grid(stage)
    S = coefficients(stage, owner, t, P * B, Q * B)
    W = transform(stage["row_transform"], B).T @ S.reshape(P, B, Q * B)
    W = W.reshape(P * B, Q, B) @ transform(stage["column_transform"], B)
    if f"{owner}.alpha" in t:
        W += np.einsum("pql,lyx->pyqx", t[f"{owner}.alpha"].astype(float), smooth_functions(B)).reshape(W.shape)
    W = W.reshape(P * B, Q * B)[:out, :inputs]
    W = W if to_outputs is None else to_outputs.T @ W
    return W if to_inputs is None else W @ to_inputs


# ---- files


MATRIX_PARTS = ("values", "scales", "alpha", "lists", "columns", "deltas")


def unique(name, arrays):
    """As `expand` calls layers: fc1, fc1_2 for another of that name."""
    taken = {array.rpartition(".")[0] for array in arrays}
    found, n = name, 2
    while found in taken:
        found, n = f"{name}_{n}", n + 1
    return found


def layers(stages, way="", path=""):
    """Section 11: the way ("3.0.1"), the names on it and the description of each layer, parents first."""
    for n, stage in enumerate(stages):
        name = path + (stage.get("name") or stage["kind"])
        yield f"{way}{n}", name, stage
        yield from layers(stage.get("children", []), f"{way}{n}.", f"{name}.")


def model_arrays(stages, tensors):
    arrays = {}
    for way, name, stage in layers(stages):
        parts = [t[len(way) + 1 :] for t in tensors if t.startswith(f"{way}.") and "." not in t[len(way) + 1 :]]
        if not parts:
            continue
        name = unique(name, arrays)
        if "row_transform" in stage:
            arrays[f"{name}.weight"] = matrix(stage, way, tensors).astype("f4")
            parts = [part for part in parts if part not in MATRIX_PARTS]
        for part in parts:
            scales = f"{way}.scales" if part == "weight" else f"{way}.{part}_scales"
            if not part.endswith("scales"):
                arrays[f"{name}.{part}"] = scaled(tensors[f"{way}.{part}"], tensors, scales).astype("f4")
    return arrays


def tensor_arrays(meta, tensors):
    arrays = dict(tensors)
    for key in meta:
        if key.startswith("rbe.matrix."):
            owner = key[len("rbe.matrix.") :]
            arrays[owner] = matrix(json.loads(meta[key]), owner, tensors).astype("f4")
            for part in MATRIX_PARTS:
                arrays.pop(f"{owner}.{part}", None)
    return arrays


def load(path):
    """All that a file holds, dense: models, compressed matrices among other tensors, other safetensors files."""
    meta, tensors = read(path)
    versions = ("1", "2") if meta.get("rbe.format") == "model" else ("1",)
    require(meta.get("rbe.version", "1") in versions, f"{path}: expected version {' or '.join(versions)} of the format")
    texts = {key: text for key, text in meta.items() if not key.startswith("rbe.")}
    if meta.get("rbe.format") != "model":
        return File(tensor_arrays(meta, tensors), [], texts)
    stages = json.loads(meta["rbe.stages"])
    for way, _, stage in layers(stages) if meta["rbe.version"] == "2" else ():
        if f"{way}.packed" in tensors and tensors[f"{way}.packed"].dtype == np.uint8:
            tensors.update(unpacked(stage, way, tensors.pop(f"{way}.packed")))
    return File(model_arrays(stages, tensors), stages, texts)


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    try:
        file = load(arguments[0])
    except (OSError, ValueError) as error:
        print(f"rbe_reader.py: {error}", file=sys.stderr)
        return 1
    for way, _, stage in layers(file.stages):
        print("  " * way.count(".") + stage["kind"], stage.get("name", stage.get("of", "")))
    for name, value in file.arrays.items():
        print(f"{name:32} {str(value.dtype):8} {' x '.join(map(str, value.shape))}")
    for key, text in file.texts.items():
        print(f"{json.dumps(key)}: {json.dumps(text)}")
    if len(arguments) == 2:
        np.savez(arguments[1], **file.arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
