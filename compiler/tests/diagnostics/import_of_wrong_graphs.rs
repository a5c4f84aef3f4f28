use bakelite_compiler::import::KerasModel;
use bakelite_compiler::prelude::*;

/// Tensors that nothing makes, arguments of calls, inputs with an open extent, and two layers of one name.
pub fn model() -> Result<Model, Diagnostics> {
    let json = r#"{
        "class_name": "Functional",
        "config": {
            "name": "net",
            "layers": [
                {"class_name": "InputLayer", "name": "words", "config": {"name": "words", "batch_shape": [null, null], "dtype": "int32"}, "inbound_nodes": []},
                {"class_name": "InputLayer", "name": "ragged", "config": {"name": "ragged", "batch_shape": [null, 3], "ragged": true}, "inbound_nodes": []},
                {"class_name": "Embedding", "name": "table", "config": {"name": "table", "input_dim": 9, "output_dim": 3}, "inbound_nodes": [
                    {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["words", 0, 0]}}], "kwargs": {"training": null, "noise": 0.5}}]},
                {"class_name": "LSTM", "name": "table", "config": {"name": "table", "units": 4}, "inbound_nodes": [
                    {"args": [3], "kwargs": {}}]},
                {"module": "keras.src.ops.numpy", "class_name": "Bincount", "name": "counts", "config": {"name": "counts"}, "inbound_nodes": [
                    {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["words", 0, 0]}}], "kwargs": {}}]}
            ],
            "input_layers": [["words", 0, 0]],
            "output_layers": [["table", 0, 0], ["counts", 0, 0]]
        }
    }"#;
    KerasModel::parse(json)?.build()
}
