//! Chains of layers.

use serde_json::Value;

use super::Reader;
use super::inputs::InputSpec;
use super::layer::name_of;
use crate::model::config::Config;
use crate::model::{Model, Tensor, tensor};

impl Reader<'_> {
    /// Fills a model with a chain. Its input comes from an `InputLayer` at the front, or from the shape that the chain
    /// was built with.
    pub(super) fn sequential(&mut self, model: &Model, config: &Config, path: &str) {
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
            (None, Some(Value::Array(shape))) => self.item("input", shape, path).map(|item| {
                // A chain that begins with a layer over text says nothing of the type of its input.
                let text = layers.first().is_some_and(|made| made.layer().def.text().is_some());
                let dtype = if text { None } else { Some(crate::ir::DType::F32) };
                InputSpec { name: "input".to_string(), item, rows: None, dtype }
            }),
            (None, _) => {
                self.malformed(
                    path,
                    "the model was never built: neither an InputLayer nor `build_input_shape` is there",
                );
                None
            }
        };
        model.net.borrow_mut().graph.chain = true;
        // Whatever was refused has been reported; what is left of the chain says nothing about shapes.
        let (Some(input), true) = (input, self.problems.is_empty()) else { return };
        model.net.borrow_mut().graph.rows = input.rows;
        let mut x: Tensor = input.declare(model, self.source.clone());
        for made in layers {
            x = tensor::apply_at(&made.layer(), &[&x], self.source.clone()).swap_remove(0);
        }
        let name = x.name().unwrap_or_default();
        model.add_output(name, &x, self.source.clone());
    }
}
