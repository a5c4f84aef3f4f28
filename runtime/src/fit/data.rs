//! Rows for the training loop: columns of flat arrays, bound to the inputs of an entry point, and gathered batch by
//! batch.

use std::borrow::Cow;
use std::ops::Range;

use crate::dtype::{DType, Element, Input, Output};
use crate::error::Error;
use crate::range;
use crate::signature::{Entry, Port};

macro_rules! values {
    ($($dtype:ident($ty:ty)),+) => {
        /// The elements of one column, row after row; borrowed or owned.
        #[derive(Clone, Debug)]
        pub enum Values<'a> {
            $($dtype(Cow<'a, [$ty]>)),+
        }

        impl<'a> Values<'a> {
            /// All elements.
            pub fn as_input(&self) -> Input<'_> {
                match self {
                    $(Values::$dtype(v) => Input::new(v)),+
                }
            }

            /// An owned column of the same type without elements, and room for `capacity`.
            fn buffer(&self, capacity: usize) -> Values<'static> {
                match self {
                    $(Values::$dtype(_) => Values::$dtype(Cow::Owned(Vec::with_capacity(capacity)))),+
                }
            }

            /// A range of the elements.
            fn slice(&self, range: Range<usize>) -> Input<'_> {
                match self {
                    $(Values::$dtype(v) => Input::new(&v[range])),+
                }
            }

            /// All elements, to be written.
            pub fn as_output(&mut self) -> Output<'_> {
                match self {
                    $(Values::$dtype(v) => Output::new(v.to_mut().as_mut_slice())),+
                }
            }

            /// An owned column of zeros.
            pub fn zeros(dtype: DType, len: usize) -> Values<'static> {
                match dtype {
                    $(DType::$dtype => Values::$dtype(Cow::Owned(vec![<$ty>::default(); len]))),+
                }
            }

            /// [`Values::zeros`], or an error where there is no memory for them.
            pub(super) fn try_zeros(dtype: DType, len: usize, purpose: &'static str) -> Result<Values<'static>, Error> {
                let refused = || Error::OutOfMemory { purpose, bytes: len.saturating_mul(dtype.size()) };
                Ok(match dtype {
                    $(DType::$dtype => {
                        let mut values: Vec<$ty> = Vec::new();
                        values.try_reserve_exact(len).map_err(|_| refused())?;
                        values.resize(len, <$ty>::default());
                        values.into()
                    })+
                })
            }

            /// An element as a number; booleans are 0 and 1.
            pub(super) fn number(&self, index: usize) -> f64 {
                match self {
                    $(Values::$dtype(v) => Number::number(v[index])),+
                }
            }

            /// A range of the elements to be written.
            pub(super) fn slice_mut(&mut self, range: Range<usize>) -> Output<'_> {
                match self {
                    $(Values::$dtype(v) => Output::new(&mut v.to_mut()[range])),+
                }
            }

            /// Replaces the elements by the given rows of a column of the same type.
            fn gather(&mut self, from: &Values<'_>, rows: &[usize], row_len: usize) {
                match (self, from) {
                    $((Values::$dtype(into), Values::$dtype(from)) => {
                        let into = into.to_mut();
                        into.clear();
                        for row in rows {
                            into.extend_from_slice(&from[row * row_len..(row + 1) * row_len]);
                        }
                    })+
                    _ => unreachable!("a buffer has the type of its column"),
                }
            }
        }

        $(
            impl<'a> From<&'a [$ty]> for Values<'a> {
                fn from(values: &'a [$ty]) -> Self {
                    Values::$dtype(Cow::Borrowed(values))
                }
            }

            impl<'a> From<&'a Vec<$ty>> for Values<'a> {
                fn from(values: &'a Vec<$ty>) -> Self {
                    Values::$dtype(Cow::Borrowed(values))
                }
            }

            impl<'a, const N: usize> From<&'a [$ty; N]> for Values<'a> {
                fn from(values: &'a [$ty; N]) -> Self {
                    Values::$dtype(Cow::Borrowed(values))
                }
            }

            impl From<Vec<$ty>> for Values<'_> {
                fn from(values: Vec<$ty>) -> Self {
                    Values::$dtype(Cow::Owned(values))
                }
            }

            impl<'a> From<&'a [$ty]> for Rows<'a> {
                fn from(values: &'a [$ty]) -> Self {
                    Rows::flat(values)
                }
            }

            impl<'a> From<&'a Vec<$ty>> for Rows<'a> {
                fn from(values: &'a Vec<$ty>) -> Self {
                    Rows::flat(values)
                }
            }

            impl<'a, const N: usize> From<&'a [$ty; N]> for Rows<'a> {
                fn from(values: &'a [$ty; N]) -> Self {
                    Rows::flat(values)
                }
            }

            impl From<Vec<$ty>> for Rows<'_> {
                fn from(values: Vec<$ty>) -> Self {
                    Rows::flat(values)
                }
            }

            impl<'a, const N: usize> From<&'a [[$ty; N]]> for Rows<'a> {
                fn from(rows: &'a [[$ty; N]]) -> Self {
                    Rows::shaped(&[rows.len(), N], rows.as_flattened())
                }
            }

            impl<'a, const N: usize, const M: usize> From<&'a [[$ty; N]; M]> for Rows<'a> {
                fn from(rows: &'a [[$ty; N]; M]) -> Self {
                    Rows::shaped(&[M, N], rows.as_flattened())
                }
            }

            impl<'a, const N: usize> From<&'a Vec<[$ty; N]>> for Rows<'a> {
                fn from(rows: &'a Vec<[$ty; N]>) -> Self {
                    Rows::shaped(&[rows.len(), N], rows.as_flattened())
                }
            }

            impl<const N: usize> From<Vec<[$ty; N]>> for Rows<'_> {
                fn from(rows: Vec<[$ty; N]>) -> Self {
                    Rows::shaped(&[rows.len(), N], rows.into_flattened())
                }
            }

            impl<'a, const N: usize, const M: usize> From<&'a [[[$ty; N]; M]]> for Rows<'a> {
                fn from(rows: &'a [[[$ty; N]; M]]) -> Self {
                    Rows::shaped(&[rows.len(), M, N], rows.as_flattened().as_flattened())
                }
            }

            impl<'a, const N: usize, const M: usize> From<&'a Vec<[[$ty; N]; M]>> for Rows<'a> {
                fn from(rows: &'a Vec<[[$ty; N]; M]>) -> Self {
                    Rows::shaped(&[rows.len(), M, N], rows.as_flattened().as_flattened())
                }
            }
        )+
    };
}

