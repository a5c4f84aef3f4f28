//! Data of every kind that NumPy writes, and that people give.

use crate::run::{Folder, ROWS, numbers};

/// Predictions of the digits for an input file.
fn predict(folder: &Folder, input: &str) -> (Vec<usize>, Vec<f32>) {
    folder.ok(&["predict", "digits.keras", "--input", input, "--output", "y.npz", "--batch-size", "16"]);
    folder.floats("y.npz", "digit")
}

#[test]
fn numbers_come_in_many_types_and_orders() {
    let folder = Folder::new();
    let whole: Vec<f32> = (0..ROWS * 36).map(|i| (i * 5 % 11) as f32).collect();
    let shape = &[ROWS, 6, 6, 1][..];
    folder.arrays("f32.npz", &[("image", shape, whole.clone().into())]);
    let wanted = predict(&folder, "f32.npz");
    folder.arrays("f64.npz", &[("x:image", shape, whole.iter().map(|x| f64::from(*x)).collect::<Vec<_>>().into())]);
    folder.arrays("i32.npz", &[("arr_0", shape, whole.iter().map(|x| *x as i32).collect::<Vec<_>>().into())]);
    folder.arrays("u8.npy", &[("", &[ROWS, 6, 6], whole.iter().map(|x| *x as u8).collect::<Vec<_>>().into())]);
    for input in ["f64.npz", "i32.npz", "u8.npy"] {
        assert_eq!(predict(&folder, input), wanted, "{input}");
    }
    // The first axis varies fastest.
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let header = format!("{{'descr': '>i2', 'fortran_order': True, 'shape': ({ROWS}, 6, 6, 1), }}\n");
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for pixel in 0..36 {
        let (column, row) = (pixel / 6, pixel % 6);
        for sample in 0..ROWS {
            bytes.extend((whole[sample * 36 + row * 6 + column] as i16).to_be_bytes());
        }
    }
    std::fs::write(folder.path("fortran.npy"), bytes).unwrap();
    assert_eq!(predict(&folder, "fortran.npy"), wanted);
}

#[test]
fn no_rows_and_one_row_and_nan() {
    let folder = Folder::new();
    folder.arrays("none.npz", &[("image", &[0, 6, 6, 1], Vec::<f32>::new().into())]);
    assert_eq!(predict(&folder, "none.npz"), (vec![0, 4], vec![]));
    let mut row = numbers(2 * 36, 9);
    row[36] = f32::NAN;
    folder.arrays("two.npz", &[("image", &[2, 6, 6, 1], row.clone().into())]);
    let (_, two) = predict(&folder, "two.npz");
    assert!(two[..4].iter().all(|x| x.is_finite()) && two[4..].iter().all(|x| x.is_nan()), "{two:?}");
    folder.arrays("one.npz", &[("image", &[1, 6, 6, 1], row[..36].to_vec().into())]);
    assert_eq!(predict(&folder, "one.npz"), (vec![1, 4], two[..4].to_vec()));
}

#[test]
fn labels_may_be_long_integers_or_whole_floats() {
    let folder = Folder::new();
    let mut losses = Vec::new();
    let labels: Vec<i32> = (0..ROWS as i32).map(|i| i % 4).collect();
    let images = numbers(ROWS * 36, 1);
    let floats: Vec<f64> = labels.iter().map(|x| f64::from(*x)).collect();
    folder.arrays("a.npz", &[("x", &[ROWS, 6, 6, 1], images.clone().into()), ("y", &[ROWS], labels.into())]);
    folder.arrays("b.npz", &[("x:image", &[ROWS, 6, 6], images.into()), ("y:digit", &[ROWS, 1], floats.into())]);
    for data in ["a.npz", "b.npz"] {
        losses.push(folder.ok(&["evaluate", "digits.keras", "--data", data]));
    }
    assert_eq!(losses[0], losses[1]);
}

#[test]
fn weights_of_samples_count() {
    let folder = Folder::new();
    let base = |name: &str, weights: Option<Vec<f32>>| {
        let labels: Vec<i32> = (0..ROWS as i32).map(|i| i % 4).collect();
        let mut arrays: Vec<(&str, &[usize], bakelite::Values<'static>)> =
            vec![("x", &[ROWS, 6, 6, 1], numbers(ROWS * 36, 1).into()), ("y", &[ROWS], labels.into())];
        arrays.extend(weights.map(|w| ("w", &[ROWS][..], w.into())));
        folder.arrays(name, &arrays);
        let text = folder.ok(&["evaluate", "digits.keras", "--data", name]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["loss"].as_f64().unwrap()
    };
    let plain = base("plain.npz", None);
    assert!((base("ones.npz", Some(vec![1.0; ROWS])) - plain).abs() < 1e-6);
    assert!((base("twos.npz", Some(vec![2.0; ROWS])) - 2.0 * plain).abs() < 1e-5);
    assert_eq!(base("zeros.npz", Some(vec![0.0; ROWS])), 0.0);
}
