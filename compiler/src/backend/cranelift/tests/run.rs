//! Runs programs in process.

use bakelite::abi::CellKind;
use bakelite::{Input, Options, Output};
use bakelite_kernels::manifest::{Level, table};

use crate::backend::cranelift::{Products, TargetCpu};
use crate::emit::image::{CellImage, EntryImage, ModelImage};
use crate::ir::eval::{Tensor, Values};
use crate::ir::random::Rng;
use crate::ir::{DType, TensorType};
use crate::jit::JitModel;
use crate::schedule::program::{Place, Program, StorageLayout};
use crate::schedule::{Verified, eval, verify};

/// The levels of this machine.
pub fn levels() -> Vec<Level> {
    Level::ALL.into_iter().filter(|l| table(*l).is_some()).collect()
}

/// Element values as the runtime takes them.
enum Data {
    F32(Vec<f32>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    U8(Vec<u8>),
    Bool(Vec<bool>),
}

macro_rules! each {
    ($data:expr, $v:ident => $value:expr) => {
        match $data {
            Data::F32($v) => $value,
            Data::I32($v) => $value,
            Data::U32($v) => $value,
            Data::U8($v) => $value,
            Data::Bool($v) => $value,
        }
    };
}

impl Data {
    fn new(tensor: &Tensor) -> Data {
        let numbers = tensor.to_numbers();
        match tensor.dtype {
            DType::F32 | DType::F64 => Data::F32(numbers.iter().map(|x| *x as f32).collect()),
            DType::I32 => Data::I32(numbers.iter().map(|x| *x as i32).collect()),
            DType::U32 => Data::U32(numbers.iter().map(|x| *x as u32).collect()),
            DType::U8 => Data::U8(numbers.iter().map(|x| *x as u8).collect()),
            DType::Bool => Data::Bool(numbers.iter().map(|x| *x != 0.0).collect()),
        }
    }

    fn tensor(&self, dtype: DType, shape: &[usize]) -> Tensor {
        let values = match self {
            Data::F32(v) => Values::Float(v.iter().map(|x| *x as f64).collect()),
            Data::I32(v) => Values::Int(v.iter().map(|x| *x as i64).collect()),
            Data::U32(v) => Values::Int(v.iter().map(|x| *x as i64).collect()),
            Data::U8(v) => Values::Int(v.iter().map(|x| *x as i64).collect()),
            Data::Bool(v) => Values::Int(v.iter().map(|x| *x as i64).collect()),
        };
        Tensor::new(dtype, shape, values)
    }
}

/// Arguments of a call, and the outputs and storage that it should leave.
pub struct Case {
    pub batch: usize,
    pub inputs: Vec<Tensor>,
    pub storage: Vec<Tensor>,
    pub expected: Vec<Tensor>,
}

/// A compiled program.
pub struct Runner {
    model: bakelite::Model,
}

impl Runner {
    /// Compiles a program whose storage cells have the given types.
    pub fn new(program: &Verified<Program>, cells: &[TensorType], level: Level) -> Runner {
        let (mut offsets, mut bytes) = (Vec::new(), 0);
        for cell in cells {
            offsets.push(bytes);
            bytes += cell.bytes(1).next_multiple_of(bakelite::abi::ALIGN);
        }
        let storage = StorageLayout { offsets, bytes };
        let image = ModelImage {
            name: "test".into(),
            symbol: "test".into(),
            max_batch: program.max_batch,
            cells: cells
                .iter()
                .enumerate()
                .map(|(i, ty)| CellImage {
                    name: format!("cell{i}"),
                    dtype: ty.dtype,
                    kind: CellKind::Param,
                    trainable: false,
                    panel: 0,
                    shape: ty.shape.at(1),
                    bytes: ty.bytes(1),
                    first: None,
                })
                .collect(),
            storage: &storage,
            entries: vec![EntryImage { parallel_batch: [1; bakelite::abi::SHARES], ..EntryImage::new(program) }],
        };
        let jit =
            JitModel::from_image(&image, TargetCpu::Level(level), Products::Driver).unwrap_or_else(|e| panic!("{e}"));
        let options = Options::new().threads(1).tune_threads(false).level(level);
        Runner { model: bakelite::Model::open_with(jit, options).unwrap_or_else(|e| panic!("{e}")) }
    }

