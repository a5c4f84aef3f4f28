//! Weight files: round trips, atomic replacement, damaged and hostile files.
#![cfg(feature = "safetensors")]

mod common;

use std::fs;
use std::path::Path;

use bakelite::{Contents, Error, Model};
use common::*;

/// Everything that a model keeps.
fn state(model: &Model) -> Vec<(String, Vec<u8>)> {
    let bytes = |p: bakelite::Param<'_>| match p.dtype() {
        bakelite::DType::F32 => p.to_vec::<f32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect(),
        bakelite::DType::U32 => p.to_vec::<u32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect(),
        _ => p.to_vec::<bool>().unwrap().iter().map(|v| *v as u8).collect(),
    };
    model.params().map(|p| (p.name().to_string(), bytes(p))).collect()
}

fn changed(seed: u64) -> Model {
    let mut model = open(1);
    model.init(seed).unwrap();
    model.set_learning_rate(0.5).unwrap();
    model.set_param(ROWS_SEEN, &[77u32]).unwrap();
    model
}

/// Loading fails with this message, and changes nothing.
fn refused(path: &Path) -> String {
    let mut model = open_seeded(1);
    let before = state(&model);
    let error = model.load(path).unwrap_err();
    assert_eq!(state(&model), before, "{error}");
    error.to_string()
}

#[test]
fn weights_round_trip_row_major() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("linear.safetensors");
    let model = changed(7);
    model.save(&path).unwrap();

    let mut other = open_seeded(1);
    other.load(&path).unwrap();
    let rate = other.learning_rate();
    assert_eq!(rate, Some(0.1), "training state is not in the file");
    other.set_learning_rate(0.5).unwrap();
    assert_eq!(state(&other), state(&model));

    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kernel = file.tensor(KERNEL).unwrap();
    assert_eq!(kernel.shape(), [3, 4]);
    let values: Vec<f32> = kernel.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(values, model.param(KERNEL).unwrap().to_vec::<f32>().unwrap());
    assert!(file.tensor(bakelite::LEARNING_RATE).is_err());
}

#[test]
fn training_state_travels_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    let model = changed(7);
    model.save_with(&path, Contents::Training).unwrap();
    let mut other = open_seeded(1);
    other.load(&path).unwrap();
    assert_eq!(state(&other), state(&model));

    let mut weights = open_seeded(1);
    weights.load_with(&path, Contents::Weights).unwrap();
    assert_eq!(weights.learning_rate(), Some(0.1));

    // A model compiled for prediction alone skips what only training needs.
    let mut small = descriptor();
    small.cells.len -= 1;
    small.entries.len = 2;
    // SAFETY: the table was made by `descriptor`.
    let entries = unsafe { small.entries.as_slice() };
    small.entries = table(entries.iter().map(|e| bakelite::abi::Entry { writes: table(vec![]), ..*e }).collect());
    let mut small = Model::open(linked(small)).unwrap();
    small.load(&path).unwrap();
    assert_eq!(state(&small), state(&model)[..4]);

    model.save(&path).unwrap();
    let error = open(1).load_with(&path, Contents::Training).unwrap_err().to_string();
    assert!(error.ends_with("parameter `optimizer/learning_rate` is missing"), "{error}");
}

#[test]
fn a_model_that_was_only_loaded_trains() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.safetensors");
    let error = open(1).save(&path).unwrap_err().to_string();
    assert!(error.contains("needs `dense/kernel`, `dense/bias`"), "{error}");
    assert!(!path.exists());
    open_seeded(1).save(&path).unwrap();
    let mut model = open(1);
    model.load(&path).unwrap();
    assert_eq!(model.learning_rate(), Some(0.1));
    let before = state(&model);
    let (x, y) = samples(4);
    let step = model.entry("train_step").unwrap();
    let (mut loss, mut error) = ([0.0f32], [0.0f32]);
    model.call(step, &[(&x).into(), (&y).into()], &mut [(&mut loss).into(), (&mut error).into()], 4).unwrap();
    assert_ne!(state(&model)[0], before[0]);
    // As a model does that was initialised with the same weights.
    let mut other = open_seeded(1);
    other.call(step, &[(&x).into(), (&y).into()], &mut [(&mut loss).into(), (&mut error).into()], 4).unwrap();
    assert_eq!(state(&model), state(&other));
}

