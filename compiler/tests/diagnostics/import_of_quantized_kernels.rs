use bakelite_compiler::import::KerasModel;
use bakelite_compiler::prelude::*;

/// Kernels of whole numbers are read where they are of 8 bits, in layers that can have them, and with the quantizer that
/// they have by default.
pub fn model() -> Result<Model, Diagnostics> {
    let json = r#"{
        "class_name": "Sequential",
        "config": {"name": "net", "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 8]}},
            {"class_name": "Dense", "config": {"name": "read", "units": 4, "dtype": "int8_from_float32"}},
            {"class_name": "Dense", "config": {"name": "four_bits", "units": 4, "dtype": {
                "class_name": "Int4DTypePolicy", "config": {"mode": "int4/128", "source_name": "float32"}}}},
            {"class_name": "Dense", "config": {"name": "eight_bits", "units": 4, "dtype": {
                "class_name": "QuantizedFloat8DTypePolicy", "config": {"mode": "float8", "source_name": "float32"}}}},
            {"class_name": "Dense", "config": {"name": "narrow", "units": 4, "dtype": "int8_from_bfloat16"}},
            {"class_name": "Reshape", "config": {"name": "moved", "target_shape": [4], "dtype": "int8_from_float32"}},
            {"class_name": "Dense", "config": {"name": "other_range", "units": 4, "dtype": "int8_from_float32", "quantization_config": {
                "class_name": "Int8QuantizationConfig", "config": {"weight_quantizer": null, "activation_quantizer": {
                    "class_name": "AbsMaxQuantizer", "config": {"value_range": [-63, 63], "epsilon": 1e-07, "output_dtype": "int8"}}}}}},
            {"class_name": "Dense", "config": {"name": "both", "units": 4, "dtype": "int8_from_float32", "lora_rank": 2}}
        ]}
    }"#;
    KerasModel::parse(json)?.build()
}
