//! A chain of layers.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use super::builder::{IntoShape, Model, Net};
use super::graph::Port;
use super::layer::{AnyLayer, IntoLayer};
use super::tensor::{self, Tensor};
use crate::diag::{Code, Problem};
use crate::ir::{DType, SourceLine, TensorType};

/// A model of one input and one output, layer after layer. It is a [`Model`] at every moment and derefs to it:
///
/// ```
/// # use bakelite_compiler::prelude::*;
/// let m = Sequential::new("xor").input("x", 2, F32).add(Dense::new(8).activation(Tanh)).add(Dense::new(1));
/// m.compile(Adam::new(0.01), BinaryCrossentropy::from_logits(), [Accuracy]);
/// ```
///
/// Without an input it can be used as a layer, and takes the type of the first tensor that it is applied to.
#[derive(Clone)]
pub struct Sequential {
    model: Model,
}

/// How far the chain of a sequential model is.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The tensor after the last layer, which may be poisoned.
    last: Option<Option<Port>>,
    /// Layers that wait for an input.
    pub waiting: Vec<(AnyLayer, SourceLine)>,
}

impl Sequential {
    #[track_caller]
    pub fn new(name: impl Into<String>) -> Sequential {
        let model = Model::new(name);
        model.net.borrow_mut().graph.chain = true;
        Sequential { model }
    }

    /// Declares the input by the shape of one item. It comes before the layers.
    #[track_caller]
    pub fn input(self, name: impl Into<String>, shape: impl IntoShape, dtype: DType) -> Sequential {
        let (name, shape) = (name.into(), shape.into_shape());
        self.begin(name, SourceLine::caller(), |model, name, source| model.input_at(name, &shape, dtype, source))
    }

    /// Declares the input, unless it is too late.
    fn begin(self, name: String, source: SourceLine, declare: impl FnOnce(&Model, &str, SourceLine) -> Tensor) -> Self {
        let fresh = {
            let net = self.model.net.borrow();
            net.chain.last.is_none() && net.chain.waiting.is_empty()
        };
        if fresh {
            let x = declare(&self.model, &name, source);
            self.model.net.borrow_mut().chain.last = Some(x.port);
        } else {
            let problem = Problem::new(Code::Arity, format!("the input `{name}` comes after other layers"))
                .help("a sequential model has one input, declared first; use Model for others");
            self.model.net.borrow_mut().report(problem, name, source);
        }
        self
    }

    /// Declares an input of text by the shape of one item; see [`Model::input_text`]. It comes before the layers.
    #[track_caller]
    pub fn input_text(self, name: impl Into<String>, shape: impl IntoShape) -> Sequential {
        let (name, shape) = (name.into(), shape.into_shape());
        self.begin(name, SourceLine::caller(), |model, name, source| model.input_text_at(name, &shape, source))
    }

    /// Appends a layer.
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "Keras's name")]
    pub fn add(self, layer: impl IntoLayer) -> Sequential {
        append(&self.model, layer.into_layer(), SourceLine::caller());
        self
    }

    /// The tensor after the last layer: where a functional model goes on.
    pub fn last(&self) -> Option<Tensor> {
        let port = self.model.net.borrow().chain.last?;
        Some(Tensor { net: self.model.net.clone(), port })
    }
}

fn append(model: &Model, layer: AnyLayer, source: SourceLine) {
    let last = model.net.borrow().chain.last;
    let Some(port) = last else {
        model.net.borrow_mut().chain.waiting.push((layer, source));
        return;
    };
    let x = Tensor { net: model.net.clone(), port };
    let y = tensor::apply_at(&layer, &[&x], source.clone()).swap_remove(0);
    model.set_output(&y, source);
    model.net.borrow_mut().chain.last = Some(y.port);
}

/// Gives a chain that waits for its input one of a type, and builds it.
pub(crate) fn start(net: &Rc<RefCell<Net>>, ty: &TensorType, source: SourceLine) {
    let model = Model { net: net.clone() };
    let waiting = std::mem::take(&mut net.borrow_mut().chain.waiting);
    let x = model.input_of_type("input", ty.clone(), source);
    net.borrow_mut().chain.last = Some(x.port);
    for (layer, source) in waiting {
        append(&model, layer, source);
    }
}

impl Deref for Sequential {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl IntoLayer for &Sequential {
    fn into_layer(self) -> AnyLayer {
        (&self.model).into_layer()
    }
}

impl IntoLayer for Sequential {
    fn into_layer(self) -> AnyLayer {
        (&self.model).into_layer()
    }
}
