"""The workloads of the benchmarks in PyTorch, and in Keras jitted whole by JAX. `workloads.rs` defines the same ones.

Run by compare.py as `peers.py NAME THREADS`: requests and answers as in `src/bin/worker.rs`.
"""

import os
import sys
import time

import numpy as np

# name: (shape of an item, batch, loss, outputs)
WORKLOADS = {
    "tiny": ((4,), 8, "mse", 4),
    "mlp": ((784,), 128, "sparse", 10),
    "imdb": ((10000,), 512, "binary", 1),
    "conv": ((28, 28, 1), 64, "sparse", 10),
    "resnet": ((32, 32, 3), 32, "sparse", 10),
}


def data(name):
    shape, batch, loss, outputs = WORKLOADS[name]
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(batch, *shape)).astype("float32")
    if loss == "mse":
        return x, rng.uniform(-1, 1, size=(batch, outputs)).astype("float32")
    if loss == "sparse":
        return x, rng.integers(0, outputs, batch).astype("int32")
    return x, rng.integers(0, 2, (batch, 1)).astype("float32")


class Jax:
    """Keras's model and optimizer, with the whole training step in one compiled function."""

    def __init__(self, threads):
        # XLA's thread pool takes the cores that the process may run on.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        os.environ["KERAS_BACKEND"] = "jax"
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax
        import keras

        self.jax, self.keras = jax, keras
        self.version = f"jax {jax.__version__}, keras {keras.__version__}"

    def model(self, name):
        keras = self.keras
        from keras import layers as K

        shape, _, loss, outputs = WORKLOADS[name]
        x = h = keras.Input(shape)
        if name == "tiny":
            h = K.Dense(32, activation="tanh")(K.Dense(32, activation="tanh")(h))
        elif name == "mlp":
            h = K.Dense(512, activation="relu")(h)
        elif name == "imdb":
            h = K.Dense(16, activation="relu")(K.Dense(16, activation="relu")(h))
        elif name == "conv":
            h = K.MaxPooling2D(2)(K.Conv2D(32, 3, activation="relu")(h))
            h = K.MaxPooling2D(2)(K.Conv2D(64, 3, activation="relu")(h))
            h = K.Flatten()(K.Conv2D(64, 3, activation="relu")(h))
            h = K.Dense(64, activation="relu")(h)
        elif name == "resnet":
            conv = lambda f, s: K.Conv2D(f, 3, strides=s, padding="same", use_bias=False)
            h = K.Activation("relu")(K.BatchNormalization()(conv(32, 1)(h)))
            for f, s in ((32, 1), (64, 2), (128, 2)):
                r = h if s == 1 else K.Conv2D(f, 1, strides=s, use_bias=False)(h)
                h = K.Activation("relu")(K.BatchNormalization()(conv(f, s)(h)))
                h = K.Activation("relu")(K.Add()([K.BatchNormalization()(conv(f, 1)(h)), r]))
            h = K.GlobalAveragePooling2D()(h)
        model = keras.Model(x, K.Dense(outputs)(h))
        losses = {
            "mse": keras.losses.MeanSquaredError(),
            "sparse": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "binary": keras.losses.BinaryCrossentropy(from_logits=True),
        }
        return model, losses[loss], keras.optimizers.RMSprop(1e-3)

    def prepare(self, name):
        jax, jnp = self.jax, self.jax.numpy
        model, loss, optimizer = self.model(name)
        optimizer.build(model.trainable_variables)
        x, y = (jnp.array(v) for v in data(name))

        def loss_of(weights, state, x, y):
            predicted, state = model.stateless_call(weights, state, x, training=True)
            return jnp.mean(loss(y, predicted)), state

        def step(weights, state, slots, x, y):
            (value, state), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, state, x, y)
            weights, slots = optimizer.stateless_apply(slots, gradients, weights)
            return weights, state, slots, value

        step = jax.jit(step, donate_argnums=(0, 1, 2))
        infer = jax.jit(lambda weights, state, x: model.stateless_call(weights, state, x, training=False)[0])
        copy = lambda variables: [jnp.array(np.array(v.value)) for v in variables]
        held = [copy(model.trainable_variables), copy(model.non_trainable_variables), copy(optimizer.variables)]
        fixed = copy(model.trainable_variables), copy(model.non_trainable_variables)
        one = x[:1]

        def train():
            *held[:], value = step(*held, x, y)
            value.block_until_ready()

        return {
            "train": train,
            "predict": lambda: infer(*fixed, x).block_until_ready(),
            "predict1": lambda: infer(*fixed, one).block_until_ready(),
        }


