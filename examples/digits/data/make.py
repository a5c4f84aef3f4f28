#!/usr/bin/env python3
"""Rewrites the two IDX files beside this script from scikit-learn's copy of the digits (pip install scikit-learn)."""

import pathlib
import struct

import numpy as np
from sklearn.datasets import load_digits


def write_idx(path, array):
    """IDX of unsigned bytes, the format of the MNIST files: 0, 0, type 8, rank, big-endian extents, elements."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def main():
    here = pathlib.Path(__file__).parent
    digits = load_digits()
    assert digits.images.shape == (1797, 8, 8) and digits.images.max() == 16
    write_idx(here / "digits-images-idx3-ubyte", digits.images)
    write_idx(here / "digits-labels-idx1-ubyte", digits.target)


if __name__ == "__main__":
    main()
