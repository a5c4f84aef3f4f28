"""The workloads of the benchmarks in PyTorch, in Keras jitted whole by JAX, and in ONNX Runtime.

Run by compare.py as `peers.py NAME THREADS`: requests and answers as in `src/bin/worker.rs`.
"""

import io
import os
import sys
import time

import numpy as np
from networks import WORKLOADS, data, keras_network, torch_data, torch_network


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

    def prepare(self, name):
        jax, jnp, keras = self.jax, self.jax.numpy, self.keras
        model, optimizer = keras_network(name), keras.optimizers.RMSprop(1e-3)
        loss = {
            "mse": keras.losses.MeanSquaredError(),
            "image": keras.losses.MeanSquaredError(),
            "sparse": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "binary": keras.losses.BinaryCrossentropy(from_logits=True),
        }[WORKLOADS[name].loss]
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

    def prepare(self, name):
        torch = self.torch
        (model, loss), (x, y) = torch_network(name), torch_data(name)
        if x.ndim == 4:
            model = model.to(memory_format=torch.channels_last)
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


class Onnx:
    """ONNX Runtime, which only predicts, on the networks that PyTorch exports."""

    def __init__(self, threads):
        import onnxruntime
        import torch

        self.runtime, self.torch, self.threads = onnxruntime, torch, threads
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def prepare(self, name):
        (model, _), (x, _) = torch_network(name), torch_data(name)
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        tasks = {}
        for task, batch in (("predict", x), ("predict1", x[:1].clone())):
            file = io.BytesIO()
            names = {"input_names": ["x"], "output_names": ["y"]}
            self.torch.onnx.export(model.eval(), (batch.contiguous(),), file, dynamo=False, **names)
            session = self.runtime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
            feed = {"x": batch.contiguous().numpy()}
            tasks[task] = lambda session=session, feed=feed: session.run(None, feed)
        return tasks


PEERS = {
    "torch": Torch,
    "torch.compile": lambda threads: Torch(threads, compiled=True),
    "jax": Jax,
    "onnxruntime": Onnx,
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
            if task not in prepared[workload]:
                print(f"none: {name} does not {task}", flush=True)
                continue
            print(median(prepared[workload][task], float(seconds)), flush=True)
        except Exception as error:  # whatever a framework raises is its answer
            print("error", str(error).replace("\n", " ")[:200], flush=True)


if __name__ == "__main__":
    main()
