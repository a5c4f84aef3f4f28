//! The outputs of a model, and their names.
//!
//! Keras names an output after the layer that makes it, so that two outputs can have one name; or by its key, where the
//! outputs are a dict. Entry points, data and bindings need each by a name of its own: the later ones of a name get the
//! first free number, `lstm`, `lstm_1`, `lstm_2`. Histories have Keras's own keys.

use super::call::CallCx;
use super::graph::Port;
use super::layer::{BuildCx, LayerDef};
use crate::diag::Problem;
use crate::ir::{NodeId, SourceLine};

/// A named result of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Unique in the model.
    pub name: String,
    pub port: Port,
    pub place: Place,
    /// The axis that is the batch in a description that it was read from; here the batch leads.
    pub axis: usize,
    pub source: SourceLine,
}

/// Where Keras has an output.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    /// The layer that makes it.
    pub layer: String,
    /// The way to it in the structure of the outputs: none for a lone one.
    pub steps: Vec<Step>,
}

/// A step into a structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Index(usize),
    Key(String),
}

impl Place {
    /// An output of a list.
    pub fn listed(layer: impl Into<String>, index: usize) -> Place {
        Place { layer: layer.into(), steps: vec![Step::Index(index)] }
    }

    /// The name that Keras has for it: its key, or its layer's.
    pub fn name(&self) -> &str {
        match self.steps.last() {
            Some(Step::Key(key)) => key,
            Some(Step::Index(_)) | None => &self.layer,
        }
    }

    /// What the key of its loss in a history begins with: the steps, with the layer in the place of the last number.
    pub fn loss_series(&self) -> String {
        let Some((last, steps)) = self.steps.split_last() else { return self.layer.clone() };
        let step = |step: &Step| match step {
            Step::Index(index) => index.to_string(),
            Step::Key(key) => key.clone(),
        };
        let last = match last {
            Step::Index(_) => self.layer.clone(),
            Step::Key(key) => key.clone(),
        };
        steps.iter().map(step).chain([last]).collect::<Vec<_>>().join("/")
    }

    /// What the keys of its metrics begin with: in structures of structures, Keras goes by layers.
    pub fn metric_series(&self) -> &str {
        if self.steps.len() > 1 { &self.layer } else { self.name() }
    }
}

/// Moves the batch to the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchFirst(pub usize);

impl LayerDef for BatchFirst {
    fn kind(&self) -> &'static str {
        "BatchFirst"
    }

    fn computes_narrow(&self) -> bool {
        true
    }

    fn build(&self, _: &mut BuildCx<'_>) -> Result<(), Problem> {
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let rank = cx.ty(x[0]).shape.rank();
        let order: Vec<usize> = std::iter::once(self.0).chain((0..rank).filter(|axis| *axis != self.0)).collect();
        vec![cx.permute(x[0], &order)]
    }
}

/// A name that none of the taken ones is: itself, or with the first number that is free.
pub(crate) fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (1..).map(|n| format!("{name}_{n}"));
    std::iter::once(name.to_string()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// Unique names in the place of some: the first one of a name keeps it, and numbered ones take none that is in the list.
pub(crate) fn distinct(names: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let first = !names[..i].contains(name);
        let taken = |n: &str| names.contains(&n) || found.iter().any(|f| f == n);
        let name = if first { name.to_string() } else { free(name, taken) };
        found.push(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_distinct_without_taking_any() {
        assert_eq!(distinct(&["lstm", "lstm", "lstm"]), ["lstm", "lstm_1", "lstm_2"]);
        assert_eq!(distinct(&["a", "a", "a_1", "a"]), ["a", "a_2", "a_1", "a_3"]);
        assert!(distinct(&[]).is_empty());
    }

    #[test]
    fn keras_names_outputs_by_their_place() {
        let place = |steps: &[Step]| Place { layer: "dense".into(), steps: steps.to_vec() };
        let key = |key: &str| Step::Key(key.into());
        let named = |steps: &[Step]| {
            let place = place(steps);
            [place.name().to_string(), place.loss_series(), place.metric_series().to_string()]
        };
        assert_eq!(named(&[]), ["dense", "dense", "dense"]);
        assert_eq!(named(&[Step::Index(1)]), ["dense", "dense", "dense"]);
        assert_eq!(named(&[key("kind")]), ["kind", "kind", "kind"]);
        assert_eq!(named(&[key("a"), Step::Index(0)]), ["dense", "a/dense", "dense"]);
        assert_eq!(named(&[Step::Index(1), key("b")]), ["b", "1/b", "dense"]);
    }
}
