//! The code of a module, called as the interpreter is.

use bakelite::{Input, Model, Output, Subnormals};

use crate::backend::cranelift::{Products, TargetCpu};
use crate::compile::{Options, compile};
use crate::emit::image::ModelImage;
use crate::ir::eval::Tensor;
use crate::ir::{DType, Graph, Module};
use crate::jit::JitModel;

use super::CheckError;

/// A module as machine code, where every kernel that can be shared out is, at any batch.
pub struct Code {
    model: Model,
}

impl Code {
    pub fn new(module: &Module) -> Result<Code, CheckError> {
        let compiled = compile(module.clone(), &Options::default()).map_err(Box::new)?;
        let mut image = ModelImage::new(&compiled);
        image.entries.iter_mut().for_each(|entry| entry.parallel_batch = entry.parallel_batch.map(|_| 1));
        let code = JitModel::from_image(&image, TargetCpu::Portable, Products::Driver)?;
        // The interpreter keeps subnormal numbers.
        let options = bakelite::Options::new().threads(1).tune_threads(false).subnormals(Subnormals::Keep);
        let model = Model::open_with(code, options)?;
        Ok(Code { model })
    }

    /// The model that runs.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// The cells in the order of the module.
    pub fn storage(&self, module: &Module) -> Result<Vec<Tensor>, CheckError> {
        module
            .storage
            .iter()
            .map(|cell| Ok(Array::read(&self.model.param(&cell.name)?)?.tensor(cell.ty.dtype, &cell.ty.shape.at(1))))
            .collect()
    }

    /// Sets the cells, calls an entry point, and gives outputs and cells.
    pub fn call(
        &mut self,
        module: &Module,
        entry: &Graph,
        batch: usize,
        threads: usize,
        inputs: &[Tensor],
        storage: &[Tensor],
    ) -> Result<Vec<Tensor>, CheckError> {
        self.model.set_threads(threads)?;
        set(&mut self.model, module, storage)?;
        let arrays: Vec<Array> = inputs.iter().map(Array::of).collect();
        let types: Vec<(DType, Vec<usize>)> =
            entry.outputs.iter().map(|o| entry.ty(o.node)).map(|ty| (ty.dtype, ty.shape.at(batch))).collect();
        let mut results: Vec<Array> = types.iter().map(|(d, s)| Array::of(&Tensor::splat(*d, s, 0.0))).collect();
        let id = self.model.entry(&entry.name)?;
        let given: Vec<Input> = arrays.iter().map(Array::input).collect();
        let mut taken: Vec<Output> = results.iter_mut().map(Array::output).collect();
        self.model.call(id, &given, &mut taken, batch)?;
        let mut all: Vec<Tensor> = results.iter().zip(&types).map(|(a, (d, s))| a.tensor(*d, s)).collect();
        all.extend(self.storage(module)?);
        Ok(all)
    }
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

    fn input(&self) -> Input<'_> {
        each!(self, v => Input::new(v))
    }

    fn output(&mut self) -> Output<'_> {
        each!(self, v => Output::new(v))
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

/// Sets the cells of a compiled module.
pub fn set(model: &mut Model, module: &Module, storage: &[Tensor]) -> Result<(), bakelite::Error> {
    module.storage.iter().zip(storage).try_for_each(|(cell, value)| Array::of(value).write(model, &cell.name))
}
