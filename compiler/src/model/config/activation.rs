use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::{Arguments, Object, excerpt, object};
use crate::diag::Problem;
use crate::model::Activation;

/// Keras's functions by name, with their default arguments. Keras has no name for the tanh form of gelu.
const NAMES: &[(&str, Activation)] = &[
    ("linear", Activation::Linear),
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu(0.2)),
    ("elu", Activation::Elu(1.0)),
    ("celu", Activation::Celu(1.0)),
    ("selu", Activation::Selu),
    ("gelu", Activation::Gelu),
    ("gelu_tanh", Activation::GeluTanh),
    ("sigmoid", Activation::Sigmoid),
    ("sparse_sigmoid", Activation::SparseSigmoid),
    ("hard_sigmoid", Activation::HardSigmoid),
    ("log_sigmoid", Activation::LogSigmoid),
    ("tanh", Activation::Tanh),
    ("hard_tanh", Activation::HardTanh),
    ("tanh_shrink", Activation::TanhShrink),
    ("hard_shrink", Activation::HardShrink(0.5)),
    ("soft_shrink", Activation::SoftShrink(0.5)),
    ("softplus", Activation::Softplus),
    ("sparse_plus", Activation::SparsePlus),
    ("squareplus", Activation::Squareplus(4.0)),
    ("softsign", Activation::Softsign),
    ("exponential", Activation::Exponential),
    ("silu", Activation::Silu),
    ("hard_silu", Activation::HardSilu),
    ("mish", Activation::Mish),
    ("glu", Activation::Glu),
    ("softmax", Activation::Softmax),
    ("log_softmax", Activation::LogSoftmax),
    ("sparsemax", Activation::Sparsemax),
    // Other names, which are read and never written.
    ("swish", Activation::Silu),
    ("hard_swish", Activation::HardSilu),
];

/// The names that are written.
pub(crate) fn activation_names() -> Vec<&'static str> {
    let first = |i: &usize| !NAMES[..*i].iter().any(|(_, other)| *other == NAMES[*i].1);
    (0..NAMES.len()).filter(first).map(|i| NAMES[i].0).collect()
}

fn by_name(name: &str) -> Result<Activation, String> {
    let found = NAMES.iter().find(|(n, _)| *n == name);
    found.map(|(_, activation)| *activation).ok_or_else(|| format!("no activation is called `{name}`"))
}

/// A layer that is given as an activation.
fn by_layer(class: &str, config: super::Config) -> Result<Activation, String> {
    let mut arguments = Arguments::new(class, config);
    let activation = match class {
        "LeakyReLU" => Activation::LeakyRelu(arguments.take("negative_slope", 0.3)),
        "ELU" => Activation::Elu(arguments.take("alpha", 1.0)),
        "Activation" => arguments.take("activation", Activation::Linear),
        _ => return Err(format!("the layer {class} cannot be an activation argument")),
    };
    let messages = |problems: Vec<Problem>| problems.into_iter().map(|p| p.message).collect::<Vec<_>>().join("; ");
    arguments.finish().map(|()| activation).map_err(messages)
}

/// A function's name, or a layer; null is linear.
fn read(value: &Value) -> Result<Activation, String> {
    match value {
        Value::Null => Ok(Activation::Linear),
        Value::String(name) => by_name(name),
        Value::Object(form) if form.get("class_name").is_some_and(|class| class == "function") => {
            match form.get("config") {
                Some(Value::String(name)) => by_name(name),
                _ => Err(format!("{} is no function", excerpt(value))),
            }
        }
        _ => {
            let Object { class, config } = Object::parse(value)?;
            by_layer(&class, config.into_owned())
        }
    }
}

impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
        read(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Activation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some((name, _)) = NAMES.iter().find(|(_, activation)| activation == self) {
            return name.serialize(serializer);
        }
        let layer = |class: &str, config: Value| object("keras.layers", class, config);
        match *self {
            Activation::LeakyRelu(slope) => layer("LeakyReLU", json!({ "negative_slope": slope })),
            Activation::Elu(alpha) => layer("ELU", json!({ "alpha": alpha })),
            other => return Err(serde::ser::Error::custom(format!("{other:?} has no name in Keras"))),
        }
        .serialize(serializer)
    }
}
