//! Models: outermost ones, and models as layers of others.
//!
//! A model as a layer is built at once where its inputs have sizes. Where it leaves sizes open it is an [`OpenModel`], which
//! is built for each application, with the sizes of what it is applied to.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

use serde_json::Value;

use super::Reader;
use super::functional::Graph;
use super::inputs::InputSpec;
use super::sequential::Chain;
use crate::diag::{Code, Problem};
use crate::ir::{NodeId, SourceLine, TensorType};
use crate::model::config::Object;
use crate::model::graph::MaskedType;
use crate::model::layer::LayerDef;
use crate::model::{AnyLayer, BuildCx, CallCx, IntoLayer, Model};

/// Whether a class is made of layers.
pub(super) fn is_model(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

/// What a description says of a model: its layers, which are there once, and how they are applied.
#[derive(Clone, Debug)]
pub(super) enum Blueprint {
    Chain(Chain),
    Graph(Graph),
}

impl Blueprint {
    fn inputs(&self) -> Vec<&InputSpec> {
        match self {
            Blueprint::Chain(chain) => vec![&chain.input],
            Blueprint::Graph(graph) => graph.inputs().collect(),
        }
    }

    /// Whether the size of an input is open.
    fn is_open(&self) -> bool {
        self.inputs().iter().any(|input| input.item.contains(&None))
    }

    fn results(&self) -> usize {
        match self {
            Blueprint::Chain(_) => 1,
            Blueprint::Graph(graph) => graph.results(),
        }
    }
}

impl Reader<'_> {
    /// Fills the outermost model from its description.
    pub(super) fn outermost(&mut self, model: &Model, object: &Object<'_>) {
        model.trainable(is_trainable(object));
        let Some(blueprint) = self.described(object, "") else { return };
        match self.problems.is_empty() {
            true => self.fill(model, &blueprint, &[], ""),
            // What is open is said with the rest.
            false => blueprint.inputs().into_iter().for_each(|input| drop(self.bound(input, None, ""))),
        }
    }

    /// A model as a layer.
    pub(super) fn nested(&mut self, object: &Object<'_>, name: &str, path: &str) -> Option<AnyLayer> {
        let before = self.problems.len();
        let blueprint = self.described(object, path).filter(|_| self.problems.len() == before)?;
        if blueprint.is_open() {
            let (name, source) = (name.to_string(), self.source.clone());
            let layer = AnyLayer::from_def(Rc::new(OpenModel { name: name.clone(), blueprint, source }));
            layer.set_name(&name);
            layer.set_trainable(is_trainable(object));
            return Some(layer);
        }
        let model = Model::at(name.to_string(), self.source.clone());
        model.trainable(is_trainable(object));
        self.fill(&model, &blueprint, &[], path);
        (self.problems.len() == before).then(|| model.into_layer())
    }

    /// What a description says, as far as it can be read; what cannot has been reported.
    fn described(&mut self, object: &Object<'_>, path: &str) -> Option<Blueprint> {
        match object.class.as_str() {
            "Sequential" => self.chain(&object.config, path).map(Blueprint::Chain),
            _ => Some(Blueprint::Graph(self.graph(&object.config, path))),
        }
    }

    /// Fills a model; inputs whose sizes are open are as they are `given`.
    fn fill(&mut self, model: &Model, blueprint: &Blueprint, given: &[TensorType], path: &str) {
        match blueprint {
            Blueprint::Chain(chain) => self.sequential(model, chain, given, path),
            Blueprint::Graph(graph) => self.functional(model, graph, given, path),
        }
    }
}

fn is_trainable(object: &Object<'_>) -> bool {
    object.config.get("trainable") != Some(&Value::Bool(false))
}

/// A model that leaves sizes of its inputs open.
#[derive(Debug)]
struct OpenModel {
    name: String,
    blueprint: Blueprint,
    source: SourceLine,
}

impl LayerDef for OpenModel {
    fn kind(&self) -> &'static str {
        "Model"
    }

    fn arity(&self) -> RangeInclusive<usize> {
        let count = self.blueprint.inputs().len();
        count..=count
    }

    fn results(&self) -> usize {
        self.blueprint.results()
    }

    fn settle(&self, given: &[MaskedType], layer: &AnyLayer) -> Option<Rc<dyn LayerDef>> {
        let model = Model::with_core(self.name.clone(), self.source.clone(), layer.core.clone());
        let types: Vec<TensorType> = given.iter().map(|given| given.ty.clone()).collect();
        let shapes = BTreeMap::new();
        let mut reader = Reader { source: self.source.clone(), shapes: &shapes, problems: Vec::new() };
        reader.fill(&model, &self.blueprint, &types, "");
        model.net.borrow_mut().problems.extend(reader.problems);
        Some(model.into_layer().def)
    }

    fn build(&self, _: &mut BuildCx<'_>) -> Result<(), Problem> {
        let message = format!("the model `{}` leaves sizes of its inputs open", self.name);
        Err(Problem::new(Code::Shape, message).help("describe it with sizes: `keras.Input((224, 224, 3))`"))
    }

    fn call(&self, cx: &mut CallCx<'_>, _: &[NodeId]) -> Vec<NodeId> {
        cx.fault("is called before its sizes are known".into())
    }
}
