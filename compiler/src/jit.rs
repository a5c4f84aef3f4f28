//! Models compiled in process: the same code, descriptor and loader as for objects that are linked.

use std::collections::HashMap;

use bakelite::abi::{Descriptor, Image};
use bakelite_kernels::manifest::{Level, table};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;
use target_lexicon::Triple;

use crate::backend::BackendError;
use crate::backend::cranelift::{Compiler, Listing, Products, TargetCpu, Variant, variants};
use crate::compile::Compiled;
use crate::emit::image::{self, ModelImage};

/// Code and descriptor of a model in executable memory, for [`bakelite::Model::open`].
pub struct JitModel {
    descriptor: Loaded,
}

impl JitModel {
    /// Compiles a model for this machine. With [`TargetCpu::Portable`] only code for the strongest level that the
    /// machine has is generated.
    pub fn new(compiled: &Compiled, cpu: TargetCpu) -> Result<JitModel, BackendError> {
        JitModel::from_image(&ModelImage::new(compiled), cpu, Products::Driver)
    }

    /// [`JitModel::new`] with a clock between the kernels: for [`profile::record`](crate::profile::record).
    pub fn profiled(compiled: &Compiled, cpu: TargetCpu) -> Result<JitModel, BackendError> {
        JitModel::build(&ModelImage::new(compiled), cpu, Products::Driver, Some(crate::profile::clock()))
    }

    /// Compiles an image for this machine.
    pub fn from_image(image: &ModelImage, cpu: TargetCpu, products: Products) -> Result<JitModel, BackendError> {
        JitModel::build(image, cpu, products, None)
    }

    fn build(
        image: &ModelImage,
        cpu: TargetCpu,
        products: Products,
        clock: Option<usize>,
    ) -> Result<JitModel, BackendError> {
        let variants = host_variants(cpu)?;
        let mut module = host_module(&variants)?;
        let mut compiler = Compiler::new(&mut module, &image.name);
        if let Some(clock) = clock {
            compiler.tell(clock);
        }
        let emitted = image::emit(image, &mut compiler, &variants, products)?;
        module.finalize_definitions().map_err(|e| BackendError::internal(&image.name, e))?;
        Ok(JitModel { descriptor: Loaded::new(module, emitted.descriptor) })
    }
}

/// The texts of every function of a model: Cranelift's intermediate form and machine code.
pub fn listings(image: &ModelImage, cpu: TargetCpu) -> Result<Vec<Listing>, BackendError> {
    let variants = host_variants(cpu)?;
    let mut module = host_module(&variants)?;
    let mut compiler = Compiler::new(&mut module, &image.name);
    compiler.keep_listings();
    image::emit(image, &mut compiler, &variants, Products::Driver)?;
    Ok(compiler.take_listings())
}

fn host_variants(cpu: TargetCpu) -> Result<Vec<Variant>, BackendError> {
    let here = |level: &Level| table(*level).is_some();
    let cpu = match cpu {
        TargetCpu::Portable => match Level::ALL.into_iter().rev().find(here) {
            Some(level) => TargetCpu::Level(level),
            None => cpu,
        },
        TargetCpu::Level(_) => cpu,
    };
    variants(&Triple::host(), cpu, false)
}

fn host_module(variants: &[Variant]) -> Result<JITModule, BackendError> {
    let Some(variant) = variants.first() else {
        return Err(BackendError::internal("this machine", "no variant of the code"));
    };
    let mut builder = JITBuilder::with_isa(variant.isa.clone(), default_libcall_names());
    // Generated code names no symbols; whatever it asked for by mistake is not looked up in this process.
    builder.symbols(HashMap::<String, *const u8>::new());
    Ok(JITModule::new(builder))
}

use loaded::Loaded;

#[allow(unsafe_code, reason = "executable memory is read through the descriptor inside it and freed when dropped")]
mod loaded {
    use cranelift_jit::JITModule;
    use cranelift_module::DataId;

    use super::{Descriptor, Image, JitModel};

    /// A finished module and the address of its descriptor.
    pub struct Loaded {
        module: Option<JITModule>,
        descriptor: *const Descriptor,
    }

    impl Loaded {
        /// Takes a module whose definitions are final, and the descriptor in it.
        pub fn new(module: JITModule, descriptor: DataId) -> Loaded {
            let (descriptor, _) = module.get_finalized_data(descriptor);
            Loaded { module: Some(module), descriptor: descriptor.cast() }
        }
    }

    impl Drop for Loaded {
        fn drop(&mut self) {
            if let Some(module) = self.module.take() {
                // SAFETY: the image is being dropped, and with it the last user of its code.
                unsafe { module.free_memory() }
            }
        }
    }

    // SAFETY: the module is only kept for its memory, which is never written again.
    unsafe impl Send for Loaded {}
    // SAFETY: as above.
    unsafe impl Sync for Loaded {}

    // SAFETY: the descriptor was emitted by this compiler into memory that the module owns.
    unsafe impl Image for JitModel {
        fn descriptor(&self) -> &Descriptor {
            // SAFETY: the descriptor lies in the module's memory, which lives as long as `self`.
            unsafe { &*self.descriptor.descriptor }
        }
    }
}
