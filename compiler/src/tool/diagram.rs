//! Layers and the tensors between them, whether the model has layers or is a saved graph.

use std::collections::{BTreeMap, HashMap};

use crate::ir::{DType, Graph, Module, NodeId, Op, TensorType};
use crate::model::Model;
use crate::model::graph::{Encoded, Role};
use bakelite::names::printable;

/// A box of a diagram: an input, or one application of a layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// The layer's name.
    pub name: String,
    /// Keras's class; `Graph` for what a saved graph does for a layer.
    pub class: String,
    /// Applications of one layer have one number.
    pub layer: u64,
    pub results: Vec<TensorType>,
}

impl Block {
    /// Whether this is an input of the model.
    pub fn is_input(&self) -> bool {
        self.class == INPUT
    }
}

/// Keras's class of inputs.
pub const INPUT: &str = "InputLayer";

/// A tensor on its way from one block to another.
#[derive(Clone, PartialEq, Debug)]
pub struct Wire {
    pub from: usize,
    /// Which result of the block.
    pub result: usize,
    pub to: usize,
    pub ty: TensorType,
}

/// A model as boxes and wires.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagram {
    pub name: String,
    pub blocks: Vec<Block>,
    pub wires: Vec<Wire>,
    /// The outputs: name, block and result.
    pub outputs: Vec<(String, usize, usize)>,
}

impl Diagram {
    /// The layers of a model. Classes by name go before those that layers know themselves.
    pub fn of_layers(model: &Model, classes: &BTreeMap<String, String>) -> Diagram {
        let net = model.net.borrow();
        let graph = &net.graph;
        let order = graph.order().unwrap_or_default();
        let place: HashMap<_, usize> = order.iter().enumerate().map(|(i, index)| (*index, i)).collect();
        let mut diagram = Diagram::new(&graph.name);
        for (at, &index) in order.iter().enumerate() {
            let call = graph.call(index);
            let (class, layer) = match &call.role {
                Role::Input | Role::Text => (INPUT.to_string(), u64::MAX - at as u64),
                Role::Encoded(Encoded { layer, .. }) | Role::Layer(layer) => {
                    let class = classes.get(&call.name).cloned();
                    (class.unwrap_or_else(|| layer.def.kind().to_string()), layer.core.id)
                }
            };
            let results = call.results.iter().map(|result| result.ty.clone()).collect();
            diagram.blocks.push(Block { name: call.name.clone(), class, layer, results });
            for port in &call.args {
                let ty = graph.ty(*port).clone();
                diagram.wires.push(Wire { from: place[&port.call], result: port.output, to: at, ty });
            }
        }
        diagram.outputs = graph.outputs.iter().map(|o| (o.name.clone(), place[&o.port.call], o.port.output)).collect();
        diagram
    }

    /// The layers that a saved graph was made of, as far as its nodes remember them: by the first part of their paths.
    pub fn of_graph(module: &Module) -> Diagram {
        let mut diagram = Diagram::new(&module.name);
        let Some(graph) = module.entry("predict").or(module.entries.last()) else { return diagram };
        let live = graph.live();
        let mut blocks: HashMap<String, usize> = HashMap::new();
        let mut block_of: HashMap<NodeId, usize> = HashMap::new();
        for id in graph.ids().filter(|id| live[id.index()]) {
            let node = graph.node(id);
            // Weights and constants belong to whoever uses them.
            if matches!(node.op, Op::Storage { .. } | Op::Const { .. } | Op::Iota { .. }) {
                continue;
            }
            let name = match node.op {
                Op::Input { index, .. } => graph.inputs[index].name.clone(),
                _ => graph.site(id).path.split('/').next().unwrap_or_default().to_string(),
            };
            let class = if matches!(node.op, Op::Input { .. }) { INPUT } else { "Graph" };
            let next = diagram.blocks.len();
            let at = *blocks.entry(name.clone()).or_insert(next);
            if at == next {
                let block = Block { name, class: class.to_string(), layer: next as u64, results: Vec::new() };
                diagram.blocks.push(block);
            }
            block_of.insert(id, at);
        }
        for id in graph.ids().filter(|id| block_of.contains_key(id)) {
            let to = block_of[&id];
            for arg in &graph.node(id).args {
                if let Some(&from) = block_of.get(arg).filter(|from| **from != to) {
                    let result = diagram.result(from, graph.ty(*arg));
                    let wire = Wire { from, result, to, ty: graph.ty(*arg).clone() };
                    if !diagram.wires.contains(&wire) {
                        diagram.wires.push(wire);
                    }
                }
            }
        }
        for output in &graph.outputs {
            if let Some(&block) = block_of.get(&output.node) {
                let result = diagram.result(block, graph.ty(output.node));
                diagram.outputs.push((output.name.clone(), block, result));
            }
        }
        diagram
    }

