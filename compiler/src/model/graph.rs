//! The layer graph: calls of layers as nodes, tensors as edges.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use bakelite::names::printable;
use petgraph::algo::{has_path_connecting, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, EdgeRef, Reversed};

use super::layer::AnyLayer;
use super::narrow::Narrow;
use super::output::Output;
use crate::ir::{Shape, SourceLine, TensorType};

/// A tensor of a layer graph: one result of one call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Port {
    pub call: NodeIndex,
    pub output: usize,
}

/// The type of a tensor, and of its mask if it has one.
#[derive(Clone, PartialEq, Debug)]
pub struct MaskedType {
    pub ty: TensorType,
    pub mask: Option<TensorType>,
    /// Whether the mask is an argument of the calls that take the tensor.
    pub given: bool,
    /// The narrow type of Keras's that the tensor has, if it has one.
    pub(crate) narrow: Option<Narrow>,
}

impl From<TensorType> for MaskedType {
    fn from(ty: TensorType) -> MaskedType {
        MaskedType { ty, mask: None, given: false, narrow: None }
    }
}

/// What a node of the layer graph is.
#[derive(Clone, Debug)]
pub enum Role {
    /// A tensor that the caller gives.
    Input,
    /// Text that the caller gives. It is no tensor of any entry point: a layer makes an input of it.
    Text,
    /// An input that a layer makes of text, before the call.
    Encoded(Encoded),
    /// An application of a layer. The same layer can be applied many times.
    Layer(AnyLayer),
}

/// The layer that makes an input of text.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub layer: AnyLayer,
    /// The name of the text.
    pub input: String,
    /// The layer as the runtime reads it.
    pub form: Arc<str>,
}

/// One node: an input, or one application of a layer.
#[derive(Clone, Debug)]
pub struct Call {
    pub role: Role,
    /// The layer's name.
    pub name: String,
    /// The line that applied it.
    pub source: SourceLine,
    pub args: Vec<Port>,
    pub results: Vec<MaskedType>,
}

impl Call {
    /// The name that callers know an input by.
    pub fn input_name(&self) -> &str {
        match &self.role {
            Role::Encoded(text) => &text.input,
            _ => &self.name,
        }
    }

    /// The layer that is applied.
    pub fn layer(&self) -> Option<&AnyLayer> {
        match &self.role {
            Role::Input | Role::Text => None,
            Role::Encoded(text) => Some(&text.layer),
            Role::Layer(layer) => Some(layer),
        }
    }
}

/// Which result goes to which operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    pub output: usize,
    pub operand: usize,
}

/// The layers of a model.
#[derive(Clone, Debug, Default)]
pub struct LayerGraph {
    pub name: String,
    graph: DiGraph<Call, Edge>,
    pub inputs: Vec<NodeIndex>,
    pub outputs: Vec<Output>,
    /// Terms of the loss besides those of the outputs.
    pub losses: Vec<Port>,
    /// The names of its layers in the order of a description that it was read from.
    pub listed: Option<Vec<String>>,
    /// The batch that a description fixes the inputs to: stateful layers keep states for so many rows in Keras.
    pub rows: Option<usize>,
    /// Whether it is a chain: Keras's `Sequential`.
    pub chain: bool,
    /// Whether entry points of the whole model take every input, also those that no result depends on.
    pub keeps_inputs: bool,
}

/// The calls that lie on a cycle cannot be ordered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` depends on its own result")]
pub struct Cycle(pub String);

impl LayerGraph {
    pub fn new(name: impl Into<String>) -> LayerGraph {
        LayerGraph { name: name.into(), ..LayerGraph::default() }
    }

    /// Adds a call and its edges.
    pub fn add(&mut self, call: Call) -> NodeIndex {
        let args = call.args.clone();
        let is_input = matches!(call.role, Role::Input | Role::Encoded(_));
        let index = self.graph.add_node(call);
        for (operand, port) in args.into_iter().enumerate() {
            self.graph.add_edge(port.call, index, Edge { output: port.output, operand });
        }
        if is_input {
            self.inputs.push(index);
        }
        index
    }

