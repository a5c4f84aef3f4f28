//! Descriptions that Keras 2 wrote, brought into the form of Keras 3.
//!
//! ```text
//! bring_up_to_date    a whole description
//!   arguments         classes and arguments that have other names today      here
//!   nodes             what layers are applied to                             nodes.rs
//!   operations        functions of TensorFlow between layers                 operations.rs
//! ```
//!
//! What has no counterpart stays as it is; whoever reads the description reports it.

mod nodes;
mod operations;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::limit::Limit;
use crate::model::config::Config;

/// Whether a version of Keras wrote descriptions in the older form.
pub(super) fn is_older(version: &str) -> bool {
    version.starts_with("2.") || version.starts_with("1.")
}

/// Brings a description with its compile configuration up to date; the version of Keras that wrote it, if that is known.
/// What is up to date already stays as it is.
pub(super) fn bring_up_to_date(document: &mut Value, version: Option<&str>) {
    if version.is_some_and(is_older) {
        hard_sigmoids(document);
    }
    let compile = document.get_mut("compile_config").map(Value::take);
    walk(document);
    if let (Some(compile), Some(document)) = (compile, document.as_object_mut()) {
        document.insert("compile_config".into(), compiled(compile));
    }
}

/// Serialised objects at any depth, which the parser has bounded.
fn walk(value: &mut Value) {
    chain_of_layers(value);
    if let Some((class, config)) = serialised(value) {
        let class = class.to_string();
        arguments(&class, config);
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::Object(object) => object.values_mut().for_each(walk),
        _ => {}
    }
    nodes::bring_up_to_date(value);
}

/// The class and the arguments of a serialised object.
fn serialised(value: &mut Value) -> Option<(String, &mut Config)> {
    let class = value.get("class_name")?.as_str()?.to_string();
    match value.get_mut("config") {
        Some(Value::Object(config)) => Some((class, config)),
        _ => None,
    }
}

/// `hard_sigmoid` was `min(max(x / 5 + 1 / 2, 0), 1)`, which has no name today, and is not taken for today's function.
fn hard_sigmoids(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hard_sigmoids),
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name.ends_with("activation") && text == "hard_sigmoid" => {
                        text.push_str(&format!(" of Keras 2 (limits: {})", Limit::HardSigmoidOfKeras2));
                    }
                    value => hard_sigmoids(value),
                }
            }
        }
        _ => {}
    }
}

/// Chains were lists of layers without arguments of their own, and the first layer had the shape of the input.
fn chain_of_layers(value: &mut Value) {
    if value.get("class_name").is_none_or(|class| class != "Sequential") {
        return;
    }
    let Some(config) = value.get_mut("config") else { return };
    if config.is_array() {
        let layers = config.take();
        *config = json!({ "name": "sequential", "layers": layers });
    }
    let built = config.get("build_input_shape").is_some_and(|shape| !shape.is_null());
    let Some(Value::Array(layers)) = config.get_mut("layers") else { return };
    let input = layers.first().filter(|first| !built && first["class_name"] != "InputLayer").and_then(|first| {
        let config = first.get("config")?;
        let (shape, name) = (config.get("batch_input_shape")?, config.get("name")?.as_str()?);
        let dtype = config.get("dtype").cloned().unwrap_or(Value::Null);
        let config = json!({ "batch_shape": shape, "dtype": dtype, "name": format!("{name}_input") });
        Some(json!({ "class_name": "InputLayer", "config": config }))
    });
    input.into_iter().for_each(|input| layers.insert(0, input));
}

/// Arguments with other names today: class, then the old and the new name.
const RENAMED: &[(&str, &str, &str)] = &[
    ("LeakyReLU", "alpha", "negative_slope"),
    ("Adam", "lr", "learning_rate"),
    ("Adamax", "lr", "learning_rate"),
    ("Adagrad", "lr", "learning_rate"),
    ("Adadelta", "lr", "learning_rate"),
    ("Ftrl", "lr", "learning_rate"),
    ("Nadam", "lr", "learning_rate"),
    ("RMSprop", "lr", "learning_rate"),
    ("SGD", "lr", "learning_rate"),
];

