use bakelite_compiler::import::KerasModel;
use bakelite_compiler::prelude::*;

/// Layers that do not fit each other, beside an input that is not given a shape that fits.
pub fn model() -> Result<Model, Diagnostics> {
    let json = r#"{
        "class_name": "Functional",
        "config": {
            "name": "net",
            "layers": [
                {"class_name": "InputLayer", "name": "image", "config": {"name": "image", "batch_shape": [null, 8, 8, 3]}, "inbound_nodes": []},
                {"class_name": "InputLayer", "name": "size", "config": {"name": "size", "batch_shape": [null, 5]}, "inbound_nodes": []},
                {"class_name": "Conv2D", "name": "conv", "config": {"name": "conv", "filters": 4, "kernel_size": [9, 9]}, "inbound_nodes": [
                    {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["image", 0, 0]}}], "kwargs": {}}]},
                {"class_name": "Dense", "name": "fc", "config": {"name": "fc", "units": 4}, "inbound_nodes": [
                    {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["image", 0, 0]}}], "kwargs": {}},
                    {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["size", 0, 0]}}], "kwargs": {}}]},
                {"class_name": "Add", "name": "sum", "config": {"name": "sum"}, "inbound_nodes": [
                    {"args": [[{"class_name": "__keras_tensor__", "config": {"keras_history": ["image", 0, 0]}},
                               {"class_name": "__keras_tensor__", "config": {"keras_history": ["size", 0, 0]}}]], "kwargs": {}}]},
                {"module": "keras.src.ops.numpy", "class_name": "Reshape", "name": "flat", "config": {"name": "flat", "newshape": [-1, 7]}, "inbound_nodes": [
                    {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["size", 0, 0]}}], "kwargs": {}}]}
            ],
            "input_layers": [["image", 0, 0], ["size", 0, 0]],
            "output_layers": [["conv", 0, 0], ["sum", 0, 0], ["flat", 0, 0]]
        }
    }"#;
    KerasModel::parse(json)?.build()
}