    pub fn call(&self, index: NodeIndex) -> &Call {
        &self.graph[index]
    }

    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.graph.node_weights()
    }

    pub fn ty(&self, port: Port) -> &TensorType {
        &self.masked_type(port).ty
    }

    pub fn masked_type(&self, port: Port) -> &MaskedType {
        &self.graph[port.call].results[port.output]
    }

    /// Whether a tensor is text.
    pub fn is_text(&self, port: Port) -> bool {
        matches!(self.graph[port.call].role, Role::Text)
    }

    /// The call that makes an input of a text.
    pub fn reader(&self, text: Port) -> Option<&Call> {
        self.graph.neighbors(text.call).next().map(|index| &self.graph[index])
    }

    /// Texts that nothing reads.
    pub fn unread(&self) -> impl Iterator<Item = &Call> {
        let indices = self.graph.node_indices().map(|call| Port { call, output: 0 });
        indices.filter(|port| self.is_text(*port) && self.reader(*port).is_none()).map(|port| &self.graph[port.call])
    }

    /// Gives a tensor a mask of a type, or takes its mask.
    pub fn set_mask(&mut self, port: Port, mask: Option<TensorType>) {
        self.graph[port.call].results[port.output].mask = mask;
    }

    /// Gives a tensor a narrow type.
    pub(crate) fn set_narrow(&mut self, port: Port, narrow: Narrow) {
        self.graph[port.call].results[port.output].narrow = Some(narrow);
    }

    /// A tensor, and where a call was only given a mask for it, the tensor without: what loses its mask together.
    pub fn unmasked(&self, port: Port) -> Vec<Port> {
        let mut ports = vec![port];
        while let Call { role: Role::Layer(layer), args, .. } = &self.graph[ports[ports.len() - 1].call]
            && layer.def.kind() == super::mask::GIVEN
        {
            ports.extend(args.first());
        }
        ports
    }

    /// Every call after those that it depends on: as they were added, where that is such an order.
    pub fn order(&self) -> Result<Vec<NodeIndex>, Cycle> {
        if self.graph.edge_references().all(|e| e.source() < e.target()) {
            return Ok(self.graph.node_indices().collect());
        }
        toposort(&self.graph, None).map_err(|cycle| Cycle(self.graph[cycle.node_id()].name.clone()))
    }

    /// The calls that some tensors depend on, in order.
    pub fn needed(&self, wanted: &[Port]) -> Vec<NodeIndex> {
        let mut seen = vec![false; self.graph.node_count()];
        let reversed = Reversed(&self.graph);
        let mut walk = Dfs::empty(reversed);
        for port in wanted {
            walk.move_to(port.call);
            while let Some(index) = walk.next(reversed) {
                seen[index.index()] = true;
            }
        }
        self.order().unwrap_or_default().into_iter().filter(|i| seen[i.index()]).collect()
    }

    /// Whether a tensor is computed from another.
    pub fn depends(&self, on: Port, of: Port) -> bool {
        has_path_connecting(&self.graph, on.call, of.call, None)
    }

    /// The layers from an input to a tensor along first operands, with the shape of an item after each.
    pub fn trail(&self, port: Port) -> Vec<(String, Shape)> {
        let mut trail = Vec::new();
        let mut next = Some(port);
        while let Some(port) = next {
            let shape = &self.ty(port).shape;
            let skip = shape.first().is_some_and(|d| d.batch) as usize;
            trail.push((self.graph[port.call].name.clone(), Shape(shape[skip..].to_vec())));
            next = self.graph[port.call].args.first().copied();
        }
        trail.reverse();
        trail
    }

    /// The graph in Graphviz's language, with shapes on the edges.
    pub fn to_dot(&self) -> String {
        let quote = |s: &str| printable(s).replace('\\', "\\\\").replace('"', "\\\"");
        let mut dot = format!("digraph \"{}\" {{\n  node [shape=box];\n", quote(&self.name));
        for index in self.graph.node_indices() {
            let call = &self.graph[index];
            let kind = match &call.role {
                Role::Input => "Input",
                Role::Text => "Text",
                Role::Encoded(text) => text.layer.def.kind(),
                Role::Layer(layer) => layer.def.kind(),
            };
            let _ = writeln!(dot, "  n{} [label=\"{}\\n{kind}\"];", index.index(), quote(&call.name));
        }
        for edge in self.graph.edge_references() {
            let ty = &self.graph[edge.source()].results[edge.weight().output].ty;
            let _ = writeln!(dot, "  n{} -> n{} [label=\"{ty}\"];", edge.source().index(), edge.target().index());
        }
        for (i, output) in self.outputs.iter().enumerate() {
            let _ = writeln!(dot, "  o{i} [label=\"{}\", shape=ellipse];", quote(&output.name));
            let _ = writeln!(dot, "  n{} -> o{i} [label=\"{}\"];", output.port.call.index(), self.ty(output.port));
        }
        dot + "}\n"
    }

    /// Keras's class: what was begun as a chain is one as long as each call takes the result of the one before.
    pub fn class(&self) -> &'static str {
        let calls: Vec<&Call> = self.calls().collect();
        let one = |i: usize| matches!(calls[i].args[..], [port] if port.call.index() == i - 1 && port.output == 0);
        let linear = self.inputs.len() == 1 && (1..calls.len()).all(one) && self.layers().len() + 1 == calls.len();
        let ends = matches!(&self.outputs[..], [output] if output.port.call.index() + 1 == calls.len());
        if self.chain && linear && ends { "Sequential" } else { "Functional" }
    }

    /// The distinct layers in the order in which Keras lists them.
    pub fn saved_layers(&self) -> Vec<(&str, &AnyLayer)> {
        let layers = self.layers();
        match &self.listed {
            Some(names) => {
                let find = |name: &String| layers.iter().find(|(n, _)| n == name).copied();
                names.iter().filter_map(find).collect()
            }
            None => self.by_depth(layers),
        }
    }

    /// Layers sorted as Keras sorts those of a graph: by the longest way from them to an output, then by the turn at
    /// which a depth-first walk from the outputs meets them.
    fn by_depth<'l>(&self, layers: Vec<(&'l str, &'l AnyLayer)>) -> Vec<(&'l str, &'l AnyLayer)> {
        if self.class() == "Sequential" {
            return layers;
        }
        let identity = |index: NodeIndex| match &self.graph[index].role {
            Role::Layer(layer) => Some(layer.core.id),
            Role::Encoded(text) => Some(text.layer.core.id),
            Role::Input | Role::Text => None,
        };
        let (mut met, mut finished, mut order) = (HashMap::new(), HashSet::new(), Vec::new());
        for output in &self.outputs {
            // What is being visited, with the number of operands that have been.
            let mut stack = vec![(output.port.call, 0)];
            while let Some((index, operand)) = stack.pop() {
                if finished.contains(&index) {
                    continue;
                }
                if let (0, Some(layer)) = (operand, identity(index)) {
                    let turn = met.len();
                    met.entry(layer).or_insert(turn);
                }
                match self.graph[index].args.get(operand) {
                    Some(port) => stack.extend([(index, operand + 1), (port.call, 0)]),
                    None => {
                        finished.insert(index);
                        order.push(index);
                    }
                }
            }
        }
        let (mut depths, mut of_layer): (HashMap<NodeIndex, usize>, HashMap<u64, usize>) = Default::default();
        for &index in order.iter().rev() {
            let mut depth = depths.get(&index).copied().unwrap_or(0);
            if let Some(layer) = identity(index) {
                let known = of_layer.entry(layer).or_default();
                depth = depth.max(*known);
                *known = depth;
            }
            for port in &self.graph[index].args {
                let before = depths.entry(port.call).or_default();
                *before = (*before).max(depth + 1);
            }
        }
        let mut layers: Vec<_> = layers.into_iter().filter(|(_, layer)| met.contains_key(&layer.core.id)).collect();
        layers.sort_by_key(|(_, layer)| {
            let id = layer.core.id;
            (std::cmp::Reverse(of_layer.get(&id).copied().unwrap_or(0)), met[&id])
        });
        layers
    }

    /// Whether there is a layer at a path, in this graph or in the models that are layers of it.
    pub fn has_layer(&self, path: &str) -> bool {
        let (head, rest) = path.split_once('/').map_or((path, None), |(head, rest)| (head, Some(rest)));
        self.layers().into_iter().filter(|(name, _)| *name == head).any(|(_, layer)| match rest {
            None => true,
            Some(rest) => layer.def.submodel().is_some_and(|model| model.graph.has_layer(rest)),
        })
    }

    /// The distinct layers in order of their first call, by name.
    pub fn layers(&self) -> Vec<(&str, &AnyLayer)> {
        let mut seen = HashSet::new();
        let mut layers = Vec::new();
        for call in self.graph.node_weights() {
            let Some(layer) = call.layer() else { continue };
            if seen.insert(layer.core.id) {
                layers.push((call.name.as_str(), layer));
            }
        }
        layers
    }
}
