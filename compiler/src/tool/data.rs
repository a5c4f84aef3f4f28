//! Arrays of a file as the inputs, targets and sample weights of a model.
//!
//! Keys of training data are `x:INPUT`, `y:OUTPUT` and `w:OUTPUT`; `x`, `y` and `w` serve where there is one of them.
//! Keys of prediction data are the names of inputs, and one lone array serves a model with one input.

use std::fmt;

use bakelite::{DType, Data, Values};

use super::npz::{Array, Npz};
use super::source::{Described, Shapes};
use crate::diag::{Code, Diagnostic, Diagnostics, Problem};
use crate::import::OpenInput;
use crate::ir::graph::InputDecl;
use crate::ir::{self, Module, TensorType};

/// What an array is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Input,
    Target,
    Weight,
}

impl Role {
    /// The letter of the keys.
    const fn letter(self) -> &'static str {
        match self {
            Role::Input => "x",
            Role::Target => "y",
            Role::Weight => "w",
        }
    }

    /// What follows the output's name in the arguments of steps.
    const fn suffix(self) -> &'static str {
        match self {
            Role::Input => "",
            Role::Target => "_target",
            Role::Weight => "_weight",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Input => "input",
            Role::Target => "target",
            Role::Weight => "sample weights",
        })
    }
}

/// An array, and what it is for.
#[derive(Clone, Debug)]
pub struct Column {
    pub role: Role,
    /// The input, or the output.
    pub name: String,
    array: Array,
}

impl Column {
    /// The extents of a row.
    pub fn item(&self) -> &[usize] {
        self.array.shape().get(1..).unwrap_or_default()
    }

    fn text(&self) -> String {
        format!("{}{:?}", self.array.element(), self.array.shape())
    }

    /// How messages name the array.
    fn key(&self) -> String {
        if self.array.name.is_empty() { "the array".to_string() } else { format!("`{}`", self.array.name) }
    }
}

/// The columns of a file.
#[derive(Clone, Debug)]
pub struct Columns(pub Vec<Column>);

/// Shapes of the inputs that leave dimensions open, from the arrays for them, where they have not been given.
pub fn bind(npz: &Npz, inputs: &[OpenInput], shapes: &mut Shapes) {
    for input in inputs.iter().filter(|input| input.item.contains(&None)) {
        let array = find_input(npz, inputs, &input.name);
        if let Some([_, item @ ..]) = array.map(Array::shape).filter(|shape| shape.len() == input.item.len() + 1) {
            shapes.entry(input.name.clone()).or_insert_with(|| item.to_vec());
        }
    }
}

/// Fails where an input has no array at all.
pub fn check_inputs(npz: &Npz, inputs: &[OpenInput]) -> Result<(), Diagnostics> {
    let lacking = inputs.iter().filter(|input| find_input(npz, inputs, &input.name).is_none());
    let list: Vec<Diagnostic> = lacking
        .map(|input| {
            let key = format!("`x:{}`", input.name);
            missing(npz, Role::Input, &input.name, if inputs.len() == 1 { format!("`x` or {key}") } else { key })
        })
        .collect();
    Diagnostics::check(list)
}

/// The array for an input: under its name, or whatever stands for a model's only input.
fn find_input<'a>(npz: &'a Npz, inputs: &[OpenInput], name: &str) -> Option<&'a Array> {
    let only = || match npz.arrays() {
        [array] => Some(array),
        _ => npz.find("x"),
    };
    let found = npz.find(name).or_else(|| npz.find(&format!("x:{name}")));
    found.or_else(|| only().filter(|_| inputs.len() == 1))
}

/// The columns of data for predictions.
pub fn prediction(npz: &Npz, inputs: &[OpenInput]) -> Result<Columns, Diagnostics> {
    let mut columns = Columns(Vec::new());
    let mut problems = Vec::new();
    for OpenInput { name, .. } in inputs {
        match find_input(npz, inputs, name) {
            Some(array) => columns.0.push(Column { role: Role::Input, name: name.clone(), array: array.clone() }),
            None => problems.push(missing(npz, Role::Input, name, format!("`{name}`"))),
        }
    }
    // Data of training can be predicted from: its targets and weights are not looked at.
    let ignored = |key: &str| matches!(key, "y" | "w") || key.starts_with("y:") || key.starts_with("w:");
    let names: Vec<String> = inputs.iter().map(|input| format!("`{}`", input.name)).collect();
    problems.extend(unknown(npz, &columns, &names, ignored));
    Diagnostics::check(problems).map(|()| columns)
}