values!(F32(f32), F64(f64), I32(i32), U32(u32), U8(u8), Bool(bool));

/// A column of data: rows one after the other, and where it is known the shape of all of them.
///
/// A flat slice says nothing about rows: as many elements as an input has in one are one. Arrays of arrays, and
/// [`Rows::shaped`], do, and have to agree with the input.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    values: Values<'a>,
    /// The number of rows, then the extents of one.
    shape: Option<Vec<usize>>,
}

impl<'a> Rows<'a> {
    /// Elements of any shape.
    pub fn flat(values: impl Into<Values<'a>>) -> Rows<'a> {
        Rows { values: values.into(), shape: None }
    }

    /// The elements of a row-major array of this shape, the number of rows first: as an `ndarray` has them, or a file.
    ///
    /// ```
    /// use bakelite::{Data, Rows};
    /// let images = vec![0.0f32; 10 * 28 * 28];
    /// let data = Data::new().input("image", Rows::shaped(&[10, 28, 28, 1], &images));
    /// ```
    pub fn shaped(shape: &[usize], values: impl Into<Values<'a>>) -> Rows<'a> {
        Rows { values: values.into(), shape: Some(shape.to_vec()) }
    }

    /// Fails where its shape is not that of its elements, or not that of rows of an input. A row may be flat, and an axis
    /// of extent 1 at the end be there or not.
    fn check(&self, port: &Port, what: &str) -> Result<(), Error> {
        let Some(shape) = &self.shape else { return Ok(()) };
        let elements = self.values.len();
        if shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent)) != Some(elements) {
            return Err(Error::Data {
                what: format!("{what} is given {elements} elements as an array of shape {shape:?}"),
            });
        }
        let Some(row_len) = port.row_len() else { return Ok(()) };
        let found = shape.get(1..).unwrap_or_default();
        let wanted: Vec<usize> = port.shape[1..].iter().map(|extent| extent.scale).collect();
        let trimmed = |item: &[usize]| item.strip_suffix(&[1]).unwrap_or(item).to_vec();
        if trimmed(found) == trimmed(&wanted) || found == [row_len] {
            return Ok(());
        }
        let fix = match found.iter().product::<usize>() == row_len {
            true => "reshape it, if its elements are in this order",
            false => "give arrays of whole rows, or one flat slice of all elements if they are in this order",
        };
        let wanted = port.shape_text();
        Err(Error::Data { what: format!("{what} is {wanted}, the rows of the data are {found:?}: {fix}") })
    }
}

