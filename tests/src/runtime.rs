//! The runtimes that every row of the suites runs on. The graph interpreter is the oracle; each of the others adds a
//! level of the compiler or another backend.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bakelite_compiler::ir::eval::{Tensor, evaluate};
use bakelite_compiler::ir::{DType, Module, StorageId};
use bakelite_compiler::pass;
use bakelite_compiler::schedule::program::{Program, StorageLayout};
use bakelite_compiler::schedule::{Verified, eval, layout_storage, schedule};

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

/// Whether the passes run before the schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passes {
    Without,
    With,
}

impl Passes {
    pub const BOTH: [Passes; 2] = [Passes::Without, Passes::With];

    /// The module after the passes.
    fn apply(self, module: &Module) -> Result<Module, String> {
        match self {
            Passes::Without => Ok(module.clone()),
            Passes::With => {
                let mut module = module.clone();
                pass::optimize(&mut module, &pass::PassOptions { verify_after: true, ..Default::default() })
                    .map_err(|bug| bug.to_string())?;
                Ok(module)
            }
        }
    }

    /// The module's entry point after the passes and the schedule.
    fn schedule(self, module: &Module) -> Result<Verified<Program>, String> {
        let module = self.apply(module)?;
        schedule(&module.entries[0], &module.storage, module.max_batch).map_err(|e| e.to_string())
    }

    fn suffix(self) -> &'static str {
        match self {
            Passes::Without => "",
            Passes::With => ", optimised",
        }
    }
}

/// Every runtime that this machine has, the oracle aside. What is missing is named once.
pub fn runtimes() -> Vec<Box<dyn Runtime>> {
    let mut all: Vec<Box<dyn Runtime>> = vec![Box::new(Interpreter(Passes::With))];
    for passes in Passes::BOTH {
        all.push(Box::new(ProgramInterpreter(passes)));
    }
    for passes in Passes::BOTH {
        all.extend(crate::host_cuda::HostCuda::find(passes).map(|r| Box::new(r) as Box<dyn Runtime>));
    }
    all
}

/// The reference interpreter of graphs.
pub struct Interpreter(pub Passes);

impl Runtime for Interpreter {
    fn name(&self) -> String {
        format!("interpreter{}", self.0.suffix())
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        let load = |module: &Module| Ok(Box::new(self.0.apply(module)?) as Box<dyn Callable + 'm>);
        modules.iter().map(|module| caught(|| load(module))).collect()
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

/// The reference interpreter of Programs.
pub struct ProgramInterpreter(pub Passes);

impl Runtime for ProgramInterpreter {
    fn name(&self) -> String {
        format!("program{}", self.0.suffix())
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        let load = |module: &Module| Ok(Box::new(self.0.schedule(module)?) as Box<dyn Callable + 'm>);
        modules.iter().map(|module| caught(|| load(module))).collect()
    }
}

impl Callable for Verified<Program> {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String> {
        let (outputs, storage) = eval::run(self, batch, inputs, storage);
        Ok(Called { outputs, storage })
    }
}

/// A module's entry point as a program under another name, with its cells moved behind those of other modules.
pub(crate) fn program_after(module: &Module, passes: Passes, name: &str, cells_before: u32) -> Result<Program, String> {
    use bakelite_compiler::schedule::program::Place;
    let mut program = passes.schedule(module)?.into_inner();
    program.name = name.into();
    for buffer in &mut program.buffers {
        if let Place::Storage(StorageId(cell)) = &mut buffer.place {
            *cell += cells_before;
        }
    }
    Ok(program)
}

/// Offsets of the cells of several modules in one block.
pub(crate) fn joint_layout(modules: &[&Module]) -> StorageLayout {
    let cells: Vec<_> = modules.iter().flat_map(|m| &m.storage).cloned().collect();
    layout_storage(&cells)
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
