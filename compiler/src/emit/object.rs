//! Object files: one for a model, with all its entry points in every variant, and the descriptor as its only symbol
//! for others.

use cranelift_module::default_libcall_names;
use cranelift_object::{ObjectBuilder, ObjectModule};
use target_lexicon::Triple;

use crate::backend::BackendError;
use crate::backend::cranelift::{Compiler, Products, TargetCpu, variants};

use super::archive;
use super::image::{self, ModelImage};

/// A compiled model as bytes of files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// The object file.
    pub object: Vec<u8>,
    /// The symbol of the descriptor.
    pub symbol: String,
    /// Names of the instruction set levels that it has code for.
    pub levels: Vec<&'static str>,
    pub scratch_bytes: usize,
    pub arena_bytes: usize,
}

impl Object {
    /// A static library that holds the object alone.
    pub fn archive(&self) -> Vec<u8> {
        archive::write(&[(&format!("{}.o", self.symbol), &self.object, &[&self.symbol])])
    }
}

/// Emits the object of a model.
pub fn emit(image: &ModelImage, triple: &Triple, cpu: TargetCpu, products: Products) -> Result<Object, BackendError> {
    let variants = variants(triple, cpu, true)?;
    let Some(first) = variants.first() else {
        return Err(BackendError::internal(&image.name, "no variant of the code"));
    };
    let fail = |e: cranelift_module::ModuleError| BackendError::internal(&image.name, e);
    let mut builder =
        ObjectBuilder::new(first.isa.clone(), image.symbol.as_str(), default_libcall_names()).map_err(fail)?;
    builder.per_function_section(false);
    let mut module = ObjectModule::new(builder);
    let mut compiler = Compiler::new(&mut module, &image.name);
    let emitted = image::emit(image, &mut compiler, &variants, products)?;
    let object = module.finish().emit().map_err(|e| BackendError::internal(&image.name, e))?;
    Ok(Object {
        object,
        symbol: image.symbol.clone(),
        levels: variants.iter().flat_map(|v| v.levels).map(|l| l.name()).collect(),
        scratch_bytes: emitted.scratch_bytes,
        arena_bytes: emitted.arena_bytes,
    })
}
