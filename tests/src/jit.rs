//! Code for this machine, through the runtime that users link. Every call runs with one thread and with two, where
//! every kernel is shared out however small it is, and the bits must be equal.

use bakelite::abi::SHARES;
use bakelite::{Level, Model, Options, level};
use bakelite_compiler::backend::cranelift::{Products, TargetCpu};
use bakelite_compiler::compile::Compiled;
use bakelite_compiler::emit::image::ModelImage;
use bakelite_compiler::ir::eval::Tensor;
use bakelite_compiler::ir::{DType, Module};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::schedule::verify::verify;

use crate::runtime::{Callable, Called, Loaded, Pipeline, Runtime, caught};

/// Cranelift code at one level.
pub struct Jit {
    pub pipeline: Pipeline,
    pub level: Level,
    pub products: Products,
}

impl Jit {
    /// The levels that this machine has, weakest first.
    pub fn levels() -> Vec<Level> {
        Level::ALL.into_iter().filter(|l| level::supported(*l)).collect()
    }

    /// All code at every level, and the earlier stages of the compiler at the strongest one; there also code that
    /// multiplies matrices without the driver.
    pub fn all() -> Vec<Jit> {
        let levels = Jit::levels();
        let jit = |pipeline, level| Jit { pipeline, level, products: Products::Driver };
        let strongest = levels.last().copied().unwrap_or(Level::Baseline);
        let mut all: Vec<Jit> = levels.into_iter().map(|level| jit(Pipeline::Optimised, level)).collect();
        all.push(jit(Pipeline::Eager, strongest));
        all.push(jit(Pipeline::Fused, strongest));
        all.push(Jit { products: Products::Loops, ..jit(Pipeline::Optimised, strongest) });
        all
    }
}

impl Runtime for Jit {
    fn name(&self) -> String {
        let products = match self.products {
            Products::Driver => "",
            Products::Loops => ", products in loops",
        };
        format!("{}, {}{products}", self.level, self.pipeline.name())
    }

    fn load<'m>(&self, modules: &[&'m Module]) -> Vec<Loaded<'m>> {
        let load = |module: &Module| {
            let mut compiled = self.pipeline.compile(module)?;
            share_everything(&mut compiled)?;
            let mut image = ModelImage::new(&compiled);
            for entry in &mut image.entries {
                entry.parallel_batch = [1; SHARES];
            }
            let code =
                JitModel::from_image(&image, TargetCpu::Level(self.level), self.products).map_err(|e| e.to_string())?;
            let options = Options::new().level(self.level).threads(1).tune_threads(false);
            let one = Model::open_with(code, options).map_err(|e| e.to_string())?;
            let mut two = one.fork().map_err(|e| e.to_string())?;
            two.set_threads(2).map_err(|e| e.to_string())?;
            Ok(Box::new(Pair { one, two }) as Box<dyn Callable>)
        };
        modules.iter().map(|module| caught(|| load(module))).collect()
    }
}

/// Gives every kernel an axis to share, whatever it costs.
fn share_everything(compiled: &mut Compiled) -> Result<(), String> {
    for slot in &mut compiled.programs {
        let mut program = slot.clone().into_inner();
        for kernel in &mut program.kernels {
            let long = kernel.outer.iter().copied().find(|a| kernel.extent(*a).at(program.max_batch) > 1);
            kernel.parallel = long;
        }
        *slot = verify(program).map_err(|v| format!("shared out: {}", v[0]))?;
    }
    Ok(())
}

/// One model with one thread and with two.
struct Pair {
    one: Model,
    two: Model,
}

