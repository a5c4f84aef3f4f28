"""What Keras gives for losses, metrics, optimizers and schedules: writes keras.json beside this file.

    pip install keras jax numpy
    python compiler/tests/train/make_keras.py [--seed N]
"""
import argparse
import json
import os
import pathlib
import zlib

os.environ["KERAS_BACKEND"] = "jax"
import keras  # noqa: E402
import numpy as np  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", default=pathlib.Path(__file__).parent / "keras.json")
arguments = parser.parse_args()


def generator(*names):
    return np.random.default_rng([arguments.seed, zlib.crc32(" ".join(map(str, names)).encode())])


def tensor(x):
    x = np.asarray(x)
    dtype = "i32" if x.dtype.kind == "i" else "f32"
    return {"dtype": dtype, "shape": list(x.shape), "values": numbers(x)}


def numbers(x):
    """As JSON, which has no NaN, with the digits that an f32 has."""
    return [float(f"{v:.8g}") if np.isfinite(v) else None for v in np.asarray(x).ravel()]


def rounded(x):
    return np.round(x, 3).astype("f4")


# Targets and outputs by kind, and the weights that fit them.
def draw(kind, rng, shape):
    softmax = lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    normal = lambda: rounded(rng.normal(size=shape))
    classes = shape[-1]
    hot = lambda: np.eye(classes, dtype="f4")[rng.integers(0, classes, shape[:-1])]
    return {
        "numbers": lambda: (normal(), normal()),
        "positive": lambda: (rounded(rng.uniform(0, 4, shape)), rounded(rng.uniform(0.1, 4, shape))),
        "distributions": lambda: (rounded(softmax(normal())), rounded(softmax(normal()))),
        "binary": lambda: (rng.integers(0, 2, shape).astype("f4"), rounded(rng.uniform(0, 1, shape))),
        "signs": lambda: (rng.choice([-1.0, 1.0], shape).astype("f4"), normal()),
        "binary_logits": lambda: (rng.integers(0, 2, shape).astype("f4"), normal() * 3),
        "hot": lambda: (hot(), rounded(softmax(normal()))),
        "hot_logits": lambda: (hot(), normal() * 3),
        "labels": lambda: (rng.integers(0, classes, shape[:-1]).astype("i4"), rounded(softmax(normal()))),
        "labels_logits": lambda: (rng.integers(0, classes, shape[:-1]).astype("i4"), normal() * 3),
        "paths": lambda: (np.array([[1, 2, 2], [3, 0, 0], [2, 2, 1], [0, 0, 0]], "i4"), normal() * 2),
        "whole": lambda: (rng.integers(0, 3, shape).astype("f4"), rng.integers(0, 3, shape).astype("f4")),
    }[kind]()


LOSSES = [
    ("MeanSquaredError", {}, "numbers", (5, 3)),
    ("MeanSquaredError", {}, "numbers", (3, 4, 2)),
    ("MeanAbsoluteError", {}, "numbers", (5, 3)),
    ("MeanAbsolutePercentageError", {}, "numbers", (5, 3)),
    ("MeanSquaredLogarithmicError", {}, "positive", (5, 3)),
    ("Huber", {}, "numbers", (5, 3)),
    ("Huber", {"delta": 0.4}, "numbers", (5, 3)),
    ("LogCosh", {}, "numbers", (5, 3)),
    ("Poisson", {}, "positive", (5, 3)),
    ("KLDivergence", {}, "distributions", (5, 3)),
    ("CosineSimilarity", {}, "numbers", (5, 3)),
    ("CosineSimilarity", {"axis": 1}, "numbers", (3, 4, 2)),
    ("Hinge", {}, "binary_logits", (5, 3)),
    ("Hinge", {}, "signs", (5, 3)),
    ("SquaredHinge", {}, "binary_logits", (5, 3)),
    ("CategoricalHinge", {}, "hot", (5, 4)),
    ("BinaryCrossentropy", {}, "binary", (5, 3)),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, "binary_logits", (5, 3)),
    ("BinaryCrossentropy", {"axis": 1}, "binary", (3, 4, 2)),
    ("BinaryFocalCrossentropy", {}, "binary", (5, 3)),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5, "from_logits": True,
                                 "label_smoothing": 0.1}, "binary_logits", (5, 3)),
    ("CategoricalCrossentropy", {}, "hot", (5, 4)),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "hot_logits", (5, 4)),
    ("CategoricalCrossentropy", {}, "hot", (3, 2, 4)),
    ("CategoricalFocalCrossentropy", {}, "hot", (5, 4)),
    ("CategoricalFocalCrossentropy", {"alpha": 0.5, "gamma": 1.0, "from_logits": True, "label_smoothing": 0.2},
     "hot_logits", (5, 4)),
    ("SparseCategoricalCrossentropy", {}, "labels", (5, 4)),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "labels_logits", (3, 2, 4)),
    ("SparseCategoricalCrossentropy", {"ignore_class": 1}, "labels", (7, 3)),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 0}, "labels_logits", (3, 4, 3)),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.7}, "labels", (5, 4)),
    ("Dice", {}, "binary", (3, 4, 2)),
    ("Dice", {"axis": [1, 2]}, "binary", (3, 4, 2)),
    ("Tversky", {"alpha": 0.3, "beta": 0.7}, "binary", (3, 4, 2)),
    ("Tversky", {"axis": [1]}, "binary", (3, 4)),
    ("CTC", {}, "paths", (4, 6, 5)),
]
SEQUENCES = (3, 4, 2), (3, 2, 4), (3, 4, 3)


