//! What must hold of a graph between any two passes.
//!
//! The verifier recomputes what construction computed, by the same rules, and checks the tables around the nodes. It
//! lists everything it finds: a violation is a bug of this compiler (or of a text file), never of a user's model. Bodies
//! of loops are graphs under the same rules, whose cells are the carries.

use std::collections::HashSet;
use std::fmt;

use super::dtype::DType;
use super::graph::{Graph, Module, NodeId, Storage};
use super::op::{Literal, Number, Op};
use super::scan::Scan;
use super::shape::TensorType;
use super::text::node_line;

/// The largest batch that a module can be compiled for.
pub const MAX_BATCH: usize = 1 << 20;

/// What is violated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Operands come before their users.
    Order,
    /// A node's type is what [`Op::infer`] says.
    Type,
    /// An input node is one of the declared inputs, of its type; names are unique.
    Input,
    /// A storage node or assignment names a cell of the module and has its type; the type does not depend on the
    /// batch; names are unique.
    Storage,
    /// Numbers of integer and boolean literals are values of their type.
    Literal,
    /// Outputs and assignments read nodes that exist; output names are unique; a cell is assigned once.
    Root,
    /// Entry names are unique and the largest batch is from 1 to [`MAX_BATCH`].
    Module,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    pub rule: Rule,
    /// The entry point, where it is in one.
    pub entry: String,
    pub node: Option<NodeId>,
    /// The text of the node with its site, or of what else is wrong.
    pub subject: String,
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} violated in entry `{}`: {}\n    {}", self.rule, self.entry, self.reason, self.subject)
    }
}

/// Checks a module and all its entry points.
pub fn verify_module(module: &Module) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    let mut report = |rule, subject: &str, reason: String| {
        let (entry, subject) = (String::new(), subject.to_string());
        found.push(Violation { rule, entry, node: None, subject, reason });
    };
    if !(1..=MAX_BATCH).contains(&module.max_batch) {
        report(Rule::Module, &module.name, format!("the largest batch is {}", module.max_batch));
    }
    for cell in repeated(module.storage.iter().map(|c| &c.name)) {
        report(Rule::Storage, cell, "two storage cells have this name".into());
    }
    for cell in module.storage.iter().filter(|c| c.ty.shape.iter().any(|d| d.batch)) {
        report(Rule::Storage, &cell.name, format!("{} depends on the batch", cell.ty));
    }
    for entry in repeated(module.entries.iter().map(|e| &e.name)) {
        report(Rule::Module, entry, "two entry points have this name".into());
    }
    for entry in &module.entries {
        found.extend(verify(entry, &module.storage).err().into_iter().flatten());
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Checks one entry point over the cells of its module.
pub fn verify(graph: &Graph, cells: &[Storage]) -> Result<(), Vec<Violation>> {
    let found = check(graph, &cells.iter().map(|c| (c.name.clone(), &c.ty)).collect::<Vec<_>>());
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// What is wrong with a graph over named cells.
fn check(graph: &Graph, cells: &[(String, &TensorType)]) -> Vec<Violation> {
    let mut checker = Checker { graph, cells, loops: HashSet::new(), found: Vec::new() };
    for id in graph.ids() {
        checker.node(id);
    }
    checker.tables();
    checker.found
}

struct Checker<'a> {
    graph: &'a Graph,
    cells: &'a [(String, &'a TensorType)],
    /// Loops whose bodies have been checked: several nodes share one.
    loops: HashSet<&'a Scan>,
    found: Vec<Violation>,
}