class Torch:
    """PyTorch, eager or by torch.compile; images in its fastest layout."""

    def __init__(self, threads, compiled=False):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch, self.compiled = torch, compiled
        self.version = f"torch {torch.__version__}"

    def model(self, name):
        from torch import nn
        from torch.nn import functional as F

        if name == "tiny":
            return nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
        if name == "mlp":
            return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
        if name == "imdb":
            return nn.Sequential(nn.Linear(10000, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        if name == "conv":
            block = lambda a, b: [nn.Conv2d(a, b, 3), nn.ReLU()]
            pool = nn.MaxPool2d(2)
            head = [nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
            return nn.Sequential(*block(1, 32), pool, *block(32, 64), pool, *block(64, 64), *head)

        class Block(nn.Module):
            def __init__(self, a, b, stride):
                super().__init__()
                self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(a, b, 1, stride, bias=False)
                first = nn.Conv2d(a, b, 3, stride, padding=1, bias=False)
                second = nn.Conv2d(b, b, 3, padding=1, bias=False)
                self.main = nn.Sequential(first, nn.BatchNorm2d(b), nn.ReLU(), second, nn.BatchNorm2d(b))

            def forward(self, x):
                return F.relu(self.main(x) + self.shortcut(x))

        stem = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        blocks = [Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2)]
        return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))

    def prepare(self, name):
        torch = self.torch
        from torch.nn import functional as F

        model, (x, y) = self.model(name), map(torch.from_numpy, data(name))
        if x.ndim == 4:
            x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            model = model.to(memory_format=torch.channels_last)
        y = y.long() if y.dtype == torch.int32 else y
        losses = {"mse": F.mse_loss, "sparse": F.cross_entropy, "binary": F.binary_cross_entropy_with_logits}
        loss = losses[WORKLOADS[name][2]]
        loss_of, infer = lambda x, y: loss(model(x), y), model
        if self.compiled:
            loss_of, infer = torch.compile(loss_of), torch.compile(model)
        optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7, foreach=True)
        one = x[:1].clone()

        def train():
            model.train()
            optimizer.zero_grad(set_to_none=True)
            value = loss_of(x, y)
            value.backward()
            optimizer.step()
            return value.item()

        def predict(x):
            model.eval()
            with torch.inference_mode():
                infer(x)

        return {"train": train, "predict": lambda: predict(x), "predict1": lambda: predict(one)}


PEERS = {
    "torch": Torch,
    "torch.compile": lambda threads: Torch(threads, compiled=True),
    "jax": Jax,
}


def median(call, seconds):
    for _ in range(3):
        call()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 5:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 2] * 1e6


def main():
    name, threads = sys.argv[1], int(sys.argv[2])
    try:
        peer = PEERS[name](threads)
    except ImportError as error:
        print(f"error {error}", flush=True)
        return
    print(peer.version, flush=True)
    prepared = {}
    for line in sys.stdin:
        workload, task, _, seconds = line.split()
        try:
            if workload not in prepared:
                prepared[workload] = peer.prepare(workload)
            print(median(prepared[workload][task], float(seconds)), flush=True)
        except Exception as error:  # whatever a framework raises is its answer
            print("error", str(error).replace("\n", " ")[:200], flush=True)


if __name__ == "__main__":
    main()