def losses():
    for i, (name, config, kind, shape) in enumerate(LOSSES):
        rng = generator("loss", i)
        target, output = draw(kind, rng, shape)
        weights = [None, rounded(rng.uniform(0, 2, shape[:1]))]
        if name in ("Dice", "Tversky"):
            weights = [None]
        elif name == "CTC":
            pass
        elif shape in SEQUENCES:
            weights = [None, rounded(rng.uniform(0, 2, shape[:2]))] if "axis" not in config else [None]
        for weight in weights:
            for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
                loss = getattr(keras.losses, name)(reduction=reduction, **config)
                value = float(loss(target, output, sample_weight=weight))
                case = {"class": name, "config": config, "reduction": reduction, "target": tensor(target),
                        "output": tensor(output), "expected": value}
                if weight is not None:
                    case["weight"] = tensor(weight)
                yield case


even = [i / 10 for i in range(1, 10)]
METRICS = [
    ("MeanSquaredError", {}, "numbers", (5, 3)),
    ("RootMeanSquaredError", {}, "numbers", (5, 3)),
    ("RootMeanSquaredError", {}, "numbers", (3, 4, 2)),
    ("MeanAbsolutePercentageError", {}, "numbers", (5, 3)),
    ("LogCoshError", {}, "numbers", (5, 3)),
    ("CosineSimilarity", {}, "numbers", (5, 3)),
    ("R2Score", {}, "numbers", (5, 3)),
    ("R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 2}, "numbers", (5, 3)),
    ("R2Score", {"class_aggregation": None}, "numbers", (5, 3)),
    ("BinaryCrossentropy", {"from_logits": True}, "binary_logits", (5, 3)),
    ("SparseCategoricalCrossentropy", {}, "labels", (5, 4)),
    ("KLDivergence", {}, "distributions", (5, 3)),
    ("Poisson", {}, "positive", (5, 3)),
    ("Hinge", {}, "signs", (5, 3)),
    ("CategoricalHinge", {}, "hot", (5, 4)),
    ("BinaryAccuracy", {"threshold": 0.4}, "binary", (5, 3)),
    ("CategoricalAccuracy", {}, "hot", (5, 4)),
    ("SparseCategoricalAccuracy", {}, "labels", (5, 4)),
    ("SparseCategoricalAccuracy", {}, "labels", (3, 2, 4)),
    ("TopKCategoricalAccuracy", {"k": 2}, "hot", (5, 4)),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, "labels", (5, 6)),
    ("TruePositives", {}, "binary", (5, 3)),
    ("FalsePositives", {"thresholds": 0.3}, "binary", (5, 3)),
    ("TrueNegatives", {"thresholds": [0.2, 0.7]}, "binary", (5, 3)),
    ("FalseNegatives", {}, "binary", (5, 3)),
    ("Precision", {}, "binary", (5, 3)),
    ("Precision", {"thresholds": [0.1, 0.5, 0.8]}, "binary", (5, 3)),
    ("Precision", {"top_k": 2}, "hot", (5, 4)),
    ("Precision", {"class_id": 1, "top_k": 2, "thresholds": 0.2}, "hot", (7, 4)),
    ("Recall", {}, "binary", (5, 3)),
    ("Recall", {"class_id": 2}, "binary", (5, 3)),
    ("Recall", {"top_k": 1}, "hot", (7, 4)),
    ("AUC", {}, "binary", (7, 3)),
    ("AUC", {"curve": "PR"}, "binary", (7, 3)),
    ("AUC", {"curve": "PR", "summation_method": "minoring", "num_thresholds": 11}, "binary", (7, 3)),
    ("AUC", {"summation_method": "majoring", "num_thresholds": 3}, "binary", (7, 3)),
    ("AUC", {"curve": "PRGAIN"}, "binary", (7, 3)),
    ("AUC", {"from_logits": True}, "binary_logits", (7, 1)),
    ("AUC", {"thresholds": [0.1, 0.35, 0.9]}, "binary", (7, 3)),
    ("AUC", {"thresholds": even}, "binary", (7, 3)),
    ("AUC", {"multi_label": True, "num_labels": 3}, "binary", (9, 3)),
    ("AUC", {"multi_label": True, "curve": "PR", "label_weights": [0.5, 1.0, 2.0]}, "binary", (9, 3)),
    ("AUC", {"label_weights": [0.5, 1.0, 2.0]}, "binary", (7, 3)),
    ("SensitivityAtSpecificity", {"specificity": 0.6}, "binary", (9, 2)),
    ("SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 20}, "binary", (9, 2)),
    ("PrecisionAtRecall", {"recall": 0.6}, "binary", (9, 2)),
    ("RecallAtPrecision", {"precision": 0.6, "class_id": 1}, "binary", (9, 2)),
    ("RecallAtPrecision", {"precision": 0.5, "num_thresholds": 1}, "binary", (9, 2)),
    ("F1Score", {}, "hot", (7, 3)),
    ("F1Score", {"average": "micro", "threshold": 0.5}, "binary", (7, 3)),
    ("F1Score", {"average": "macro"}, "hot", (7, 3)),
    ("FBetaScore", {"average": "weighted", "beta": 2.0, "threshold": 0.4}, "binary", (7, 3)),
    ("MeanIoU", {"num_classes": 3}, "whole", (7,)),
    ("MeanIoU", {"num_classes": 2}, "whole", (3, 4)),
    ("MeanIoU", {"num_classes": 4, "sparse_y_pred": False}, "labels", (7, 4)),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 2], "ignore_class": 1}, "whole", (9,)),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, "binary", (5, 3)),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [1, 3]}, "hot", (9, 4)),
    ("OneHotMeanIoU", {"num_classes": 3}, "hot", (4, 3)),
]
WHOLE_WEIGHTS = ("MeanIoU", "IoU", "BinaryIoU", "OneHotIoU", "OneHotMeanIoU")


