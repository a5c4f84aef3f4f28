//! Losses written as expressions over tensors.

use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use super::{Loss, floats};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Graph, NodeId, SourceLine, TensorType};
use crate::model::builder::Model;
use crate::model::call::{CallCx, Masked};
use crate::model::store::Store;
use crate::model::tensor::Tensor;

type Expression = dyn Fn(&Tensor, &Tensor) -> Tensor;

/// A loss as an expression over target and output, which are tensors of a model of its own. The result has a value for
/// each sample or position, or is a scalar for the whole batch:
///
/// ```
/// # use bakelite_compiler::prelude::*;
/// LossFn::new("wasserstein", |target, output| (target * output).mean(&[-1]));
/// ```
#[derive(Clone)]
pub struct LossFn {
    name: String,
    target: Option<DType>,
    expression: Rc<Expression>,
}

impl LossFn {
    pub fn new(name: impl Into<String>, expression: impl Fn(&Tensor, &Tensor) -> Tensor + 'static) -> LossFn {
        LossFn { name: name.into(), target: None, expression: Rc::new(expression) }
    }

    /// The element type of the target, `f32` unless set.
    pub fn target_dtype(mut self, dtype: DType) -> LossFn {
        self.target = Some(dtype);
        self
    }

    /// The expression in a model of its own.
    fn model(&self, target: &TensorType, output: &TensorType) -> (Model, Tensor, [Tensor; 2]) {
        let m = Model::new("loss");
        let source = SourceLine::caller();
        let inputs = [("target", target), ("output", output)]
            .map(|(name, ty)| m.input_of_type(name, ty.clone(), source.clone()));
        let result = (self.expression)(&inputs[0], &inputs[1]);
        (m, result, inputs)
    }
}

impl fmt::Debug for LossFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossFn").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Loss for LossFn {
    fn kind(&self) -> &'static str {
        "LossFn"
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn target(&self, output: &TensorType) -> TensorType {
        TensorType::new(self.target.unwrap_or(DType::F32), output.shape.clone())
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        let (m, result, inputs) = self.model(target, output);
        if let Some(first) = m.problems().first() {
            let mut problem = Problem::new(first.code, format!("{}: {}", self.name, first.message));
            problem.help.clone_from(&first.help);
            return Err(problem);
        }
        let fail = |what: String| Err(Problem::new(Code::Loss, format!("{}: {what}", self.name)));
        let Some(ty) = result.ty().filter(|_| Rc::ptr_eq(&result.net, &inputs[0].net)) else {
            return fail("its result is not made of target and output".into());
        };
        floats(&self.name, &ty)?;
        let mut scratch = Graph::new("check");
        let nodes = [target, output].map(|ty| scratch.input("x", ty.clone()));
        let mut store = Store::default();
        run(&mut scratch, &mut store, &m, &result, &inputs, nodes);
        if !store.cells.is_empty() {
            return fail("a loss has no weights and draws no random numbers".into());
        }
        match ty.shape.rank() <= output.shape.rank() && ty.shape[..] == output.shape[..ty.shape.rank()] {
            true => Ok(()),
            false => fail(format!("its values are {ty}, their axes must be the first ones of the output, {output}")),
        }
    }

    fn values(&self, g: &mut Graph, target: NodeId, output: NodeId) -> NodeId {
        let (m, result, inputs) = self.model(g.ty(target), g.ty(output));
        let mut store = Store::default();
        run(g, &mut store, &m, &result, &inputs, [target, output]).unwrap_or(output)
    }
}

/// Adds the expression to a graph.
fn run(
    g: &mut Graph,
    store: &mut Store,
    model: &Model,
    result: &Tensor,
    inputs: &[Tensor; 2],
    nodes: [NodeId; 2],
) -> Option<NodeId> {
    let given: HashMap<_, _> = inputs.iter().filter_map(|x| x.port).zip(nodes.map(Masked::from)).collect();
    let wanted: Vec<_> = result.port.into_iter().collect();
    CallCx::new(g, store, true).run(&model.net.borrow().graph, &given, &wanted).first().map(|result| result.node)
}