impl<'a> From<Values<'a>> for Rows<'a> {
    fn from(values: Values<'a>) -> Rows<'a> {
        Rows::flat(values)
    }
}

/// What an element is as a number.
trait Number {
    fn number(self) -> f64;
}

macro_rules! numbers {
    ($($ty:ty),+) => { $(
        impl Number for $ty {
            fn number(self) -> f64 {
                f64::from(self)
            }
        }
    )+ };
}

numbers!(f32, f64, i32, u32, u8, bool);

impl Values<'_> {
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.as_input().dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.as_input().len()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, if they are of this type.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        self.as_input().as_slice()
    }
}

/// What an input of `train_step` and `evaluate_step` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// An input of the model.
    Input,
    Target,
    /// Sample weights.
    Weight,
}

impl Role {
    const ALL: [Role; 3] = [Role::Input, Role::Target, Role::Weight];

    /// The role of each input of an entry point. Targets and weights are named after their outputs; where an input of the
    /// model is called so, the target has underscores behind it.
    pub fn of(entry: &Entry, predict: Option<&Entry>) -> Vec<Role> {
        let named = |port: &Port, role: Role| {
            let is_output = |name: &str| predict.is_some_and(|p| p.outputs.iter().any(|o| o.name == name));
            let output = role.output(port).filter(|name| is_output(name));
            let longer = |other: &Port| role.output(other) == output && other.name.len() > port.name.len();
            output.is_some() && !entry.inputs.iter().any(longer)
        };
        let own = |port: &Port| predict.is_some_and(|p| p.inputs.iter().any(|i| i.name == port.name));
        let role = |port: &Port| match [Role::Target, Role::Weight].into_iter().find(|r| named(port, *r)) {
            Some(role) if !own(port) => role,
            _ => Role::Input,
        };
        entry.inputs.iter().map(role).collect()
    }

    /// What follows the name of the output.
    const fn suffix(self) -> Option<&'static str> {
        match self {
            Role::Input => None,
            Role::Target => Some("_target"),
            Role::Weight => Some("_weight"),
        }
    }

    /// The output that an argument of this role is for, by its name.
    fn output(self, port: &Port) -> Option<&str> {
        port.name.trim_end_matches('_').strip_suffix(self.suffix()?)
    }

    /// The name that users know an argument by: that of the input, or of the output that it is for.
    fn whose(self, port: &Port) -> &str {
        self.output(port).unwrap_or(&port.name)
    }

    const fn name(self) -> &'static str {
        match self {
            Role::Input => "input",
            Role::Target => "target",
            Role::Weight => "sample weights",
        }
    }
}

#[derive(Clone, Debug)]
struct Source<'a> {
    /// `None` feeds the first input, or target, that is not fed by name, and all sample weights.
    name: Option<String>,
    role: Role,
    rows: Rows<'a>,
    /// For an input that is made of text; it has no rows then.
    #[cfg(feature = "text")]
    texts: Vec<&'a str>,
}

impl<'a> Source<'a> {
    fn new(name: Option<String>, role: Role, rows: Rows<'a>) -> Source<'a> {
        Source {
            name,
            role,
            rows,
            #[cfg(feature = "text")]
            texts: Vec::new(),
        }
    }
}

/// How much each class counts: the class and its weight. Others count once.
pub(super) type ClassWeights = [(i32, f32)];

/// Inputs, targets and sample weights, each a column of [`Rows`]: a flat slice, rows as arrays, or an array with its shape.
/// How long a row is, the model knows.
///
/// ```
/// use bakelite::Data;
/// let (images, digits) = (vec![0.0f32; 10 * 64], vec![0i32; 10]);
/// let train = Data::new().input("image", &images).target("digit", &digits);
/// let same = Data::pair(&images, &digits);
/// let weighted = same.weight("digit", vec![1.0f32; 10]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Data<'a> {
    sources: Vec<Source<'a>>,
}

