//! Kernels of whole numbers of 8 bits.
//!
//! Source: Keras's [quantization](https://keras.io/guides/quantization_overview/) in its mode `int8`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::CallCx;
use super::config::Config;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef, Weight};
use super::lora::Lora;
use super::saved::Filed;
use super::setters::{Has, setters};
use crate::diag::Problem;
use crate::ir::{NodeId, ReduceFn, Shape};
use crate::limit::Limit;

/// The largest of the whole numbers.
const LARGEST: f64 = 127.0;

/// What is added to the largest input before it is divided by, so that zeros stay zeros.
const EPSILON: f64 = 1e-7;

/// How the numbers of a layer are kept and multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DTypePolicy {
    /// As `f32`.
    #[default]
    Float32,
    /// The kernel as whole numbers of 8 bits with an `f32` factor for each result. It is not trained: it comes from a file
    /// of a model that Keras's `quantize("int8")` was called for, and begins as zeros. In memory it takes the room of an
    /// `f32` kernel, for it is multiplied as one: sums of up to 1,040 products of whole numbers are exact, longer ones are
    /// rounded as sums of floats are.
    Int8FromFloat32,
}

impl Serialize for DTypePolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            DTypePolicy::Float32 => serializer.serialize_none(),
            DTypePolicy::Int8FromFloat32 => serializer.serialize_str("int8_from_float32"),
        }
    }
}

impl<'de> Deserialize<'de> for DTypePolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DTypePolicy, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(if policy(&value).starts_with("int8_from_") { DTypePolicy::Int8FromFloat32 } else { DTypePolicy::Float32 })
    }
}

/// The name of a policy of Keras.
pub(crate) fn policy(dtype: &Value) -> String {
    let text = |key| dtype.pointer(key).and_then(Value::as_str);
    match (text("/config/mode"), text("/config/source_name")) {
        (Some(mode), Some(source)) => format!("{mode}_from_{source}"),
        _ => text("/config/name").or(dtype.as_str()).unwrap_or_default().to_string(),
    }
}

/// What a kernel of whole numbers is multiplied with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ActivationQuantizer {
    /// Whole numbers of 8 bits: the inputs divided by the largest of each sum, and rounded.
    #[default]
    AbsMax,
    /// The inputs as they are.
    Float,
}

impl ActivationQuantizer {
    /// What Keras's `quantization_config` says, if it is one of these.
    fn of(config: &Value) -> Option<ActivationQuantizer> {
        if config.is_null() {
            return Some(ActivationQuantizer::AbsMax);
        }
        if config.get("class_name")? != "Int8QuantizationConfig" {
            return None;
        }
        let quantizer = config.pointer("/config/activation_quantizer")?;
        if quantizer.is_null() {
            return Some(ActivationQuantizer::Float);
        }
        let default = |key: &str, value: Value| quantizer.pointer(key).is_none_or(|found| *found == value);
        let known = quantizer.get("class_name")? == "AbsMaxQuantizer"
            && default("/config/value_range", json!([-LARGEST as i64, LARGEST as i64]))
            && default("/config/epsilon", json!(EPSILON))
            && default("/config/output_dtype", json!("int8"));
        known.then_some(ActivationQuantizer::AbsMax)
    }
}

impl Serialize for ActivationQuantizer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let float = json!({
            "module": "keras.quantizers", "class_name": "Int8QuantizationConfig", "registered_name": null,
            "config": {"weight_quantizer": null, "activation_quantizer": null},
        });
        match self {
            ActivationQuantizer::AbsMax => serializer.serialize_none(),
            ActivationQuantizer::Float => float.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ActivationQuantizer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ActivationQuantizer, D::Error> {
        let value = Value::deserialize(deserializer)?;
        ActivationQuantizer::of(&value)
            .ok_or_else(|| D::Error::custom("expected Int8QuantizationConfig with its defaults"))
    }
}

/// Whether and how the kernel of a layer is quantized.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quantization {
    dtype: DTypePolicy,
    quantization_config: ActivationQuantizer,
}

/// The classes of layers that have a [`Quantization`].
const CLASSES: [&str; 3] = ["Dense", "EinsumDense", "Embedding"];

