//! A layer from an expression.

use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::CallCx;
use super::builder::{Model, SubModel};
use super::graph::{LayerGraph, MaskedType};
use super::layer::{AnyLayer, BuildCx, Layer, LayerDef};
use super::tensor::Tensor;
use crate::diag::{Code, Diagnostic, Problem};
use crate::ir::{NodeId, SourceLine};

/// A function of tensors as a layer without weights:
///
/// ```
/// # use bakelite_compiler::prelude::*;
/// # let m = Model::new("doc");
/// # let x = m.input("x", 3, F32);
/// let y = Lambda::new(|x| (x * x).sum(&[-1]).sqrt()).apply(&x);
/// ```
///
/// Layers with weights belong in a [`Model`], which can be applied as a layer, too.
#[derive(Clone)]
pub struct Lambda {
    inputs: RangeInclusive<usize>,
    function: Rc<Function>,
}

type Function = dyn Fn(&[Tensor]) -> Tensor;

impl Lambda {
    /// A function of one tensor.
    pub fn new(function: impl Fn(&Tensor) -> Tensor + 'static) -> Layer<Lambda> {
        Layer::new(Lambda { inputs: 1..=1, function: Rc::new(move |x| function(&x[0])) })
    }

    /// A function of any number of tensors.
    pub fn of_many(function: impl Fn(&[Tensor]) -> Tensor + 'static) -> Layer<Lambda> {
        Layer::new(Lambda { inputs: 1..=usize::MAX, function: Rc::new(function) })
    }

    /// The function as a model, for inputs of some types.
    fn trace(&self, inputs: &[MaskedType]) -> Result<SubModel, Problem> {
        let model = Model::new("lambda");
        let source = SourceLine::caller();
        let declare = |(i, input): (usize, &MaskedType)| {
            let x = model.input_of_type(&format!("x{i}"), input.ty.clone(), source.clone());
            if let Some(port) = x.port {
                model.net.borrow_mut().graph.set_mask(port, input.mask.clone());
            }
            x
        };
        let x: Vec<Tensor> = inputs.iter().enumerate().map(declare).collect();
        let y = (self.function)(&x);
        model.output_as("y", &y);
        let net = model.net.borrow();
        match net.problems.first() {
            Some(mistake) => {
                let Diagnostic { code, message, help, limit, .. } = mistake.clone();
                Err(Problem { code, message: format!("in a Lambda: {message}"), help, limit })
            }
            None => Ok(SubModel { graph: net.graph.clone(), model: net.core.id, net: model.net.clone() }),
        }
    }
}

/// Whether any layer of a graph has weights.
fn has_weights(graph: &LayerGraph) -> bool {
    let inside = |layer: &AnyLayer| layer.def.submodel().is_some_and(|m| has_weights(&m.graph));
    graph.layers().iter().any(|(_, layer)| !layer.weights().is_empty() || inside(layer))
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lambda").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl LayerDef for Lambda {
    fn kind(&self) -> &'static str {
        "Lambda"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        self.inputs.clone()
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        match has_weights(&self.trace(&cx.masked_inputs())?.graph) {
            false => Ok(()),
            true => Err(Problem::new(Code::Layer, "a Lambda applies layers with weights, which it cannot own")
                .help("make a Model of them and apply it as a layer")),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let masked = |(i, &x): (usize, &NodeId)| MaskedType {
            ty: cx.ty(x).clone(),
            mask: cx.mask(i).map(|mask| cx.ty(mask).clone()),
            given: false,
            narrow: cx.narrow(i),
        };
        let inputs: Vec<MaskedType> = x.iter().enumerate().map(masked).collect();
        match self.trace(&inputs) {
            Ok(model) => model.call(cx, x),
            Err(problem) => cx.fault(problem.message),
        }
    }
}
