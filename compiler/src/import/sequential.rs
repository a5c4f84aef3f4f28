//! Chains of layers.

use serde_json::Value;

use super::Reader;
use super::inputs::{InputSpec, extents};
use super::layer::name_of;
use crate::ir::{DType, TensorType};
use crate::model::config::{Config, excerpt};
use crate::model::{AnyLayer, Model, Tensor, tensor};

/// The description of a chain.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub input: InputSpec,
    layers: Vec<AnyLayer>,
}

impl Reader<'_> {
    /// Reads the description of a chain. Its input comes from an `InputLayer` at the front, or from the shape that the
    /// chain was built with.
    pub(super) fn chain(&mut self, config: &Config, path: &str) -> Option<Chain> {
        let mut layers = Vec::new();
        let mut input = None;
        for (value, object) in self.layers(config, path) {
            if object.class == "InputLayer" {
                input = input.or(Some(self.input(&object.config, path)));
                continue;
            }
            layers.extend(self.layer(&object, name_of(value, &object), path));
        }
        let input = match (input, config.get("build_input_shape")) {
            (Some(input), _) => input,
            (None, Some(shape @ Value::Array(_))) => {
                // A chain that begins with a layer over text says nothing of the type of its input.
                let text = layers.first().is_some_and(|layer| layer.def.text().is_some());
                let dtype = if text { None } else { Some(DType::F32) };
                let item = extents(shape);
                if item.is_none() {
                    self.malformed(path, format!("the input has the shape {}", excerpt(shape)));
                }
                item.map(|item| InputSpec { name: "input".to_string(), item, rows: None, dtype, narrow: None })
            }
            (None, _) => {
                self.malformed(
                    path,
                    "the model was never built: neither an InputLayer nor `build_input_shape` is there",
                );
                None
            }
        };
        Some(Chain { input: input?, layers })
    }

    /// Fills a model with a chain whose input, where its sizes are open, is as it is `given`.
    pub(super) fn sequential(&mut self, model: &Model, chain: &Chain, given: &[TensorType], path: &str) {
        {
            let graph = &mut model.net.borrow_mut().graph;
            graph.chain = true;
            graph.rows = chain.input.rows;
        }
        let Some(item) = self.bound(&chain.input, given.first(), path) else { return };
        let mut x: Tensor = chain.input.declare(model, &item, self.source.clone());
        for layer in &chain.layers {
            x = tensor::apply_at(layer, &[&x], self.source.clone()).swap_remove(0);
        }
        let name = x.name().unwrap_or_default();
        model.add_output(name, &x, self.source.clone());
    }
}
