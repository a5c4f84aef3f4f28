#!/bin/sh
# Fills corpus/TARGET with files of the fixtures.
set -e
cd "$(dirname "$0")"
for target in keras config hdf5 safetensors npz graph; do mkdir -p "corpus/$target"; done
for folder in ../fixtures/keras_files/*/; do
    version=$(basename "$folder")
    for file in "$folder"*.keras; do
        name=$version-$(basename "$file" .keras)
        cp "$file" "corpus/keras/$name.keras"
        unzip -p "$file" config.json > "corpus/config/$name.json"
        unzip -p "$file" model.weights.h5 > "corpus/hdf5/$name.h5"
    done
    for file in "$folder"*.h5.zip; do
        name=$version-$(basename "$file" .zip)
        unzip -p "$file" > "corpus/hdf5/$name"
        cp "corpus/hdf5/$name" "corpus/keras/$name"
    done
done
# A model from the fixtures in the other formats.
bakelite="cargo run --quiet --manifest-path ../../Cargo.toml -p bakelite-compiler --bin bakelite --"
model=../fixtures/keras_files/3.15.1/mlp.keras
folder=$(mktemp -d)
$bakelite compile "$model" --output "$folder" --name mlp --quiet > /dev/null
cp "$folder/mlp.safetensors" corpus/safetensors/
cp "$folder/mlp.bk" corpus/graph/
rm -r "$folder"
python3 - << 'END'
import struct, zipfile

header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"
header += b" " * (117 - len(header)) + b"\n"
array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(24)
open("corpus/npz/lone.npy", "wb").write(array)
for name, method in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
    with zipfile.ZipFile(f"corpus/npz/{name}.npz", "w", method) as file:
        file.writestr("x.npy", array)
        file.writestr("y.npy", array.replace(b"<f4", b">i8").replace(b"(2, 3)", b"(3,  )"))
END
