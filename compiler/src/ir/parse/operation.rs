//! From the word, the attributes and the type of a line to its operation.

use super::Parsed;
use crate::ir::{
    BinaryFn, ContractAxes, Dim, Literal, Number, Op, PadAxis, ReduceFn, SliceAxis, StorageId, TensorType, UnaryFn,
    WindowAxis,
};

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Int(i64),
    Number(f64),
    Dim(Dim),
    Cell(u32),
    List(Vec<Value>),
}

/// The attributes of a line, taken out one by one.
pub(super) struct Attributes {
    pub(super) at: usize,
    pub(super) items: Vec<(String, usize, Value)>,
}

impl Value {
    pub(super) fn usize(&self) -> Option<usize> {
        match self {
            Value::Int(x) => usize::try_from(*x).ok(),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Value::Int(x) => Some(*x as f64),
            Value::Number(x) => Some(*x),
            _ => None,
        }
    }

    pub(super) fn dim(&self) -> Option<Dim> {
        match self {
            Value::Dim(dim) => Some(*dim),
            value => value.usize().map(Dim::fixed),
        }
    }

    fn list<T>(&self, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        match self {
            Value::List(items) => items.iter().map(item).collect(),
            _ => None,
        }
    }

    fn pair(&self) -> Option<(usize, usize)> {
        match self.list(Value::usize)?[..] {
            [a, b] => Some((a, b)),
            _ => None,
        }
    }
}

impl Attributes {
    /// Takes an attribute out, if it is there.
    fn take(&mut self, name: &str) -> Option<(usize, Value)> {
        let i = self.items.iter().position(|i| i.0 == name)?;
        let (_, at, value) = self.items.swap_remove(i);
        Some((at, value))
    }