impl<'a> Data<'a> {
    /// No columns yet.
    pub fn new() -> Data<'a> {
        Data::default()
    }

    /// For a model with one input: without names, and without a target.
    pub fn inputs(input: impl Into<Rows<'a>>) -> Data<'a> {
        Data { sources: vec![Source::new(None, Role::Input, input.into())] }
    }

    /// For a model with one input and one target, without names.
    pub fn pair(input: impl Into<Rows<'a>>, target: impl Into<Rows<'a>>) -> Data<'a> {
        let mut data = Data::inputs(input);
        data.sources.push(Source::new(None, Role::Target, target.into()));
        data
    }

    /// For a model with one input and one target: without names, with weights for every output that takes them.
    pub fn weighted(input: impl Into<Rows<'a>>, target: impl Into<Rows<'a>>, weight: impl Into<Rows<'a>>) -> Data<'a> {
        let mut data = Data::pair(input, target);
        data.sources.push(Source::new(None, Role::Weight, weight.into()));
        data
    }

    /// Adds the rows of an input.
    pub fn input(self, name: impl Into<String>, values: impl Into<Rows<'a>>) -> Data<'a> {
        self.push(name, Role::Input, values)
    }

    /// Adds the rows of a target, which is named as the output that it is for.
    pub fn target(self, name: impl Into<String>, values: impl Into<Rows<'a>>) -> Data<'a> {
        self.push(name, Role::Target, values)
    }

    /// Adds the weights of samples, which are named as the output that they are for. The model takes them where it was
    /// described with `sample_weight`.
    pub fn weight(self, name: impl Into<String>, values: impl Into<Rows<'a>>) -> Data<'a> {
        self.push(name, Role::Weight, values)
    }

    fn push(mut self, name: impl Into<String>, role: Role, values: impl Into<Rows<'a>>) -> Data<'a> {
        self.sources.push(Source::new(Some(name.into()), role, values.into()));
        self
    }

    /// Adds the rows of an input that the model makes of text.
    #[cfg(feature = "text")]
    pub fn text<S: AsRef<str>>(mut self, name: impl Into<String>, texts: &'a [S]) -> Data<'a> {
        let rows = Rows::flat(Values::I32(Cow::Borrowed(&[])));
        let texts = texts.iter().map(AsRef::as_ref).collect();
        self.sources.push(Source { texts, ..Source::new(Some(name.into()), Role::Input, rows) });
        self
    }

    /// The same data with numbers in place of text; `None` where it is of numbers already.
    #[cfg(feature = "text")]
    pub(super) fn encoded(&self, model: &crate::Model) -> Result<Option<Data<'a>>, Error> {
        if self.sources.iter().all(|source| source.texts.is_empty()) {
            return Ok(None);
        }
        let mut data = self.clone();
        for source in data.sources.iter_mut().filter(|source| !source.texts.is_empty()) {
            let name = source.name.as_deref().unwrap_or_default();
            source.rows = match model.encode(name, &source.texts)? {
                crate::text::Encoded::Ints(ints) => ints.into(),
                crate::text::Encoded::Floats(floats) => floats.into(),
            };
            source.texts.clear();
        }
        Ok(Some(data))
    }

    #[cfg(not(feature = "text"))]
    pub(super) fn encoded(&self, _model: &crate::Model) -> Result<Option<Data<'a>>, Error> {
        Ok(None)
    }

    /// Matches the columns with the inputs of an entry point, whose roles are given; a prediction has inputs alone and
    /// leaves the data's other columns unused. Samples without weights count once, or as their class does.
    pub(super) fn bind<'d>(
        &'d self,
        entry: &'d Entry,
        roles: &[Role],
        classes: Option<&ClassWeights>,
    ) -> Result<Bound<'d>, Error> {
        let ports = &entry.inputs;
        let fail = |what: String| Err(Error::Data { what });
        let mut fed: Vec<Option<&Rows<'_>>> = vec![None; ports.len()];
        let training = roles.iter().any(|r| *r != Role::Input);
        for role in Role::ALL.into_iter().filter(|role| training || *role == Role::Input) {
            let places: Vec<usize> = (0..ports.len()).filter(|i| roles[*i] == role).collect();
            let kind = role.name();
            for Source { name, rows, .. } in self.sources.iter().filter(|s| s.role == role) {
                let Some(name) = name else {
                    let free = places.iter().filter(|i| fed[**i].is_none());
                    let taken = if role == Role::Weight { usize::MAX } else { 1 };
                    let free: Vec<usize> = free.copied().take(taken).collect();
                    match (free.as_slice(), role) {
                        ([], Role::Weight) => return fail(no_weights(entry)),
                        ([], _) => {
                            return fail(format!("the data has more than the {} {kind}s of the model", places.len()));
                        }
                        _ => free.into_iter().for_each(|i| fed[i] = Some(rows)),
                    }
                    continue;
                };
                let named = |port: &Port| port.name == *name || role.whose(port) == name;
                match places.iter().find(|i| named(&ports[**i])) {
                    Some(&i) if fed[i].is_some() => {
                        return fail(format!("the data has two columns for {kind} `{name}`"));
                    }
                    Some(&i) => fed[i] = Some(rows),
                    None if role == Role::Weight && places.is_empty() => return fail(no_weights(entry)),
                    None => {
                        let known = Error::names(places.iter().map(|i| role.whose(&ports[*i])));
                        return fail(format!("the data has {kind} `{name}`, the model takes {known}"));
                    }
                }
            }
        }
        let mut columns: Vec<Option<Column<'d>>> = Vec::with_capacity(ports.len());
        for ((port, rows), role) in ports.iter().zip(fed).zip(roles) {
            let what = format!("{} `{}`", role.name(), role.whose(port));
            columns.push(match (rows, role) {
                (Some(rows), _) => {
                    let column = Column::new(port, Cow::Borrowed(&rows.values), what)?;
                    rows.check(port, &column.what)?;
                    Some(column)
                }
                (None, Role::Weight) => None,
                (None, _) => return fail(format!("the data lacks {what}, {}{}", port.dtype, port.shape_text())),
            });
        }
        let mut batched = columns.iter().flatten().filter(|c| c.row_len > 0);
        let rows = match batched.next() {
            Some(first) => {
                if let Some(other) = batched.find(|c| c.rows() != first.rows()) {
                    let (a, b) = (first.rows(), other.rows());
                    return fail(format!("{} has {a} rows, {} has {b}", first.what, other.what));
                }
                first.rows()
            }
            None => return fail(format!("no input of `{}` has rows", entry.name)),
        };
        let of_classes = match classes {
            None => None,
            Some(classes) => Some(class_weights(classes, entry, roles, &columns)?),
        };
        for (port, column) in ports.iter().zip(&mut columns) {
            if column.is_none() {
                let ones = || vec![1.0; port.row_len().unwrap_or(0) * rows];
                let values = Values::from(of_classes.clone().unwrap_or_else(ones));
                *column = Some(Column::new(port, Cow::Owned(values), format!("sample weights `{}`", port.name))?);
            }
        }
        Ok(Bound { columns: columns.into_iter().flatten().collect(), rows })
    }
}

fn no_weights(entry: &Entry) -> String {
    format!("the data has sample weights, `{}` takes none: describe the model with `sample_weight`", entry.name)
}

/// The weight of the class of each row.
fn class_weights(
    classes: &ClassWeights,
    entry: &Entry,
    roles: &[Role],
    columns: &[Option<Column<'_>>],
) -> Result<Vec<f32>, Error> {
    let fail = |what: &str| Err(Error::Data { what: format!("class weights {what}") });
    let places = |role: Role| roles.iter().enumerate().filter(move |(_, r)| **r == role).map(|(i, _)| i);
    let (Some(target), None) = (places(Role::Target).next(), places(Role::Target).nth(1)) else {
        return fail("are for models with one target");
    };
    let Some(weight) = places(Role::Weight).next() else {
        return fail(&format!(
            "need sample weights, `{}` takes none: describe the model with `sample_weight`",
            entry.name
        ));
    };
    if columns[weight].is_some() {
        return fail("and sample weights cannot be given together");
    }
    let port = &entry.inputs[target];
    let (Some(column), Some(1)) = (&columns[target], entry.inputs[weight].row_len()) else {
        return fail("are for samples with one weight each");
    };
    if column.row_len > 1 && port.shape.len() > 2 {
        return fail(&format!("are for labels and one-hot vectors, the target is {}", port.shape_text()));
    }
    let class = |row: usize| {
        let numbers = (0..column.row_len).map(|i| column.values.number(row * column.row_len + i));
        match column.row_len {
            1 => column.values.number(row).round_ties_even() as i32,
            _ => first_largest(numbers) as i32,
        }
    };
    let weight = |class: i32| classes.iter().find(|(c, _)| *c == class).map_or(1.0, |(_, weight)| *weight);
    Ok((0..column.rows()).map(|row| weight(class(row))).collect())
}

/// The place of the first largest number.
fn first_largest(numbers: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, x) in numbers.enumerate() {
        if x > best.1 {
            best = (i, x);
        }
    }
    best.0
}

/// One column and the input that it feeds.
struct Column<'d> {
    values: Cow<'d, Values<'d>>,
    /// Elements of one row; 0 for an input that is the same in every batch.
    row_len: usize,
    what: String,
}