def metrics():
    for i, (name, config, kind, shape) in enumerate(METRICS):
        for weighted in (False, True):
            rng = generator("metric", i)
            metric = getattr(keras.metrics, name)(**config)
            batches = []
            for rows in (shape[0], max(shape[0] - 2, 1)):
                target, output = draw(kind, rng, (rows, *shape[1:]))
                batch = {"target": tensor(target), "output": tensor(output)}
                weight = None
                if weighted:
                    if name in WHOLE_WEIGHTS:
                        positions = target if kind != "hot" else target[..., 0]
                        weight = rng.integers(0, 3, positions.shape).astype("f4")
                    else:
                        weight = rounded(rng.uniform(0, 2, (rows,) if len(shape) < 3 else (rows, shape[1])))
                    batch["weight"] = tensor(weight)
                metric.update_state(target, output, sample_weight=weight)
                batches.append({**batch, "expected": numbers(metric.result())})
            yield {"class": name, "config": config, "batches": batches}


COMMON = [
    {"weight_decay": 0.1},
    {"clipnorm": 0.5},
    {"global_clipnorm": 0.5},
    {"clipvalue": 0.2},
    {"use_ema": True, "ema_momentum": 0.8},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 2, "weight_decay": 0.05},
    {"learning_rate": {"module": "keras.optimizers.schedules", "class_name": "ExponentialDecay", "config": {
        "initial_learning_rate": 0.1, "decay_steps": 2, "decay_rate": 0.5, "staircase": True}}},
]
OPTIMIZERS = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.8, "nesterov": True}),
    ("RMSprop", {"learning_rate": 0.02}),
    ("RMSprop", {"learning_rate": 0.02, "momentum": 0.5, "centered": True, "rho": 0.8}),
    ("Adagrad", {"learning_rate": 0.2}),
    ("Adagrad", {"learning_rate": 0.2, "initial_accumulator_value": 0.5, "epsilon": 0.01}),
    ("Adadelta", {"learning_rate": 2.0, "rho": 0.9}),
    ("Adam", {"learning_rate": 0.05}),
    ("Adam", {"learning_rate": 0.05, "amsgrad": True, "beta_1": 0.8, "beta_2": 0.5}),
    ("AdamW", {"learning_rate": 0.05}),
    ("AdamW", {"learning_rate": 0.05, "weight_decay": 0.5}),
    ("Nadam", {"learning_rate": 0.05}),
    ("Nadam", {"learning_rate": 0.05, "gradient_accumulation_steps": 2}),
    ("Adamax", {"learning_rate": 0.05}),
    ("Ftrl", {"learning_rate": 0.1}),
    ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": -0.7, "l1_regularization_strength": 0.2,
              "l2_regularization_strength": 0.3, "l2_shrinkage_regularization_strength": 0.1, "beta": 0.5}),
    ("Lion", {"learning_rate": 0.02}),
    ("Lamb", {"learning_rate": 0.05}),
    ("Adafactor", {"learning_rate": 0.05}),
    ("Adafactor", {"learning_rate": 0.5, "clip_threshold": 0.5, "beta_2_decay": -0.5}),
    *[("Adam" if i % 2 else "SGD", {"learning_rate": 0.1, **common}) for i, common in enumerate(COMMON)],
]
STEPS = 7


