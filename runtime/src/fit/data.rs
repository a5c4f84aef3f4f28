//! Rows for the training loop: columns of flat arrays, bound to the inputs of an entry point, and gathered batch by
//! batch.

use std::borrow::Cow;
use std::ops::Range;

use crate::dtype::{DType, Element, Input, Output};
use crate::error::Error;
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

            /// An owned column of zeros.
            pub(super) fn zeros(dtype: DType, len: usize) -> Values<'static> {
                match dtype {
                    $(DType::$dtype => Values::$dtype(Cow::Owned(vec![<$ty>::default(); len]))),+
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

            impl<'a, const N: usize> From<&'a [[$ty; N]]> for Values<'a> {
                fn from(values: &'a [[$ty; N]]) -> Self {
                    Values::$dtype(Cow::Borrowed(values.as_flattened()))
                }
            }

            impl<'a, const N: usize> From<&'a Vec<[$ty; N]>> for Values<'a> {
                fn from(values: &'a Vec<[$ty; N]>) -> Self {
                    Values::$dtype(Cow::Borrowed(values.as_flattened()))
                }
            }

            impl From<Vec<$ty>> for Values<'_> {
                fn from(values: Vec<$ty>) -> Self {
                    Values::$dtype(Cow::Owned(values))
                }
            }

            impl<const N: usize> From<Vec<[$ty; N]>> for Values<'_> {
                fn from(values: Vec<[$ty; N]>) -> Self {
                    Values::$dtype(Cow::Owned(values.into_flattened()))
                }
            }
        )+
    };
}

values!(F32(f32), F64(f64), I32(i32), U32(u32), U8(u8), Bool(bool));

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

#[derive(Clone, Debug)]
struct Source<'a> {
    /// `None` feeds the first input, or target, that is not fed by name.
    name: Option<String>,
    target: bool,
    values: Values<'a>,
}

/// A target is named as its output, with this after it.
const TARGET_SUFFIX: &str = "_target";

/// Inputs and targets, each a flat array of rows. How long a row is, the model knows.
///
/// ```
/// use bakelite::Data;
/// let (images, digits) = (vec![0.0f32; 10 * 64], vec![0i32; 10]);
/// let train = Data::new().input("image", &images).target("digit", &digits);
/// let same = Data::pair(&images, &digits);
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
    pub fn inputs(input: impl Into<Values<'a>>) -> Data<'a> {
        Data { sources: vec![Source { name: None, target: false, values: input.into() }] }
    }

    /// For a model with one input and one target, without names.
    pub fn pair(input: impl Into<Values<'a>>, target: impl Into<Values<'a>>) -> Data<'a> {
        let mut data = Data::inputs(input);
        data.sources.push(Source { name: None, target: true, values: target.into() });
        data
    }

    /// Adds the rows of an input.
    pub fn input(mut self, name: impl Into<String>, values: impl Into<Values<'a>>) -> Data<'a> {
        self.sources.push(Source { name: Some(name.into()), target: false, values: values.into() });
        self
    }

    /// Adds the rows of a target, which is named as the output that it is for.
    pub fn target(mut self, name: impl Into<String>, values: impl Into<Values<'a>>) -> Data<'a> {
        self.sources.push(Source { name: Some(name.into()), target: true, values: values.into() });
        self
    }

    /// Matches the columns with the inputs of an entry point. The first `inputs` of them are inputs of the model, the
    /// others are targets; a prediction has no targets and leaves the data's unused.
    pub(super) fn bind<'d>(&'d self, entry: &'d Entry, inputs: usize) -> Result<Bound<'d>, Error> {
        let ports = &entry.inputs;
        let fail = |what: String| Err(Error::Data { what });
        let mut fed: Vec<Option<&Values<'_>>> = vec![None; ports.len()];
        let training = ports.len() > inputs;
        for Source { name, target, values } in self.sources.iter().filter(|s| training || !s.target) {
            let (kind, range) = if *target { ("target", inputs..ports.len()) } else { ("input", 0..inputs) };
            let Some(name) = name else {
                match range.clone().find(|i| fed[*i].is_none()) {
                    Some(i) => fed[i] = Some(values),
                    None => return fail(format!("the data has more than the {} {kind}s of the model", range.len())),
                }
                continue;
            };
            let named =
                |port: &Port| port.name == *name || *target && port.name.strip_suffix(TARGET_SUFFIX) == Some(name);
            match range.clone().find(|i| named(&ports[*i])) {
                Some(i) if fed[i].is_some() => return fail(format!("the data has two columns for {kind} `{name}`")),
                Some(i) => fed[i] = Some(values),
                None => {
                    let known = Error::names(ports[range].iter().map(|port| port.name.as_str()));
                    return fail(format!("the data has {kind} `{name}`, the model takes {known}"));
                }
            }
        }
        let mut columns = Vec::with_capacity(ports.len());
        for (i, (port, values)) in ports.iter().zip(fed).enumerate() {
            let what = format!("{} `{}`", if i < inputs { "input" } else { "target" }, port.name);
            let Some(values) = values else {
                return fail(format!("the data lacks {what}, {}{}", port.dtype, port.shape_text()));
            };
            columns.push(Column::new(port, values, what)?);
        }
        let mut batched = columns.iter().filter(|c| c.row_len > 0);
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
        Ok(Bound { columns, rows })
    }
}

/// One column and the input that it feeds.
struct Column<'d> {
    values: &'d Values<'d>,
    /// Elements of one row; 0 for an input that is the same in every batch.
    row_len: usize,
    what: String,
}

impl<'d> Column<'d> {
    fn new(port: &Port, values: &'d Values<'_>, what: String) -> Result<Column<'d>, Error> {
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
pub(super) enum Rows<'r> {
    /// Neighbours: no copy is made.
    Range(Range<usize>),
    /// Any rows, copied into the buffers.
    Listed(&'r [usize]),
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        match self {
            Rows::Range(range) => range.len(),
            Rows::Listed(rows) => rows.len(),
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
    pub fn inputs<'b>(&'b self, rows: Rows<'_>, buffers: &'b mut Buffers) -> impl ExactSizeIterator<Item = Input<'b>> {
        if let Rows::Listed(rows) = rows {
            for (column, buffer) in self.columns.iter().zip(&mut buffers.0) {
                buffer.gather(column.values, rows, column.row_len);
            }
        }
        self.columns.iter().zip(&buffers.0).map(move |(column, buffer)| match &rows {
            _ if column.row_len == 0 => column.values.as_input(),
            Rows::Range(range) => column.values.slice(range.start * column.row_len..range.end * column.row_len),
            Rows::Listed(_) => buffer.as_input(),
        })
    }
}
