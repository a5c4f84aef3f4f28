"""The workloads of the benchmarks in Keras and in PyTorch. `src/workloads.rs` defines the same ones for Bakelite."""

from collections import namedtuple

import numpy as np

# The shape of an item, how many words items are made of (0: they are numbers), rows of a batch, the loss, and the
# numbers of a result.
Workload = namedtuple("Workload", "item words batch loss outputs")

WORKLOADS = {
    "tiny": Workload((4,), 0, 8, "mse", 4),
    "mlp": Workload((784,), 0, 128, "sparse", 10),
    "imdb": Workload((10000,), 0, 512, "binary", 1),
    "conv": Workload((28, 28, 1), 0, 64, "sparse", 10),
    "lstm": Workload((60, 57), 0, 128, "sparse", 57),
    "gru": Workload((120, 14), 0, 128, "mse", 1),
    "bilstm": Workload((100,), 10000, 64, "binary", 1),
    "encoder": Workload((64, 128), 0, 16, "sparse", 10),
    "text": Workload((500,), 10000, 128, "binary", 1),
    "autoenc": Workload((28, 28, 1), 0, 64, "image", 784),
    "xcept": Workload((64, 64, 3), 0, 16, "sparse", 10),
    "resnet": Workload((32, 32, 3), 0, 32, "sparse", 10),
}


def data(name):
    """A batch of inputs and targets."""
    w = WORKLOADS[name]
    rng = np.random.default_rng(0)
    if w.words:
        x = rng.integers(0, w.words, size=(w.batch, *w.item)).astype("int32")
    else:
        x = rng.uniform(-1, 1, size=(w.batch, *w.item)).astype("float32")
    if w.loss == "image":
        return x, rng.uniform(0, 1, size=x.shape).astype("float32")
    if w.loss == "mse":
        return x, rng.uniform(-1, 1, size=(w.batch, w.outputs)).astype("float32")
    if w.loss == "sparse":
        return x, rng.integers(0, w.outputs, w.batch).astype("int32")
    return x, rng.integers(0, 2, (w.batch, 1)).astype("float32")


def keras_network(name):
    import keras
    from keras import layers as K

    w = WORKLOADS[name]
    x = keras.Input(w.item, dtype="int32" if w.words else "float32")
    relu = lambda h: K.Activation("relu")(h)
    norm = lambda h: K.BatchNormalization()(h)

    def tiny(h):
        return K.Dense(4)(K.Dense(32, activation="tanh")(K.Dense(32, activation="tanh")(h)))

    def mlp(h):
        return K.Dense(10)(K.Dense(512, activation="relu")(h))

    def imdb(h):
        return K.Dense(1)(K.Dense(16, activation="relu")(K.Dense(16, activation="relu")(h)))

    def conv(h):
        h = K.MaxPooling2D(2)(K.Conv2D(32, 3, activation="relu")(h))
        h = K.MaxPooling2D(2)(K.Conv2D(64, 3, activation="relu")(h))
        h = K.Flatten()(K.Conv2D(64, 3, activation="relu")(h))
        return K.Dense(10)(K.Dense(64, activation="relu")(h))

    def lstm(h):
        return K.Dense(57)(K.LSTM(128)(h))

    def gru(h):
        return K.Dense(1)(K.GRU(32)(h))

    def bilstm(h):
        return K.Dense(1)(K.Bidirectional(K.LSTM(32))(K.Embedding(10000, 32)(h)))

    def encoder(h):
        sum_norm = lambda a, b: K.LayerNormalization()(K.Add()([a, b]))
        for _ in range(2):
            h = sum_norm(h, K.MultiHeadAttention(4, 32)(h, h))
            h = sum_norm(h, K.Dense(128)(K.Dense(512, activation="relu")(h)))
        return K.Dense(10)(K.GlobalAveragePooling1D()(h))

    def text(h):
        h = K.MaxPooling1D(5)(K.Conv1D(32, 7, activation="relu")(K.Embedding(10000, 128)(h)))
        return K.Dense(1)(K.GlobalMaxPooling1D()(K.Conv1D(32, 7, activation="relu")(h)))

    def autoenc(h):
        convolve = lambda n, **more: K.Conv2D(n, 3, padding="same", **more)
        h = convolve(64, strides=2, activation="relu")(convolve(32, activation="relu")(h))
        h = convolve(64, activation="relu")(h)
        h = K.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(h)
        return convolve(1, activation="sigmoid")(h)

    def xcept(h):
        plain = lambda n, size: K.Conv2D(n, size, strides=2, padding="same", use_bias=False)
        separable = lambda n: K.SeparableConv2D(n, 3, padding="same", use_bias=False)
        h = relu(norm(plain(32, 3)(h)))
        for n in (64, 128, 256):
            shortcut = norm(plain(n, 1)(h))
            h = norm(separable(n)(relu(norm(separable(n)(h)))))
            h = K.Add()([K.MaxPooling2D(3, strides=2, padding="same")(h), shortcut])
        return K.Dense(10)(K.GlobalAveragePooling2D()(h))

    def resnet(h):
        convolve = lambda n, stride: K.Conv2D(n, 3, strides=stride, padding="same", use_bias=False)
        h = relu(norm(convolve(32, 1)(h)))
        for n, stride in ((32, 1), (64, 2), (128, 2)):
            shortcut = h if stride == 1 else K.Conv2D(n, 1, strides=stride, use_bias=False)(h)
            h = relu(norm(convolve(n, stride)(h)))
            h = relu(K.Add()([norm(convolve(n, 1)(h)), shortcut]))
        return K.Dense(10)(K.GlobalAveragePooling2D()(h))

    return keras.Model(x, locals()[name](x))


