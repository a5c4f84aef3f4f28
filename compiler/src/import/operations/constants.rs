//! Constant tensors in a description: numbers, lists of them, and arrays of NumPy or of Keras.

use serde_json::Value;

use super::{Argument, Call};
use crate::import::dtype_called;
use crate::ir::{DType, NodeId, Shape, TensorType};
use crate::model::config::{excerpt, infinite};

/// A constant tensor.
pub(super) struct Constant {
    /// The element type where the description says one.
    pub dtype: Option<DType>,
    pub shape: Vec<usize>,
    /// In row-major order.
    pub values: Vec<f64>,
    /// Whether every number is written without a fraction.
    whole: bool,
    truths: bool,
}

impl Constant {
    /// The constant that a plain argument is, if it is made of numbers.
    pub fn read(value: &Value) -> Result<Option<Constant>, String> {
        let mut constant = Constant { dtype: None, shape: Vec::new(), values: Vec::new(), whole: true, truths: true };
        let class = value.get("class_name").and_then(Value::as_str);
        let value = match class {
            Some("__numpy__" | "__tensor__") => {
                let name = value.pointer("/config/dtype").and_then(Value::as_str).unwrap_or("float32");
                let dtype = dtype_called(name);
                constant.dtype = Some(dtype.ok_or_else(|| {
                    format!("a constant has the element type `{}`, which does not exist here", name.escape_debug())
                })?);
                value.pointer("/config/value").unwrap_or(&Value::Null)
            }
            Some(_) => return Ok(None),
            None => value,
        };
        if !matches!(value, Value::Number(_) | Value::Bool(_) | Value::Array(_)) && infinite::number(value).is_none() {
            return Ok(None);
        }
        constant.fill(value, 0)?;
        match constant.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) {
            Some(count) if count == constant.values.len() => Ok(Some(constant)),
            _ => Err(format!("{} is no tensor: its rows have different lengths", excerpt(value))),
        }
    }

    fn fill(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        const DEEPEST: usize = 16;
        match value {
            Value::Array(items) if depth < DEEPEST => {
                match self.shape.get(depth) {
                    None if self.values.is_empty() => self.shape.push(items.len()),
                    Some(&extent) if extent == items.len() => {}
                    _ => return Err("a constant has rows of different lengths".into()),
                }
                items.iter().try_for_each(|item| self.fill(item, depth + 1))
            }
            Value::Number(_) | Value::Bool(_) if depth == self.shape.len() => {
                self.truths &= value.is_boolean();
                self.whole &= !value.is_f64();
                let truth = value.as_bool().map(|b| b as u8 as f64);
                self.values.push(truth.or(value.as_f64()).unwrap_or(f64::NAN));
                Ok(())
            }
            // A number with a fraction, as far as its type goes.
            other if depth == self.shape.len() && infinite::number(other).is_some() => {
                (self.truths, self.whole) = (false, false);
                self.values.extend(infinite::number(other));
                Ok(())
            }
            other => Err(format!("a constant holds {}", excerpt(other))),
        }
    }

    /// The type that Keras gives its elements.
    pub fn own_dtype(&self) -> DType {
        match self.dtype {
            Some(dtype) => dtype,
            None if self.truths && !self.values.is_empty() => DType::Bool,
            None if self.whole => DType::I32,
            None => DType::F32,
        }
    }

    /// Its elements as whole numbers.
    pub fn whole_numbers(&self) -> Option<Vec<i64>> {
        let whole = |x: &f64| (x.fract() == 0.0 && x.abs() < 2f64.powi(53)).then_some(*x as i64);
        self.values.iter().map(whole).collect()
    }
}

impl Call<'_> {
    /// The constant that an argument is, if it is one.
    pub(super) fn constant(&self, place: usize, name: &str) -> Result<Option<Constant>, String> {
        match self.argument(place, name).as_ref().and_then(Argument::plain) {
            Some(value) => Constant::read(&value).map_err(|why| format!("`{name}`: {why}")),
            None => Ok(None),
        }
    }

    /// A constant as a node of a type.
    pub(super) fn constant_node(&mut self, constant: &Constant, dtype: DType) -> Result<NodeId, String> {
        let value = |x: &f64| match dtype {
            DType::F32 => Ok(*x as f32 as f64),
            DType::F64 => Ok(*x),
            DType::Bool => Ok((*x != 0.0) as u8 as f64),
            _ if x.fract() == 0.0 && dtype.wrap(*x as i64) as f64 == *x => Ok(*x),
            _ => Err(format!("the constant {x} is no {dtype}")),
        };
        let values = constant.values.iter().map(value).collect::<Result<Vec<f64>, String>>()?;
        let ty = TensorType::new(dtype, Shape::fixed(&constant.shape));
        Ok(match values[..] {
            [one] => self.graph.splat_of(one, ty),
            _ => self.graph.dense(ty, values),
        })
    }
}