def optimizers():
    for i, (name, config) in enumerate(OPTIMIZERS):
        rng = generator("optimizer", i)
        kernel, bias = rounded(rng.normal(size=(3, 2))), rounded(rng.normal(size=2))
        x, y = rounded(rng.normal(size=(STEPS, 4, 3))), rounded(rng.normal(size=(STEPS, 4, 2)))
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_constraint="non_neg")])
        model.set_weights([kernel, bias])
        optimizer = getattr(keras.optimizers, name).from_config(json.loads(json.dumps(config)))
        model.compile(optimizer, "mse")
        after = []
        for step in range(STEPS):
            model.train_on_batch(x[step], y[step])
            after.append([v for w in model.get_weights() for v in numbers(w)])
        optimizer.finalize_variable_values(model.trainable_variables)
        final = [v for w in model.trainable_variables for v in numbers(w)]
        yield {"class": name, "config": config, "kernel": tensor(kernel), "bias": tensor(bias),
               "x": [tensor(v) for v in x], "y": [tensor(v) for v in y], "after": after,
               "final": final if config.get("use_ema") else None}


SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9, "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 10], "values": [1.0, 0.5, 0.1]}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 20}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "end_learning_rate": 0.01, "power": 2.0,
                         "cycle": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5, "staircase": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 20, "alpha": 0.1}),
    ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 20, "warmup_target": 0.2, "warmup_steps": 5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5.5}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 5.5, "t_mul": 1.0, "m_mul": 0.7,
                             "alpha": 0.1}),
    ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 4.5, "t_mul": 1.5, "m_mul": 0.7}),
]


def schedules():
    for name, config in SCHEDULES:
        schedule = getattr(keras.optimizers.schedules, name)(**config)
        written = {k: v for k, v in schedule.get_config().items() if k != "name"}
        yield {"class": name, "config": config, "written": written, "expected": [float(schedule(s)) for s in range(40)]}


tables = {"made_with": f"Keras {keras.__version__}", "seed": arguments.seed, "losses": list(losses()),
          "metrics": list(metrics()), "optimizers": list(optimizers()), "schedules": list(schedules())}
sections = ",\n".join(
    f'"{name}": ' + ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]" if isinstance(rows, list) else json.dumps(rows))
    for name, rows in tables.items())
pathlib.Path(arguments.out).write_text("{\n" + sections + "\n}\n")
