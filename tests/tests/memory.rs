//! A compiled step neither allocates nor grows: a counting allocator and the resident set over many steps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bakelite::{Input, Model, Options, Output};
use bakelite_tests::networks;

/// Counts every allocation of the process.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every method forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Resident bytes of this process; `None` where the system does not tell.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn steps_do_not_allocate_or_grow() {
    let code = networks::mlp(8).compile_jit().unwrap();
    let mut model = Model::open_with(code, Options::new().threads(2)).unwrap();
    model.init(5).unwrap();
    let entry = model.entry("train_step").unwrap();
    let images = vec![0.25f32; 8 * 61];
    let labels: Vec<i32> = (0..8).collect();
    let (mut loss, mut accuracy) = ([0.0f32], [0.0f32]);
    let mut step = |batch: usize| {
        let inputs = [Input::new(&images[..batch * 61]), Input::new(&labels[..batch])];
        model.call(entry, &inputs, &mut [Output::new(&mut loss), Output::new(&mut accuracy)], batch).unwrap();
    };
    for _ in 0..100 {
        step(8);
    }
    let before = resident();
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    for i in 0..100_000 {
        step(1 + i % 8);
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), allocations, "a step allocates");
    match (before, resident()) {
        (Some(before), Some(after)) => {
            assert!(after <= before + (256 << 10), "resident memory grew from {before} to {after} bytes");
        }
        _ => println!("skipped: this system does not tell the resident set of a process"),
    }
    assert!(loss[0].is_finite());
}
