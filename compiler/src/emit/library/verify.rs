//! Parity: inputs with the answers of another program, in the library, so that it can check itself against them.

use std::fmt::Write;

use super::super::bindings::{EntryInterface, Interface};
use super::super::names::snake;
use super::named;
use crate::diag::{Code, Problem};
use crate::ir::DType;

/// A few rows of inputs of `predict`, and what the original made of them.
///
/// ```
/// # use bakelite_compiler::library::Parity;
/// let parity = Parity::new(2).input(&[0.5f32, 1.0, -1.0, 2.0]).output(&[0.25f32, 0.75]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Parity {
    rows: usize,
    inputs: Vec<(DType, Vec<u8>)>,
    outputs: Vec<Vec<f32>>,
}

/// Numbers that inputs can be made of.
pub trait ParityElement: Copy {
    const DTYPE: DType;
    fn bytes(self) -> Vec<u8>;
}

macro_rules! elements {
    ($($ty:ty: $dtype:ident),+) => { $(
        impl ParityElement for $ty {
            const DTYPE: DType = DType::$dtype;

            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )+ };
}

elements!(f32: F32, i32: I32, u32: U32, u8: U8);

impl ParityElement for bool {
    const DTYPE: DType = DType::Bool;

    fn bytes(self) -> Vec<u8> {
        vec![self as u8]
    }
}

impl Parity {
    /// For a number of rows, at most the library's largest batch.
    pub fn new(rows: usize) -> Parity {
        Parity { rows, ..Parity::default() }
    }

    /// The values of the next input, row by row.
    pub fn input<T: ParityElement>(mut self, values: &[T]) -> Parity {
        self.inputs.push((T::DTYPE, values.iter().flat_map(|value| value.bytes()).collect()));
        self
    }

    /// The original's values of the next output.
    pub fn output(mut self, values: &[f32]) -> Parity {
        self.outputs.push(values.to_vec());
        self
    }

    /// The index of `predict`, if it takes and gives what is stored.
    pub(crate) fn check(&self, interface: &Interface) -> Result<usize, Problem> {
        let wrong = |why: String| Err(Problem::new(Code::Value, format!("the vectors to verify with {why}")));
        let Some(index) = interface.entries.iter().position(|entry| entry.name == "predict") else {
            return wrong("need the entry point `predict`".into());
        };
        let EntryInterface { inputs, outputs, .. } = &interface.entries[index];
        if self.rows == 0 || self.rows > interface.max_batch {
            let wrong = wrong(format!("have {} rows, a call has 1 to {}", self.rows, interface.max_batch));
            return wrong.map_err(|problem: Problem| problem.help("give a few rows, or a larger `max_batch`"));
        }
        if (self.inputs.len(), self.outputs.len()) != (inputs.len(), outputs.len()) {
            let (found, made) = (self.inputs.len(), self.outputs.len());
            return wrong(format!(
                "are {found} inputs and {made} outputs, `predict` has {} and {}",
                inputs.len(),
                outputs.len()
            ));
        }
        if inputs.is_empty() || outputs.is_empty() {
            return wrong("need inputs and outputs".into());
        }
        let size = |dims: Vec<usize>| dims.iter().product::<usize>();
        for (port, (dtype, bytes)) in inputs.iter().zip(&self.inputs) {
            let wanted = size(port.shape.at(self.rows));
            if *dtype != port.dtype || bytes.len() != wanted * dtype.size() {
                let found = bytes.len() / dtype.size();
                let name = &port.name;
                return wrong(format!(
                    "have {found} {dtype} for `{name}`, which is {wanted} {} in {} rows",
                    port.dtype, self.rows
                ));
            }
        }
        for (port, values) in outputs.iter().zip(&self.outputs) {
            let wanted = size(port.shape.at(self.rows));
            if port.dtype != DType::F32 || values.len() != wanted {
                let (found, name) = (values.len(), &port.name);
                return wrong(format!(
                    "have {found} f32 for `{name}`, which is {wanted} {} in {} rows",
                    port.dtype, self.rows
                ));
            }
        }
        Ok(index)
    }
}

/// A header with the declaration of the check, before its end.
pub fn verify_header(header: &str, parity: &Parity, interface: &Interface) -> String {
    let end = header.rfind("#ifdef __cplusplus").unwrap_or(header.len());
    format!("{}{}{}", &header[..end], declaration(parity, interface), &header[end..])
}

fn declaration(parity: &Parity, interface: &Interface) -> String {
    let bytes = parity.outputs.iter().map(|values| values.len() * 4).sum::<usize>();
    let text = format!(
        "/* ---- Parity ------------------------------------------------------------------------------------------------------ */

/* Bytes of the predictions that model_verify makes. */
#define MODEL_VERIFY_BYTES {bytes}

/* Predicts {rows} stored rows with the parameters that the model has now, and compares with the stored answers of the
 * program that the model comes from.
 *   work        MODEL_VERIFY_BYTES bytes, aligned to MODEL_ALIGN
 *   deviation   out, the largest difference, each divided by one more than the magnitude of the answer; infinite where
 *               only one of the two is no number
 * Returns MODEL_OK, MODEL_ERROR_NULL or _ALIGNMENT. Small deviations are rounding: 1e-4 is usual. */
int model_verify(model_t *model, void *work, double *deviation);

",
        rows = parity.rows
    );
    named(&text, interface)
}

/// The check, and the tables that it reads.
pub fn verify_source(parity: &Parity, interface: &Interface, index: usize) -> String {
    let mut text = "\n/* ---- Parity ---- */\n\n#include <math.h>\n\n".to_string();
    let table = |text: &mut String, name: String, bytes: &[u8]| {
        let _ = write!(text, "static const uint32_t {name}[] = {{");
        for (i, word) in bytes.chunks(4).enumerate() {
            let mut four = [0; 4];
            four[..word.len()].copy_from_slice(word);
            let _ = write!(text, "{}0x{:08x},", if i % 10 == 0 { "\n    " } else { " " }, u32::from_le_bytes(four));
        }
        *text += "\n};\n\n";
    };
    for (i, (_, bytes)) in parity.inputs.iter().enumerate() {
        table(&mut text, format!("verify_input_{i}"), bytes);
    }
    for (i, values) in parity.outputs.iter().enumerate() {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        table(&mut text, format!("verify_output_{i}"), &bytes);
    }
    let list =
        |what: &str, count: usize| (0..count).map(|i| format!("verify_{what}_{i}")).collect::<Vec<_>>().join(", ");
    let counts = parity.outputs.iter().map(|values| values.len().to_string()).collect::<Vec<_>>().join(", ");
    let (rows, inputs, outputs) = (parity.rows, parity.inputs.len(), parity.outputs.len());
    let (given, expected) = (list("input", inputs), list("output", outputs));
    let _ = write!(
        text,
        "int model_verify(model_t *model, void *work, double *deviation)
{{
    const void *inputs[{inputs}] = {{{given}}};
    const uint32_t *const expected[{outputs}] = {{{expected}}};
    const size_t counts[{outputs}] = {{{counts}}};
    void *outputs[{outputs}];
    float *next = (float *)work;
    double worst = 0;
    size_t i, j;
    int error;
    if (work == NULL || deviation == NULL) {{
        return MODEL_ERROR_NULL;
    }}
    if ((uintptr_t)work % MODEL_ALIGN != 0) {{
        return MODEL_ERROR_ALIGNMENT;
    }}
    for (i = 0; i < {outputs}; i++) {{
        outputs[i] = next;
        next += counts[i];
    }}
    error = run_entry(model, {index}, {rows}, inputs, outputs);
    if (error != MODEL_OK) {{
        return error;
    }}
    for (i = 0; i < {outputs}; i++) {{
        for (j = 0; j < counts[i]; j++) {{
            const double got = ((const float *)outputs[i])[j];
            float answer;
            double want, difference;
            memcpy(&answer, &expected[i][j], sizeof answer);
            want = answer;
            if (got == want || (got != got && want != want)) {{
                continue;
            }}
            difference = (got < want ? want - got : got - want) / (1 + (want < 0 ? -want : want));
            /* A difference that is no number is the largest. */
            if (!(difference <= worst)) {{
                worst = difference == difference ? difference : HUGE_VAL;
            }}
        }}
    }}
    *deviation = worst;
    return MODEL_OK;
}}
"
    );
    named(&text, interface)
}

/// The function's symbol.
pub fn verify_symbol(interface: &Interface) -> String {
    format!("{}_verify", snake(&interface.name))
}
