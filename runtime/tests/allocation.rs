//! Nothing allocates in a call. A test binary of its own, since it counts every allocation of the process.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bakelite::{Input, Output};
use common::*;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { System.dealloc(data, layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: forwarded.
        unsafe { System.realloc(data, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn calls_do_not_allocate() {
    let (x, y) = samples(MAX_BATCH);
    let mut predicted = [0.0f32; MAX_BATCH * OUTPUTS];
    let mut kernel = [0.0f32; INPUTS * OUTPUTS];
    for threads in [1, 2, 3] {
        let mut model = open_seeded(threads);
        let (predict, step) = (model.entry("predict").unwrap(), model.entry("train_step").unwrap());
        let mut round = |pause: bool| {
            let (mut loss, mut error) = ([0.0f32], [0.0f32]);
            let outputs = &mut [Output::from(&mut loss), Output::from(&mut error)];
            model.call(step, &[Input::new(&x), Input::new(&y)], outputs, MAX_BATCH).unwrap();
            model.call(predict, &[Input::new(&x)], &mut [(&mut predicted).into()], MAX_BATCH).unwrap();
            model.param(KERNEL).unwrap().read(&mut kernel).unwrap();
            model.set_learning_rate(0.01).unwrap();
            if pause {
                // Long enough for the workers to fall asleep.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        };
        // The first parallel call starts the workers.
        round(true);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..1000).for_each(|i| round(i % 100 == 0));
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{threads} threads");
    }
}
