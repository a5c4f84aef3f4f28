//! Entry points of one's own: any tensors as results, gradients among them, and training of chosen layers.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::CallCx;
use super::builder::{Model, Net, check_name};
use super::graph::Port;
use super::layer::{BuildCx, IntoLayer, Layer, LayerDef};
use super::optimizer::{IntoOptimizer, Optimizer};
use super::tensor::{self, Tensor};
use crate::diag::{Code, Diagnostic, Problem};
use crate::ir::{DType, NodeId, SourceLine};

/// What an entry point computes and changes.
#[derive(Clone, Debug)]
pub(crate) struct EntrySpec {
    pub name: String,
    pub source: SourceLine,
    pub outputs: Vec<(String, Port)>,
    pub updates: Vec<UpdateSpec>,
    pub training: Option<bool>,
}

/// One optimizer step over some layers.
#[derive(Clone, Debug)]
pub(crate) struct UpdateSpec {
    pub loss: Port,
    pub layers: Vec<String>,
    pub optimizer: Rc<dyn Optimizer>,
    pub source: SourceLine,
}

/// Names of the entry points that a model has by itself.
pub(crate) const STANDARD: [&str; 6] = ["init", "predict", "train_step", "evaluate_step", "reset_metrics", "finalize"];

/// An entry point under construction. Its inputs are the inputs of the model that its results depend on, in the
/// order in which the model declared them.
pub struct Entry {
    net: Rc<RefCell<Net>>,
    /// Nothing if the name was refused.
    index: Option<usize>,
}

impl Entry {
    pub(crate) fn new(model: &Model, name: String, source: SourceLine) -> Entry {
        let mut net = model.net.borrow_mut();
        let first = net.entries.iter().find(|e| e.name == name).map(|e| e.source.clone());
        let mut index = None;
        if let Err(problem) = check_name("entry point", &name) {
            net.report(problem, name, source);
        } else if STANDARD.contains(&name.as_str()) {
            let problem = Problem::new(Code::Name, format!("the entry point `{name}` exists in every model"))
                .help("choose another name");
            net.report(problem, name, source);
        } else if first.is_some() {
            let problem = Problem::new(Code::Name, format!("the entry point `{name}` is defined twice"));
            net.lose(Diagnostic::new(problem, name, Some(source)).related("first defined", first));
        } else {
            index = Some(net.entries.len());
            net.entries.push(EntrySpec { name, source, outputs: Vec::new(), updates: Vec::new(), training: None });
        }
        Entry { net: model.net.clone(), index }
    }

    /// Adds a result.
    #[track_caller]
    pub fn output(self, name: impl Into<String>, x: &Tensor) -> Entry {
        let (name, source) = (name.into(), SourceLine::caller());
        let Some((index, port)) = self.takes(x, &source) else { return self };
        let mut net = self.net.borrow_mut();
        if let Err(problem) = check_name("result", &name) {
            net.report(problem, name, source);
        } else if net.entries[index].outputs.iter().any(|(n, _)| *n == name) {
            let entry = net.entries[index].name.clone();
            let problem = Problem::new(Code::Name, format!("the entry point `{entry}` has two results `{name}`"));
            net.report(problem, entry, source);
        } else {
            net.entries[index].outputs.push((name, port));
        }
        drop(net);
        self
    }

    /// Trains the layers at or below some paths, and no others: one optimizer step down the gradient of a scalar,
    /// plus the penalties of those layers' regularizers. Frozen layers stay as they are. The optimizer's state
    /// belongs to the entry point.
    #[track_caller]
    pub fn minimize(self, loss: &Tensor, layers: &[&str], optimizer: impl IntoOptimizer) -> Entry {
        let source = SourceLine::caller();
        let Some((index, port)) = self.takes(loss, &source) else { return self };
        let mut net = self.net.borrow_mut();
        let ty = net.graph.ty(port).clone();
        if ty.dtype != DType::F32 || ty.shape.rank() > 0 {
            let problem = Problem::new(Code::Loss, format!("only a scalar can be minimized, this tensor is {ty}"))
                .help("take its mean: `x.mean_all()`");
            let (entry, net) = (net.entries[index].name.clone(), &mut *net);
            let diagnostic = net.explain(problem, entry, source, &[port]);
            net.lose(diagnostic);
        } else {
            let layers = layers.iter().map(|l| l.to_string()).collect();
            net.entries[index].updates.push(UpdateSpec {
                loss: port,
                layers,
                optimizer: optimizer.into_optimizer(),
                source,
            });
        }
        drop(net);
        self
    }

    /// Whether layers behave as in training (dropout drops). By default they do where the entry point minimizes.
    pub fn training(self, training: bool) -> Entry {
        if let Some(index) = self.index {
            self.net.borrow_mut().entries[index].training = Some(training);
        }
        self
    }

    /// The entry point's index and the tensor's port, unless either was refused.
    fn takes(&self, x: &Tensor, source: &SourceLine) -> Option<(usize, Port)> {
        let index = self.index?;
        let user = format!("the entry point `{}`", self.net.borrow().entries[index].name);
        if tensor::adopt(&self.net, x, &user, source) { Some((index, x.port?)) } else { None }
    }
}

/// The gradients of the first input, a scalar, with respect to the others.
#[derive(Clone, Debug)]
struct Gradient {
    count: usize,
}

impl LayerDef for Gradient {
    fn kind(&self) -> &'static str {
        "Gradient"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=usize::MAX
    }

    fn results(&self) -> usize {
        self.count
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let of = cx.input();
        if of.dtype != DType::F32 || of.shape.rank() > 0 {
            let message = format!("only a scalar has a gradient here, this tensor is {of}");
            return Err(Problem::new(Code::Gradient, message).help("sum it up first: `x.sum_all()`"));
        }
        match cx.inputs()[1..].iter().find(|t| !t.dtype.is_float()) {
            None => Ok(()),
            Some(t) => Err(Problem::new(Code::Gradient, format!("there is no gradient with respect to {t}"))),
        }
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        cx.gradients(x[0], &x[1..])
    }
}

impl Tensor {
    /// The gradient of this scalar with respect to a tensor that it is computed from.
    #[track_caller]
    pub fn gradient(&self, wrt: &Tensor) -> Tensor {
        self.gradients(&[wrt]).swap_remove(0)
    }

    /// The gradients of this scalar with respect to several tensors that it is computed from.
    #[track_caller]
    pub fn gradients(&self, wrt: &[&Tensor]) -> Vec<Tensor> {
        let source = SourceLine::caller();
        let layer = Layer::new(Gradient { count: wrt.len() }).into_layer();
        let inputs: Vec<&Tensor> = std::iter::once(self).chain(wrt.iter().copied()).collect();
        for x in wrt {
            let same = Rc::ptr_eq(&self.net, &x.net);
            if let (true, Some(of), Some(on)) = (same, self.port, x.port)
                && !self.net.borrow().graph.depends(on, of)
            {
                let (of, on) = (self.name().unwrap_or_default(), x.name().unwrap_or_default());
                let problem = Problem::new(Code::Gradient, format!("`{of}` does not depend on `{on}`"))
                    .help(format!("its gradient would be zero everywhere; compute `{of}` from `{on}`"));
                self.net.borrow_mut().report(problem, of, source);
                return wrt.iter().map(|_| Tensor { net: self.net.clone(), port: None }).collect();
            }
        }
        tensor::apply(&layer, &inputs)
    }
}
