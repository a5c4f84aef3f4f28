//! Scans: the program of the body, spliced into the program around it as a loop.
//!
//! The body is scheduled as an entry point of its own, whose inputs and outputs are the slices of one step and whose
//! storage is the carries. Splicing then only says where its buffers are: slices of the operands and of the stacked
//! results, arena buffers for the carries, which are filled before the loop and hold the final values after it.

use std::collections::HashMap;

use crate::ir::{NodeId, Op, Scan, Shape, Site, Storage, StorageId, StorageKind};

use super::lower::Context;
use super::program::{Buffer, BufferId, Loop, LoopId, Place, Program};
use super::{Options, ScheduleError, Value, assemble, bug, copy};

/// Appends the loop that computes the results of one scan.
pub(super) fn splice(
    cx: &Context,
    results: &[NodeId],
    options: Options,
    program: &mut Program,
) -> Result<(), ScheduleError> {
    let first = cx.graph.node(results[0]);
    let Op::Scan { scan, .. } = &first.op else {
        return Err(bug(cx.graph, Some(results[0]), "a loop without a scan"));
    };
    let site = cx.graph.site(results[0]);
    let body = assemble(&scan.body, &cells(scan, site), cx.max_batch, options)?;
    let carries = scan.carries.len();

    // Where each result is computed, and where else it has to go.
    let mut homes: HashMap<usize, BufferId> = HashMap::new();
    let mut copies: Vec<(BufferId, BufferId)> = Vec::new();
    for &id in results {
        let Op::Scan { result, .. } = cx.graph.node(id).op else { continue };
        let own = cx.buffer[&id];
        let home = match program.buffer(own).place {
            Place::Arena { .. } => own,
            _ => {
                let buffer = Buffer { place: Place::Arena { offset: 0 }, ..program.buffer(own).clone() };
                let home = push(program, buffer);
                copies.push((home, own));
                home
            }
        };
        copies.extend(cx.copies.get(&id).into_iter().flatten().map(|&to| (home, to)));
        homes.insert(result, home);
    }
    for (i, &initial) in first.args[..carries].iter().enumerate() {
        let ty = &scan.carries[i];
        let home = *homes.entry(i).or_insert_with(|| {
            let name = format!("carry{i}");
            push(program, Buffer { name, dtype: ty.dtype, shape: ty.shape.clone(), place: Place::Arena { offset: 0 } })
        });
        let value = match cx.graph.splat(initial) {
            Some(number) => Value::Splat(number),
            None => Value::Buffer(cx.buffer[&initial]),
        };
        let kernel = copy(program, value, home, "begin", site);
        program.kernels.push(kernel);
    }

    let id = LoopId(program.loops.len() as u32);
    let start = program.kernels.len();
    program.loops.push(Loop { kernels: start..start + body.kernels.len(), count: scan.length, reverse: scan.reverse });
    let inner = program.loops.len() as u32;
    for l in &body.loops {
        let kernels = l.kernels.start + start..l.kernels.end + start;
        program.loops.push(Loop { kernels, ..l.clone() });
    }

    let slice = |of: BufferId, shape: &Shape| {
        let stride = shape.count(cx.max_batch);
        Place::Slice { of, step: id, stride }
    };
    let mut renamed: Vec<BufferId> = Vec::with_capacity(body.buffers.len());
    for buffer in &body.buffers {
        let place = match &buffer.place {
            Place::Input(i) => {
                let operand = cx.buffer[&first.args[carries + i]];
                if *i >= scan.sequences {
                    renamed.push(operand);
                    continue;
                }
                slice(operand, &buffer.shape)
            }
            Place::Output(j) => {
                let of = *homes.entry(carries + j).or_insert_with(|| {
                    let mut shape = buffer.shape.clone();
                    shape.0.insert(0, crate::ir::Dim::fixed(scan.length));
                    push(program, Buffer { shape, place: Place::Arena { offset: 0 }, ..buffer.clone() })
                });
                slice(of, &buffer.shape)
            }
            Place::Storage(StorageId(c)) => {
                renamed.push(homes[&(*c as usize)]);
                continue;
            }
            // Of a loop in the body: what it is a slice of comes before it.
            Place::Slice { of, step, stride } => {
                Place::Slice { of: renamed[of.index()], step: LoopId(step.0 + inner), stride: *stride }
            }
            Place::Arena { .. } | Place::Const(_) => buffer.place.clone(),
        };
        renamed.push(push(program, Buffer { place, ..buffer.clone() }));
    }
    for mut kernel in body.kernels {
        kernel.rename_buffers(&|b| renamed[b.index()]);
        program.kernels.push(kernel);
    }
    if program.kernels.len() == start {
        // Nothing happens in a step, so nothing is a slice of it.
        program.loops.pop();
    }
    for (from, to) in copies {
        let kernel = copy(program, Value::Buffer(from), to, "result", site);
        program.kernels.push(kernel);
    }
    Ok(())
}

/// The carries as the storage of the body.
fn cells(scan: &Scan, site: &Site) -> Vec<Storage> {
    let cell = |(i, ty): (usize, &crate::ir::TensorType)| Storage {
        name: format!("carry{i}"),
        ty: ty.clone(),
        kind: StorageKind::State,
        trainable: false,
        first: None,
        site: site.clone(),
    };
    scan.carries.iter().enumerate().map(cell).collect()
}

fn push(program: &mut Program, buffer: Buffer) -> BufferId {
    program.buffers.push(buffer);
    BufferId(program.buffers.len() as u32 - 1)
}
