//! Generated code as text, for `bakelite inspect`.

use bakelite_kernels::manifest::Level;

use crate::backend::BackendError;
use crate::backend::cranelift::{Listing, TargetCpu};
use crate::compile::Compiled;
use crate::emit::image::ModelImage;
use crate::jit::listings;

/// Cranelift's intermediate form of every function, for a level by name or this machine's best.
pub fn clif(compiled: &Compiled, level: Option<&str>) -> Result<String, BackendError> {
    text(compiled, level, |listing| &listing.clif)
}

/// The machine instructions of every function, for a level by name or this machine's best.
pub fn asm(compiled: &Compiled, level: Option<&str>) -> Result<String, BackendError> {
    text(compiled, level, |listing| &listing.asm)
}

fn text(compiled: &Compiled, level: Option<&str>, part: impl Fn(&Listing) -> &String) -> Result<String, BackendError> {
    let cpu = match level {
        None => TargetCpu::Portable,
        Some(name) => TargetCpu::Level(Level::ALL.into_iter().find(|l| l.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Level::ALL.iter().map(|l| l.name()).collect();
            BackendError::Target { target: name.to_string(), reason: format!("the levels are {}", known.join(", ")) }
        })?),
    };
    let listings = listings(&ModelImage::new(compiled), cpu)?;
    Ok(listings.iter().map(|l| format!("; {}\n{}\n", l.function, part(l))).collect())
}
