//! Preprocessing against Keras, in `../runtime/tests/fixtures/text.json`: lookups of integers as graph, and what layers
//! learn from data.

mod common;

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
