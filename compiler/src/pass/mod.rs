//! Graph to graph: the passes, and the order they run in.
//!
//! A pass reads one entry point and gives back its successor. What the entry point computes stays the same, NaN and
//! infinities included, up to two things: the sign of a zero, and the rounding of sums that are taken in another
//! order. Each pass is idempotent. Every rewrite goes through [`Ctx::fire`], which logs it and counts it, so that a
//! wrong one can be found by bisection: `BAKELITE_STOP_AFTER=n` leaves all rewrites after the n-th undone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ir::verify::{Violation, verify};
use crate::ir::{Graph, Module, NodeId, Op, Scan, Site, Storage};

pub mod convolution;
pub mod cse;
pub mod dce;
pub mod fold;
pub mod loops;
pub mod merge;
pub mod panels;
pub mod simplify;
pub mod split;
#[cfg(test)]
mod tests;
pub mod thin;

/// One pass over an entry point.
struct Pass {
    name: &'static str,
    run: fn(&Graph, &mut Ctx) -> Graph,
    bodies: Bodies,
}

/// How the bodies of loops get their share of a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// Like entry points of their own, innermost first.
    First,
    /// The pass sees to them itself.
    Own,
}

impl Pass {
    const fn new(name: &'static str, run: fn(&Graph, &mut Ctx) -> Graph) -> Pass {
        Pass { name, run, bodies: Bodies::First }
    }
}

/// Passes that run once, or in turn until none of them finds anything.
enum Stage {
    Once(Pass),
    UntilStable(&'static [Pass]),
}

const MERGE: Pass = Pass { name: "merge", run: merge::run, bodies: Bodies::Own };
const LOOPS: Pass = Pass { name: "loops", run: loops::run, bodies: Bodies::Own };

const PIPELINE: &[Stage] = &[
    // First, while loops are as differentiation built them.
    Stage::Once(MERGE),
    // What differentiation built and nothing reads.
    Stage::Once(Pass::new("dce", dce::run)),
    // Needs the contraction right under the fold, as differentiation leaves it.
    Stage::Once(Pass::new("convolution", convolution::run)),
    Stage::UntilStable(&[
        // What else is simplified can leave two loops with the same operands.
        MERGE,
        LOOPS,
        Pass::new("simplify", simplify::run),
        Pass::new("fold", fold::run),
        Pass::new("cse", cse::run),
        Pass::new("thin", thin::run),
    ]),
    // Behind simplification, which would merge the two halves of a sum again.
    Stage::Once(Pass::new("split", split::run)),
    Stage::Once(Pass::new("dce", dce::run)),
];

/// How often the passes of one [`Stage::UntilStable`] take turns at most.
const MAX_ROUNDS: usize = 16;

/// What the pipeline may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassOptions {
    /// Verify every entry point after every pass.
    pub verify_after: bool,
    /// Stop rewriting after this many rewrites, over the whole module.
    pub stop_after: Option<usize>,
    /// The most elements of a folded constant that is not a splat.
    pub fold_limit: usize,
    /// Keep weights in the panels that matrix kernels read.
    pub panels: bool,
    /// Let [`convolution`] rewrite every fold that it can, also where that multiplies by many zeros.
    pub unfold_always: bool,
}

impl Default for PassOptions {
    fn default() -> PassOptions {
        PassOptions {
            verify_after: cfg!(debug_assertions),
            stop_after: None,
            fold_limit: 4096,
            panels: true,
            unfold_always: false,
        }
    }
}

impl PassOptions {
    /// The defaults, with the limit of `BAKELITE_STOP_AFTER` where that is a number.
    pub fn from_env() -> PassOptions {
        let stop_after = std::env::var("BAKELITE_STOP_AFTER").ok().and_then(|n| n.parse().ok());
        PassOptions { stop_after, ..PassOptions::default() }
    }
}

/// One application of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    pub pass: &'static str,
    pub rule: &'static str,
    pub entry: String,
    /// Where the rewritten node came from.
    pub site: Site,
}

/// One run of a pass over one entry point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PassRun {
    pub pass: &'static str,
    pub entry: String,
    pub nodes_before: usize,
    pub nodes_after: usize,
    pub rewrites: usize,
    pub time: Duration,
}

/// What the pipeline did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PassReport {
    pub runs: Vec<PassRun>,
    pub rewrites: Vec<Rewrite>,
}

impl PassReport {
    /// Time of each pass over all entry points, in order of first use.
    pub fn times(&self) -> Vec<(&'static str, Duration)> {
        let mut times: Vec<(&'static str, Duration)> = Vec::new();
        for run in &self.runs {
            match times.iter_mut().find(|t| t.0 == run.pass) {
                Some(time) => time.1 += run.time,
                None => times.push((run.pass, run.time)),
            }
        }
        times
    }
}

/// A pass broke a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompilerBug {
    pub pass: &'static str,
    pub violations: Vec<Violation>,
    /// The last rewrite before, if there was one.
    pub last: Option<Box<Rewrite>>,
    /// The text of the broken entry point.
    pub dump: String,
}

