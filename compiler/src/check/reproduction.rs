//! A case on its own, as a text: a graph, and behind it the values that it is called with.
//!
//! ```text
//! module "m" {max_batch: 8} ...
//! check {batch: 3, threads: 2}
//! input [3, 2]: 0.5 1 0.25 -3 7 0
//! storage [2]: 1e-3 2
//! ```
//!
//! Numbers are written so that reading them gives the same bits.

use std::fmt;

use crate::ir::eval::Tensor;
use crate::ir::parse::parse_module;
use crate::ir::verify::verify_module;
use crate::ir::{DType, Module, TensorType};

use super::{CheckError, Options, Report, compare};

/// What separates the graph from the values.
const MARK: &str = "\ncheck {";

/// A graph of one entry point with the values of a call.
#[derive(Clone, Debug)]
pub struct Reproduction {
    pub module: Module,
    pub batch: usize,
    pub threads: usize,
    /// Inputs in order, then cells in order.
    inputs: Vec<Tensor>,
    storage: Vec<Tensor>,
}

impl Reproduction {
    pub(super) fn new(
        module: Module,
        batch: usize,
        threads: usize,
        inputs: &[Tensor],
        storage: &[Tensor],
    ) -> Reproduction {
        Reproduction { module, batch, threads, inputs: inputs.to_vec(), storage: storage.to_vec() }
    }

    /// Whether a text is one, and not a graph alone.
    pub fn is(text: &str) -> bool {
        text.contains(MARK)
    }

    /// The graph of a text, without the values.
    pub fn graph(text: &str) -> &str {
        text.split_once(MARK).map_or(text, |(graph, _)| graph)
    }

    /// Reads a text that [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// What is wrong with it, for people to read.
    pub fn parse(text: &str) -> Result<Reproduction, String> {
        let Some((graph, values)) = text.split_once(MARK) else {
            return Err("there are no values behind the graph".into());
        };
        let module = parse_module(graph).map_err(|e| e.to_string())?;
        verify_module(&module).map_err(|violations| violations[0].to_string())?;
        let [entry] = &module.entries[..] else { return Err("the graph of a check has one entry point".into()) };
        let mut lines = values.lines();
        let head = lines.next().unwrap_or_default();
        let number = |key: &str| -> Result<usize, String> {
            let found =
                head.trim_end_matches('}').split(',').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix(':'));
            let most = 1 << 20;
            let number = found.and_then(|n| n.trim().parse().ok()).filter(|n| (1..=most).contains(n));
            number.ok_or_else(|| format!("`check` needs `{key}: N`, from 1 to {most}"))
        };
        let (batch, threads) = (number("batch")?, number("threads")?);
        if batch > module.max_batch {
            return Err(format!("the check is of batch {batch}, the graph takes at most {}", module.max_batch));
        }
        let mut read = |word: &str, ty: &TensorType, at: usize| {
            let line = lines.next().unwrap_or_default();
            tensor(line, word, ty, at).ok_or_else(|| {
                format!(
                    "the line for a value of {ty} is wrong: `{}`",
                    line.chars().take(60).collect::<String>().escape_debug()
                )
            })
        };
        let inputs = entry.inputs.iter().map(|i| read("input", &i.ty, batch)).collect::<Result<_, _>>()?;
        let storage = module.storage.iter().map(|c| read("storage", &c.ty, 1)).collect::<Result<_, _>>()?;
        Ok(Reproduction { batch, threads, inputs, storage, module })
    }

    /// Compares the code with the interpreter again, on these values.
    pub fn check(&self) -> Result<Report, CheckError> {
        let options = Options {
            batches: vec![self.batch],
            threads: if self.threads == 1 { vec![1] } else { vec![1, self.threads] },
            seed: 0,
        };
        let mut set = |model: &mut bakelite::Model| super::code::set(model, &self.module, &self.storage);
        let place = |name: &str| self.module.entries[0].inputs.iter().position(|i| i.name == name);
        compare(&self.module, &self.module, &options, &mut set, &|input, _| {
            Some(self.inputs[place(&input.name)?].clone())
        })
    }
}

fn tensor(line: &str, word: &str, ty: &TensorType, batch: usize) -> Option<Tensor> {
    let shape = ty.shape.at(batch);
    let (head, numbers) = line.split_once(':')?;
    if head != format!("{word} {shape:?}") {
        return None;
    }
    let numbers: Vec<f64> = numbers.split_whitespace().map(|n| n.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() == ty.shape.count(batch)).then(|| Tensor::from_numbers(ty.dtype, &shape, &numbers))
}

impl fmt::Display for Reproduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.module.to_string();
        writeln!(f, "{}{MARK}batch: {}, threads: {}}}", graph.trim_end(), self.batch, self.threads)?;
        let all = self.inputs.iter().map(|x| ("input", x)).chain(self.storage.iter().map(|x| ("storage", x)));
        for (word, x) in all {
            write!(f, "{word} {:?}:", x.shape)?;
            for number in x.to_numbers() {
                match x.dtype {
                    DType::F32 => write!(f, " {}", number as f32)?,
                    _ => write!(f, " {number}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
