//! The runtimes that every row of the suites runs on. The graph interpreter is the oracle; each of the others adds a
//! level of the compiler or another backend.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bakelite_compiler::compile::{self, Compiled};
use bakelite_compiler::ir::eval::{Tensor, evaluate};
use bakelite_compiler::ir::{DType, Module, StorageId};
use bakelite_compiler::pass::PassOptions;
use bakelite_compiler::schedule::program::Program;
use bakelite_compiler::schedule::{self, Verified, eval};

use crate::host_cuda::HostCuda;
use crate::jit::Jit;

/// Something that can run the only entry point of a module.
pub trait Runtime {
    fn name(&self) -> String;

    /// Makes modules ready to run. They come all at once because some runtimes have a compiler to start.
    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>>;
}

/// A module that is ready to run, or what went wrong.
pub type Loaded<'m> = Result<Box<dyn Callable + 'm>, String>;

/// A module that is ready to run.
pub trait Callable {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String>;
}

/// What a call leaves behind.
#[derive(Clone, PartialEq, Debug)]
pub struct Called {
    pub outputs: Vec<Tensor>,
    /// All cells, in the order of the module.
    pub storage: Vec<Tensor>,
}

/// How much of the compiler a module goes through before it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pipeline {
    /// No passes, and every operation is a kernel of its own.
    Eager,
    /// No passes, but fused kernels.
    Fused,
    /// Everything.
    Optimised,
}

impl Pipeline {
    pub const ALL: [Pipeline; 3] = [Pipeline::Eager, Pipeline::Fused, Pipeline::Optimised];

    pub fn compile(self, module: &Module) -> Result<Compiled, String> {
        let none = PassOptions { stop_after: Some(0), panels: false, ..PassOptions::default() };
        let passes = if self == Pipeline::Optimised { PassOptions::default() } else { none };
        let options = compile::Options {
            passes: PassOptions { verify_after: true, ..passes },
            schedule: schedule::Options { fuse: self != Pipeline::Eager },
        };
        compile::compile(module.clone(), &options).map_err(|bug| bug.to_string())
    }

    pub fn name(self) -> &'static str {
        match self {
            Pipeline::Eager => "eager",
            Pipeline::Fused => "fused",
            Pipeline::Optimised => "optimised",
        }
    }
}

/// Every runtime that this machine has, the oracle aside. What is missing is named once.
pub fn runtimes() -> Vec<Box<dyn Runtime>> {
    let mut all: Vec<Box<dyn Runtime>> = vec![Box::new(Interpreter(Pipeline::Optimised))];
    for pipeline in Pipeline::ALL {
        all.push(Box::new(ProgramInterpreter(pipeline)));
    }
    all.extend(Jit::all().into_iter().map(|runtime| Box::new(runtime) as Box<dyn Runtime>));
    all.extend(HostCuda::find(Pipeline::Optimised).map(|runtime| Box::new(runtime) as Box<dyn Runtime>));
    all
}

/// The reference interpreter of graphs, on a module as it is: what everything else is compared with.
pub struct Oracle;

impl Runtime for Oracle {
    fn name(&self) -> String {
        "oracle".into()
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        modules.iter().map(|&module| Ok(Box::new(module.clone()) as Box<dyn Callable>)).collect()
    }
}

impl Callable for Module {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String> {
        let result = evaluate(&self.entries[0], batch, inputs, storage).map_err(|e| e.to_string())?;
        let mut storage = storage.to_vec();
        for (StorageId(cell), value) in result.assigns {
            storage[cell as usize] = value;
        }
        Ok(Called { outputs: result.outputs, storage })
    }
}

/// The reference interpreter of graphs, after the passes.
pub struct Interpreter(pub Pipeline);

impl Runtime for Interpreter {
    fn name(&self) -> String {
        format!("interpreter, {}", self.0.name())
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        let load = |module: &Module| {
            let module = self.0.compile(module)?.module;
            Ok(Box::new(Packed { run: module.clone(), module }) as Box<dyn Callable>)
        };
        modules.iter().map(|module| caught(|| load(module))).collect()
    }
}

