#!/usr/bin/env python3
"""Opens in Keras what Bakelite wrote: predictions are equal, and training goes on as if it had never left Keras.

usage: check_keras_files.py DIR      (after BAKELITE_KERAS_OUT=DIR cargo test -p bakelite-compiler --test keras_files)

For every fixture of the running version of Keras: the file that Keras wrote is trained in Keras for the two batches
that Bakelite trained it for; the files that Bakelite wrote afterwards (with the file's own configuration, with one made
from its layers, and weights alone) must then predict the same, have the same optimizer state, and have the same losses
for two more batches. Says why and succeeds where Keras is not installed.
"""

import json
import os
import pathlib
import sys
import warnings

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
TOLERANCE = 2e-4

try:
    import keras
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(0)

warnings.filterwarnings("error", message=".*optimizer.*")


def arrays(flat, tensors, rows):
    return [np.array(v, "float32").reshape((rows, *t.shape[1:])).astype(str(t.dtype)) for v, t in zip(flat, tensors)]


def one(values):
    return values[0] if len(values) == 1 else values


def same(what, got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, {want.shape} expected"
    worst = np.max(np.abs(got - want) / (1 + np.abs(want)), initial=0)
    assert worst <= TOLERANCE, f"{what}: off by {worst:.2g}"


def check(path, fixture, case, rows):
    load = lambda p: keras.saving.load_model(str(p))
    original = load(fixture)
    if path.name.endswith(".weights.h5"):
        ours = load(fixture)
        ours.load_weights(str(path))
    else:
        ours = load(path)
    batches = [(arrays(x, original.inputs, rows), arrays(y, original.outputs, rows)) for x, y in zip(case["x"], case["y"])]
    trained = "losses" in case
    if trained:
        for x, y in batches:
            original.train_on_batch(one(x), one(y))
    for x, _ in batches:
        predicted = [np.asarray(p) for p in keras.tree.flatten(ours.predict(one(x), verbose=0, batch_size=rows))]
        expected = [np.asarray(p) for p in keras.tree.flatten(original.predict(one(x), verbose=0, batch_size=rows))]
        for got, want in zip(predicted, expected, strict=True):
            same("predictions", got, want)
    if not trained:
        return
    assert ours.optimizer is not None, "it is not compiled"
    ours_state, state = ours.optimizer.variables, original.optimizer.variables
    assert len(ours_state) == len(state), f"{len(ours_state)} optimizer variables, {len(state)} expected"
    for got, want in zip(ours_state, state):
        same(f"optimizer's {want.path}", got.numpy(), want.numpy())
    for number, (x, y) in enumerate(batches):
        got, want = (m.train_on_batch(one(x), one(y), return_dict=True)["loss"] for m in (ours, original))
        same(f"loss {number}", got, want)


def main():
    out = pathlib.Path(sys.argv[1]) / keras.__version__
    fixtures = pathlib.Path(__file__).parent / "fixtures" / "keras_files" / keras.__version__
    if not (fixtures / "cases.json").exists():
        print(f"skipped: there are no fixtures of Keras {keras.__version__}")
        return
    document = json.loads((fixtures / "cases.json").read_text())
    checked, failures = 0, []
    for name, case in document["cases"].items():
        if f"{name}.keras" not in case["files"]:
            continue
        for suffix in ("keras", "anew.keras", "weights.h5"):
            path = out / f"{name}.{suffix}"
            if suffix != "anew.keras" or path.exists():
                checked += 1
                try:
                    check(path, fixtures / f"{name}.keras", case, document["rows"])
                except Exception as error:
                    failures.append(f"{path.name}: {type(error).__name__}: {error}")
                    print(failures[-1][:400], flush=True)
    print(f"Keras {keras.__version__}: {checked} files of {len(document['cases'])} models, {len(failures)} fail")
    sys.exit(1 if failures or not checked else 0)


if __name__ == "__main__":
    main()