/// The columns of data for training and evaluation.
pub fn training(npz: &Npz, inputs: &[OpenInput], outputs: &[String]) -> Result<Columns, Diagnostics> {
    let inputs: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let mut columns = Columns(Vec::new());
    let mut problems = Vec::new();
    let mut keys = Vec::new();
    for (role, names) in [(Role::Input, &inputs), (Role::Target, &outputs), (Role::Weight, &outputs)] {
        let letter = role.letter();
        for name in names {
            let key = format!("{letter}:{name}");
            let short = npz.find(letter).filter(|_| names.len() == 1);
            match npz.find(&key).or(short) {
                Some(array) => columns.0.push(Column { role, name: name.to_string(), array: array.clone() }),
                None if role == Role::Weight => {}
                None => {
                    let or = if names.len() == 1 { format!("`{letter}` or `{key}`") } else { format!("`{key}`") };
                    problems.push(missing(npz, role, name, or));
                }
            }
            keys.push(if names.len() == 1 { format!("`{letter}`") } else { format!("`{key}`") });
        }
    }
    problems.extend(unknown(npz, &columns, &keys, |_| false));
    Diagnostics::check(problems).map(|()| columns)
}

fn missing(npz: &Npz, role: Role, name: &str, key: String) -> Diagnostic {
    let problem = Problem::new(Code::Data, format!("there is no array for the {role} `{name}`: its key is {key}"));
    let keys: Vec<String> = npz.arrays().iter().map(|array| format!("`{}`", array.name)).collect();
    let help =
        if keys.is_empty() { "the file has no arrays".to_string() } else { format!("the file has {}", list(&keys)) };
    Diagnostic::new(problem.help(help), "", Some(npz.source()))
}

fn unknown<'a>(
    npz: &'a Npz,
    columns: &'a Columns,
    keys: &[String],
    ignored: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let help = format!("the model takes {}", list(keys));
    let used = |array: &Array| columns.0.iter().any(|column| column.array == *array);
    npz.arrays().iter().filter(move |array| !used(array) && !ignored(&array.name)).map(move |array| {
        let name = array.name.escape_debug();
        let problem = Problem::new(Code::Data, format!("the array `{name}` is for nothing in the model"));
        Diagnostic::new(problem.help(help.clone()), "", Some(npz.source()))
    })
}

/// The first names, and how many more there are.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

impl Columns {
    /// Rows of the first column.
    pub fn rows(&self) -> usize {
        self.0.first().and_then(|column| column.array.shape().first()).copied().unwrap_or(0)
    }

    /// Declares targets as the data has them, and sample weights where this or the other data has any; the layers may
    /// object later.
    pub fn declare(&self, described: &Described, other: Option<&Columns>) {
        let Described::Layers(model) = described else { return };
        for (output, ty) in model.targets() {
            let all = || self.0.iter().chain(other.iter().flat_map(|other| &other.0));
            let find = |role: Role| all().find(|column| column.role == role && column.name == output);
            if let Some(column) = find(Role::Target) {
                model.target(&output, column.item().to_vec(), ty.dtype);
            }
            if let Some(column) = find(Role::Weight) {
                // One number a sample, also where it is an axis of its own.
                let item = if column.item() == [1] { Vec::new() } else { column.item().to_vec() };
                model.sample_weight(&output, item);
            }
        }
    }

