//! How many threads a call has by default: an estimate at build time, for each entry point and batch.

use bakelite::Model as Opened;
use bakelite_compiler::prelude::*;

/// A dense network with as many units a layer.
fn dense(width: usize) -> Opened {
    let m = Model::new("dense");
    m.max_batch(512);
    let x = m.input("x", width, F32);
    let h = Dense::new(width).activation(Relu).apply(&x);
    m.output(&Dense::new(width).name("y").apply(&h));
    m.compile(Adam::new(1e-3), MeanSquaredError, ());
    Opened::open(m.compile_jit().unwrap_or_else(|d| panic!("{d}"))).unwrap()
}

/// Of an entry point at batches of 1, 2, 4, ... 512.
fn threads(model: &Opened, entry: &str, most: usize) -> Vec<usize> {
    let entry = model.entries().iter().find(|e| e.name == entry).unwrap();
    (0..10).map(|i| entry.threads(1 << i, most)).collect()
}

#[test]
fn a_small_model_stays_on_the_calling_thread() {
    let tiny = dense(7);
    assert_eq!(threads(&tiny, "predict", 64), [1; 10]);
    assert_eq!(threads(&tiny, "train_step", 2), [1; 10]);
    // 4,610 parameters.
    let small = dense(47);
    for entry in ["predict", "train_step"] {
        assert_eq!(threads(&small, entry, 64)[..4], [1; 4], "{entry}");
    }
    assert_eq!(threads(&small, "init", 64)[0], 1);
}

#[test]
fn a_large_one_has_all_threads_from_some_batch_on() {
    let large = dense(707);
    for entry in ["predict", "train_step"] {
        for most in [2, 3, 4, 8] {
            let threads = threads(&large, entry, most);
            assert!(threads.is_sorted(), "{entry}: {threads:?}");
            assert_eq!(threads[9], most, "{entry}");
        }
        assert_eq!(threads(&large, entry, 1), [1; 10]);
    }
}
