//! The CUDA text of Programs, compiled and run on the host, against values computed here.

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod cpu;
#[path = "../cuda_host/mod.rs"]
mod cuda_host;
mod graphs;
mod kernels;
mod mistakes;
mod models;
#[cfg(feature = "cuda")]
mod nvrtc;
mod programs;
mod scalars;
mod snapshots;

use bakelite_compiler::backend::cuda::{self, CudaModule};
use bakelite_compiler::ir::DType;
use bakelite_compiler::schedule::program::{Place, Program, StorageLayout};
use bakelite_compiler::schedule::verify::verify;
use cuda_host::{HostModule, Order};

/// Packs storage cells in the order of their buffers.
fn layout(program: &Program) -> StorageLayout {
    let mut layout = StorageLayout::default();
    for cell in program.buffers.iter().filter(|b| matches!(b.place, Place::Storage(_))) {
        layout.offsets.push(layout.bytes);
        layout.bytes += cell.bytes(1).next_multiple_of(64);
    }
    layout
}

/// Verifies and prints a program.
fn print(program: &Program) -> (CudaModule, StorageLayout) {
    let layout = layout(program);
    let verified = verify(program.clone()).unwrap_or_else(|violations| panic!("{violations:#?}"));
    (cuda::print(&[&verified], &layout), layout)
}

/// Numbers as the bytes of an array.
fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let bytes = |x: f64| match dtype {
        DType::F32 => (x as f32).to_le_bytes().to_vec(),
        DType::F64 => x.to_le_bytes().to_vec(),
        DType::I32 => (x as i32).to_le_bytes().to_vec(),
        DType::U32 => (x as u32).to_le_bytes().to_vec(),
        DType::U8 => vec![x as u8],
        DType::Bool => vec![(x != 0.0) as u8],
    };
    values.iter().flat_map(|x| bytes(*x)).collect()
}

/// The bytes of an array as numbers.
fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let number = |b: &[u8]| match dtype {
        DType::F32 => f32::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
        DType::I32 => i32::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::U32 => u32::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::U8 | DType::Bool => b[0] as f64,
    };
    bytes.chunks(dtype.size()).map(number).collect()
}

/// A repeatable sequence in -1..1.
fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan());
        assert!(same || (g - w).abs() <= tolerance * (1.0 + w.abs()), "{what}[{i}]: got {g}, want {w}");
    }
}

/// Runs in every thread order, demands equal bits, and returns outputs and storage.
fn run_all_orders(
    host: &HostModule,
    entry: &str,
    inputs: &[Vec<u8>],
    storage: &[u8],
    batch: usize,
) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut results = Order::ALL.into_iter().map(|order| {
        let mut storage = storage.to_vec();
        let outputs = host.run(entry, inputs, &mut storage, batch, order).unwrap_or_else(|e| panic!("{order:?}: {e}"));
        (outputs, storage)
    });
    let first = results.next().unwrap();
    for other in results {
        assert!(first == other, "{entry}: the result depends on the order of the threads");
    }
    first
}