    /// Takes an attribute that must be there.
    fn get<T>(&mut self, name: &str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Parsed<T> {
        let (at, value) = self.take(name).ok_or_else(|| (self.at, format!("expected the attribute `{name}`")))?;
        read(&value).ok_or_else(|| (at, format!("`{name}` is {what}")))
    }

    pub(super) fn usize(&mut self, name: &str) -> Parsed<usize> {
        self.get(name, "a whole number", Value::usize)
    }

    pub(super) fn i64(&mut self, name: &str) -> Parsed<i64> {
        let int = |value: &Value| if let Value::Int(x) = value { Some(*x) } else { None };
        self.get(name, "a whole number", int)
    }

    /// 0 where it is not there.
    fn usize_or_0(&mut self, name: &str) -> Parsed<usize> {
        if self.items.iter().any(|i| i.0 == name) { self.usize(name) } else { Ok(0) }
    }

    /// 0 or 1.
    pub(super) fn flag(&mut self, name: &str) -> Parsed<bool> {
        self.get(name, "0 or 1", |v| v.usize().filter(|x| *x < 2).map(|x| x == 1))
    }

    fn usizes(&mut self, name: &str) -> Parsed<Vec<usize>> {
        self.get(name, "a list of whole numbers", |v| v.list(Value::usize))
    }

    fn number(&mut self, name: &str) -> Parsed<Number> {
        self.get(name, "a number", Value::number).map(Number)
    }

    fn pairs(&mut self, name: &str) -> Parsed<Vec<(usize, usize)>> {
        self.get(name, "a list of pairs", |v| v.list(Value::pair))
    }

    /// A list with one item for each of `count` axes.
    fn per_axis<T>(&mut self, name: &str, count: usize, item: impl Fn(&Value) -> Option<T>) -> Parsed<Vec<T>> {
        self.get(name, &format!("a list of {count} whole numbers"), |v| v.list(&item).filter(|l| l.len() == count))
    }

    fn windows(&mut self) -> Parsed<Vec<WindowAxis>> {
        let axes = self.usizes("axis")?;
        let size = self.per_axis("size", axes.len(), Value::usize)?;
        let stride = self.per_axis("stride", axes.len(), Value::usize)?;
        let dilation = self.per_axis("dilation", axes.len(), Value::usize)?;
        let window = |(i, &axis)| WindowAxis { axis, size: size[i], stride: stride[i], dilation: dilation[i] };
        Ok(axes.iter().enumerate().map(window).collect())
    }

    /// Nothing is left.
    pub(super) fn finish(self) -> Parsed<()> {
        match self.items.first() {
            Some((name, at, _)) => Err((*at, format!("no attribute `{name}` here"))),
            None => Ok(()),
        }
    }
}

/// The operation of a line's word, attributes and type; `None` where the word is none.
pub(super) fn operation(word: &str, attributes: &mut Attributes, ty: &TensorType) -> Parsed<Option<Op>> {
    let (ty, shape) = (ty.clone(), ty.shape.clone());
    let reductions = word.strip_prefix("reduce_");
    if let Some(f) = reductions.and_then(|name| ReduceFn::ALL.into_iter().find(|f| f.name() == name)) {
        return Ok(Some(Op::Reduce { f, axes: attributes.usizes("axes")? }));
    }
    Ok(Some(match word {
        "input" => Op::Input { index: attributes.usize("index")?, ty },
        "storage" => {
            let cell = |v: &Value| if let Value::Cell(id) = v { Some(StorageId(*id)) } else { None };
            Op::Storage { id: attributes.get("cell", "a storage cell such as @0", cell)?, ty }
        }
        "const" => Op::Const { value: literal(attributes)?, ty },
        "iota" => Op::Iota { axis: attributes.usize("axis")?, ty },
        "select" => Op::Select,
        "cast" => Op::Cast(ty.dtype),
        "contract" => Op::Contract(ContractAxes { batch: attributes.pairs("batch")?, sum: attributes.pairs("sum")? }),
        "reshape" => Op::Reshape(shape),
        "permute" => Op::Permute(attributes.usizes("perm")?),
        "broadcast" => Op::Broadcast { axes: attributes.usizes("axes")?, shape },
        "slice" => {
            let step = |v: &Value| if let Value::Int(x) = v { isize::try_from(*x).ok() } else { None };
            let starts = attributes.per_axis("start", shape.rank(), Value::usize)?;
            let steps = attributes.per_axis("step", shape.rank(), step)?;
            let axes = starts.into_iter().zip(steps).zip(shape.iter());
            Op::Slice(axes.map(|((start, step), &count)| SliceAxis { start, step, count }).collect())
        }
        "pad" => {
            let mut side = |name| attributes.per_axis(name, shape.rank(), Value::usize);
            let (low, high, interior) = (side("low")?, side("high")?, side("interior")?);
            let axis = |i: usize| PadAxis { low: low[i], high: high[i], interior: interior[i] };
            Op::Pad { axes: (0..shape.rank()).map(axis).collect(), value: attributes.number("value")? }
        }
        "concat" => Op::Concat { axis: attributes.usize("axis")? },
        "window" => Op::Window(attributes.windows()?),
        "fold" => Op::Fold { axes: attributes.windows()?, shape },
        "gather" => Op::Gather { axis: attributes.usize("axis")?, batch: attributes.usize_or_0("batch")? },
        "scatter_add" => {
            let (axis, batch) = (attributes.usize("axis")?, attributes.usize_or_0("batch")?);
            Op::ScatterAdd { axis, batch, shape }
        }
        word => match (UnaryFn::parse(word), BinaryFn::parse(word)) {
            (Some(f), _) => Op::Unary(f),
            (_, Some(f)) => Op::Binary(f),
            _ => return Ok(None),
        },
    }))
}

fn literal(attributes: &mut Attributes) -> Parsed<Literal> {
    if let Some((at, value)) = attributes.take("dense") {
        let numbers = value.list(|v| v.number().map(Number)).ok_or((at, "`dense` is a list of numbers".to_string()))?;
        return Ok(Literal::Dense(numbers.into()));
    }
    if let Some((at, value)) = attributes.take("size") {
        return value.dim().map(Literal::Size).ok_or((at, "`size` is an extent".into()));
    }
    attributes.number("splat").map(Literal::Splat)
}