impl fmt::Display for CompilerBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compiler bug: pass `{}` broke a graph", self.pass)?;
        if let Some(last) = &self.last {
            write!(f, "; its last rewrite was `{}` at {}", last.rule, last.site)?;
        }
        for violation in &self.violations {
            write!(f, "\n{violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CompilerBug {}

/// What passes share: options, and the log of rewrites.
pub struct Ctx<'o> {
    pub options: &'o PassOptions,
    /// The largest batch of the module.
    pub max_batch: usize,
    log: Vec<Rewrite>,
    pass: &'static str,
    entry: String,
}

impl<'o> Ctx<'o> {
    pub fn new(options: &'o PassOptions, max_batch: usize) -> Ctx<'o> {
        Ctx { options, max_batch, log: Vec::new(), pass: "", entry: String::new() }
    }

    /// Asks to rewrite a node and logs it; `false` where the limit of rewrites is reached.
    pub fn fire(&mut self, rule: &'static str, site: &Site) -> bool {
        if self.options.stop_after.is_some_and(|limit| self.log.len() >= limit) {
            return false;
        }
        self.log.push(Rewrite { pass: self.pass, rule, entry: self.entry.clone(), site: site.clone() });
        true
    }

    /// How many rewrites there have been.
    pub fn rewrites(&self) -> usize {
        self.log.len()
    }
}

/// Runs the pipeline over every entry point, then [`panels`] over the module.
pub fn optimize(module: &mut Module, options: &PassOptions) -> Result<PassReport, CompilerBug> {
    let mut runner = Runner::new(options, module.max_batch);
    let Module { entries, storage, .. } = module;
    for entry in entries {
        for stage in PIPELINE {
            match stage {
                Stage::Once(pass) => _ = runner.run(pass, entry, storage)?,
                Stage::UntilStable(passes) => {
                    for _ in 0..MAX_ROUNDS {
                        let mut changed = false;
                        for pass in *passes {
                            changed |= runner.run(pass, entry, storage)?;
                        }
                        if !changed {
                            break;
                        }
                    }
                }
            }
        }
    }
    if options.panels {
        let start = Instant::now();
        panels::run(module);
        runner.layout(start.elapsed(), module)?;
        // Weights that loops read are views now: the views go inside.
        let Module { entries, storage, .. } = module;
        for entry in entries.iter_mut().filter(|e| e.nodes().iter().any(|n| matches!(n.op, Op::Scan { .. }))) {
            runner.run(&LOOPS, entry, storage)?;
        }
    }
    Ok(runner.finish())
}

/// The names of the passes.
pub fn names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for stage in PIPELINE {
        match stage {
            Stage::Once(pass) => names.push(pass.name),
            Stage::UntilStable(passes) => names.extend(passes.iter().map(|p| p.name)),
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Runs one pass once over every entry point; `None` where no pass has that name.
pub fn run_pass(name: &str, module: &mut Module, options: &PassOptions) -> Option<Result<PassReport, CompilerBug>> {
    let named = |p: &&Pass| p.name == name;
    let pass = PIPELINE.iter().find_map(|stage| match stage {
        Stage::Once(pass) => Some(pass).filter(named),
        Stage::UntilStable(passes) => passes.iter().find(named),
    })?;
    let mut runner = Runner::new(options, module.max_batch);
    let Module { entries, storage, .. } = module;
    let done: Result<Vec<bool>, CompilerBug> =
        entries.iter_mut().map(|entry| runner.run(pass, entry, storage)).collect();
    Some(done.map(|_| runner.finish()))
}

struct Runner<'o> {
    ctx: Ctx<'o>,
    runs: Vec<PassRun>,
}

impl<'o> Runner<'o> {
    fn new(options: &'o PassOptions, max_batch: usize) -> Runner<'o> {
        Runner { ctx: Ctx::new(options, max_batch), runs: Vec::new() }
    }

    /// Runs a pass over an entry point; true if it rewrote anything.
    fn run(&mut self, pass: &Pass, entry: &mut Graph, cells: &[Storage]) -> Result<bool, CompilerBug> {
        let (start, before, nodes_before) = (Instant::now(), self.ctx.rewrites(), entry.nodes().len());
        self.ctx.pass = pass.name;
        self.ctx.entry.clone_from(&entry.name);
        *entry = match pass.bodies {
            Bodies::First => inside_out(pass.run, entry, &mut self.ctx),
            Bodies::Own => (pass.run)(entry, &mut self.ctx),
        };
        let (time, rewrites) = (start.elapsed(), self.ctx.rewrites() - before);
        let (name, nodes_after) = (entry.name.clone(), entry.nodes().len());
        self.runs.push(PassRun { pass: pass.name, entry: name, nodes_before, nodes_after, rewrites, time });
        if self.ctx.options.verify_after {
            verify(entry, cells).map_err(|violations| {
                let last = self.ctx.log.last().cloned().map(Box::new);
                CompilerBug { pass: pass.name, violations, last, dump: entry.to_string() }
            })?;
        }
        Ok(rewrites > 0)
    }

    /// Records and verifies the change of layout, which concerns all entry points at once.
    fn layout(&mut self, time: Duration, module: &Module) -> Result<(), CompilerBug> {
        let time = time / module.entries.len().max(1) as u32;
        for entry in &module.entries {
            let nodes = entry.nodes().len();
            let (entry_name, pass) = (entry.name.clone(), "panels");
            let run = PassRun { pass, entry: entry_name, nodes_before: nodes, nodes_after: nodes, rewrites: 0, time };
            self.runs.push(run);
            if self.ctx.options.verify_after {
                verify(entry, &module.storage).map_err(|violations| CompilerBug {
                    pass,
                    violations,
                    last: None,
                    dump: entry.to_string(),
                })?;
            }
        }
        Ok(())
    }

    fn finish(self) -> PassReport {
        PassReport { runs: self.runs, rewrites: self.ctx.log }
    }
}

/// Runs a pass over the bodies of all loops, then over the graph around them.
fn inside_out(run: fn(&Graph, &mut Ctx) -> Graph, graph: &Graph, ctx: &mut Ctx) -> Graph {
    match over_bodies(graph, |body| inside_out(run, body, ctx)) {
        Some(graph) => run(&graph, ctx),
        None => run(graph, ctx),
    }
}

/// The graph with new bodies, which have the inputs, carries and outputs of the old ones; `None` where nothing changed.
fn over_bodies(graph: &Graph, mut run: impl FnMut(&Graph) -> Graph) -> Option<Graph> {
    let live = graph.live();
    let mut new: HashMap<&Scan, Arc<Scan>> = HashMap::new();
    let mut changed = false;
    for id in graph.ids().filter(|id| live[id.index()]) {
        if let Op::Scan { scan, .. } = &graph.node(id).op
            && !new.contains_key(scan.as_ref())
        {
            let made = Scan::new(run(&scan.body), scan.length, scan.reverse, scan.carries.clone(), scan.sequences);
            changed |= made != **scan;
            new.insert(scan, if made == **scan { scan.clone() } else { Arc::new(made) });
        }
    }
    changed.then(|| {
        walk(graph, |next, _, op, args| match op {
            Op::Scan { scan, result } => next.push(Op::Scan { scan: new[scan.as_ref()].clone(), result }, &args),
            op => next.push(op, &args),
        })
    })
}

/// [`walk`], and then without the nodes that nothing reads in the end.
fn rebuild(graph: &Graph, visit: impl FnMut(&mut Graph, NodeId, Op, Vec<NodeId>) -> NodeId) -> Graph {
    let next = walk(graph, visit);
    if next.live().contains(&false) { walk(&next, |next, _, op, args| next.push(op, &args)) } else { next }
}

/// Builds the successor of a graph node by node. `visit` gets each live node with its operands in the successor and
/// returns what stands for it there. New nodes have the site of the node that is visited.
fn walk(graph: &Graph, mut visit: impl FnMut(&mut Graph, NodeId, Op, Vec<NodeId>) -> NodeId) -> Graph {
    let live = graph.live();
    let mut next = Graph::successor(graph);
    let mut map = vec![NodeId(u32::MAX); live.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let args = node.args.iter().map(|a| map[a.index()]).collect();
        let before = next.set_site(graph.site_of(id));
        map[id.index()] = visit(&mut next, id, node.op.clone(), args);
        next.set_site(before);
    }
    for output in &graph.outputs {
        next.output(output.name.clone(), map[output.node.index()]);
    }
    for assign in &graph.assigns {
        next.assign(assign.target, map[assign.node.index()]);
    }
    next
}

/// The elements of all tensors under elementwise operations and views.
fn reads(graph: &Graph, id: NodeId, max_batch: usize) -> usize {
    let (mut stack, mut seen, mut elements) = (vec![id], HashSet::new(), 0);
    while let Some(id) = stack.pop() {
        let node = graph.node(id);
        if !seen.insert(id) {
            continue;
        }
        if node.op.is_index_view() || node.op.is_elementwise() {
            stack.extend(&node.args);
        } else {
            elements += node.ty.shape.count(max_batch);
        }
    }
    elements
}