impl Checker<'_> {
    fn report(&mut self, rule: Rule, node: Option<NodeId>, subject: String, reason: String) {
        self.found.push(Violation { rule, entry: self.graph.name.clone(), node, subject, reason });
    }

    fn node(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let report = |checker: &mut Self, rule, reason| {
            checker.report(rule, Some(id), node_line(checker.graph, id), reason);
        };
        if let Some(late) = node.args.iter().find(|a| **a >= id) {
            return report(self, Rule::Order, format!("operand {late} does not come before {id}"));
        }
        let types: Vec<&TensorType> = node.args.iter().map(|a| self.graph.ty(*a)).collect();
        match node.op.infer(&types) {
            Ok(ty) if ty == node.ty => {}
            Ok(ty) => report(self, Rule::Type, format!("the operation gives {ty}")),
            Err(error) => report(self, Rule::Type, error.to_string()),
        }
        // What an operation says beyond its type.
        match &node.op {
            Op::Input { index, ty } => match self.graph.inputs.get(*index) {
                Some(decl) if decl.ty == *ty => {}
                Some(decl) => report(self, Rule::Input, format!("input `{}` is {}", decl.name, decl.ty)),
                None => report(self, Rule::Input, format!("there are {} inputs", self.graph.inputs.len())),
            },
            Op::Storage { id, ty } => match self.cells.get(id.0 as usize) {
                Some((_, held)) if *held == ty => {}
                Some((name, held)) => report(self, Rule::Storage, format!("cell `{name}` is {held}")),
                None => report(self, Rule::Storage, format!("there are {} storage cells", self.cells.len())),
            },
            Op::Const { value: Literal::Splat(x), ty } => self.literal(id, std::slice::from_ref(x), ty.dtype),
            Op::Const { value: Literal::Dense(v), ty } => self.literal(id, v, ty.dtype),
            Op::Pad { value, .. } => self.literal(id, std::slice::from_ref(value), node.ty.dtype),
            Op::Scan { scan, .. } if self.loops.insert(scan) => self.body(id, scan),
            _ => {}
        }
    }

    /// Findings inside a loop name the body's node in their text and the loop's node as theirs.
    fn body(&mut self, id: NodeId, scan: &Scan) {
        let carries = scan.carries.iter().enumerate().map(|(i, ty)| (format!("carry {i}"), ty));
        for found in check(&scan.body, &carries.collect::<Vec<_>>()) {
            let subject = format!("in the body of {id}: {}", found.subject);
            self.report(found.rule, Some(id), subject, found.reason);
        }
    }

    fn literal(&mut self, id: NodeId, numbers: &[Number], dtype: DType) {
        if let Some(x) = numbers.iter().find(|x| !fits(**x, dtype)) {
            self.report(Rule::Literal, Some(id), node_line(self.graph, id), format!("{x} is no {dtype}"));
        }
    }

    fn tables(&mut self) {
        let graph = self.graph;
        for name in repeated(graph.inputs.iter().map(|i| &i.name)) {
            self.report(Rule::Input, None, name.clone(), "two inputs have this name".into());
        }
        for name in repeated(graph.outputs.iter().map(|o| &o.name)) {
            self.report(Rule::Root, None, name.clone(), "two outputs have this name".into());
        }
        let exists = |node: NodeId| node.index() < graph.nodes().len();
        for output in graph.outputs.iter().filter(|o| !exists(o.node)) {
            let subject = format!("output `{}`", output.name);
            self.report(Rule::Root, None, subject, format!("reads {}, which does not exist", output.node));
        }
        let mut assigned = HashSet::new();
        for assign in &graph.assigns {
            let Some((name, held)) = self.cells.get(assign.target.0 as usize) else {
                let subject = format!("assignment to cell {}", assign.target.0);
                self.report(Rule::Storage, None, subject, format!("there are {} storage cells", self.cells.len()));
                continue;
            };
            let subject = format!("assignment to `{name}`");
            if !assigned.insert(assign.target) {
                self.report(Rule::Root, None, subject.clone(), "the cell is assigned twice".into());
            }
            if !exists(assign.node) {
                self.report(Rule::Root, None, subject, format!("reads {}, which does not exist", assign.node));
            } else if graph.ty(assign.node) != *held {
                let reason = format!("the cell is {held}, the value {}", graph.ty(assign.node));
                self.report(Rule::Storage, Some(assign.node), subject, reason);
            }
        }
    }
}

