use serde_json::{Value, json};

use super::bring_up_to_date;

fn modern(mut value: Value) -> Value {
    bring_up_to_date(&mut value, None);
    value
}

fn tensor(layer: &str, node: usize) -> Value {
    json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, node, 0]}})
}

/// The layers of a graph with an input `x`, a nested model `m` and what is given.
fn layers(more: Vec<Value>) -> Vec<Value> {
    let named = |class: &str, name: &str| json!({"class_name": class, "name": name, "config": {"name": name}});
    let layers = [vec![named("InputLayer", "x"), named("Functional", "m"), named("Dense", "d")], more].concat();
    let mut graph = modern(json!({"class_name": "Functional", "config": {"name": "g", "layers": layers}}));
    let Value::Array(layers) = graph["config"]["layers"].take() else { panic!("no layers") };
    layers.into_iter().skip(3).collect()
}

fn node(class: &str, config: Value, node: Value) -> Value {
    let list = json!({"class_name": class, "name": "l", "config": config, "inbound_nodes": [node]});
    layers(vec![list]).swap_remove(0)
}

#[test]
fn applications() {
    let of = |list: Value| node("Add", json!({}), list)["inbound_nodes"][0].clone();
    let one = json!({"args": [tensor("x", 0)], "kwargs": {}});
    assert_eq!(of(json!([["x", 0, 0, {}]])), one);
    assert_eq!(of(json!(["x", 0, 0, {}])), one);
    assert_eq!(of(json!([["x", 0, 0]])), one);
    // Models count their own description.
    let two = json!({"args": [[tensor("x", 0), tensor("m", 1)]], "kwargs": {}});
    assert_eq!(of(json!([["x", 0, 0, {}], ["m", 2, 0, {}]])), two);
    let named = of(json!([["x", 0, 0, {"value": ["m", 1, 0], "states": [["x", 0, 0], ["d", 3, 0]], "flag": [1, 2]}]]));
    let kwargs = json!({"value": tensor("m", 0), "states": [tensor("x", 0), tensor("d", 3)], "flag": [1, 2]});
    assert_eq!(named["kwargs"], kwargs);
    // What has today's form stays.
    assert_eq!(of(two.clone()), two);
}

#[test]
fn chains_count_their_own_description_if_they_have_an_input() {
    let chain = |name: &str, first: &str| {
        let config = json!({"name": name, "layers": [{"class_name": first, "config": {}}]});
        json!({"class_name": "Sequential", "name": name, "config": config, "inbound_nodes": [[["x", 0, 0, {}]]]})
    };
    let ends = |inbound: Value| {
        let add = json!({"class_name": "Add", "name": "sum", "config": {}, "inbound_nodes": [inbound]});
        let layers = json!([{"class_name": "InputLayer", "name": "x", "config": {}}, chain("a", "InputLayer"), chain("b", "Dense"), add]);
        let outputs = json!([["a", 1, 0], ["b", 0, 0]]);
        let graph = modern(json!({"class_name": "Functional", "config": {"layers": layers, "output_layers": outputs}}));
        (graph["config"]["layers"][3]["inbound_nodes"][0].clone(), graph["config"]["output_layers"].clone())
    };
    let (node, outputs) = ends(json!([["a", 1, 0, {}], ["b", 0, 0, {}]]));
    assert_eq!(node, json!({"args": [[tensor("a", 0), tensor("b", 0)]], "kwargs": {}}));
    assert_eq!(outputs, json!([["a", 0, 0], ["b", 0, 0]]));
}

