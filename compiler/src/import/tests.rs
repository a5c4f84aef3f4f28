use serde_json::{Value, json};

use super::KerasModel;
use crate::diag::Code;
use crate::model::Model;

/// What is wrong with a description.
fn mistakes(value: &Value) -> Vec<String> {
    read(value).err().unwrap_or_default()
}

fn read(value: &Value) -> Result<Model, Vec<String>> {
    let build = || KerasModel::parse(&value.to_string())?.build();
    build().map_err(|d| d.list.iter().map(|d| format!("{}: {}", d.path, d.message)).collect())
}

fn layer(class: &str, name: &str, mut config: Value, nodes: Value) -> Value {
    config["name"] = json!(name);
    json!({"module": "keras.layers", "class_name": class, "config": config, "name": name, "inbound_nodes": nodes})
}

fn input(name: &str, shape: Value) -> Value {
    layer("InputLayer", name, json!({"batch_shape": shape, "dtype": "float32"}), json!([]))
}

fn tensor(layer: &str, node: usize, index: usize) -> Value {
    json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, node, index], "dtype": "float32"}})
}

fn call(args: Value) -> Value {
    json!({"args": args, "kwargs": {"mask": null}})
}

fn functional(name: &str, layers: Value, inputs: Value, outputs: Value) -> Value {
    let config = json!({"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs});
    json!({"module": "keras", "class_name": "Functional", "config": config})
}

/// Two inputs into one shared layer, a nested model applied twice, two outputs, listed in an order that has to be
/// found.
fn siamese() -> Value {
    let inner = functional(
        "inner",
        json!([
            input("i", json!([null, 3])),
            layer("Dense", "fc", json!({"units": 2}), json!([call(json!([tensor("i", 0, 0)]))])),
            layer("Activation", "act", json!({"activation": "tanh"}), json!([call(json!([tensor("fc", 0, 0)]))])),
        ]),
        json!(["i", 0, 0]),
        json!([["fc", 0, 0], ["act", 0, 0]]),
    );
    let mut nested = layer("Functional", "inner", inner["config"].clone(), json!([]));
    nested["inbound_nodes"] = json!([call(json!([tensor("shared", 1, 0)])), call(json!([tensor("shared", 0, 0)]))]);
    let both = json!([[tensor("inner", 0, 0), tensor("inner", 1, 1)]]);
    functional(
        "siamese",
        json!([
            input("b", json!([null, 4])),
            input("a", json!([null, 4])),
            layer("Concatenate", "join", json!({}), json!([call(both)])),
            nested,
            layer(
                "Dense",
                "shared",
                json!({"units": 3, "activation": "relu"}),
                json!([call(json!([tensor("a", 0, 0)])), call(json!([tensor("b", 0, 0)])),])
            ),
        ]),
        json!([["a", 0, 0], ["b", 0, 0]]),
        json!([["join", 0, 0], ["inner", 2, 0]]),
    )
}

#[test]
fn graphs_with_shared_layers_and_nested_models() {
    let model = read(&siamese()).unwrap();
    assert_eq!(model.layer_names(), ["shared", "inner", "join"]);
    assert_eq!(model.output_names(), ["join", "inner"]);
    let module = model.lower().unwrap();
    let inputs: Vec<&str> = module.entries[1].inputs.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(inputs, ["a", "b"]);
    let cells: Vec<&str> = module.storage.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(cells, ["shared/kernel", "shared/bias", "inner/fc/kernel", "inner/fc/bias"]);
}

#[test]
fn compile_configurations() {
    let mut value = siamese();
    value["compile_config"] = json!({
        "optimizer": {"module": "keras.optimizers", "class_name": "Adam", "config": {"learning_rate": 0.5, "name": "adam", "use_ema": false}},
        "loss": ["mse", {"class_name": "MeanAbsoluteError", "config": {"reduction": "sum_over_batch_size"}}],
        "loss_weights": {"inner": 0.25},
        "metrics": {"join": ["mean_absolute_error"]},
        "jit_compile": true,
    });
    let module = read(&value).unwrap().lower().unwrap();
    let names: Vec<&str> = module.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["init", "predict", "train_step", "evaluate_step", "reset_metrics"]);
    value["compile_config"]["loss"] = json!(["mse", "mse", "mse"]);
    value["compile_config"]["optimizer"]["config"]["beta_3"] = json!(1);
    value["compile_config"]["metrics"] = json!({"join": ["precise"]});
    let problems = mistakes(&value);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("Adam has no argument `beta_3`"));
    assert!(problems[1].contains("`loss` is a list of 3, the model has 2 outputs"));
    assert!(problems[2].contains("`precise`"));
}