#[test]
fn the_same_model_gives_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let save = |name: &str| {
        let path = directory.path().join(name);
        changed(7).save_with(&path, Contents::Training).unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(save("a"), save("b"));
}

#[test]
fn saving_replaces_the_file_whole_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    fs::write(&path, b"old").unwrap();
    changed(1).save(&path).unwrap();
    assert!(fs::read(&path).unwrap().len() > 100);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let missing = directory.path().join("no/such/directory.safetensors");
    assert!(matches!(changed(1).save(&missing), Err(Error::Io { action: "write", .. })));
    // The name is taken by a directory: nothing is replaced and no temporary file stays.
    let taken = directory.path().join("taken");
    fs::create_dir_all(taken.join("inner")).unwrap();
    assert!(matches!(changed(1).save(&taken), Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    assert!(matches!(changed(1).save("/"), Err(Error::Io { .. })));
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w");
    let message = refused(&path);
    assert!(message.starts_with("cannot read"), "{message}");
    assert!(refused(directory.path()).ends_with("not a file"));
    fs::write(&path, []).unwrap();
    assert!(refused(&path).ends_with("not a safetensors file: 0 bytes"));
    for header in [u64::MAX, 1 << 62, 1 << 40, 100_000_000] {
        fs::write(&path, header.to_le_bytes()).unwrap();
        assert!(refused(&path).contains("not a safetensors file: a header of"));
    }
}

#[test]
fn tensors_must_match_by_name_type_and_shape() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    changed(1).save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let edit = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut edited = bytes.clone();
        edited[at..at + from.len()].copy_from_slice(to.as_bytes());
        fs::write(&path, edited).unwrap();
        refused(&path)
    };
    assert!(edit("dense/kernel", "dense/kernal").ends_with("model `linear` has no parameter `dense/kernal`"));
    assert!(edit("[3,4]", "[4,3]").ends_with("`dense/kernel` has shape [4, 3], the model's has [3, 4]"));
    assert!(edit("U32", "F32").ends_with("`counter/rows` is F32, the model's is u32"));
    assert!(edit("[3,4]", "[3,5]").contains("damaged header"));
    // The flags are the last two bytes: 2 is no bool.
    let mut edited = bytes.clone();
    *edited.last_mut().unwrap() = 2;
    fs::write(&path, edited).unwrap();
    assert!(refused(&path).contains("`counter/flags` is bool"));
    // A missing parameter.
    let mut larger = descriptor();
    let mut cells: Vec<_> = Vec::new();
    // SAFETY: the table was made by `descriptor`.
    for c in unsafe { larger.cells.as_slice() } {
        cells.push(bakelite::abi::Cell { ..*c });
    }
    cells.push(cell("new/bias", 0, bakelite::CellKind::Param, &[2], 320, 0));
    (larger.cells, larger.storage_bytes) = (table(cells), 384);
    fs::write(&path, &bytes).unwrap();
    let error = Model::open(linked(larger)).unwrap().load(&path).unwrap_err().to_string();
    assert!(error.ends_with("parameter `new/bias` is missing"), "{error}");
}

#[test]
fn truncation_at_any_length_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    changed(1).save_with(&path, Contents::Training).unwrap();
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        refused(&path);
    }
    fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(refused(&path).contains("bytes of tensors expected"));
}

#[test]
fn flipped_bytes_are_refused_or_change_values_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    changed(1).save_with(&path, Contents::Training).unwrap();
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            fs::write(&path, damaged).unwrap();
            let mut model = open_seeded(1);
            let before = state(&model);
            if model.load(&path).is_err() {
                assert_eq!(state(&model), before, "byte {at} ^ {flip:#x}");
            }
        }
    }
}