/// The names that come a second time.
fn repeated<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    let mut seen = HashSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// Whether a number is a value of a type. Floating types take every number and round it.
fn fits(x: Number, dtype: DType) -> bool {
    let (low, high) = match dtype {
        DType::F32 | DType::F64 => return true,
        DType::I32 => (i32::MIN as f64, i32::MAX as f64),
        DType::U32 => (0.0, u32::MAX as f64),
        DType::U8 => (0.0, u8::MAX as f64),
        DType::Bool => (0.0, 1.0),
    };
    x.0.fract() == 0.0 && (low..=high).contains(&x.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Shape, Site, StorageId, StorageKind};

    fn cell(name: &str, dims: &[usize]) -> Storage {
        let ty = TensorType::new(DType::F32, Shape::fixed(dims));
        Storage { name: name.into(), ty, kind: StorageKind::Param, trainable: true, first: None, site: Site::default() }
    }

    fn rules(graph: &Graph, cells: &[Storage]) -> Vec<Rule> {
        verify(graph, cells).err().into_iter().flatten().map(|v| v.rule).collect()
    }

    /// An entry that is right: `y = w + x; w := y`.
    fn sample() -> Graph {
        let mut g = Graph::new("step");
        let ty = TensorType::new(DType::F32, Shape::fixed(&[2]));
        let x = g.input("x", ty.clone());
        let w = g.push(Op::Storage { id: StorageId(0), ty }, &[]);
        let y = g.add(w, x);
        g.output("y", y);
        g.assign(StorageId(0), y);
        g
    }

    #[test]
    fn accepts_what_is_right() {
        assert_eq!(rules(&sample(), &[cell("w", &[2])]), []);
        let module = Module {
            name: "m".into(),
            max_batch: 4,
            storage: vec![cell("w", &[2])],
            entries: vec![sample()],
            ..Module::default()
        };
        assert_eq!(verify_module(&module), Ok(()));
    }

    #[test]
    fn names_each_violation() {
        let cells = [cell("w", &[2])];
        let with = |change: &dyn Fn(&mut Graph)| {
            let mut g = sample();
            change(&mut g);
            rules(&g, &cells)
        };
        assert_eq!(with(&|g| g.nodes_mut()[2].args[1] = NodeId(2)), [Rule::Order]);
        assert_eq!(with(&|g| g.nodes_mut()[2].ty.shape = Shape::fixed(&[3])), [Rule::Type, Rule::Storage]);
        assert_eq!(with(&|g| g.nodes_mut()[2].args.truncate(1)), [Rule::Type]);
        assert_eq!(with(&|g| g.inputs[0].ty.dtype = DType::I32), [Rule::Input]);
        assert_eq!(with(&|g| g.inputs.clear()), [Rule::Input]);
        assert_eq!(with(&|g| g.assign(StorageId(1), NodeId(0))), [Rule::Storage]);
        assert_eq!(with(&|g| g.assign(StorageId(0), NodeId(0))), [Rule::Root]);
        assert_eq!(with(&|g| g.output("y", NodeId(0))), [Rule::Root]);
        assert_eq!(with(&|g| g.output("z", NodeId(9))), [Rule::Root]);
        assert_eq!(with(&|g| _ = g.scalar(DType::U8, 256.0)), [Rule::Literal]);
        assert_eq!(with(&|g| _ = g.scalar(DType::I32, 0.5)), [Rule::Literal]);
        assert_eq!(rules(&sample(), &[]), [Rule::Storage, Rule::Storage]);
        assert_eq!(rules(&sample(), &[cell("w", &[3])]), [Rule::Storage, Rule::Storage]);
    }

    #[test]
    fn checks_the_module() {
        let mut cells = vec![cell("w", &[2]), cell("w", &[2])];
        cells[1].ty.shape = Shape::batched(&[]);
        let module = Module {
            name: "m".into(),
            max_batch: 0,
            storage: cells,
            entries: vec![sample(), sample()],
            ..Module::default()
        };
        let found = verify_module(&module).unwrap_err();
        let rules: Vec<Rule> = found.iter().map(|v| v.rule).collect();
        assert_eq!(rules, [Rule::Module, Rule::Storage, Rule::Storage, Rule::Module]);
    }

    #[test]
    fn checks_bodies_of_loops() {
        let mut g = Graph::new("step");
        let ty = TensorType::new(DType::F32, Shape::fixed(&[2]));
        let x = g.input("x", ty.clone());
        let over = super::super::scan::Over { length: 3, carries: &[x], ..Default::default() };
        let looped = |g: &mut Graph, bad: bool| {
            g.scan(over, |g, step| {
                let unit = if bad { g.scalar(DType::U8, 256.0) } else { g.scalar(DType::U8, 1.0) };
                let unit = g.cast(unit, DType::F32);
                let unit = g.broadcast_like(unit, step.carries[0]);
                let next = g.add(step.carries[0], unit);
                super::super::scan::Stepped { carries: vec![next], outputs: vec![next, unit] }
            })
        };
        looped(&mut g, false);
        assert_eq!(rules(&g, &[]), []);
        looped(&mut g, true);
        let found = verify(&g, &[]).unwrap_err();
        assert_eq!(found.len(), 1, "a body is checked once");
        assert_eq!(
            found[0].to_string().lines().last(),
            Some("    in the body of %4: %1 = const {splat: 256.0} : u8[]")
        );
    }

    #[test]
    fn prints_the_node_and_its_site() {
        let mut g = sample();
        let site = g.site_id(&Site::path("fc1"));
        g.set_site(site);
        g.scalar(DType::U8, -1.0);
        let found = verify(&g, &[cell("w", &[2])]).unwrap_err();
        assert_eq!(
            found[0].to_string(),
            "Literal violated in entry `step`: -1.0 is no u8\n    %3 = const {splat: -1.0} : u8[]  ; fc1"
        );
    }
}