    /// Compares calls on 1 to `threads` threads with what is expected, and with each other bit by bit.
    pub fn check(&mut self, program: &Program, case: &Case, threads: usize, tolerance: f64, what: &str) {
        let what = format!("{what}, {}, batch {}", self.model.level().name(), case.batch);
        let mut first: Option<Vec<Tensor>> = None;
        for threads in 1..=threads {
            self.model.set_threads(threads).unwrap();
            let got = self.call(program, case.batch, &case.inputs, &case.storage);
            compare(&got, &case.expected, tolerance, &what);
            match &first {
                Some(first) => assert!(same_bits(&got, first), "{what}: {threads} threads change the result"),
                None => first = Some(got),
            }
        }
    }

    /// The outputs of a call, and the storage after it.
    fn call(&mut self, program: &Program, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Vec<Tensor> {
        for (i, cell) in storage.iter().enumerate() {
            each!(Data::new(cell), v => self.model.set_param(&format!("cell{i}"), &v)).unwrap();
        }
        let inputs: Vec<Data> = inputs.iter().map(Data::new).collect();
        let inputs: Vec<Input> = inputs.iter().map(|d| each!(d, v => Input::new(v))).collect();
        let shapes: Vec<(DType, Vec<usize>)> =
            program.outputs.iter().map(|b| (program.buffer(*b).dtype, program.buffer(*b).shape.at(batch))).collect();
        let mut results: Vec<Data> =
            shapes.iter().map(|(dtype, shape)| Data::new(&Tensor::splat(*dtype, shape, 0.0))).collect();
        {
            let mut outputs: Vec<Output> = results.iter_mut().map(|d| each!(d, v => Output::new(v))).collect();
            let entry = self.model.entry(&program.name).unwrap();
            self.model.call(entry, &inputs, &mut outputs, batch).unwrap_or_else(|e| panic!("{e}"));
        }
        let outputs = results.iter().zip(&shapes).map(|(d, (dtype, shape))| d.tensor(*dtype, shape));
        let after = storage.iter().enumerate().map(|(i, cell)| {
            let mut data = Data::new(cell);
            let param = self.model.param(&format!("cell{i}")).unwrap();
            each!(&mut data, v => param.read(v)).unwrap();
            data.tensor(cell.dtype, &cell.shape)
        });
        outputs.chain(after).collect()
    }
}

/// Compares every level and thread count with the interpreter of programs, on numbers from `domain`.
pub fn check_in(program: Program, domain: (f64, f64), tolerance: f64) {
    let max = program.max_batch;
    let program = verify::verify(program)
        .unwrap_or_else(|v| panic!("{}", v.iter().map(|v| format!("{v}\n")).collect::<String>()));
    let mut cells = Vec::new();
    for buffer in &program.buffers {
        if let Place::Storage(_) = buffer.place {
            cells.push(TensorType::new(buffer.dtype, buffer.shape.clone()));
        }
    }
    let cases: Vec<Case> = [1, 7.min(max), max]
        .into_iter()
        .map(|batch| {
            let mut rng = Rng::new(batch as u64);
            let mut random = |ty: &TensorType| {
                let domain = if ty.dtype.is_float() { domain } else { (0.0, 6.0) };
                let values: Vec<f64> = rng.floats(ty.shape.count(batch), domain);
                Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &values)
            };
            let ports = program.inputs.iter().map(|b| program.buffer(*b));
            let inputs: Vec<Tensor> = ports.map(|b| random(&TensorType::new(b.dtype, b.shape.clone()))).collect();
            let storage: Vec<Tensor> = cells.iter().map(&mut random).collect();
            let (outputs, after) = eval::run(&program, batch, &inputs, &storage);
            Case { batch, inputs, storage, expected: outputs.into_iter().chain(after).collect() }
        })
        .collect();
    for level in levels() {
        let mut runner = Runner::new(&program, &cells, level);
        for case in &cases {
            runner.check(&program, case, 3, tolerance, "program");
        }
    }
}

/// [`check_in`] on numbers between -2 and 2.
pub fn check(program: Program) {
    check_in(program, (-2.0, 2.0), 2e-5);
}

/// Fails unless all elements are near, relative to 1 or the magnitude of what is expected.
fn compare(got: &[Tensor], expected: &[Tensor], tolerance: f64, what: &str) {
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.shape, expected.shape);
        for (at, (g, e)) in got.to_numbers().iter().zip(expected.to_numbers()).enumerate() {
            let near = (g - e).abs() <= tolerance * e.abs().max(1.0) || *g == e || g.is_nan() && e.is_nan();
            assert!(near, "{what}: result {i}, element {at}: {g} is not {e}");
        }
    }
}

fn same_bits(x: &[Tensor], y: &[Tensor]) -> bool {
    let bits = |t: &[Tensor]| -> Vec<u64> {
        t.iter().flat_map(|t| t.to_numbers()).map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect()
    };
    bits(x) == bits(y)
}
