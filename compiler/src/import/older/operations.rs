//! Functions of TensorFlow between layers: what `x + y` was in Keras 2.
//!
//! They are layers of the class `TFOpLambda` (`SlicingOpLambda` for `x[...]`) that say the name of the function, and
//! become operations of Keras 3. Functions that are not in the table here keep their name, and are reported as
//! operations that are not supported.

use serde_json::{Map, Value, json};

/// Arguments in their order, by the names that they had and have.
type Arguments = &'static [(&'static str, &'static str)];

/// Functions, with the operations that they are today.
const FUNCTIONS: &[(&str, &str, Arguments)] = &[
    ("__operators__.add", "Add", BINARY),
    ("math.add", "Add", BINARY),
    ("math.subtract", "Subtract", BINARY),
    ("math.multiply", "Multiply", BINARY),
    ("math.truediv", "TrueDivide", BINARY),
    ("math.divide", "Divide", BINARY),
    ("math.pow", "Power", BINARY),
    ("math.maximum", "Maximum", BINARY),
    ("math.minimum", "Minimum", BINARY),
    ("math.greater", "Greater", BINARY),
    ("math.greater_equal", "GreaterEqual", BINARY),
    ("math.less", "Less", BINARY),
    ("math.less_equal", "LessEqual", BINARY),
    ("math.negative", "Negative", UNARY),
    ("math.abs", "Absolute", UNARY),
    ("math.square", "Square", UNARY),
    ("math.sqrt", "Sqrt", UNARY),
    ("math.exp", "Exp", UNARY),
    ("math.log", "Log", UNARY),
    ("math.tanh", "Tanh", UNARY),
    ("math.sigmoid", "Sigmoid", UNARY),
    ("nn.relu", "Relu", &[("features", "x")]),
    ("nn.relu6", "Relu6", &[("features", "x")]),
    ("nn.softmax", "Softmax", &[("logits", "x"), ("axis", "axis")]),
    ("math.reduce_sum", "Sum", REDUCTION),
    ("math.reduce_mean", "Mean", REDUCTION),
    ("math.reduce_max", "Max", REDUCTION),
    ("math.reduce_min", "Min", REDUCTION),
    ("cast", "Cast", &[("x", "x"), ("dtype", "dtype")]),
    ("clip_by_value", "Clip", &[("t", "x"), ("clip_value_min", "x_min"), ("clip_value_max", "x_max")]),
    ("concat", "Concatenate", &[("values", "xs"), ("axis", "axis")]),
    ("stack", "Stack", &[("values", "x"), ("axis", "axis")]),
    ("expand_dims", "ExpandDims", &[("input", "x"), ("axis", "axis")]),
    ("squeeze", "Squeeze", &[("input", "x"), ("axis", "axis")]),
    ("reshape", "Reshape", &[("tensor", "x"), ("shape", "newshape")]),
    ("transpose", "Transpose", &[("a", "x"), ("perm", "axes")]),
    ("linalg.matmul", "Matmul", &[("a", "x1"), ("b", "x2")]),
    ("__operators__.getitem", "GetItem", &[("tensor", "x"), ("slice_spec", "key")]),
];

const BINARY: Arguments = &[("x", "x1"), ("y", "x2")];
const UNARY: Arguments = &[("x", "x")];
const REDUCTION: Arguments = &[("input_tensor", "x"), ("axis", "axis"), ("keepdims", "keepdims")];

/// Where operations are that no table here has.
const MODULE: &str = "keras.src.ops.tensorflow";

/// Makes an operation of a layer that is a function, and whose applications have the present form.
pub(super) fn bring_up_to_date(layer: &mut Value) {
    if !matches!(layer["class_name"].as_str(), Some("TFOpLambda" | "SlicingOpLambda")) {
        return;
    }
    let Some(function) = layer.pointer("/config/function").and_then(Value::as_str) else { return };
    let known = FUNCTIONS.iter().find(|(name, ..)| *name == function);
    let (class, arguments) = known.map_or((function, &[][..]), |(_, class, arguments)| (*class, *arguments));
    let nodes = layer.get("inbound_nodes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let modern: Option<Vec<Value>> = nodes.iter().map(|node| application(node, arguments)).collect();
    let class = if modern.is_some() { class } else { function };
    let name = layer.get("name").cloned();
    *layer = json!({
        "module": MODULE,
        "class_name": class,
        "config": { "name": name },
        "name": name,
        "inbound_nodes": modern.unwrap_or_default(),
    });
}

/// An application with the names that arguments have today; none where one is not known.
fn application(node: &Value, arguments: Arguments) -> Option<Value> {
    let mut named = Map::new();
    for (old, value) in node.get("kwargs")?.as_object()? {
        if old == "name" || value.is_null() {
            continue;
        }
        let (_, new) = arguments.iter().find(|(name, _)| name == old)?;
        named.insert(new.to_string(), if *new == "key" { key(value) } else { value.clone() });
    }
    Some(json!({ "args": node.get("args")?, "kwargs": named }))
}

/// The key of `x[key]`: slices had no class.
fn key(value: &Value) -> Value {
    match value {
        Value::Array(parts) => parts.iter().map(key).collect(),
        Value::Object(part) if !part.contains_key("class_name") => {
            json!({ "class_name": "__slice__", "config": value })
        }
        plain => plain.clone(),
    }
}
