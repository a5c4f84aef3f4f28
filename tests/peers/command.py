"""Models go from Keras through `bakelite train` and back.

    python command.py PATH_OF_BAKELITE [NAME ...]

Each model is made and compiled in Keras, and trained by Keras and by the command from the same file, on the same rows in
the same order. What is compared: the histories, key by key; the predictions of the file that the command wrote, in Keras
and by the command; the results of `evaluate`; what comes of the same model as an .h5 file and as JSON with a file of
weights; and a further epoch in Keras, once in the model that Keras trained and once in the one that the command wrote,
whose optimizer must go on as if it had never left.

Without Keras the script says so and ends well.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    import keras
    import numpy as np
except ImportError as reason:
    print(f"skipped: {reason}")
    sys.exit(0)

from keras import layers

# A model that was not trained yet has no state of its optimizer to load.
warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")

ROWS, VALIDATION, BATCH, EPOCHS = 50, 21, 16, 2
rng = np.random.default_rng(7)


def normal(*item):
    return lambda rows: rng.normal(size=(rows, *item)).astype("float32")


def words(length, vocabulary):
    """Sentences of different lengths, with zeros behind them."""

    def draw(rows):
        x = rng.integers(1, vocabulary, size=(rows, length))
        x[np.arange(length)[None] >= rng.integers(1, length + 1, size=(rows, 1))] = 0
        return x.astype("int32")

    return draw


def labels(classes, *item):
    return lambda rows: rng.integers(0, classes, size=(rows, *item))


def one_hot(classes):
    return lambda rows: np.eye(classes, dtype="float32")[rng.integers(0, classes, size=rows)]


def mlp():
    model = keras.Sequential(
        [layers.Input((20,)), layers.Dense(16, activation="relu"), layers.Dense(8, activation="tanh"), layers.Dense(1)]
    )
    model.compile("rmsprop", "mse", metrics=["mae"])
    return model, [normal(20)], [normal()]


def convnet():
    model = keras.Sequential(
        [
            layers.Input((12, 12, 3), name="image"),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Conv2D(12, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, name="kind"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model, [normal(12, 12, 3)], [labels(5)]


def xception():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    for width in (12, 16):
        residual = layers.Conv2D(width, 1, strides=2, padding="same", use_bias=False)(x)
        residual = layers.BatchNormalization()(residual)
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = layers.add([x, residual])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(4, activation="softmax")(x), name="xception")
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
    return model, [normal(16, 16, 3)], [one_hot(4)]


def inception():
    image = keras.Input((10, 10, 3))
    conv = lambda x, n, k, **kw: layers.Conv2D(n, k, padding="same", activation="relu", **kw)(x)
    x = conv(image, 6, 3)
    a = conv(x, 4, 1)
    b = conv(conv(x, 3, 1), 4, 3)
    c = conv(conv(conv(x, 3, 1), 4, 3), 4, 3)
    d = conv(layers.AveragePooling2D(3, strides=1, padding="same")(x), 4, 1)
    x = layers.concatenate([a, b, c, d])
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="kind")(x), name="inception")
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [normal(10, 10, 3)], [labels(3)]


def text():
    model = keras.Sequential(
        [
            layers.Input((None,), dtype="int32", name="words"),
            layers.Embedding(30, 8, mask_zero=True),
            layers.LSTM(10, return_sequences=True),
            layers.LSTM(6),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    return model, [words(9, 30)], [labels(2)]


def gru():
    series = keras.Input((11, 4))
    x = layers.Bidirectional(layers.GRU(6, return_sequences=True))(series)
    x = layers.Bidirectional(layers.GRU(5), merge_mode="sum")(x)
    model = keras.Model(series, layers.Dense(1)(x), name="gru")
    optimizer = keras.optimizers.RMSprop(keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9))
    model.compile(optimizer, "mae", metrics=["mse"])
    return model, [normal(11, 4)], [normal(1)]


def several():
    title, image = keras.Input((7,), dtype="int32", name="title"), keras.Input((6, 6, 1), name="image")
    a = layers.GlobalAveragePooling1D()(layers.Embedding(20, 5)(title))
    b = layers.Flatten()(layers.Conv2D(3, 3, activation="relu", kernel_regularizer="l2")(image))
    x = layers.Dense(8, activation="relu")(layers.concatenate([a, b]))
    age = layers.Dense(1, name="age")(x)
    kind = layers.Dense(4, activation="softmax", name="kind")(x)
    gender = layers.Dense(1, activation="sigmoid", name="gender")(x)
    model = keras.Model([title, image], [age, kind, gender], name="several")
    model.compile(
        keras.optimizers.AdamW(2e-3),
        {"age": "mse", "kind": "sparse_categorical_crossentropy", "gender": "binary_crossentropy"},
        loss_weights={"age": 0.25, "kind": 1.0, "gender": 10.0},
        metrics={"age": ["mae"], "kind": ["accuracy"]},
    )
    return model, [words(7, 20), normal(6, 6, 1)], [normal(1), labels(4), labels(2, 1)]


def siamese():
    left, right = keras.Input((9, 3), name="left"), keras.Input((9, 3), name="right")
    lstm = layers.LSTM(6)
    x = layers.concatenate([lstm(left), lstm(right)])
    model = keras.Model([left, right], layers.Dense(1, activation="sigmoid")(x), name="siamese")
    model.compile(keras.optimizers.Nadam(5e-3), "binary_crossentropy", metrics=["accuracy", "mae"])
    return model, [normal(9, 3), normal(9, 3)], [labels(2, 1)]


def autoencoder():
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(x)
    model = keras.Model(image, layers.Conv2D(1, 3, padding="same", name="decoded")(x), name="autoencoder")
    model.compile(keras.optimizers.Adadelta(1.0), "mse")
    return model, [normal(8, 8, 1)], [normal(8, 8, 1)]


def transformer():
    series = keras.Input((7, 8))
    x = series
    for _ in range(2):
        attended = layers.MultiHeadAttention(2, 4)(x, x)
        x = layers.LayerNormalization()(layers.add([x, attended]))
        dense = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
        x = layers.LayerNormalization()(layers.add([x, dense]))
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(series, layers.Dense(3, activation="softmax")(x), name="transformer")
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [normal(7, 8)], [labels(3)]


MODELS = [mlp, convnet, xception, inception, text, gru, several, siamese, autoencoder, transformer]


def far(got, want):
    """The largest distance, relative to the largest number."""
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    if got.shape != want.shape:
        return float("inf")
    return float(np.max(np.abs(got - want), initial=0) / max(1.0, np.max(np.abs(want), initial=0)))


def as_list(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


class Mismatch(Exception):
    pass


def near(what, got, want, tolerance):
    distance = far(got, want)
    if not distance <= tolerance:
        raise Mismatch(f"{what}: off by {distance:.2e}, more than {tolerance:.0e}")
    return distance


def same_numbers(what, got, want, tolerance):
    if sorted(got) != sorted(want):
        raise Mismatch(f"{what} has the keys {sorted(got)}, Keras has {sorted(want)}")
    return max(near(f"{what} {key}", got[key], want[key], tolerance) for key in want)


def check(bakelite, make, folder, tolerance=2e-4):
    keras.utils.set_random_seed(3)
    model, inputs, targets = make()
    path = lambda name: os.path.join(folder, name)

    def run(*arguments):
        done = subprocess.run([bakelite, *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            raise Mismatch(f"bakelite {arguments[0]} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def rows(name, count):
        xs, ys = [draw(count) for draw in inputs], [draw(count) for draw in targets]
        keys = [f"x:{x.name}" for x in model.inputs] if len(xs) > 1 else ["x"]
        keys += [f"y:{y}" for y in model.output_names] if len(ys) > 1 else ["y"]
        np.savez(path(name), **dict(zip(keys, xs + ys)))
        return (xs, ys) if len(xs) > 1 or len(ys) > 1 else (xs[0], ys[0])

    train, validation = rows("train.npz", ROWS), rows("validation.npz", VALIDATION)
    model.save(path("model.keras"))
    fit = dict(batch_size=BATCH, shuffle=False, verbose=0, validation_data=validation)
    unpack = lambda data: tuple(part[0] if isinstance(part, list) and len(part) == 1 else part for part in data)
    train, fit["validation_data"] = unpack(train), unpack(validation)
    by_keras = keras.saving.load_model(path("model.keras"))
    history = by_keras.fit(*train, epochs=EPOCHS, **fit).history

    files = ["--data", path("train.npz"), "--validation", path("validation.npz"), "--batch-size", str(BATCH)]
    run("train", path("model.keras"), *files, "--epochs", str(EPOCHS), "--no-shuffle", "--quiet",
        "--output", path("trained.keras"), "--history", path("history.json"))
    with open(path("history.json")) as file:
        distances = [same_numbers("the history", json.load(file), history, tolerance)]

    trained = keras.saving.load_model(path("trained.keras"))
    x = unpack(validation)[0]
    wanted = as_list(by_keras.predict(x, verbose=0))
    for got, want in zip(as_list(trained.predict(x, verbose=0)), wanted):
        distances.append(near("predictions of the written file", got, want, tolerance))
    run("predict", path("trained.keras"), "--input", path("validation.npz"), "--output", path("predicted.npz"))
    with np.load(path("predicted.npz")) as predicted:
        names = by_keras.output_names if isinstance(by_keras, keras.Model) and not isinstance(
            by_keras, keras.Sequential) else [by_keras.layers[-1].name]
        if sorted(predicted) != sorted(names):
            raise Mismatch(f"predictions are called {sorted(predicted)}, Keras's outputs {names}")
        for name, want in zip(names, wanted):
            distances.append(near("predictions of the command", predicted[name], want, tolerance))

    evaluated = json.loads(run("evaluate", path("trained.keras"), "--data", path("validation.npz"), "--batch-size", "16"))
    wanted = by_keras.evaluate(*unpack(validation), batch_size=16, verbose=0, return_dict=True)
    distances.append(same_numbers("evaluate", evaluated, wanted, tolerance))

    # The same training from the older format, and from the description with the weights beside it.
    untrained = keras.saving.load_model(path("model.keras"))
    with open(path("model.json"), "w") as file:
        file.write(untrained.to_json())
    untrained.save_weights(path("model.weights.h5"))
    # It takes the optimizer out of the compile configuration.
    untrained.save(path("model.h5"))
    for form, more in (("h5", []), ("json", ["--weights", path("model.weights.h5")])):
        run("train", path(f"model.{form}"), *files, "--epochs", str(EPOCHS), "--no-shuffle", "--quiet",
            "--output", path("other.keras"), *more)
        other = keras.saving.load_model(path("other.keras"))
        for got, want in zip(as_list(other.predict(x, verbose=0)), as_list(by_keras.predict(x, verbose=0))):
            distances.append(near(f"predictions of what was trained from .{form}", got, want, tolerance))
        for got, want in zip(other.optimizer.variables, by_keras.optimizer.variables, strict=True):
            distances.append(near(f"{want.path} of what was trained from .{form}", got.numpy(), want.numpy(), tolerance))

    # Further training: in Keras from what the command wrote, and by the command from the same.
    run("train", path("trained.keras"), *files, "--no-shuffle", "--quiet", "--output", path("again.keras"))
    wanted = by_keras.fit(*train, epochs=1, **fit).history
    went_on = trained.fit(*train, epochs=1, **fit).history
    distances.append(same_numbers("the history after the return", went_on, wanted, tolerance))
    again = keras.saving.load_model(path("again.keras"))
    for way, other in (("after the return", trained), ("after two trainings of the command", again)):
        for variable, want in zip(other.weights, by_keras.weights):
            distances.append(near(f"{variable.path} {way}", variable.numpy(), want.numpy(), 5 * tolerance))
        if int(other.optimizer.iterations) != int(by_keras.optimizer.iterations):
            raise Mismatch(f"{int(other.optimizer.iterations)} steps {way}, not {int(by_keras.optimizer.iterations)}")
    return max(distances)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bakelite, chosen = os.path.abspath(sys.argv[1]), sys.argv[2:]
    failed = 0
    print(f"Keras {keras.__version__} on {keras.backend.backend()}")
    for make in MODELS:
        if chosen and make.__name__ not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"{make.__name__:<12} agrees: largest difference {check(bakelite, make, folder):.1e}", flush=True)
            except Mismatch as why:
                failed += 1
                print(f"{make.__name__:<12} differs: {why}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
