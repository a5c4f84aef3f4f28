#!/usr/bin/env python3
"""Draws models of Keras at random - nested and shared ones, several inputs and outputs, dicts, open sizes, mixed element
types - and compares their predictions, and those after two epochs of training, with `bakelite predict` and `bakelite train`.

usage: structures.py BAKELITE [--seed N] [--count N] [--keep DIR]      (pip install keras jax numpy)

Prints every model that differs, and keeps its files where it is told to. Exit 0 where all agree.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import keras
import numpy as np
from keras import layers as L

TOLERANCE = 2e-4


class Draw:
    """A random functional model: a pool of tensors that layers join until a few are outputs."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.shared = []

    def pick(self, items):
        return items[int(self.random.integers(len(items)))]

    def chance(self, p):
        return bool(self.random.random() < p)

    def dense(self, x):
        return L.Dense(int(self.random.integers(2, 5)), activation=self.pick(["tanh", "sigmoid", "linear"]))(x)

    def nested_vector(self, x):
        """A model over vectors with one or two outputs, some of which are dicts."""
        i = keras.Input(x.shape[1:], name="inner")
        h = L.Dense(3, activation="tanh")(i)
        ys = [L.Dense(2)(h), L.Dense(3)(h)][: self.pick([1, 2])]
        if self.chance(0.3):
            inner = keras.Model(i, {f"k{n}": y for n, y in enumerate(ys)})
            return list(inner(x).values())
        inner = keras.Model(i, ys if len(ys) > 1 or self.chance(0.3) else ys[0])
        self.shared.append((inner, tuple(x.shape[1:])))
        y = inner(x)
        return list(y) if isinstance(y, (list, tuple)) else [y]

    def nested_dict(self, x, y):
        a, b = keras.Input(x.shape[1:], name="first"), keras.Input(y.shape[1:], name="second")
        inner = keras.Model(self.pick([[b, a], {"first": a, "second": b}]), L.Dense(2)(L.Concatenate()([a, b])))
        return inner({"first": x, "second": y})

    def nested_open(self, x):
        """A model over sequences of any length."""
        i = keras.Input((None, x.shape[-1]), name="sequence")
        h = L.Conv1D(3, 2, padding="same", activation="tanh")(i)
        if self.chance(0.4):
            h = keras.Sequential([L.Dense(3), L.LayerNormalization()])(h)
        inner = keras.Model(i, h)
        y = inner(x)
        return [y, inner(L.UpSampling1D(2)(x))] if self.chance(0.3) else [y]

    def step(self, vectors, sequences):
        kind = self.random.random()
        if sequences and kind < 0.35:
            x = self.pick(sequences)
            how = self.pick(["lstm", "gru", "bi", "pool", "open", "attention", "flat", "distributed"])
            if how in ("lstm", "gru"):
                result = (L.LSTM if how == "lstm" else L.GRU)(3, return_state=True, return_sequences=self.chance(0.5))(x)
                for y in result:
                    (sequences if len(y.shape) == 3 else vectors).append(y)
            elif how == "bi":
                vectors.append(L.Bidirectional(L.GRU(2))(x))
            elif how == "pool":
                vectors.append(self.pick([L.GlobalAveragePooling1D, L.GlobalMaxPooling1D])()(x))
            elif how == "open":
                sequences.extend(self.nested_open(x))
            elif how == "attention":
                y, scores = L.MultiHeadAttention(2, 2)(x, x, return_attention_scores=True)
                sequences.append(y)
                vectors.append(L.Flatten()(scores))
            elif how == "flat":
                vectors.append(L.Flatten()(x))
            else:
                sequences.append(L.TimeDistributed(L.Dense(3))(x))
            return
        x = self.pick(vectors)
        if kind < 0.5:
            vectors.extend(self.nested_vector(x))
        elif kind < 0.6:
            vectors.append(self.nested_dict(x, self.pick(vectors)))
        elif kind < 0.7 and (fitting := [(m, s) for m, s in self.shared if s == tuple(x.shape[1:])]):
            y = self.pick(fitting)[0](x)
            vectors.extend(list(y) if isinstance(y, (list, tuple)) else [y])
        elif kind < 0.85:
            vectors.append(L.Concatenate()([x, self.pick(vectors)]))
        else:
            vectors.append(self.dense(x))

    def model(self):
        keras.utils.clear_session()
        vectors, sequences, inputs = [], [], []
        for n in range(int(self.random.integers(1, 4))):
            name = self.pick([f"in{n}", f"x{n}", f"optimizer{n}", f"y_target{n}"])
            dtype = self.pick(["float32", "float32", "int32", "uint8", "bool"])
            kind = self.random.random()
            if kind < 0.35:
                x = keras.Input((5,), dtype="int32", name=name)
                sequences.append(L.Embedding(6, 3, mask_zero=self.chance(0.5))(x))
            elif kind < 0.6:
                x = keras.Input((4, 3), dtype=dtype, name=name)
                sequences.append(L.Dense(3)(x))
            else:
                x = keras.Input((4,), dtype=dtype, name=name)
                vectors.append(x if self.chance(0.5) else L.Dense(4)(x))
            inputs.append(x)
        if not vectors:
            vectors.append(L.Flatten()(sequences[0]))
        for _ in range(int(self.random.integers(2, 7))):
            self.step(vectors, sequences)
        ends = [vectors[-1], *[self.pick(vectors) for _ in range(int(self.random.integers(0, 3)))]]
        # What joins whole numbers is whole, whatever Keras says of it.
        plain = lambda y: y.dtype == "float32" and not isinstance(y._keras_history[0], (L.Concatenate, L.InputLayer))
        ends = [y if plain(y) else L.Dense(2)(y) for y in ends]
        if self.chance(0.3):
            outputs = {self.pick(["a", "b", "kind"]) + str(n): y for n, y in enumerate(ends)}
        else:
            outputs = ends if len(ends) > 1 or self.chance(0.5) else ends[0]
        return keras.Model(inputs, outputs, name="drawn")

    def data(self, model, rows):
        columns = {}
        for x in model.inputs:
            shape = (rows, *x.shape[1:])
            whole = lambda: self.random.integers(0, 2 if x.dtype == "bool" else 6, shape)
            columns[x.name] = whole().astype(x.dtype) if x.dtype != "float32" else self.random.normal(size=shape).astype("float32")
        return columns