/// The reference interpreter of Programs.
pub struct ProgramInterpreter(pub Pipeline);

impl Runtime for ProgramInterpreter {
    fn name(&self) -> String {
        format!("program, {}", self.0.name())
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        let load = |module: &Module| {
            let mut compiled = self.0.compile(module)?;
            let run = compiled.programs.remove(0);
            Ok(Box::new(Packed { run, module: compiled.module }) as Box<dyn Callable>)
        };
        modules.iter().map(|module| caught(|| load(module))).collect()
    }
}

impl Callable for Verified<Program> {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String> {
        let (outputs, storage) = eval::run(self, batch, inputs, storage);
        Ok(Called { outputs, storage })
    }
}

/// Something that works on cells in the layout that the compiler chose, called with cells in their logical shape.
pub struct Packed<R> {
    pub run: R,
    /// The module with its final layout.
    pub module: Module,
}

impl<R: Callable> Callable for Packed<R> {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String> {
        let held: Vec<Tensor> = (0..).zip(storage).map(|(i, cell)| pack(&self.module, StorageId(i), cell)).collect();
        let mut called = caught(|| self.run.call(batch, inputs, &held))?;
        for (i, cell) in (0..).zip(&mut called.storage) {
            *cell = unpack(&self.module, StorageId(i), cell);
        }
        Ok(called)
    }
}

/// A cell in the layout that the compiler chose.
pub fn pack(module: &Module, id: StorageId, logical: &Tensor) -> Tensor {
    let Some((rows, panels, width)) = panels(module, id) else { return logical.clone() };
    let from = |i: usize| (i / width % rows * panels + i / width / rows) * width + i % width;
    let numbers = logical.to_numbers();
    let numbers: Vec<f64> = (0..numbers.len()).map(|i| numbers[from(i)]).collect();
    Tensor::from_numbers(logical.dtype, &module.cell(id).ty.shape.at(1), &numbers)
}

/// A cell in its logical shape.
pub fn unpack(module: &Module, id: StorageId, held: &Tensor) -> Tensor {
    let Some((rows, panels, width)) = panels(module, id) else { return held.clone() };
    let from = |i: usize| (i / width % panels * rows + i / width / panels) * width + i % width;
    let numbers = held.to_numbers();
    let numbers: Vec<f64> = (0..numbers.len()).map(|i| numbers[from(i)]).collect();
    Tensor::from_numbers(held.dtype, &module.panels[&id].at(1), &numbers)
}

/// Rows, panels and columns of a panel, for a cell that is held as `[panels, rows, columns]`.
fn panels(module: &Module, id: StorageId) -> Option<(usize, usize, usize)> {
    module.panels.get(&id)?;
    let held = module.cell(id).ty.shape.at(1);
    let [panels, rows @ .., width] = &held[..] else { return None };
    Some((rows.iter().product(), *panels, *width))
}

/// Runs something that may panic; a panic is an error with its message.
pub fn caught<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// The elements of a tensor as a compiled model holds them.
pub fn encode(tensor: &Tensor) -> Vec<u8> {
    let bytes = |x: f64| match tensor.dtype {
        DType::F32 => (x as f32).to_le_bytes().to_vec(),
        DType::F64 => x.to_le_bytes().to_vec(),
        DType::I32 => (x as i32).to_le_bytes().to_vec(),
        DType::U32 => (x as u32).to_le_bytes().to_vec(),
        DType::U8 | DType::Bool => vec![x as u8],
    };
    tensor.to_numbers().into_iter().flat_map(bytes).collect()
}

/// A tensor from the memory of a compiled model; the bytes may go on behind it.
pub fn decode(dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
    let number = |b: &[u8]| match (dtype, b) {
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]) as f64,
        (DType::I32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f64,
        (DType::U32, &[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]) as f64,
        (DType::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => b[0] as f64,
    };
    let count = shape.iter().product();
    let numbers: Vec<f64> = bytes.chunks_exact(dtype.size()).take(count).map(number).collect();
    Tensor::from_numbers(dtype, shape, &numbers)
}
