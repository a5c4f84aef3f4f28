//! Text layers against Keras: the vocabularies that they learn and the results for the same texts, in
//! `fixtures/text.json`, which `fixtures/make_text.py` writes.
#![cfg(feature = "text")]

use bakelite::text::{Encoded, Hashing, IntegerLookup, StringLookup, TextVectorization};
use serde_json::{Map, Value};

fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("fixtures/text.json")).unwrap();
    let mut cases = file["cases"].as_array().unwrap().clone();
    // Long lists are in the file once, under a name.
    for case in &mut cases {
        for key in ["adapt", "calls"] {
            if let Some(name) = case[key].as_str() {
                case[key] = file["lists"][name].clone();
            }
        }
    }
    cases
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn integers(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

/// Compares a result with Keras's.
fn check(case: &Value, result: Encoded) {
    let expected: Vec<f64> = case["result"]["values"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let found: Vec<f64> = match &result {
        Encoded::Ints(ints) => ints.iter().map(|x| f64::from(*x)).collect(),
        Encoded::Floats(floats) => floats.iter().map(|x| f64::from(*x)).collect(),
    };
    assert_eq!(found.len(), expected.len(), "{} {}", case["class"], case["before"]);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
        assert!(close, "{} {}: element {i} is {found}, Keras has {expected}", case["class"], case["before"]);
    }
}

/// The arguments are written as Keras writes them.
fn same_arguments(case: &Value, written: Value) {
    let written: Map<String, Value> = written.as_object().unwrap().clone();
    let expected = case["before"].as_object().unwrap();
    let number = |value: &Value| match value {
        Value::Array(list) => list.iter().map(|x| x.as_f64()).collect::<Option<Vec<f64>>>(),
        _ => None,
    };
    for (key, expected) in expected {
        let found = written.get(key).unwrap_or_else(|| panic!("{} writes no `{key}`", case["class"]));
        assert!(found == expected || number(found).is_some() && number(found) == number(expected), "{key}: {found}");
    }
    assert_eq!(written.len(), expected.len(), "{written:?} {expected:?}");
}

#[test]
fn vectorizations_are_those_of_keras() {
    let mut count = 0;
    for case in cases().iter().filter(|case| case["class"] == "TextVectorization") {
        let mut layer: TextVectorization = serde_json::from_value(case["before"].clone()).unwrap();
        same_arguments(case, serde_json::to_value(&layer).unwrap());
        if !case["adapt"].is_null() {
            layer.adapt(&texts(&case["adapt"]));
        }
        assert_eq!(layer.get_vocabulary(), texts(&case["vocabulary"]), "{}", case["before"]);
        check(case, layer.call(&texts(&case["calls"])).unwrap());
        // What was learnt is in the written form.
        let again: TextVectorization = serde_json::from_str(&serde_json::to_string(&layer).unwrap()).unwrap();
        check(case, again.call(&texts(&case["calls"])).unwrap());
        count += 1;
    }
    assert!(count > 35, "{count}");
}

#[test]
fn lookups_of_strings_are_those_of_keras() {
    let mut count = 0;
    for case in cases().iter().filter(|case| case["class"] == "StringLookup") {
        let mut layer: StringLookup = serde_json::from_value(case["before"].clone()).unwrap();
        same_arguments(case, serde_json::to_value(&layer).unwrap());
        if !case["adapt"].is_null() {
            layer.adapt(&texts(&case["adapt"]));
        }
        assert_eq!(layer.get_vocabulary(), texts(&case["vocabulary"]), "{}", case["before"]);
        let row = case["rows"].as_u64().unwrap() as usize;
        check(case, layer.call_rows(&texts(&case["calls"]), row).unwrap());
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn lookups_of_integers_are_those_of_keras() {
    let mut count = 0;
    for case in cases().iter().filter(|case| case["class"] == "IntegerLookup") {
        let mut layer: IntegerLookup = serde_json::from_value(case["before"].clone()).unwrap();
        same_arguments(case, serde_json::to_value(&layer).unwrap());
        if !case["adapt"].is_null() {
            layer.adapt(&integers(&case["adapt"]));
        }
        assert_eq!(layer.get_vocabulary(), integers(&case["vocabulary"]), "{}", case["before"]);
        let row = case["rows"].as_u64().unwrap() as usize;
        check(case, layer.call_rows(&integers(&case["calls"]), row).unwrap());
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn bins_are_those_of_keras() {
    let mut count = 0;
    for case in cases().iter().filter(|case| case["class"] == "Hashing") {
        let layer: Hashing = serde_json::from_value(case["before"].clone()).unwrap();
        same_arguments(case, serde_json::to_value(&layer).unwrap());
        let row = case["rows"].as_u64().unwrap() as usize;
        let calls = &case["calls"];
        let result = match calls[0] {
            Value::String(_) => layer.call_rows(&texts(calls), row),
            _ => layer.call_integers(&integers(calls), row),
        };
        check(case, result.unwrap());
        count += 1;
    }
    assert!(count > 15, "{count}");
}
