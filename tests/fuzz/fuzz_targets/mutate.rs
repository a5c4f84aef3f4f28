//! Changes that reach what lies inside of a format: libFuzzer's own, on bytes, mostly break the text or the checksum
//! around it.

#![allow(dead_code, reason = "each target uses a part of it")]

use std::io::{Cursor, Read, Write};

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A small generator of numbers.
pub struct Chooser(u64);

impl Chooser {
    pub fn new(seed: u32) -> Chooser {
        Chooser(u64::from(seed) << 1 | 1)
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1)
    }
}

/// Puts new bytes in the place of the old ones; none where they are too long.
pub fn replace(data: &mut [u8], most: usize, new: &[u8]) -> Option<usize> {
    let room = data.get_mut(..new.len()).filter(|_| new.len() <= most)?;
    room.copy_from_slice(new);
    Some(new.len())
}

/// Changes a value of a text of JSON.
pub fn json(text: &[u8], choose: &mut Chooser) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let other = place(&mut value, choose).clone();
    let at = place(&mut value, choose);
    match (choose.below(4), at) {
        (0, Value::Array(items)) if !items.is_empty() => drop(items.remove(choose.below(items.len()))),
        (0, Value::Object(object)) if !object.is_empty() => {
            let key = object.keys().nth(choose.below(object.len())).cloned().unwrap_or_default();
            object.remove(&key);
        }
        (1, Value::Array(items)) => items.push(other),
        (2, at) => *at = other,
        (_, at) => *at = number(choose),
    }
    Some(value.to_string().into_bytes())
}

/// Some value inside a value.
fn place<'v>(value: &'v mut Value, choose: &mut Chooser) -> &'v mut Value {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::Object(object) => object.len(),
        _ => 0,
    };
    if count == 0 || choose.below(8) == 0 {
        return value;
    }
    let at = choose.below(count);
    let inside = match value {
        Value::Array(items) => items.get_mut(at),
        Value::Object(object) => object.values_mut().nth(at),
        _ => None,
    };
    place(inside.expect("it has that many"), choose)
}

fn number(choose: &mut Chooser) -> Value {
    let numbers = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(7),
        json!(100),
        json!(1 << 16),
        json!(1u64 << 31),
        json!(1u64 << 40),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.5),
        json!(1e300),
        json!(-1e-300),
        json!("same"),
        json!("relu"),
        json!([]),
        json!([0, 0]),
        json!([1u64 << 33, 1u64 << 33]),
        json!({}),
    ];
    numbers[choose.below(numbers.len())].clone()
}

/// Changes a member of an archive, and writes the archive anew.
pub fn archive(bytes: &[u8], choose: &mut Chooser) -> Option<Vec<u8>> {
    const LONGEST: u64 = 1 << 20;
    let mut zip = ZipArchive::new(Cursor::new(bytes)).ok().filter(|zip| (1..=8).contains(&zip.len()))?;
    let changed = choose.below(zip.len());
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..zip.len() {
        let member = zip.by_index(index).ok()?;
        let name = member.name().ok()?.into_owned();
        let mut inside = Vec::new();
        member.take(LONGEST).read_to_end(&mut inside).ok()?;
        if index == changed {
            inside = match json(&inside, choose) {
                Some(text) if choose.below(4) > 0 => text,
                _ => bits(inside),
            };
        }
        out.start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)).ok()?;
        out.write_all(&inside).ok()?;
    }
    Some(out.finish().ok()?.into_inner())
}

/// libFuzzer's changes, on bytes.
fn bits(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len();
    bytes.resize(length + 64, 0);
    let most = bytes.len();
    let length = fuzzer_mutate(&mut bytes, length, most);
    bytes.truncate(length);
    bytes
}
