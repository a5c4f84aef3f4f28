//! The CUDA text on the host: compiled by g++ and run by the emulation of the compiler's own tests.

use std::collections::BTreeMap;
use std::rc::Rc;

use bakelite_compiler::backend::cuda;
use bakelite_compiler::ir::eval::Tensor;
use bakelite_compiler::ir::{Module, StorageId};
use bakelite_compiler::schedule::program::{Place, Program, StorageLayout};
use bakelite_compiler::schedule::verify::verify;
use bakelite_compiler::schedule::{Verified, layout_storage};

use crate::runtime::{Callable, Called, Loaded, Packed, Pipeline, Runtime, caught, decode, encode};

#[allow(dead_code)]
#[path = "../../compiler/tests/cuda_host/mod.rs"]
mod emulation;

use emulation::{HostModule, Order};

/// Modules that g++ gets in one file.
const TOGETHER: usize = 24;

/// The host emulation of CUDA.
pub struct HostCuda(Pipeline);

impl HostCuda {
    /// The runtime, if g++ is there.
    pub fn find(pipeline: Pipeline) -> Option<HostCuda> {
        emulation::available().then_some(HostCuda(pipeline))
    }
}

impl Runtime for HostCuda {
    fn name(&self) -> String {
        format!("host cuda, {}", self.0.name())
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        modules.chunks(TOGETHER).flat_map(|some| self.load_together(some)).collect()
    }
}

impl HostCuda {
    /// Prints modules as entry points of one text, their cells behind each other in one block of storage.
    fn load_together<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        let mut programs: BTreeMap<usize, Verified<Program>> = BTreeMap::new();
        let mut cells = Vec::new();
        let mut prepared: Vec<Result<(Module, usize), String>> = Vec::new();
        for (i, module) in modules.iter().enumerate() {
            let compiled = caught(|| self.0.compile(module));
            prepared.push(compiled.and_then(|mut compiled| {
                let mut program = compiled.programs.remove(0).into_inner();
                program.name = format!("entry{i}");
                for buffer in &mut program.buffers {
                    if let Place::Storage(StorageId(cell)) = &mut buffer.place {
                        *cell += cells.len() as u32;
                    }
                }
                let program = verify(program).map_err(|v| format!("renamed: {}", v[0]))?;
                programs.insert(i, program);
                let first = cells.len();
                cells.extend(compiled.module.storage.iter().cloned());
                Ok((compiled.module, first))
            }));
        }
        let layout = layout_storage(&cells);
        let text = cuda::print(&programs.values().collect::<Vec<_>>(), &layout);
        let host = caught(|| HostModule::build(&text).ok_or("there is no g++".into())).map(Rc::new);
        let ready = |(i, module): (usize, Result<(Module, usize), String>)| {
            let (module, first_cell) = module?;
            let run = Entry {
                host: host.clone()?,
                layout: layout.clone(),
                name: format!("entry{i}"),
                program: programs[&i].clone(),
                first_cell,
            };
            Ok(Box::new(Packed { run, module }) as Box<dyn Callable>)
        };
        prepared.into_iter().enumerate().map(ready).collect()
    }
}

/// One entry point of a compiled text.
struct Entry {
    host: Rc<HostModule>,
    layout: StorageLayout,
    name: String,
    program: Verified<Program>,
    first_cell: usize,
}

impl Callable for Entry {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String> {
        let offsets = &self.layout.offsets[self.first_cell..];
        let mut block = vec![0; self.layout.bytes];
        for (cell, &at) in storage.iter().zip(offsets) {
            let bytes = encode(cell);
            block[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        let inputs: Vec<Vec<u8>> = inputs.iter().map(encode).collect();
        let outputs = self.host.run(&self.name, &inputs, &mut block, batch, Order::Shuffled(batch as u32))?;
        let declared = self.program.outputs.iter().map(|id| self.program.buffer(*id));
        let outputs = declared.zip(&outputs).map(|(b, bytes)| decode(b.dtype, &b.shape.at(batch), bytes)).collect();
        let cells = storage.iter().zip(offsets).map(|(cell, &at)| decode(cell.dtype, &cell.shape, &block[at..]));
        Ok(Called { outputs, storage: cells.collect() })
    }
}
