use bakelite_compiler::import::KerasModel;
use bakelite_compiler::prelude::*;

/// Everything that cannot be read is listed, wherever it is: a layer in a nested model, one of a class of one's own, code,
/// arguments, a loss.
pub fn model() -> Result<Model, Diagnostics> {
    let json = r#"{
        "class_name": "Sequential",
        "config": {"name": "net", "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 8]}},
            {"class_name": "Dens", "config": {"name": "fc", "units": 4}},
            {"module": "builtins", "class_name": "Sequential", "config": {"name": "inner", "build_input_shape": [null, 4], "layers": [
                {"class_name": "Dense", "config": {"name": "wide", "units": "many", "lora": 4}},
                {"module": "my.code", "class_name": "Bottleneck", "registered_name": "my>Bottleneck", "config": {"name": "squeeze"}}
            ]}},
            {"class_name": "Lambda", "config": {"name": "twice", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAA=="}}}},
            {"class_name": "Dense", "config": {"name": "y", "units": 2, "activation": "softmacks"}}
        ]},
        "compile_config": {
            "optimizer": {"class_name": "Adma", "config": {}},
            "loss": "squares",
            "metrics": ["precisions"]
        }
    }"#;
    KerasModel::parse(json)?.build()
}