def torch_network(name):
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Apply(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    class Recurrent(nn.Module):
        """The last outputs of a recurrent layer; going backwards, the last is the first."""

        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            outputs, size = self.layer(x)[0], self.layer.hidden_size
            if not self.layer.bidirectional:
                return outputs[:, -1]
            return torch.cat([outputs[:, -1, :size], outputs[:, 0, size:]], dim=1)

    class Residual(nn.Module):
        def __init__(self, main, shortcut, after):
            super().__init__()
            self.main, self.shortcut, self.after = main, shortcut, after

        def forward(self, x):
            return self.after(self.main(x) + self.shortcut(x))

    def convolve(a, b, size=3, stride=1, groups=1):
        return nn.Conv2d(a, b, size, stride, padding=size // 2, groups=groups, bias=False)

    def separable(a, b):
        return [convolve(a, a, groups=a), convolve(a, b, 1), nn.BatchNorm2d(b)]

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]

    def xcept():
        parts, width = [convolve(3, 32, stride=2), nn.BatchNorm2d(32), nn.ReLU()], 32
        for n in (64, 128, 256):
            main = nn.Sequential(*separable(width, n), nn.ReLU(), *separable(n, n), nn.MaxPool2d(3, 2, 1))
            shortcut = nn.Sequential(convolve(width, n, 1, 2), nn.BatchNorm2d(n))
            parts.append(Residual(main, shortcut, nn.Identity()))
            width = n
        return [*parts, *head, nn.Linear(width, 10)]

    def resnet():
        parts, width = [convolve(3, 32), nn.BatchNorm2d(32), nn.ReLU()], 32
        for n, stride in ((32, 1), (64, 2), (128, 2)):
            first = [convolve(width, n, stride=stride), nn.BatchNorm2d(n), nn.ReLU()]
            main = nn.Sequential(*first, convolve(n, n), nn.BatchNorm2d(n))
            shortcut = nn.Identity() if stride == 1 else convolve(width, n, 1, stride)
            parts.append(Residual(main, shortcut, nn.ReLU()))
            width = n
        return [*parts, *head, nn.Linear(width, 10)]

    def encoder():
        layers = [nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True) for _ in range(2)]
        return [*layers, Apply(lambda x: x.mean(dim=1)), nn.Linear(128, 10)]

    def text():
        swap = Apply(lambda x: x.transpose(1, 2))
        first = [nn.Embedding(10000, 128), swap, nn.Conv1d(128, 32, 7), nn.ReLU(), nn.MaxPool1d(5)]
        return [*first, nn.Conv1d(32, 32, 7), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(32, 1)]

    def autoenc():
        up = nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1)
        down = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU()]
        return [*down, nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), up, nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1), nn.Sigmoid()]

    def conv():
        first = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        last = [nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
        return [*first, nn.Conv2d(64, 64, 3), nn.ReLU(), *last]

    parts = {
        "tiny": lambda: [nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4)],
        "mlp": lambda: [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)],
        "imdb": lambda: [nn.Linear(10000, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)],
        "conv": conv,
        "lstm": lambda: [Recurrent(nn.LSTM(57, 128, batch_first=True)), nn.Linear(128, 57)],
        "gru": lambda: [Recurrent(nn.GRU(14, 32, batch_first=True)), nn.Linear(32, 1)],
        "bilstm": lambda: [
            nn.Embedding(10000, 32),
            Recurrent(nn.LSTM(32, 32, batch_first=True, bidirectional=True)),
            nn.Linear(64, 1),
        ],
        "encoder": encoder,
        "text": text,
        "autoenc": autoenc,
        "xcept": xcept,
        "resnet": resnet,
    }
    network = nn.Sequential(*parts[name]())
    losses = {
        "mse": F.mse_loss,
        "image": F.mse_loss,
        "sparse": F.cross_entropy,
        "binary": F.binary_cross_entropy_with_logits,
    }
    return network, losses[WORKLOADS[name].loss]


def torch_data(name):
    """A batch as PyTorch takes it: images with the channels first, in memory with the channels last."""
    import torch

    def tensor(values):
        if values.ndim == 4:
            image = torch.from_numpy(values).permute(0, 3, 1, 2)
            return image.contiguous(memory_format=torch.channels_last)
        return torch.from_numpy(values.astype("int64") if values.dtype == np.int32 else values)

    return [tensor(values) for values in data(name)]