/// Arguments that mean nothing, or that the layer finds out itself.
const DROPPED: &[(&str, &[&str])] = &[
    ("Conv1DTranspose", &["groups"]),
    ("Conv2DTranspose", &["groups"]),
    ("Conv3DTranspose", &["groups"]),
    ("DepthwiseConv1D", &["groups"]),
    ("DepthwiseConv2D", &["groups"]),
    ("Embedding", &["input_length"]),
    ("MultiHeadAttention", &["query_shape", "key_shape", "value_shape"]),
    ("Nadam", &["schedule_decay"]),
    ("SeparableConv1D", &["groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"]),
    ("SeparableConv2D", &["groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"]),
];

/// The arguments of a class.
fn arguments(class: &str, config: &mut Config) {
    for (_, old, new) in RENAMED.iter().filter(|(of, ..)| *of == class) {
        if let Some(value) = config.remove(*old) {
            config.entry(*new).or_insert(value);
        }
    }
    let dropped = DROPPED.iter().filter(|(of, _)| *of == class).flat_map(|(_, names)| *names);
    dropped.for_each(|name| drop(config.remove(*name)));
    // The axis of the channels came as a list of one.
    if class == "BatchNormalization"
        && let Some(axis) = config.get_mut("axis")
        && let Some([one]) = axis.as_array().map(Vec::as_slice)
    {
        *axis = one.clone();
    }
}

/// A compile configuration.
fn compiled(mut compile: Value) -> Value {
    // Keras's own optimizers were registered as those of users are.
    if let Some(class) = compile.pointer_mut("/optimizer/class_name")
        && let Some(plain) = class.as_str().and_then(|class| class.strip_prefix("Custom>"))
    {
        *class = json!(plain);
    }
    walk(&mut compile);
    compile.get_mut("optimizer").into_iter().for_each(decaying);
    for key in ["loss", "metrics", "weighted_metrics"] {
        if let Some(value) = compile.get_mut(key) {
            *value = plain(value.take());
        }
    }
    compile
}

/// The rate of an optimizer of Keras before 2.11 shrank with `decay`, which is a schedule of its own today. Nadam's means
/// something else.
fn decaying(optimizer: &mut Value) {
    let Some((_, config)) = serialised(optimizer).filter(|(class, _)| class != "Nadam") else { return };
    let number = |config: &Config, name: &str| config.get(name).and_then(Value::as_f64);
    if let (Some(rate), Some(decay)) = (number(config, "learning_rate"), number(config, "decay"))
        && decay > 0.0
    {
        let schedule = json!({ "initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay });
        config.insert("learning_rate".into(), json!({ "class_name": "InverseTimeDecay", "config": schedule }));
        config.remove("decay");
    }
}

/// Losses and metrics: functions were wrapped in classes that say their name.
fn plain(value: Value) -> Value {
    const WRAPPERS: [&str; 3] = ["MeanMetricWrapper", "LossFunctionWrapper", "SumOverBatchSizeMetricWrapper"];
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Value::Object(mut object) => {
            let wrapper = object.get("class_name").and_then(Value::as_str).is_some_and(|c| WRAPPERS.contains(&c));
            let config = object.get_mut("config").and_then(Value::as_object_mut);
            let function = config.and_then(|config| Some((config.remove("fn")?, config.get("name").cloned())));
            match function {
                Some((Value::String(function), Some(name))) if wrapper => {
                    json!({ "class_name": function, "config": { "name": name } })
                }
                Some((function, _)) if wrapper => function,
                _ => Value::Object(object.into_iter().map(|(key, value)| (key, plain(value))).collect()),
            }
        }
        // The reduction that Keras 2 chose by itself is the usual one.
        Value::String(text) if text == "auto" => json!("sum_over_batch_size"),
        other => other,
    }
}
