//! Files of arrays that nobody should trust.

use std::fs;
use std::io::Write;

use bakelite::DType;
use bakelite_compiler::diag::Diagnostics;
use bakelite_compiler::tool::npz::{Npz, write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::run::{Folder, numbers};

/// Opens a file and reads every array as every type.
fn read(folder: &Folder, name: &str) -> Result<usize, Diagnostics> {
    let mut file = Npz::open(folder.path(name))?;
    let mut numbers = 0;
    for array in file.arrays().to_vec() {
        for dtype in DType::ALL {
            numbers += file.values(&array, dtype).map_or(0, |values| values.len());
        }
        file.values(&array, DType::F64)?;
    }
    Ok(numbers)
}

#[test]
fn two_arrays_of_one_name_are_an_error() {
    let folder = Folder::new();
    let values = numbers(4, 1).into();
    write(&folder.path("two.npz"), &[("x1", vec![4], &values), ("x2", vec![4], &values)]).unwrap();
    let bytes = fs::read(folder.path("two.npz")).unwrap();
    let renamed: Vec<u8> = String::from_utf8(bytes.iter().map(|b| b & 0x7f).collect())
        .unwrap()
        .match_indices("x2.npy")
        .map(|(at, _)| at)
        .fold(bytes.clone(), |mut bytes, at| {
            bytes[at + 1] = b'1';
            bytes
        });
    fs::write(folder.path("one.npz"), &renamed).unwrap();
    assert!(read(&folder, "two.npz").is_ok());
    let error = read(&folder, "one.npz").unwrap_err().to_string();
    assert!(error.contains("two of its arrays have one name"), "{error}");
}

#[test]
fn mutated_files_are_errors_or_arrays() {
    let folder = Folder::new();
    let values = numbers(60, 1).into();
    write(&folder.path("plain.npz"), &[("x", vec![5, 4, 3], &values), ("empty", vec![0], &Vec::<i32>::new().into())])
        .unwrap();
    write(&folder.path("lone.npy"), &[("x", vec![60], &values)]).unwrap();
    packed(&folder, "packed.npz", &fs::read(folder.path("lone.npy")).unwrap(), CompressionMethod::Deflated);
    let mut state = 12345u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut refused = 0;
    for name in ["plain.npz", "lone.npy", "packed.npz"] {
        let whole = fs::read(folder.path(name)).unwrap();
        assert!(read(&folder, name).unwrap() > 0);
        for round in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next(3) {
                let at = next(bytes.len());
                match round % 4 {
                    0 => bytes[at] = next(256) as u8,
                    1 => bytes[at] ^= 1 << next(8),
                    2 => bytes.truncate(at),
                    _ => bytes[at] = [0, 0xff, 0x7f, b'9', b'(', b'\''][next(6)],
                }
                if bytes.is_empty() {
                    break;
                }
            }
            fs::write(folder.path("mutated"), &bytes).unwrap();
            if let Err(diagnostics) = read(&folder, "mutated") {
                refused += 1;
                assert!(diagnostics.to_string().contains("mutated"), "{diagnostics}");
            }
        }
    }
    assert!(refused > 400, "{refused} of 900");
}

fn packed(folder: &Folder, name: &str, npy: &[u8], method: CompressionMethod) {
    let mut zip = ZipWriter::new(fs::File::create(folder.path(name)).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    zip.start_file("x.npy", options).unwrap();
    zip.write_all(npy).unwrap();
    zip.start_file("../../etc/passwd", options).unwrap();
    zip.write_all(b"no array").unwrap();
    zip.finish().unwrap();
}

fn npy(header: &str, bytes: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

#[test]
fn sizes_that_are_lies() {
    let folder = Folder::new();
    let shapes = ["(4294967296, 4294967296, 16)", "(1000000000000,)", "(-3,)", "(3,)", "(18446744073709551616,)"];
    for shape in shapes {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n");
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            packed(&folder, "lie.npz", &npy(&header, &[0; 8]), method);
            assert!(read(&folder, "lie.npz").is_err(), "{shape}");
        }
        fs::write(folder.path("lie.npy"), npy(&header, &[0; 8])).unwrap();
        assert!(read(&folder, "lie.npy").is_err(), "{shape}");
    }
    let deep = format!("{{'descr': {}", "[(".repeat(30_000));
    fs::write(folder.path("deep.npy"), npy(&deep, &[])).unwrap();
    assert!(read(&folder, "deep.npy").is_err());
}

/// An archive of some hundred bytes whose directory promises gigabytes.
#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let folder = Folder::new();
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000,)}\n";
    packed(&folder, "bomb.npz", &npy(header, &[0; 1 << 16]), CompressionMethod::Deflated);
    let mut bytes = fs::read(folder.path("bomb.npz")).unwrap();
    let directory = bytes.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
    let size = 4_000_000_000u32 + 10 + header.len() as u32;
    bytes[directory + 24..directory + 28].copy_from_slice(&size.to_le_bytes());
    fs::write(folder.path("bomb.npz"), bytes).unwrap();
    let refused = read(&folder, "bomb.npz").unwrap_err().to_string();
    assert!(refused.contains("unpack to 4000000") && refused.contains("np.savez"), "{refused}");
}
