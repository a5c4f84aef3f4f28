//! What becomes of loops.

use super::*;
use crate::ir::{Over, Scan, Stepped, Storage, StorageId, StorageKind};

/// Optimizes one entry point over `f32` parameters of some shapes, and checks that it means the same.
fn optimized(graph: Graph, cells: &[&[usize]]) -> Module {
    let cell = |(i, dims): (usize, &&[usize])| Storage {
        name: format!("w{i}"),
        ty: TensorType::new(DType::F32, Shape::fixed(dims)),
        kind: StorageKind::Param,
        trainable: true,
        first: None,
        site: Site::default(),
    };
    let storage = cells.iter().enumerate().map(cell).collect();
    let before = Module { name: "m".into(), max_batch: 4, storage, entries: vec![graph], ..Module::default() };
    verify_module(&before).unwrap();
    let mut after = before.clone();
    optimize(&mut after, &PassOptions { panels: false, ..options() }).unwrap();
    check_meaning(5, &before, &after);
    let mut after = before.clone();
    optimize(&mut after, &options()).unwrap();
    after
}

fn loops_of(graph: &Graph) -> Vec<&Scan> {
    let mut found: Vec<&Scan> = Vec::new();
    for node in graph.nodes() {
        if let Op::Scan { scan, .. } = &node.op
            && !found.contains(&scan.as_ref())
        {
            found.push(scan);
        }
    }
    found
}

fn batched(dims: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::batched(dims))
}

fn param(g: &mut Graph, id: u32, dims: &[usize]) -> NodeId {
    g.push(Op::Storage { id: StorageId(id), ty: TensorType::new(DType::F32, Shape::fixed(dims)) }, &[])
}

#[test]
fn what_is_equal_in_every_step_is_computed_once() {
    let mut g = Graph::new("hoist");
    let (h, w) = (g.input("h", batched(&[3])), param(&mut g, 0, &[3, 3]));
    let over = Over { length: 5, carries: &[h], invariants: &[w, w], ..Over::default() };
    let looped = g.scan(over, |g, step| {
        let square = g.contract(step.invariants[0], step.invariants[1], &[], &[(1, 0)]);
        let turned = g.permute(square, &[1, 0]);
        let root = g.exp(step.invariants[0]);
        let product = g.contract(step.carries[0], turned, &[], &[(1, 0)]);
        let product = g.tanh(product);
        Stepped { carries: vec![product], outputs: vec![root] }
    });
    g.output("h", looped.carries[0]);
    g.output("root", looped.stacked[0]);
    let module = optimized(g, &[&[3, 3]]);
    let entry = &module.entries[0];
    let [scan] = loops_of(entry)[..] else { panic!("{module}") };
    assert_eq!((scan.body.inputs.len(), scan.body.outputs.len(), scan.carries.len()), (1, 0, 1), "{module}");
    assert_eq!(scan.body.nodes().iter().filter(|n| matches!(n.op, Op::Contract(_))).count(), 1, "{module}");
    assert!(entry.nodes().iter().any(|n| matches!(n.op, Op::Contract(_))), "{module}");
}

#[test]
fn unread_parts_go() {
    let mut g = Graph::new("prune");
    let xs = g.input("xs", TensorType::new(DType::F32, Shape([Dim::BATCH, Dim::fixed(4)].to_vec())));
    let xs = g.permute(xs, &[1, 0]);
    let start = g.splat_of(1.0, batched(&[]));
    let fixed = g.input("fixed", batched(&[]));
    let over =
        Over { length: 4, carries: &[start, start, fixed], sequences: &[xs, xs], invariants: &[start], reverse: true };
    let looped = g.scan(over, |g, step| {
        let a = g.add(step.carries[0], step.slices[0]);
        let a = g.mul(a, step.carries[2]);
        let a = g.mul(a, step.invariants[0]);
        let b = g.add(step.carries[1], a);
        Stepped { carries: vec![a, b, step.carries[2]], outputs: vec![b, step.slices[1], a, a] }
    });
    g.output("a", looped.carries[0]);
    g.output("fixed", looped.carries[2]);
    for (i, name) in [(1, "xs"), (2, "as"), (3, "same")] {
        let front = g.permute(looped.stacked[i], &[1, 0]);
        g.output(name, front);
    }
    let module = optimized(g, &[]);
    let [scan] = loops_of(&module.entries[0])[..] else { panic!("{module}") };
    let counts = (scan.carries.len(), scan.sequences, scan.body.inputs.len(), scan.body.outputs.len());
    assert_eq!(counts, (1, 1, 2, 1), "{module}");
}

#[test]
fn weights_in_panels_are_read_as_such() {
    let mut g = Graph::new("panels");
    let (h, w) = (g.input("h", batched(&[64])), param(&mut g, 0, &[64, 64]));
    let over = Over { length: 5, carries: &[h], invariants: &[w], ..Over::default() };
    let looped = g.scan(over, |g, step| {
        let product = g.contract(step.carries[0], step.invariants[0], &[], &[(1, 0)]);
        let product = g.tanh(product);
        Stepped { carries: vec![product], outputs: vec![] }
    });
    g.output("h", looped.carries[0]);
    let module = optimized(g, &[&[64, 64]]);
    assert!(module.panels.contains_key(&StorageId(0)), "{module}");
    let entry = &module.entries[0];
    let scan = entry.nodes().iter().find(|n| matches!(n.op, Op::Scan { .. })).unwrap();
    let last = *scan.args.last().unwrap();
    assert!(matches!(entry.node(last).op, Op::Storage { .. }), "{module}");
}

#[test]
fn loops_of_equal_steps_merge() {
    let mut g = Graph::new("merge");
    let h = g.input("h", batched(&[3]));
    let over = Over { length: 5, carries: &[h], ..Over::default() };
    let mut outputs = Vec::new();
    for more in [false, true] {
        let looped = g.scan(over, |g, step| {
            let extra = g.exp(step.carries[0]);
            let next = g.tanh(step.carries[0]);
            Stepped { carries: vec![next], outputs: if more { vec![extra, next] } else { vec![next] } }
        });
        outputs.extend(looped.stacked);
    }
    for (i, out) in outputs.into_iter().enumerate() {
        let front = g.permute(out, &[1, 0, 2]);
        g.output(format!("{i}"), front);
    }
    let module = optimized(g, &[]);
    let [scan] = loops_of(&module.entries[0])[..] else { panic!("{module}") };
    assert_eq!(scan.body.outputs.len(), 2, "{module}");
}