    fn new(name: &str) -> Diagram {
        Diagram { name: name.to_string(), blocks: Vec::new(), wires: Vec::new(), outputs: Vec::new() }
    }

    /// The place of a type among the results of a block.
    fn result(&mut self, block: usize, ty: &TensorType) -> usize {
        let results = &mut self.blocks[block].results;
        results.iter().position(|t| t == ty).unwrap_or_else(|| {
            results.push(ty.clone());
            results.len() - 1
        })
    }

    /// Whether each block takes the one before it, as layers of a chain do.
    pub fn is_chain(&self) -> bool {
        let next = |(i, wire): (usize, &Wire)| wire.from == i && wire.to == i + 1;
        self.wires.len() + 1 == self.blocks.len() && self.wires.iter().enumerate().all(next)
    }

    /// In the language of Graphviz, with shapes on the edges.
    pub fn dot(&self) -> String {
        let quote = |s: &str| printable(s).replace('\\', "\\\\").replace('"', "\\\"");
        let mut lines = vec![format!("digraph \"{}\" {{", quote(&self.name)), "  node [shape=box];".to_string()];
        for (i, block) in self.blocks.iter().enumerate() {
            lines.push(format!("  n{i} [label=\"{}\\n{}\"];", quote(&block.name), quote(&block.class)));
        }
        for Wire { from, to, ty, .. } in &self.wires {
            lines.push(format!("  n{from} -> n{to} [label=\"{}\"];", shape_text(ty)));
        }
        for (i, (name, block, result)) in self.outputs.iter().enumerate() {
            lines.push(format!("  o{i} [label=\"{}\", shape=ellipse];", quote(name)));
            lines
                .push(format!("  n{block} -> o{i} [label=\"{}\"];", shape_text(&self.blocks[*block].results[*result])));
        }
        lines.push("}\n".to_string());
        lines.join("\n")
    }
}

/// A shape as Keras writes it, with the type where it is not `f32`.
pub fn shape_text(ty: &TensorType) -> String {
    let extent = |d: &crate::ir::Dim| match (d.batch, d.scale) {
        (false, n) => n.to_string(),
        (true, 1) => "None".to_string(),
        (true, n) => format!("{n}*None"),
    };
    let extents: Vec<String> = ty.shape.iter().map(extent).collect();
    let comma = if extents.len() == 1 { "," } else { "" };
    let dtype = if ty.dtype == DType::F32 { String::new() } else { format!(" {}", ty.dtype) };
    format!("({}{comma}){dtype}", extents.join(", "))
}

/// Floating-point operations of the live nodes of a graph at a batch, by the first part of their paths: two for each
/// multiply-add, one for each scalar function or element of a reduction.
pub fn flops(graph: &Graph, batch: usize) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for id in counted(graph) {
        let path = &graph.site(id).path;
        let layer = path.split('/').next().unwrap_or_default();
        *sums.entry(layer.to_string()).or_default() += node_flops(graph, id, batch);
    }
    sums
}

/// The live nodes of a graph, and of the results of a loop one that stands for its work.
fn counted(graph: &Graph) -> impl Iterator<Item = NodeId> {
    let live = graph.live();
    let loops = graph.loops(graph.ids().filter(|id| live[id.index()]));
    graph.ids().filter(move |id| live[id.index()] && !loops.is_further(*id))
}

fn node_flops(graph: &Graph, id: NodeId, batch: usize) -> f64 {
    let node = graph.node(id);
    let count = |id: NodeId| graph.ty(id).shape.count(batch) as f64;
    match &node.op {
        Op::Contract(axes) => {
            let left = &graph.ty(node.args[0]).shape;
            2.0 * count(id) * axes.sum.iter().map(|(axis, _)| left[*axis].at(batch) as f64).product::<f64>()
        }
        Op::Unary(_) | Op::Binary(_) | Op::Select => count(id),
        Op::Reduce { .. } | Op::Fold { .. } => count(node.args[0]),
        Op::ScatterAdd { .. } => count(node.args[1]),
        Op::Scan { scan, .. } => {
            let work = counted(&scan.body).map(|id| node_flops(&scan.body, id, batch));
            scan.length as f64 * work.sum::<f64>()
        }
        _ => 0.0,
    }
}