impl<'d> Column<'d> {
    fn new(port: &Port, values: Cow<'d, Values<'d>>, what: String) -> Result<Column<'d>, Error> {
        if values.dtype() != port.dtype {
            return Err(Error::DType { what, expected: port.dtype, found: values.dtype() });
        }
        let found = values.len();
        let length = |expected| Error::Length {
            what: what.clone(),
            shape: port.shape_text(),
            batch: port.is_batched().then_some(found / port.len(1).max(1)),
            expected,
            found,
        };
        let row_len = match port.row_len() {
            Some(0) => return Err(Error::Data { what: format!("{what} has empty rows") }),
            Some(row_len) if !found.is_multiple_of(row_len) => return Err(length(found / row_len * row_len)),
            Some(row_len) => row_len,
            None if port.is_batched() => {
                let shape = port.shape_text();
                return Err(Error::Data { what: format!("{what} of shape {shape} cannot be cut into rows") });
            }
            None if found != port.len(1) => return Err(length(port.len(1))),
            None => 0,
        };
        range::check(port, values.as_input(), || what.clone())?;
        Ok(Column { values, row_len, what })
    }

    fn rows(&self) -> usize {
        self.values.len() / self.row_len
    }
}

/// Data that fits an entry point.
pub(super) struct Bound<'d> {
    columns: Vec<Column<'d>>,
    pub rows: usize,
}