#[test]
fn chains_with_and_without_an_input_layer() {
    let dense = json!({"class_name": "Dense", "config": {"units": 2, "name": "d", "trainable": false}});
    let of = |layers: Value, extra: Value| json!({"class_name": "Sequential", "config": {"name": "1 chain", "layers": layers, "build_input_shape": extra}});
    let model = read(&of(json!([dense]), json!([null, 5]))).unwrap();
    assert_eq!((model.name().as_str(), model.layer_names()), ("_1_chain", vec!["d".to_string()]));
    assert!(!model.lower().unwrap().storage[0].trainable);
    let model = read(&of(json!([input("x", json!([null, 5])), dense]), Value::Null)).unwrap();
    assert_eq!(model.lower().unwrap().entries[1].inputs[0].name, "x");
    let problems = mistakes(&of(json!([dense]), Value::Null));
    assert!(problems[0].contains("never built"), "{problems:?}");
}

#[test]
fn open_dimensions_are_bound_by_the_user() {
    let chain = json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
        input("x", json!([null, null, 3])),
        {"class_name": "Flatten", "config": {"name": "f"}},
    ]}});
    let parsed = KerasModel::parse(&chain.to_string()).unwrap();
    let failed = parsed.build().err().unwrap();
    assert_eq!((failed.list.len(), failed.list[0].code), (1, Code::Shape));
    let parsed = parsed.shape("x", [7, 3]);
    assert!(parsed.build().is_ok());
    assert!(parsed.shape("x", [7, 4]).build().is_err());
}

#[test]
fn everything_unsupported_is_listed_at_once() {
    let mut value = siamese();
    value["config"]["layers"][2]["class_name"] = json!("Concat");
    value["config"]["layers"][4]["config"]["units"] = json!("three");
    value["config"]["layers"][3]["config"]["layers"][1]["config"]["lora"] = json!(4);
    value["config"]["layers"][0]["config"]["sparse"] = json!(true);
    value["config"]["layers"][4]["inbound_nodes"][0]["kwargs"]["flag"] = json!(true);
    let problems = mistakes(&value);
    assert_eq!(problems.len(), 5, "{problems:?}");
    for part in ["Concat", "three", "inner/fc: Dense has no argument `lora`", "sparse", "flag"] {
        assert!(problems.iter().any(|p| p.contains(part)), "{part}: {problems:?}");
    }
}

#[test]
fn masks_of_embeddings_travel_by_themselves() {
    let mut average = call(json!([tensor("words", 0, 0)]));
    average["kwargs"] = json!({"mask": tensor("not_equal", 0, 0), "training": false});
    let operation = operation("not_equal", "NotEqual", json!({}), json!([tensor("x", 0, 0), 0]));
    let describe = |mask_zero: bool, output: &str| {
        let words = json!({"input_dim": 9, "output_dim": 3, "mask_zero": mask_zero});
        let mut x = input("x", json!([null, 5]));
        x["config"]["dtype"] = json!("int32");
        let layers = json!([
            x,
            operation,
            layer("Embedding", "words", words, json!([call(json!([tensor("x", 0, 0)]))])),
            layer("GlobalAveragePooling1D", "mean", json!({}), json!([average])),
        ]);
        functional("masked", layers, json!(["x", 0, 0]), json!([output, 0, 0]))
    };
    assert_eq!(mistakes(&describe(true, "mean")), Vec::<String>::new());
    assert_eq!(mistakes(&describe(false, "mean")), Vec::<String>::new());
    assert_eq!(mistakes(&describe(true, "not_equal")), Vec::<String>::new());
}

fn operation(name: &str, class: &str, config: Value, args: Value) -> Value {
    let mut config = config;
    config["name"] = json!(name);
    json!({"module": "keras.src.ops.numpy", "class_name": class, "config": config, "name": name,
        "inbound_nodes": [call(args)]})
}

