//! Says where the kernels' object lies and what it was compiled for, so that libraries for C can carry it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (name, value) in
        [("BAKELITE_KERNELS_OBJECT", "DEP_BAKELITE_KERNELS_OBJECT"), ("BAKELITE_KERNELS_TARGET", "TARGET")]
    {
        match env::var(value) {
            Ok(value) => println!("cargo::rustc-env={name}={value}"),
            Err(_) => println!("cargo::error={value} is not set; cargo sets it for build scripts"),
        }
    }
}