#[test]
fn functions_between_layers() {
    let of = |function: &str, list: Value| node("TFOpLambda", json!({"name": "l", "function": function}), list);
    let sum = of("__operators__.add", json!([["x", 0, 0, {"y": ["d", 0, 0], "name": null}]]));
    assert_eq!(sum["class_name"], "Add");
    assert_eq!(sum["inbound_nodes"], json!([{"args": [tensor("x", 0)], "kwargs": {"x2": tensor("d", 0)}}]));
    let number = of("math.subtract", json!([["_CONSTANT_VALUE", -1, 2.5, {"y": ["x", 0, 0], "name": null}]]));
    assert_eq!(number["inbound_nodes"][0]["args"], json!([2.5]));
    let joined = of("concat", json!([["x", 0, 0, {"axis": -1}], ["d", 0, 0, {"axis": -1}]]));
    assert_eq!(joined["inbound_nodes"][0], json!({"args": [[tensor("x", 0), tensor("d", 0)]], "kwargs": {"axis": -1}}));
    let slice = json!({"start": 1, "stop": null, "step": null});
    let part = of("__operators__.getitem", json!([["x", 0, 0, {"slice_spec": [slice, 0]}]]));
    let key = json!([{"class_name": "__slice__", "config": slice}, 0]);
    assert_eq!((&part["class_name"], &part["inbound_nodes"][0]["kwargs"]["key"]), (&json!("GetItem"), &key));
    // An argument that is not known is not passed over.
    assert_eq!(of("math.add", json!([["x", 0, 0, {"z": 1}]]))["class_name"], "math.add");
    assert_eq!(of("math.top_k", json!([["x", 0, 0, {}]]))["class_name"], "math.top_k");
}

#[test]
fn chains_and_arguments() {
    let first = json!({"name": "fc", "units": 2, "batch_input_shape": [null, 3], "dtype": "float32"});
    let old = json!({"class_name": "Sequential", "config": [
        {"class_name": "Dense", "config": first},
        {"class_name": "LeakyReLU", "config": {"alpha": 0.5}},
        {"class_name": "BatchNormalization", "config": {"axis": [1]}},
    ]});
    let layers = modern(old)["config"]["layers"].clone();
    assert_eq!(layers[0]["class_name"], "InputLayer");
    assert_eq!(layers[0]["config"]["batch_shape"], json!([null, 3]));
    assert_eq!(layers[0]["config"]["name"], "fc_input");
    assert_eq!(layers[2]["config"], json!({"negative_slope": 0.5}));
    assert_eq!(layers[3]["config"], json!({"axis": 1}));
}

#[test]
fn compile_configurations() {
    let wrapped = |class: &str, function: Value| json!({"class_name": class, "config": {"name": "n", "fn": function}});
    let old = json!({"class_name": "Sequential", "config": {"layers": []}, "compile_config": {
        "optimizer": {"class_name": "Custom>Adam", "config": {"lr": 0.1, "beta_1": 0.5, "decay": 0.0}},
        "loss": {"class_name": "MeanSquaredError", "config": {"reduction": "auto", "fn": "mean_squared_error"}},
        "metrics": [wrapped("MeanMetricWrapper", json!("mae")), ["accuracy"]],
        "weighted_metrics": null,
    }});
    let compile = modern(old)["compile_config"].clone();
    assert_eq!(compile["optimizer"]["class_name"], "Adam");
    assert_eq!(compile["optimizer"]["config"], json!({"learning_rate": 0.1, "beta_1": 0.5, "decay": 0.0}));
    assert_eq!(compile["loss"]["config"], json!({"reduction": "sum_over_batch_size"}));
    assert_eq!(compile["metrics"], json!([{"class_name": "mae", "config": {"name": "n"}}, ["accuracy"]]));
    let shrinking = json!({"class_name": "SGD", "config": {"lr": 0.1, "decay": 0.5}});
    let compile = modern(json!({"compile_config": {"optimizer": shrinking}}))["compile_config"].clone();
    let schedule = json!({"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.5});
    let rate = json!({"class_name": "InverseTimeDecay", "config": schedule});
    assert_eq!(compile["optimizer"]["config"], json!({"learning_rate": rate}));
    assert_eq!(modern(json!(null)), json!(null));
}

#[test]
fn a_function_that_has_changed_is_not_taken_for_the_new_one() {
    let gru = json!({"class_name": "GRU", "config": {"recurrent_activation": "hard_sigmoid", "name": "hard_sigmoid"}});
    for (version, name) in
        [("2.4.0", "hard_sigmoid of Keras 2 (limits: hard-sigmoid-of-keras-2)"), ("3.1.0", "hard_sigmoid")]
    {
        let mut value = json!([gru]);
        bring_up_to_date(&mut value, Some(version));
        assert_eq!(value[0]["config"], json!({"recurrent_activation": name, "name": "hard_sigmoid"}));
    }
}
