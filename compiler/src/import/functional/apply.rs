//! The layers of a graph, applied.

use std::collections::BTreeSet;

use super::call::Application;
use super::order::{Order, Place};
use super::{Entry, Kind, Net};
use crate::import::{Reader, join};
use crate::model::{AnyLayer, Tensor, tensor};

impl Reader<'_> {
    /// Applies the layers, each application after those that it depends on.
    pub(super) fn apply(&mut self, net: &mut Net, path: &str) {
        let mut order = self.order(net, path);
        if !self.problems.is_empty() {
            return;
        }
        while let Some(place @ (at, node)) = order.next() {
            match self.results(net, place) {
                Ok(results) => {
                    net.entries[at].results[node] = Some(results);
                    order.made(place);
                }
                Err(why) => self.malformed(&join(path, &net.entries[at].name), why),
            }
        }
        let waiting: BTreeSet<&str> = order.waiting().map(|(at, _)| net.entries[at].name.as_str()).collect();
        if !waiting.is_empty() && self.problems.is_empty() {
            let names: Vec<&str> = waiting.into_iter().take(8).collect();
            self.malformed(path, format!("these layers wait for each other: {}", names.join(", ")));
        }
    }

    /// The order of all applications. Tensors that nothing makes are reported.
    fn order(&mut self, net: &Net, path: &str) -> Order {
        let mut order = Order::default();
        for (at, entry) in net.entries.iter().enumerate() {
            for (node, call) in entry.calls.iter().enumerate() {
                let mut after = BTreeSet::new();
                for history in call.tensors.iter().chain(call.masks.iter().map(|(_, mask)| mask)) {
                    match net.index.get(&history.layer) {
                        Some(&from) if history.node < net.entries[from].results.len() => {
                            let there = net.entries[from].results[history.node].is_some();
                            after.extend((!there).then_some((from, history.node)));
                        }
                        _ => self.malformed(&join(path, &entry.name), format!("the tensor {history} does not exist")),
                    }
                }
                order.add((at, node), after);
            }
        }
        order
    }

    /// The results of an application whose tensors have been made.
    fn results(&self, net: &Net, (at, node): Place) -> Result<Vec<Tensor>, String> {
        let entry = &net.entries[at];
        let call = &entry.calls[node];
        let layer = entry.layer(call, node)?;
        let tensors: Option<Vec<Tensor>> = call.tensors.iter().map(|history| net.tensor(history).cloned()).collect();
        let mut tensors = tensors.ok_or("is applied to a tensor that does not exist")?;
        for (of, mask) in &call.masks {
            let mask = net.tensor(mask).ok_or("is called with a mask that does not exist")?;
            let x = tensors.get_mut(*of).ok_or("is called with more masks than tensors")?;
            *x = x.with_mask(mask);
        }
        let tensors: Vec<&Tensor> = tensors.iter().collect();
        Ok(tensor::apply_at(&layer, &tensors, self.source.clone()))
    }
}

impl Entry {
    /// The layer that an application is one of, with the flags of the call.
    fn layer(&self, call: &Application, node: usize) -> Result<AnyLayer, String> {
        let mut layer = match (&self.kind, &call.operation) {
            (Kind::Layer(layer) | Kind::Functional(layer), _) => layer.clone(),
            (_, Some(operation)) => {
                let layer = AnyLayer::from_def(operation.clone());
                // Each call of an operation is a layer; the later ones are numbered.
                layer.set_name(if node == 0 { &self.name } else { "" });
                layer
            }
            (Kind::Input(_) | Kind::Operation { .. } | Kind::Refused, None) => return Err("cannot be applied".into()),
        };
        for flag in &call.flags {
            let called = layer.def.called_with(flag, true);
            layer.def = called.ok_or_else(|| format!("is called with {flag}, which it does not take"))?;
        }
        Ok(layer)
    }
}