    /// Reads what an entry point takes, for training, evaluation and prediction.
    pub fn read(&self, npz: &mut Npz, module: &Module, entry: &str) -> Result<Data<'static>, Diagnostics> {
        let columns = self.values(npz, module, entry)?;
        Ok(columns.into_iter().fold(Data::new(), |data, (column, values)| match column.role {
            Role::Input => data.input(&column.name, values),
            Role::Target => data.target(&column.name, values),
            Role::Weight => data.weight(&column.name, values),
        }))
    }

    /// The argument that a column is for. Where an input of the model is called like a target, the target has underscores
    /// behind its name.
    pub fn argument<'m>(&self, column: &Column, arguments: &'m [InputDecl]) -> Option<&'m InputDecl> {
        let name = format!("{}{}", column.name, column.role.suffix());
        if column.role == Role::Input {
            return arguments.iter().find(|input| input.name == name);
        }
        let own = |input: &&InputDecl| self.0.iter().any(|c| c.role == Role::Input && c.name == input.name);
        let fitting = arguments.iter().filter(|input| input.name.trim_end_matches('_') == name && !own(input));
        fitting.max_by_key(|input| input.name.len())
    }

    /// Reads what an entry point takes. Each column must fit its argument; the rows are as many in all of them.
    pub fn values(
        &self,
        npz: &mut Npz,
        module: &Module,
        entry: &str,
    ) -> Result<Vec<(&Column, Values<'static>)>, Diagnostics> {
        let mut problems = Vec::new();
        let mut fitting = Vec::new();
        let arguments = module.entry(entry).map_or(&[][..], |entry| &entry.inputs);
        for column in &self.0 {
            match self.argument(column, arguments) {
                Some(input) => match fits(column, &input.ty) {
                    Ok(()) => fitting.push((column, &input.ty)),
                    Err(problem) => problems.push(Diagnostic::new(problem, "", Some(npz.source()))),
                },
                None if column.role == Role::Weight => {
                    let text =
                        format!("{} has sample weights for `{}`, the graph takes none", column.key(), column.name);
                    let problem = Problem::new(Code::Data, text).help("describe the model with `sample_weight`");
                    problems.push(Diagnostic::new(problem, "", Some(npz.source())));
                }
                None => {}
            }
        }
        let rows = self.rows();
        if let (Some(first), Some(other)) =
            (self.0.first(), self.0.iter().find(|column| column.array.shape().first() != Some(&rows)))
            && problems.is_empty()
        {
            let text = format!("{} and {} differ in rows", first.key(), other.key());
            let problem =
                Problem::new(Code::Data, text).help(format!("they are {} and {}", first.text(), other.text()));
            problems.push(Diagnostic::new(problem, "", Some(npz.source())));
        }
        Diagnostics::check(problems).map_err(|diagnostics| diagnostics.of_model(&module.name))?;
        let mut read = Vec::new();
        for (column, ty) in fitting {
            let values = npz.values(&column.array, runtime_type(ty.dtype)).map_err(|mut diagnostics| {
                let help = format!("the {} `{}` is {ty}, from {}", column.role, column.name, column.text());
                diagnostics.list.iter_mut().for_each(|d| d.help = Some(help.clone()));
                diagnostics
            })?;
            read.push((column, values));
        }
        Ok(read)
    }
}

/// The same type in the runtime.
pub fn runtime_type(dtype: ir::DType) -> DType {
    match dtype {
        ir::DType::F32 => DType::F32,
        ir::DType::F64 => DType::F64,
        ir::DType::I32 => DType::I32,
        ir::DType::U32 => DType::U32,
        ir::DType::U8 => DType::U8,
        ir::DType::Bool => DType::Bool,
    }
}

/// Whether a column has the rows that an argument takes. An axis of extent 1 at the end may be there or not, as in Keras.
fn fits(column: &Column, ty: &TensorType) -> Result<(), Problem> {
    let (role, name) = (column.role, &column.name);
    let text = format!("{} is {}, the {role} `{name}` is {ty}", column.key(), column.text());
    let problem = Problem::new(Code::Data, text);
    if column.array.element().size().is_none() {
        return Err(problem.help("save numbers: models take no texts, objects or structures"));
    }
    let Some(wanted) = ty.shape.iter().skip(1).map(|d| d.as_fixed()).collect::<Option<Vec<usize>>>() else {
        return Err(problem);
    };
    let trimmed = |item: &[usize]| item.strip_suffix(&[1]).unwrap_or(item).to_vec();
    let found = column.item();
    let same = found == wanted || trimmed(found) == wanted || found == trimmed(&wanted);
    match column.array.shape() {
        [_, ..] if same => Ok(()),
        shape if *shape == *wanted => Err(problem.help("give it an axis of rows: `x[None]`")),
        _ if column.item().iter().product::<usize>() == wanted.iter().product::<usize>() => {
            let shape: Vec<String> =
                std::iter::once("-1".to_string()).chain(wanted.iter().map(usize::to_string)).collect();
            Err(problem
                .help(format!("reshape it, if the elements are in this order: `.reshape({})`", shape.join(", "))))
        }
        _ => Err(problem),
    }
}