def names(model):
    """The names that `bakelite` has for the outputs: keys, or layers, and numbers behind those that are taken."""
    ends = keras.tree.flatten_with_path(model._outputs_struct)
    plain = [path[-1] if path and isinstance(path[-1], str) else y._keras_history[0].name for path, y in ends]
    found = []
    for i, name in enumerate(plain):
        n, free = 0, name
        while (free in found) if i == plain.index(name) else (free in plain or free in found):
            n += 1
            free = f"{name}_{n}"
        found.append(free)
    return found


def agree(what, got, want):
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    if got.shape != want.shape:
        return f"{what}: shape {got.shape}, Keras {want.shape}"
    off = np.abs(got - want).max(initial=0.0) / max(1.0, np.abs(want).max(initial=0.0))
    return None if off <= TOLERANCE else f"{what}: off by {off:.2g}"


def check(bakelite, seed, folder):
    draw = Draw(seed)
    model = draw.model()
    rows = 12
    x = draw.data(model, rows)
    ends = names(model)
    trains = draw.chance(0.6)
    if trains:
        optimizer = draw.pick([lambda: keras.optimizers.SGD(0.05), lambda: keras.optimizers.Adam(0.01),
                               lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))])()
        model.compile(optimizer, "mse", run_eagerly=False)
    file = folder / "m.keras"
    model.save(file)
    np.savez(folder / "x.npz", **x)

    def run(*argv):
        done = subprocess.run([bakelite, *map(str, argv)], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {done.stderr.strip()[:400]}")

    def compare(what, file):
        want = keras.tree.flatten(model.predict(list(x.values()), verbose=0))
        run("predict", file, "--input", folder / "x.npz", "--output", folder / "y.npz")
        with np.load(folder / "y.npz") as got:
            if len(got.files) != len(ends):
                return f"{what}: outputs {got.files}, expected {ends}"
            for name, value in zip(ends, want):
                key = got.files[0] if len(ends) == 1 else name
                if key not in got.files:
                    return f"{what}: no output {key} among {got.files}"
                if wrong := agree(f"{what} {name}", got[key], value):
                    return wrong

    if wrong := compare("predict", file):
        return wrong
    if trains:
        flat = keras.tree.flatten(model._outputs_struct)
        y = [draw.random.normal(size=(rows, *t.shape[1:])).astype("float32") for t in flat]
        np.savez(folder / "t.npz", **{f"x:{k}": v for k, v in x.items()}, **{f"y:{k}": v for k, v in zip(ends, y)})
        target = keras.tree.pack_sequence_as(model._outputs_struct, y)
        target = y[0] if isinstance(model._outputs_struct, list) and len(y) == 1 else target
        history = model.fit(list(x.values()), target, epochs=2, batch_size=5, shuffle=False, verbose=0).history
        run("train", file, "--data", folder / "t.npz", "--epochs", 2, "--batch-size", 5, "--no-shuffle", "--quiet",
            "--output", folder / "o.keras", "--history", folder / "h.json")
        logs = json.loads((folder / "h.json").read_text())
        if sorted(logs) != sorted(history):
            return f"history: {sorted(logs)}, Keras {sorted(history)}"
        for key in history:
            if wrong := agree(f"history {key}", logs[key], history[key]):
                return wrong
        return compare("after training", folder / "o.keras")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("bakelite")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--count", type=int, default=50)
    args.add_argument("--keep", type=pathlib.Path)
    args = args.parse_args()
    wrong = 0
    for seed in range(args.seed, args.seed + args.count):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            try:
                why = check(os.path.abspath(args.bakelite), seed, folder)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
            if why:
                wrong += 1
                print(f"{seed}: {why}", flush=True)
                if args.keep:
                    (args.keep / str(seed)).mkdir(parents=True, exist_ok=True)
                    for file in folder.iterdir():
                        (args.keep / str(seed) / file.name).write_bytes(file.read_bytes())
    print(f"{args.count - wrong} of {args.count} models agree")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