impl Quantization {
    /// Whether a layer with a policy of whole numbers, or another one, can be read.
    pub(crate) fn reads(class: &str, config: &Config) -> bool {
        let known = config.get("quantization_config").is_none_or(|config| ActivationQuantizer::of(config).is_some());
        let policy = config.get("dtype").map(policy).unwrap_or_default();
        CLASSES.contains(&class) && policy == "int8_from_float32" && known
    }

    pub(crate) fn is_int8(&self) -> bool {
        self.dtype == DTypePolicy::Int8FromFloat32
    }

    /// A kernel as it is to be declared, before the layer's other weights.
    pub(crate) fn kernel(&self, kernel: Weight) -> Weight {
        match self.is_int8() {
            false => kernel,
            true => Weight::new(kernel.name, kernel.shape, Initializer::Zeros).fixed().filed(Filed::Int8),
        }
    }

    /// Declares the factors of a kernel, behind the layer's other weights.
    pub(crate) fn declare(
        &self,
        cx: &mut BuildCx<'_>,
        name: &str,
        shape: Vec<usize>,
        lora: &Lora,
    ) -> Result<(), Problem> {
        match self.is_int8() {
            false => Ok(()),
            true if lora.is_on() => {
                let message = format!("{} with LoRA beside a `{name}` of whole numbers", cx.kind());
                Err(Problem::value(message).limit(Limit::QuantizedLayers))
            }
            true => cx.weight(Weight::new(scale_of(name), shape, Initializer::Ones).fixed()),
        }
    }

    /// The inputs of a sum over some axes as they are multiplied with the kernel, and the factors that they were made with,
    /// if any, which lack these axes.
    ///
    /// As in Keras the gradient goes through as if nothing had been rounded.
    pub(crate) fn inputs(&self, cx: &mut CallCx<'_>, x: NodeId, axes: &[usize]) -> (NodeId, Option<NodeId>) {
        if !self.is_int8() || self.quantization_config == ActivationQuantizer::Float {
            return (x, None);
        }
        let size = cx.abs(x);
        let most = cx.reduce(ReduceFn::Max, size, axes);
        let epsilon = cx.lit_like(most, EPSILON);
        let most = cx.add(most, epsilon);
        let largest = cx.lit_like(most, LARGEST);
        let scale = cx.div(largest, most);
        let scale = cx.stop_gradient(scale);
        let shape = cx.ty(x).shape.clone();
        let wide = cx.unreduce(scale, axes, &shape);
        let exact = cx.mul(x, wide);
        let whole = cx.round(exact);
        // The difference is exact, and so is the sum.
        let moved = cx.sub(whole, exact);
        let moved = cx.stop_gradient(moved);
        (cx.add(exact, moved), Some(scale))
    }

    /// The results of the sum: `y` divided by the factors of inputs and kernel. `of_inputs` are its axes that those of the
    /// inputs belong to, `of_kernel` those that the kernel has, in order.
    pub(crate) fn results(
        &self,
        cx: &mut CallCx<'_>,
        y: NodeId,
        (scale, of_inputs): (Option<NodeId>, &[usize]),
        (name, of_kernel): (&str, &[usize]),
    ) -> NodeId {
        if !self.is_int8() {
            return y;
        }
        let shape = cx.ty(y).shape.clone();
        let factors = cx.weight(&scale_of(name));
        let plain = Shape(of_kernel.iter().map(|&axis| shape[axis]).collect());
        let factors = cx.reshape(factors, plain);
        let mut factors = cx.broadcast(factors, of_kernel, shape.clone());
        if let Some(scale) = scale {
            let mut order: Vec<usize> = (0..of_inputs.len()).collect();
            order.sort_by_key(|&axis| of_inputs[axis]);
            let scale = cx.permute(scale, &order);
            let places: Vec<usize> = order.into_iter().map(|axis| of_inputs[axis]).collect();
            let scale = cx.broadcast(scale, &places, shape);
            factors = cx.mul(scale, factors);
        }
        cx.div(y, factors)
    }
}

/// The name of the factors of a kernel.
pub(crate) fn scale_of(name: &str) -> String {
    format!("{name}_scale")
}

impl<D: LayerDef + Clone + Has<Quantization>> Layer<D> {
    setters! {
        in Has::<Quantization>::part;
        /// How the kernel is kept and multiplied.
        dtype: DTypePolicy;
        /// What a kernel of whole numbers is multiplied with.
        quantization_config: ActivationQuantizer;
    }
}
