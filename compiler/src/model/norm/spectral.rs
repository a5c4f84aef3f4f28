use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::unit;
use crate::diag::Problem;
use crate::ir::{NodeId, ReduceFn, Shape};
use crate::model::CallCx;
use crate::model::call::Masked;
use crate::model::initializer::Initializer;
use crate::model::layer::{AnyLayer, BuildCx, IntoLayer, Layer, LayerDef, Weight};
use crate::model::numbers::unrolled;
use crate::model::saved::Part;
use crate::model::setters::setters;

/// Runs another layer with its kernel divided by an estimate of the kernel's largest singular value (Miyato et al.,
/// 2018, arXiv:1802.05957), which steadies the training of discriminators.
///
/// As in Keras on JAX, training computes with the divided kernel and changes the kernel itself, and prediction computes
/// with the kernel as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SpectralNormalization {
    layer: Option<AnyLayer>,
    power_iterations: usize,
}

impl Default for SpectralNormalization {
    fn default() -> SpectralNormalization {
        SpectralNormalization { layer: None, power_iterations: 1 }
    }
}

impl SpectralNormalization {
    /// Of a layer with a kernel, such as `Dense` or `Conv2D`, or of an `Embedding`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(layer: impl IntoLayer) -> Layer<SpectralNormalization> {
        Layer::new(SpectralNormalization { layer: Some(layer.into_layer()), ..SpectralNormalization::default() })
    }
}

impl Layer<SpectralNormalization> {
    setters! {
        /// How often the estimate is improved in each step.
        power_iterations: usize;
    }
}

/// The name of the weight that is divided.
fn kernel(layer: &AnyLayer) -> Option<Weight> {
    let weights = layer.weights();
    let named = |name: &str| weights.iter().find(|w| w.name == name).cloned();
    named("kernel").or_else(|| named("embeddings"))
}

impl LayerDef for SpectralNormalization {
    fn kind(&self) -> &'static str {
        "SpectralNormalization"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        self.layer.as_ref().map_or(1..=1, |layer| layer.definition().arity())
    }

    fn results(&self) -> usize {
        self.layer.as_ref().map_or(1, |layer| layer.definition().results())
    }

    fn parts(&self) -> Vec<Part> {
        let parts = |layer| {
            let divided = kernel(layer).map(|weight| Part::weight("kernel", layer, weight.name));
            divided.into_iter().chain([Part::layer("layer", layer)])
        };
        self.layer.iter().flat_map(parts).collect()
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let Some(layer) = &self.layer else { return Err(Problem::value("SpectralNormalization without a layer")) };
        cx.positive("power_iterations", self.power_iterations)?;
        unrolled(cx.kind(), "power_iterations", self.power_iterations)?;
        layer.build(&cx.masked_inputs())?;
        let features = kernel(layer).and_then(|weight| weight.shape.last().copied());
        let Some(features) = features else {
            let kind = layer.definition().kind();
            return Err(Problem::value(format!("SpectralNormalization of {kind}, which has no kernel"))
                .help("it takes layers with a weight `kernel` or `embeddings`, such as Dense, Conv2D and Embedding"));
        };
        cx.weight(Weight::state("vector_u", [1, features], Initializer::truncated_normal(0.02)))
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let Some(layer) = &self.layer else { return x.to_vec() };
        let inputs: Vec<Masked> = x.iter().enumerate().map(|(i, &node)| cx.masked_input(i, node)).collect();
        let name = layer.own_name();
        let nodes = |results: Vec<Masked>| results.into_iter().map(|result| result.node).collect();
        let Some(weight) = kernel(layer).map(|w| w.name).filter(|_| cx.training()) else {
            return nodes(cx.child_masked(&name, layer, &inputs));
        };
        let kernel = cx.within(&name, layer, |cx| cx.weight(&weight));
        let divided = self.divided(cx, kernel);
        nodes(cx.with_weight(&name, layer, &weight, divided, |cx| cx.child_masked(&name, layer, &inputs)))
    }
}

impl SpectralNormalization {
    /// The kernel divided by its largest singular value, estimated by iteration from what the step before found. A
    /// kernel of zeros stays.
    fn divided(&self, cx: &mut CallCx<'_>, kernel: NodeId) -> NodeId {
        let shape = cx.ty(kernel).shape.clone();
        let features = shape.last().map_or(1, |d| d.scale);
        let rows = shape.iter().map(|d| d.scale).product::<usize>() / features.max(1);
        let matrix = cx.reshape(kernel, Shape::fixed(&[rows, features]));
        let fixed = cx.stop_gradient(matrix);
        let before = cx.weight("vector_u");
        let (mut u, mut v) = (before, before);
        for _ in 0..self.power_iterations {
            v = cx.contract(u, fixed, &[], &[(1, 1)]);
            v = unit(cx, v, &[0, 1], 1e-7);
            u = cx.contract(v, fixed, &[], &[(1, 0)]);
            u = unit(cx, u, &[0, 1], 1e-7);
        }
        let product = cx.contract(v, matrix, &[], &[(1, 0)]);
        let sigma = cx.contract(product, u, &[], &[(1, 1)]);
        let sigma = cx.reshape(sigma, Shape::scalar());
        let largest = cx.abs(fixed);
        let largest = cx.reduce(ReduceFn::Max, largest, &[0, 1]);
        let zero = cx.lit_like(largest, 0.0);
        let nothing = cx.eq(largest, zero);
        let unchanged = cx.broadcast_like(nothing, u);
        let next = cx.select(unchanged, before, u);
        let next = cx.stop_gradient(next);
        cx.update("vector_u", next);
        let one = cx.lit_like(sigma, 1.0);
        let sigma = cx.select(nothing, one, sigma);
        let sigma = cx.broadcast_like(sigma, kernel);
        cx.div(kernel, sigma)
    }
}
