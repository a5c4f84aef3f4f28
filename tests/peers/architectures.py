"""The named architectures of Keras, as `keras.applications` builds them, run by `bakelite`.

    python architectures.py PATH_OF_BAKELITE [NAME ...]

PATH_OF_BAKELITE is an optimised build. Each model gets random weights, and normalisations get scales and statistics as
if it had been trained. It is saved twice: as it is built by default, for images of ImageNet, and without its top, whose
softmax hides differences. `bakelite predict` must answer as Keras does, and `bakelite compile` must be done in ten
seconds. Two are trained for four steps by both, on small images: the histories must agree, and Keras must predict with
the file that the command wrote as the command does.

One line is printed for each model. For probabilities `relative` is relative to each of them, which is what logits
differ by; for features, to the largest one. Without Keras the script says so and ends well.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    import keras
    import numpy as np
except ImportError as reason:
    print(f"skipped: {reason}")
    sys.exit(0)

from keras import layers

PREDICTED = ["VGG16", "Xception", "InceptionV3", "ResNet50", "MobileNetV2", "VGG19", "ResNet50V2", "MobileNet", "DenseNet121"]
# With rates at which the loss falls by about a hundredth. Where a rectifier is at zero, rounding decides what its gradient
# is, and all gradients below with it: after longer steps the two trainings have nothing in common.
TRAINED = {"MobileNetV2": 2e-5, "ResNet50V2": 2e-7}
IMAGES, TOLERANCE, COMPILE_SECONDS = 3, 2e-4, 10.0


class Mismatch(Exception):
    pass


def settle(model, rng):
    """Weights as of a trained model: signals that neither die nor explode, and statistics that are not the initial ones.

    Normalisations get scales around 1, and the statistics that random images have, give or take a quarter.
    """
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in ("bias", "beta"):
                weight.assign(rng.normal(0, 0.1, weight.shape))
            elif weight.name == "gamma":
                weight.assign(rng.uniform(0.6, 1.4, weight.shape))
            elif not norms:
                # What the rectifiers take away.
                weight.assign(weight * 2**0.5)
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(images(model, rng), training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
        spread = np.sqrt(np.asarray(layer.moving_variance))
        layer.moving_mean.assign(layer.moving_mean + spread * rng.uniform(-0.25, 0.25, spread.shape))
        layer.moving_variance.assign(layer.moving_variance * rng.uniform(0.75, 1.25, spread.shape))


def images(model, rng, count=IMAGES):
    """Images that differ as a whole and in detail: of noise alone, averages over a whole image would all be alike."""
    height, width, colours = model.inputs[0].shape[1:]
    coarse = rng.uniform(-0.7, 0.7, (count, 8, 8, colours)).repeat(-(-height // 8), 1).repeat(-(-width // 8), 2)
    bright = rng.uniform(-0.2, 0.2, (count, 1, 1, colours))
    fine = rng.uniform(-0.1, 0.1, (count, height, width, colours))
    return (coarse[:, :height, :width] + bright + fine).astype("float32")


def run(bakelite, *arguments):
    start = time.perf_counter()
    done = subprocess.run([bakelite, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Mismatch(f"bakelite {arguments[0]} ended with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - start


def near(what, got, want, scale):
    """The largest difference, and the largest in proportion."""
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    if got.shape != want.shape:
        raise Mismatch(f"{what} have the shape {got.shape}, Keras's {want.shape}")
    apart = np.abs(got - want)
    largest, relative = float(np.max(apart)), float(np.max(apart / scale(np.abs(want))))
    if not relative <= TOLERANCE:
        raise Mismatch(f"{what}: off by {largest:.1e}, in proportion {relative:.1e}, more than {TOLERANCE:.0e}")
    return f"{what} {largest:.1e} relative {relative:.1e}"


def predictions(bakelite, model, x, folder):
    """What the command and Keras say of some images."""
    path = lambda name: os.path.join(folder, name)
    model.save(path("model.keras"))
    np.savez(path("x.npz"), x=x)
    run(bakelite, "predict", path("model.keras"), "--input", path("x.npz"), "--output", path("y.npz"), "--quiet")
    with np.load(path("y.npz")) as y:
        if list(y) != model.output_names:
            raise Mismatch(f"predictions are called {list(y)}, Keras's outputs {model.output_names}")
        return y[model.output_names[0]], model.predict(x, verbose=0)


def predicted(bakelite, name, folder):
    rng = np.random.default_rng(sum(name.encode()))
    keras.utils.set_random_seed(5)
    build = getattr(keras.applications, name)
    model = build(weights=None)
    settle(model, rng)
    x = images(model, rng)
    got, want = predictions(bakelite, model, x, folder)
    # Images that all look alike to the model would prove nothing.
    if not np.ptp(want, axis=0).max() > 0.02 * want.max():
        raise Mismatch(f"Keras's own predictions differ by {np.ptp(want, axis=0).max():.1e} only")
    probabilities = near("probabilities", got, want, lambda want: want)
    library = os.path.join(folder, "library")
    took = run(bakelite, "compile", os.path.join(folder, "model.keras"), "--output", library, "--quiet")
    base = build(weights=None, include_top=False, input_shape=model.input_shape[1:])
    base.set_weights(model.get_weights()[: len(base.weights)])
    got, want = predictions(bakelite, base, x, folder)
    features = near("features", got, want, np.max)
    if took > COMPILE_SECONDS:
        raise Mismatch(f"it compiles in {took:.1f} s, more than {COMPILE_SECONDS} s")
    return f"{model.count_params() / 1e6:6.1f} M   compile {took:4.1f} s   {probabilities}   {features}"


def trained(bakelite, name, folder):
    rng = np.random.default_rng(sum(name.encode()))
    keras.utils.set_random_seed(6)
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)
    settle(model, rng)
    optimizer = keras.optimizers.SGD(TRAINED[name], momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    path = lambda name: os.path.join(folder, name)
    model.save(path("model.keras"))
    x, y = images(model, rng, 16), rng.integers(0, 10, 16)
    np.savez(path("d.npz"), x=x, y=y)
    wanted = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    run(bakelite, "train", path("model.keras"), "--data", path("d.npz"), "--batch-size", "8", "--epochs", "2",
        "--no-shuffle", "--output", path("out.keras"), "--history", path("h.json"), "--quiet")
    with open(path("h.json")) as file:
        history = json.load(file)
    if sorted(history) != sorted(wanted):
        raise Mismatch(f"the history has the keys {sorted(history)}, Keras's {sorted(wanted)}")
    losses = near("losses", history["loss"], wanted["loss"], lambda want: want)
    near("accuracies", history["accuracy"], wanted["accuracy"], np.ones_like)
    fell, want = -np.diff(history["loss"])[0], -np.diff(wanted["loss"])[0]
    if not abs(fell - want) <= 0.05 * abs(want):
        raise Mismatch(f"the loss falls by {fell:.3e}, Keras's by {want:.3e}")
    run(bakelite, "predict", path("out.keras"), "--input", path("d.npz"), "--output", path("y.npz"), "--quiet")
    with np.load(path("y.npz")) as predicted:
        again = keras.saving.load_model(path("out.keras")).predict(x, verbose=0)
        written = near("probabilities of the file", predicted[model.output_names[0]], again, np.max)
    return f"trained: the loss falls by {fell:.2e}, Keras's by {want:.2e}   {losses}   {written}"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bakelite, chosen = os.path.abspath(sys.argv[1]), sys.argv[2:]
    failed = 0
    print(f"Keras {keras.__version__} on {keras.backend.backend()}")
    for check, names in ((predicted, PREDICTED), (trained, list(TRAINED))):
        for name in names:
            if chosen and name not in chosen:
                continue
            keras.backend.clear_session()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    print(f"{name:<12} {check(bakelite, name, folder)}", flush=True)
                except Mismatch as why:
                    failed += 1
                    print(f"{name:<12} differs: {why}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
