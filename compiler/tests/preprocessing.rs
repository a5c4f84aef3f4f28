//! Preprocessing against Keras, in `../runtime/tests/fixtures/text.json`: lookups of integers as graph, and what layers
//! learn from data. Crosses of integers against TensorFlow, in a table.

mod common;

use bakelite::{Input, Output};
use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::prelude::*;
use common::{Interpreted, assert_close};
use serde_json::Value as Json;

fn file() -> Json {
    serde_json::from_str(include_str!("../../runtime/tests/fixtures/text.json")).unwrap()
}

fn list(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn shape(json: &Json) -> Vec<usize> {
    json["shape"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

fn floats(json: &Json) -> Vec<f32> {
    list(&json["values"]).into_iter().map(|x| x as f32).collect()
}

/// What a layer gives for rows of numbers.
fn run(layer: impl IntoLayer, dtype: DType, item: &[usize], rows: usize, values: &[f64]) -> Vec<f64> {
    let m = Model::new("net");
    let x = m.input("x", item, dtype);
    m.output(&x.then(layer));
    let x = Value::from_numbers(dtype, &[&[rows], item].concat(), values);
    Interpreted::new(&m, 0).peek("predict", rows, &[x]).outputs[0].to_numbers()
}

#[test]
fn lookups_of_integers_are_those_of_keras() {
    let mut count = 0;
    for case in file()["cases"].as_array().unwrap().iter().filter(|case| case["class"] == "IntegerLookup") {
        let mut layer: IntegerLookup = serde_json::from_value(case["before"].clone()).unwrap();
        if case["before"]["oov_method"] == "farmhash" {
            continue;
        }
        if let Some(data) = case["adapt"].as_array() {
            layer.adapt(&data.iter().map(|x| x.as_i64().unwrap()).collect::<Vec<i64>>());
        }
        let (calls, row) = (list(&case["calls"]), case["rows"].as_u64().unwrap() as usize);
        let found = run(layer, I32, &[row], calls.len() / row, &calls);
        assert_close(&found, &list(&case["result"]["values"]), 1e-6, &case["before"].to_string());
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn boundaries_of_bins_are_those_of_keras() {
    let mut count = 0;
    for case in file()["adapted"].as_array().unwrap().iter().filter(|case| case["class"] == "Discretization") {
        let (bins, epsilon) = (case["num_bins"].as_u64().unwrap() as usize, case["epsilon"].as_f64().unwrap());
        let boundaries = |layer: Layer<Discretization>| -> Vec<f64> {
            let layer = serde_json::to_value(layer.into_layer()).unwrap();
            list(&layer["config"]["bin_boundaries"])
        };
        if list(&case["bin_boundaries"]).is_empty() {
            continue;
        }
        let layer = || Discretization::bins(bins).epsilon(epsilon);
        let whole = boundaries(layer().adapt(&floats(&case["data"])));
        assert_close(&whole, &list(&case["bin_boundaries"]), 1e-6, &format!("{bins} bins, {epsilon}"));
        let batches: Vec<Vec<f32>> = case["batches"].as_array().unwrap().iter().map(floats).collect();
        let batched = boundaries(layer().adapt_batches(batches.iter().map(Vec::as_slice)));
        assert_close(&batched, &list(&case["of_batches"]), 1e-6, &format!("{bins} bins, {epsilon}, batches"));
        count += 1;
    }
    assert!(count > 4, "{count}");
}

#[test]
fn bins_of_data_that_is_not_finite_or_not_there() {
    let adapted = |data: &[f32]| {
        let m = Model::new("net");
        let x = m.input("x", 1, F32);
        m.output(&Discretization::bins(3).adapt(data).apply(&x));
        m.lower().map(drop)
    };
    assert!(adapted(&[1.0, f32::NAN, f32::INFINITY, -2.0, f32::NEG_INFINITY]).is_ok());
    assert!(adapted(&[]).is_err());
    assert!(adapted(&[f32::NAN]).is_err());
}

#[test]
fn statistics_along_any_axes_are_those_of_keras() {
    let mut count = 0;
    for case in file()["adapted"].as_array().unwrap().iter().filter(|case| case["class"] == "Normalization") {
        let (shape, data) = (shape(&case["data"]), floats(&case["data"]));
        let layer = match &case["axis"] {
            Json::Null => Normalization::new().no_axis(),
            Json::Number(axis) => Normalization::new().axis([axis.as_i64().unwrap() as isize]),
            axes => Normalization::new().axis(list(axes).iter().map(|x| *x as isize).collect::<Vec<isize>>()),
        };
        let layer = layer.adapt(&data, &shape);
        let found = run(layer, F32, &shape[1..], shape[0], &list(&case["data"]["values"]));
        assert_close(&found, &list(&case["result"]["values"]), 1e-5, &format!("{} of {shape:?}", case["axis"]));
        count += 1;
    }
    assert!(count > 6, "{count}");
}

/// Integers that are crossed: of the second also as `u32`, and of the third as `u8`.
const CROSSED: [[i32; 10]; 3] = [
    [0, 1, 2, -1, -5, i32::MAX, i32::MIN, i32::MIN, i32::MAX, 123456789],
    [0, 2, 1, 1, -7, i32::MIN, i32::MAX, i32::MIN, i32::MAX, -987654321],
    [0, 3, 3, -1, 200, 0, 255, 1, 128, 77],
];

/// The number of bins, and what Keras's `HashedCrossing` gives with TensorFlow: for the first two columns, for all three,
/// and for the first with the others as `u32` and `u8`.
const BINS: [(usize, [[i32; 10]; 3]); 6] = [
    (1, [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]),
    (7, [[1, 0, 5, 6, 5, 3, 0, 3, 6, 5], [5, 2, 4, 5, 3, 4, 0, 4, 2, 5], [5, 2, 4, 4, 0, 4, 0, 6, 2, 5]]),
    (
        1000,
        [
            [304, 357, 716, 648, 4, 810, 218, 164, 54, 161],
            [447, 475, 260, 855, 987, 282, 457, 844, 246, 818],
            [447, 475, 260, 607, 303, 674, 457, 687, 246, 391],
        ],
    ),
    (
        65537,
        [
            [10364, 27138, 11806, 18079, 47227, 47192, 38593, 49599, 16896, 39447],
            [53350, 25417, 29626, 11853, 7213, 37461, 44949, 29762, 17756, 44988],
            [53350, 25417, 29626, 9181, 6738, 57269, 44949, 46754, 17756, 42254],
        ],
    ),
    (
        1000003,
        [
            [655600, 967215, 469786, 725708, 514090, 787652, 338241, 752994, 450959, 503426],
            [567933, 948881, 392317, 672238, 57971, 28220, 310179, 308532, 854545, 743157],
            [567933, 948881, 392317, 341566, 690257, 240168, 310179, 576784, 854545, 840109],
        ],
    ),
    (
        2147483647,
        [
            [
                572366207, 901562088, 72503796, 2005014143, 2043592609, 90129284, 1349954108, 1931269869, 1031961884,
                1554264,
            ],
            [
                702192403, 34281457, 2030641766, 1827299059, 75565323, 1568658496, 678412007, 2013017804, 499305761,
                487284409,
            ],
            [
                702192403, 34281457, 2030641766, 636596970, 330023317, 1844620259, 678412007, 263449171, 499305761,
                410435411,
            ],
        ],
    ),
];

/// A model of the cross of columns of these types.
fn crossing(layer: &Layer<HashedCrossing>, item: &[usize], columns: &[DType]) -> Model {
    let m = Model::new("crossing");
    let input = |(i, dtype): (usize, &DType)| m.input(format!("x{i}"), item, *dtype);
    let columns: Vec<Tensor> = columns.iter().enumerate().map(input).collect();
    m.output(&layer.apply_many(&columns.iter().collect::<Vec<_>>()));
    m
}

#[test]
fn crosses_of_integers_are_those_of_tensorflow() {
    let rows = CROSSED[0].len();
    let kinds: [&[DType]; 3] = [&[I32, I32], &[I32, I32, I32], &[I32, U32, U8]];
    for (bins, expected) in BINS {
        for (kind, expected) in kinds.iter().zip(expected) {
            for item in [&[][..], &[1]] {
                let m = crossing(&HashedCrossing::new(bins), item, kind);
                let wrapped = |dtype: DType, x: i32| match dtype {
                    U32 => f64::from(x as u32),
                    U8 => f64::from(x as u8),
                    _ => f64::from(x),
                };
                let column = |(&dtype, column): (&DType, &[i32; 10])| {
                    let values = column.map(|x| wrapped(dtype, x));
                    Value::from_numbers(dtype, &[&[rows], item].concat(), &values)
                };
                let inputs: Vec<Value> = kind.iter().zip(&CROSSED).map(column).collect();
                let result = Interpreted::new(&m, 0).peek("predict", rows, &inputs).outputs.swap_remove(0);
                assert_eq!((result.dtype, &result.shape), (I32, &[&[rows], item].concat()), "{bins} bins");
                assert_eq!(result.to_numbers(), expected.map(f64::from), "{bins} bins, {kind:?}");
            }
        }
    }
}

#[test]
fn crosses_of_integers_in_machine_code() {
    let [a, b, c] = CROSSED;
    let (unsigned, small) = (b.map(|x| x as u32), c.map(|x| x as u8));
    for (bins, [two, three, mixed]) in BINS {
        let run = |columns: &[DType], inputs: &[Input<'_>]| {
            let m = crossing(&HashedCrossing::new(bins), &[], columns);
            m.max_batch(a.len());
            let mut run = bakelite::Model::open(m.compile_jit().unwrap_or_else(|e| panic!("{e}"))).unwrap();
            let mut found = [-1; 10];
            run.predict_into(found.len(), inputs, &mut [Output::new(&mut found)]).unwrap();
            found
        };
        assert_eq!(run(&[I32, I32], &[Input::new(&a), Input::new(&b)]), two, "{bins} bins");
        assert_eq!(run(&[I32; 3], &[Input::new(&a), Input::new(&b), Input::new(&c)]), three, "{bins} bins");
        let inputs = [Input::new(&a), Input::new(&unsigned), Input::new(&small)];
        assert_eq!(run(&[I32, U32, U8], &inputs), mixed, "{bins} bins");
    }
}

#[test]
fn crosses_become_rows_with_a_one() {
    let (bins, [expected, ..]) = BINS[1];
    for item in [&[][..], &[1]] {
        let m = crossing(&HashedCrossing::new(bins).output_mode(OutputMode::OneHot), item, &[I32, I32]);
        let column = |i: usize| Value::from_numbers(I32, &[&[10], item].concat(), &CROSSED[i].map(f64::from));
        let result = Interpreted::new(&m, 0).peek("predict", 10, &[column(0), column(1)]).outputs.swap_remove(0);
        assert_eq!((result.dtype, &result.shape[..]), (F32, &[10, bins][..]));
        let hot = expected.iter().flat_map(|&bin| (0..bins).map(move |i| f64::from(u8::from(i as i32 == bin))));
        assert_eq!(result.to_numbers(), hot.collect::<Vec<f64>>());
    }
}
