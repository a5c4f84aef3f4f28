//! Damaged descriptions, arrays and graphs: all layers, losses, metrics and optimizers of the fixtures, up to the tensor
//! graph.

use std::sync::PoisonError;

use bakelite::{DType, Values};
use bakelite_compiler::diag::{Code, Diagnostics, Problem};
use bakelite_compiler::import::KerasModel;
use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::ir::verify::verify_module;
use bakelite_compiler::tool::npz::{self, Npz};
use serde_json::Value;

use super::*;

/// The models of the fixtures, each with how it is trained.
fn described() -> Vec<Value> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/keras.json")).unwrap();
    let fixtures: Value = serde_json::from_str(&text).unwrap();
    let with_training = |case: &Value| {
        let mut model = case.get("model")?.clone();
        model.as_object_mut()?.insert("compile_config".into(), case.get("compile").cloned().unwrap_or_default());
        Some(model)
    };
    let described: Vec<Value> = fixtures["cases"].as_array().unwrap().iter().filter_map(with_training).collect();
    assert!(described.len() > 300);
    described
}

/// A text in which a value of some object is written twice.
fn duplicate_key(text: &str, chooser: &mut Chooser) -> String {
    let at = chooser.next(text.len());
    match text[at..].find("{\"").map(|found| at + found) {
        Some(at) => format!("{}{{\"name\": -1, \"units\": [], {}", &text[..at], &text[at + 1..]),
        None => text.to_string(),
    }
}

#[test]
fn damaged_descriptions_end_in_errors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let described = described();
    let mut chooser = Chooser::new(0x2545_F491_4F6C_DD1D);
    let (mut tried, mut accepted) = (0, 0);
    for round in 0..rounds(500) {
        let mut value = chooser.pick(&described).clone();
        (0..1 + chooser.next(2)).for_each(|_| corrupt(&mut value, &mut chooser));
        let mut text = value.to_string();
        match chooser.next(20) {
            0 => text = duplicate_key(&text, &mut chooser),
            1 => {
                let mut bytes = text.into_bytes();
                damage(&mut bytes, &mut chooser);
                text = String::from_utf8_lossy(&bytes).into_owned();
            }
            _ => {}
        }
        tried += 1;
        accepted += endure(&format!("description {round}: {text}"), || {
            KerasModel::parse(&text)?.max_batch(4).build()?.lower().map(drop)
        }) as usize;
    }
    tell("descriptions", tried, accepted);
}

fn mistake(text: impl ToString) -> Diagnostics {
    Diagnostics::one(Problem::new(Code::Import, text.to_string()), "", None)
}

#[test]
fn damaged_graphs_end_in_errors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut chooser = Chooser::new(0x6C62_272E_07BB_0142);
    let described = described();
    let lowered = |at: usize| KerasModel::parse(&described[at].to_string()).ok()?.build().ok()?.lower().ok();
    let graphs: Vec<String> =
        (0..described.len()).step_by(40).filter_map(|at| Some(lowered(at)?.to_string())).collect();
    let (mut tried, mut accepted) = (0, 0);
    for round in 0..rounds(150) {
        let mut bytes = chooser.pick(&graphs).clone().into_bytes();
        match chooser.next(3) {
            0 => damage(&mut bytes, &mut chooser),
            // A number becomes another one.
            _ => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                let at = *chooser.pick(&digits);
                let number: &&str = chooser.pick(&["0", "7", "64", "1048576", "1099511627776", "18446744073709551615"]);
                bytes.splice(at..at + 1, number.bytes());
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        tried += 1;
        accepted += endure(&format!("graph {round}"), || {
            let module = parse_module(&text).map_err(mistake)?;
            verify_module(&module).map_err(|violations| mistake(&violations[0]))
        }) as usize;
    }
    tell("graphs", tried, accepted);
}

#[test]
fn damaged_arrays_end_in_errors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut chooser = Chooser::new(0x0139_408D_CBBF_7A44);
    let folder = tempfile::tempdir().unwrap();
    let (x, y): (Values<'_>, Values<'_>) = (vec![0.5f32; 600].into(), vec![3i32; 50].into());
    npz::write(&folder.path().join("a.npz"), &[("x", vec![50, 12], &x), ("y", vec![50], &y)]).unwrap();
    npz::write(&folder.path().join("a.npy"), &[("x", vec![50, 12], &x)]).unwrap();
    let (mut tried, mut accepted) = (0, 0);
    for name in ["a.npz", "a.npy"] {
        let original = fs::read(folder.path().join(name)).unwrap();
        let packed = name.ends_with("npz").then(|| members(&original));
        for round in 0..rounds(75) {
            let mut bytes = original.clone();
            match &packed {
                // Inside, so that the checksum fits.
                Some(packed) if chooser.next(4) > 0 => {
                    let mut packed = packed.clone();
                    let inside = chooser.next(packed.len());
                    damage(&mut packed[inside].1, &mut chooser);
                    bytes = archive(&packed, *chooser.pick(&[CompressionMethod::Stored, CompressionMethod::Deflated]));
                }
                _ => damage(&mut bytes, &mut chooser),
            }
            let path = folder.path().join(format!("damaged-{name}"));
            fs::write(&path, &bytes).unwrap();
            tried += 1;
            accepted += endure(&format!("{name} {round}"), || {
                let mut file = Npz::open(&path)?;
                let arrays = file.arrays().to_vec();
                arrays.iter().try_for_each(|array| file.values(array, DType::F32).map(drop))
            }) as usize;
        }
    }
    tell("arrays", tried, accepted);
}