/// The rows of one batch.
#[derive(Clone)]
pub(super) enum Chosen<'r> {
    /// Neighbours: no copy is made.
    Range(Range<usize>),
    /// Any rows, copied into the buffers.
    Listed(&'r [usize]),
}

impl Chosen<'_> {
    pub fn len(&self) -> usize {
        match self {
            Chosen::Range(range) => range.len(),
            Chosen::Listed(rows) => rows.len(),
        }
    }
}

/// Room for one gathered batch of each column.
pub(super) struct Buffers(Vec<Values<'static>>);

impl Bound<'_> {
    /// Buffers for batches of at most `batch` rows.
    pub fn buffers(&self, batch: usize) -> Buffers {
        Buffers(self.columns.iter().map(|c| c.values.buffer(c.row_len * batch)).collect())
    }

    /// The inputs of a call on these rows, in the entry point's order.
    pub fn inputs<'b>(
        &'b self,
        rows: Chosen<'_>,
        buffers: &'b mut Buffers,
    ) -> impl ExactSizeIterator<Item = Input<'b>> {
        if let Chosen::Listed(rows) = rows {
            for (column, buffer) in self.columns.iter().zip(&mut buffers.0) {
                buffer.gather(&column.values, rows, column.row_len);
            }
        }
        self.columns.iter().zip(&buffers.0).map(move |(column, buffer)| match &rows {
            _ if column.row_len == 0 => column.values.as_input(),
            Chosen::Range(range) => column.values.slice(range.start * column.row_len..range.end * column.row_len),
            Chosen::Listed(_) => buffer.as_input(),
        })
    }
}