/// What is wrong with a model of one operation on an input `f32[batch, 4, 6]`.
fn operated(class: &str, config: Value, args: Value) -> Vec<String> {
    let layers = json!([input("x", json!([null, 4, 6])), operation("y", class, config, args)]);
    mistakes(&functional("operated", layers, json!(["x", 0, 0]), json!(["y", 0, 0])))
}

#[test]
fn operations_that_cannot_be_honoured_are_explained() {
    let x = || tensor("x", 0, 0);
    let slice = |start: Value, stop: Value, step: Value| json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": step}});
    let all = || slice(json!(null), json!(null), json!(null));
    assert_eq!(operated("Add", json!({}), json!([x(), 1.5])), Vec::<String>::new());
    assert_eq!(operated("GetItem", json!({}), json!([x(), [all(), -1]])), Vec::<String>::new());
    for (class, config, args, part) in [
        ("Bincount", json!({}), json!([x()]), "the operation Bincount of keras.src.ops.numpy is not supported"),
        ("Add", json!({}), json!([x(), "one"]), "`x2` is neither a tensor nor a number"),
        ("Add", json!({}), json!([x()]), "`x2` is missing"),
        ("Reshape", json!({"newshape": [-1, 5]}), json!([x()]), "has no shape"),
        ("Reshape", json!({"newshape": [4611686018427387904i64, 8, -1]}), json!([x()]), "too many"),
        ("Sum", json!({"axis": 3}), json!([x()]), "axis 3 of 3 axes"),
        ("Transpose", json!({"axes": [0, 1, 1]}), json!([x()]), "no permutation"),
        ("Squeeze", json!({"axis": 1}), json!([x()]), "has not the extent 1"),
        ("Split", json!({"indices_or_sections": 1i64 << 40, "axis": 1}), json!([x()]), "no such parts"),
        ("Split", json!({"indices_or_sections": [3, 2], "axis": 1}), json!([x()]), "no such parts"),
        ("GetItem", json!({}), json!([x(), [all(), 4]]), "there is no element 4 of 4"),
        ("GetItem", json!({}), json!([x(), [0]]), "the batch has no element of its own (limits: operations)"),
        ("GetItem", json!({}), json!([x(), [all(), slice(json!(3), json!(1), json!(null))]]), "a slice of nothing"),
        ("GetItem", json!({}), json!([x(), [all(), slice(json!(0), json!(2), json!(0))]]), "step 0"),
        ("GetItem", json!({}), json!([x(), [all(), all(), all(), all()]]), "fewer axes"),
        ("Matmul", json!({}), json!([x(), x()]), "one axis has the extents 6 and 4"),
        (
            "Sort",
            json!({"axis": 0}),
            json!([x()]),
            "is the batch, whose extent is not known when the model is built (limits: operations)",
        ),
        ("Slice", json!({"shape": [3, 6, 4]}), json!([x(), [0, 0, 0]]), "part of the batch (limits: operations)"),
        ("BroadcastTo", json!({"shape": [3, 6, 4]}), json!([x()]), "the batch an extent (limits: operations)"),
        ("TopK", json!({"k": 9}), json!([x()]), "the 9 largest of 6"),
        ("Take", json!({"axis": 1}), json!([x(), 1.5]), "the indices are f32"),
        ("Einsum", json!({"subscripts": "bij->bk"}), json!([x()]), "no axis of its own"),
        ("Pad", json!({"pad_width": [[0, 0], [1, 1], [0, 0]], "mode": "odd"}), json!([x()]), "the mode `odd`"),
        ("Pad", json!({"pad_width": [[0, 0], [1i64 << 40, 1], [0, 0]], "mode": "edge"}), json!([x()]), "edges of"),
        ("Norm", json!({"ord": 2, "axis": [1, 2]}), json!([x()]), "limits: linear-algebra"),
        ("Add", json!({}), json!([x(), [[1, 2], [3]]]), "rows of different lengths"),
        ("Cast", json!({"dtype": "complex64"}), json!([x()]), "complex64"),
        ("Concatenate", json!({"axis": 1}), json!([x()]), "no list of tensors"),
        ("Concatenate", json!({"axis": 0}), json!([[x(), x()]]), "batch"),
    ] {
        let problems = operated(class, config, args);
        assert!(problems.len() == 1 && problems[0].contains(part), "{class}, {part}: {problems:?}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_explained() {
    let mut value = siamese();
    value["config"]["layers"][0]["config"]["batch_shape"] = json!([null, 5]);
    let problems = mistakes(&value);
    assert!(problems[0].contains("shared"), "{problems:?}");
}

#[test]
fn graphs_that_are_none() {
    let mut cyclic = siamese();
    cyclic["config"]["layers"][4]["inbound_nodes"][0] = call(json!([tensor("join", 0, 0)]));
    assert!(mistakes(&cyclic)[0].contains("wait for each other"));
    for (path, bad) in [
        ("/config/layers", json!(3)),
        ("/config/layers", Value::Null),
        ("/config/layers/0", json!([])),
        ("/config/layers/0/config/batch_shape", json!([null, -4])),
        ("/config/layers/0/config/batch_shape", json!([null, 1u64 << 63])),
        ("/config/layers/0/config/dtype", json!("string")),
        ("/config/layers/0/name", json!("shared")),
        ("/config/layers/3/inbound_nodes", json!(null)),
        ("/config/layers/3/inbound_nodes/0", json!({"args": 3})),
        ("/config/layers/3/inbound_nodes/0", json!([["nobody", 0, 0, {}]])),
        ("/config/layers/3/inbound_nodes/0", json!([["shared", 0]])),
        ("/config/layers/3/inbound_nodes/0", json!([["shared", 0, 0, {"flag": 1}]])),
        ("/config/layers/3/inbound_nodes/0/args", json!([])),
        ("/config/layers/3/inbound_nodes/0/args/0/config/keras_history", json!(["shared", 9, 0])),
        ("/config/layers/3/inbound_nodes/0/args/0/config/keras_history", json!(["shared", 0, 9])),
        ("/config/layers/3/inbound_nodes/0/args/0/config/keras_history", json!(["nobody", 0, 0])),
        ("/config/layers/3/inbound_nodes/0/args/0/config/keras_history", json!(["shared", -1, 0])),
        ("/config/layers/4/config/name", json!("a/b")),
        ("/config/input_layers", json!([])),
        ("/config/input_layers", json!([["shared", 0, 0]])),
        ("/config/output_layers", json!([["nobody", 0, 0]])),
        ("/config/output_layers", json!([["join", 7, 0]])),
        ("/config/output_layers", json!([["join", 0, 7]])),
        ("/class_name", json!("Pickle")),
    ] {
        let mut value = siamese();
        *value.pointer_mut(path).unwrap() = bad.clone();
        if path.ends_with("config/name") {
            value["config"]["layers"][4]["name"] = json!("a/b");
        }
        assert!(read(&value).is_err(), "{path}: {bad}");
    }
}

#[test]
fn hostile_texts_end_in_errors() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in ["", "{", "null", "[]", "{}", "\"Sequential\"", deep.as_str(), r#"{"class_name": 3}"#] {
        assert!(KerasModel::parse(text).and_then(|m| m.build()).is_err(), "{:.40}", text);
    }
    // Models in models, as deep as the text may be.
    let mut value = json!({"class_name": "Dense", "config": {"units": 1}});
    for depth in 0..200 {
        let name = format!("m{depth}");
        value = json!({"class_name": "Sequential", "config": {"name": name, "layers": [value], "build_input_shape": [null, 2]}});
    }
    assert!(KerasModel::parse(&value.to_string()).is_err());
    // A long chain that is listed backwards.
    let count = 20_000;
    let mut layers: Vec<Value> = (0..count)
        .map(|i| {
            let from = if i == 0 { "x".to_string() } else { format!("l{}", i - 1) };
            layer("Flatten", &format!("l{i}"), json!({}), json!([call(json!([tensor(&from, 0, 0)]))]))
        })
        .collect();
    layers.push(layer("Flatten", "last", json!({}), json!([call(json!([tensor("nobody", 0, 0)]))])));
    layers.push(input("x", json!([null, 2])));
    layers.reverse();
    let value = functional("long", Value::Array(layers), json!(["x", 0, 0]), json!(["last", 0, 0]));
    assert!(read(&value).is_err());
}