impl Callable for Pair {
    fn call(&mut self, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, String> {
        let one = call(&mut self.one, batch, inputs, storage).map_err(|e| e.to_string())?;
        let two = call(&mut self.two, batch, inputs, storage).map_err(|e| e.to_string())?;
        let bits = |called: &Called| -> Vec<u64> {
            called.outputs.iter().chain(&called.storage).flat_map(Tensor::to_numbers).map(f64::to_bits).collect()
        };
        if bits(&one) == bits(&two) { Ok(one) } else { Err(format!("batch {batch}: two threads change the bits")) }
    }
}

fn call(model: &mut Model, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Called, bakelite::Error> {
    let names: Vec<String> = model.params().map(|p| p.name().to_string()).collect();
    for (name, value) in names.iter().zip(storage) {
        Array::of(value).write(model, name)?;
    }
    let entry = model.entries()[0].clone();
    let arrays: Vec<Array> = inputs.iter().map(Array::of).collect();
    let shapes = entry.outputs.iter().map(|port| (dtype(port.dtype), extents(port, batch)));
    let shapes: Vec<(DType, Vec<usize>)> = shapes.collect();
    let mut results: Vec<Array> = shapes.iter().map(|(d, s)| Array::of(&Tensor::splat(*d, s, 0.0))).collect();
    let id = model.entry(&entry.name)?;
    let inputs: Vec<bakelite::Input> = arrays.iter().map(Array::input).collect();
    let mut outputs: Vec<bakelite::Output> = results.iter_mut().map(Array::output).collect();
    model.call(id, &inputs, &mut outputs, batch)?;
    let outputs = results.iter().zip(&shapes).map(|(array, (dtype, shape))| array.tensor(*dtype, shape)).collect();
    let cells = model.params().map(|param| Array::read(&param).map(|a| a.tensor(dtype(param.dtype()), param.shape())));
    Ok(Called { outputs, storage: cells.collect::<Result<_, _>>()? })
}

fn extents(port: &bakelite::Port, batch: usize) -> Vec<usize> {
    port.shape.iter().map(|e| e.scale * if e.batch == 1 { batch } else { 1 }).collect()
}

fn dtype(d: bakelite::DType) -> DType {
    DType::ALL[d as usize]
}

/// Elements as the runtime takes them.
enum Array {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

macro_rules! each {
    ($array:expr, $v:ident => $body:expr) => {
        match $array {
            Array::F32($v) => $body,
            Array::F64($v) => $body,
            Array::I32($v) => $body,
            Array::U32($v) => $body,
            Array::U8($v) => $body,
            Array::Bool($v) => $body,
        }
    };
}

impl Array {
    fn of(tensor: &Tensor) -> Array {
        let numbers = tensor.to_numbers().into_iter();
        match tensor.dtype {
            DType::F32 => Array::F32(numbers.map(|x| x as f32).collect()),
            DType::F64 => Array::F64(numbers.collect()),
            DType::I32 => Array::I32(numbers.map(|x| x as i32).collect()),
            DType::U32 => Array::U32(numbers.map(|x| x as u32).collect()),
            DType::U8 => Array::U8(numbers.map(|x| x as u8).collect()),
            DType::Bool => Array::Bool(numbers.map(|x| x != 0.0).collect()),
        }
    }

    fn read(param: &bakelite::Param<'_>) -> Result<Array, bakelite::Error> {
        Ok(match param.dtype() {
            bakelite::DType::F32 => Array::F32(param.to_vec()?),
            bakelite::DType::F64 => Array::F64(param.to_vec()?),
            bakelite::DType::I32 => Array::I32(param.to_vec()?),
            bakelite::DType::U32 => Array::U32(param.to_vec()?),
            bakelite::DType::U8 => Array::U8(param.to_vec()?),
            bakelite::DType::Bool => Array::Bool(param.to_vec()?),
        })
    }

    fn write(&self, model: &mut Model, name: &str) -> Result<(), bakelite::Error> {
        each!(self, v => model.set_param(name, v))
    }

    fn input(&self) -> bakelite::Input<'_> {
        each!(self, v => bakelite::Input::new(v))
    }

    fn output(&mut self) -> bakelite::Output<'_> {
        each!(self, v => bakelite::Output::new(v))
    }

    fn tensor(&self, dtype: DType, shape: &[usize]) -> Tensor {
        let numbers: Vec<f64> = match self {
            Array::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::F64(v) => v.clone(),
            Array::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Array::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Array::Bool(v) => v.iter().map(|&x| x.into()).collect(),
        };
        Tensor::from_numbers(dtype, shape, &numbers)
    }
}
