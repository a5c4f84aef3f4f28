//! What a layer is.
//!
//! A layer is a plain value that implements [`LayerDef`]: what it is called, which weights it needs for its inputs,
//! and how its result is built as graph. The three methods are everything: shapes are not inferred a second time, the
//! builder runs `call` on a scratch graph and reads the types; gradients, passes and backends see graph only.
//!
//! Users hold it as a [`Layer`], which gives it a name and an identity. A layer that is applied twice shares its
//! weights. So does a clone of it; a layer that is reconfigured after it was applied is a new one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::call::CallCx;
use super::config::Config;
use super::constraint::Constraint;
use super::graph::MaskedType;
use super::initializer::Initializer;
use super::narrow::Narrow;
use super::regularizer::Regularizer;
use super::saved::{Filed, Held, Part};
use super::tensor::Tensor;
use crate::diag::{Code, Problem, count};
use crate::ir::{DType, NodeId, Shape, StorageKind, TensorType};
use crate::limit::Limit;

/// A layer's definition.
pub trait LayerDef: fmt::Debug + Any {
    /// Keras's class name, such as `Conv2D`. Layers without a name are numbered as `conv2d`, `conv2d_1`, ...
    fn kind(&self) -> &'static str;

    /// How many inputs it takes.
    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// How many results it has.
    fn results(&self) -> usize {
        1
    }

    /// Whether each result has the mask of the input in its place. Where not, masks end here, unless
    /// [`LayerDef::call`] gives its results masks of its own with [`CallCx::set_mask`], or gives an input back as it is,
    /// which keeps its mask. The masks of the inputs are at [`CallCx::mask`] in any case.
    fn supports_masking(&self) -> bool {
        false
    }

    /// The layers inside, where this is a model.
    #[doc(hidden)]
    fn submodel(&self) -> Option<&super::builder::SubModel> {
        None
    }

    /// The definition for some inputs, where it depends on them what is inside: a model that leaves sizes open. `layer` is the
    /// layer with this definition.
    #[doc(hidden)]
    fn settle(&self, _given: &[MaskedType], _layer: &AnyLayer) -> Option<Rc<dyn LayerDef>> {
        None
    }

    /// How Keras's layer is called with the inputs.
    fn call_form(&self) -> CallForm {
        match *self.arity().end() {
            1 => CallForm::Tensor,
            _ => CallForm::List,
        }
    }

    /// Arguments that Keras's layer takes with each call, and this one has as its own.
    fn call_arguments(&self) -> Config {
        Config::new()
    }

    /// The objects inside the layer that Keras saves apart from it, in the order in which it lists their weights. Weights
    /// that are in none of them are the layer's own.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// The layer as one that runs a cell over sequences, if it is.
    #[doc(hidden)]
    fn recurrent(&self) -> Option<&dyn super::recurrent::RecurrentDef> {
        None
    }

    /// The layer as one over text, if it is.
    #[doc(hidden)]
    fn text(&self) -> Option<&dyn super::preprocessing::TextDef> {
        None
    }

    /// The layer as a cell, if it is one.
    #[doc(hidden)]
    fn cell(self: Rc<Self>) -> Option<Rc<dyn super::recurrent::CellDef>> {
        None
    }

    /// The layer as it is called with a flag that Keras takes with the call, such as `use_causal_mask`; nothing where it
    /// has no such flag.
    #[doc(hidden)]
    fn called_with(&self, _flag: &str, _value: bool) -> Option<Rc<dyn LayerDef>> {
        None
    }

    /// The element types that it computes with where its inputs have some: as Keras does, most layers take whole numbers and
    /// booleans as floats. [`LayerDef::build`] and [`LayerDef::call`] see inputs of these types.
    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        given.iter().map(|ty| ty.dtype).collect()
    }

    /// Whether the layer computes in the narrow types of its inputs.
    #[doc(hidden)]
    fn computes_narrow(&self) -> bool {
        false
    }

    /// Checks arguments and input types, and declares the weights for them. Everything that a user can get wrong is
    /// a [`Problem`] here; [`LayerDef::call`] may rely on it.
    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem>;

    /// Adds the layer's computation to the graph that `cx` derefs to and returns its results. Inputs have the
    /// types that [`LayerDef::build`] saw.
    fn call(&self, cx: &mut CallCx<'_>, inputs: &[NodeId]) -> Vec<NodeId>;
}

/// The element types of a layer that computes with floats: whole numbers become floats; booleans too, unless they are a mask
/// behind query, value and key.
pub(crate) fn floats(given: &[TensorType]) -> Vec<DType> {
    let float = |(i, ty): (usize, &TensorType)| match ty.dtype {
        DType::I32 | DType::U32 | DType::U8 => DType::F32,
        DType::Bool if i == 0 => DType::F32,
        other => other,
    };
    given.iter().enumerate().map(float).collect()
}

/// The element types of a layer that joins its inputs: the type that has room for all of them, as Keras finds it.
pub(crate) fn promoted(given: &[TensorType]) -> Vec<DType> {
    let order = [DType::Bool, DType::U8, DType::U32, DType::I32, DType::F32, DType::F64];
    let rank = |ty: &TensorType| order.iter().position(|dtype| *dtype == ty.dtype).unwrap_or(0);
    let widest = given.iter().map(rank).max().unwrap_or(0);
    vec![order[widest]; given.len()]
}

/// Inputs as a layer takes them: see [`LayerDef::operands`].
fn taken(def: &dyn LayerDef, inputs: &[MaskedType]) -> Vec<MaskedType> {
    let types: Vec<TensorType> = inputs.iter().map(|input| input.ty.clone()).collect();
    let cast = |(input, dtype): (&MaskedType, DType)| {
        let ty = TensorType::new(dtype, input.ty.shape.clone());
        MaskedType { ty, ..input.clone() }
    };
    inputs.iter().zip(def.operands(&types)).map(cast).collect()
}

/// How a layer of Keras takes its inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallForm {
    /// One tensor.
    Tensor,
    /// A list of tensors.
    List,
    /// A tensor, and behind it the initial states, as `initial_state`.
    States,
    /// Query, value and perhaps key one by one; a boolean tensor behind them is the `attention_mask`.
    Attention,
}

/// A weight or a piece of state that a layer declares.
#[derive(Clone, PartialEq, Debug)]
pub struct Weight {
    pub name: String,
    pub shape: Vec<usize>,
    /// `Param` is trained, `State` is updated by the layer itself.
    pub kind: StorageKind,
    pub initializer: Initializer,
    pub regularizer: Option<Regularizer>,
    pub constraint: Option<Constraint>,
    /// Elements along the last axis that begin as one, whatever the initializer gives.
    pub ones: Range<usize>,
    /// Whether a training of the layer changes it, where it is a `Param`.
    pub trainable: bool,
    /// How Keras's files have it.
    pub filed: Filed,
}

impl Weight {
    /// A trained weight.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Weight {
        let kind = StorageKind::Param;
        Weight {
            name: name.into(),
            shape: shape.into(),
            kind,
            initializer,
            regularizer: None,
            constraint: None,
            ones: 0..0,
            trainable: true,
            filed: Filed::Plain,
        }
    }

    /// State that the layer updates in training and reads in prediction.
    pub fn state(name: impl Into<String>, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Weight {
        Weight { kind: StorageKind::State, ..Weight::new(name, shape, initializer) }
    }

    pub fn regularizer(mut self, regularizer: Option<Regularizer>) -> Weight {
        self.regularizer = regularizer;
        self
    }

    pub fn constraint(mut self, constraint: Option<Constraint>) -> Weight {
        self.constraint = constraint;
        self
    }

    pub fn ones(mut self, ones: Range<usize>) -> Weight {
        self.ones = ones;
        self
    }

    /// No training changes it.
    pub fn fixed(mut self) -> Weight {
        self.trainable = false;
        self
    }

    pub fn filed(mut self, filed: Filed) -> Weight {
        self.filed = filed;
        self
    }

    /// The type of its cell.
    pub fn ty(&self) -> TensorType {
        TensorType::new(DType::F32, Shape::fixed(&self.shape))
    }
}

/// Elements of the largest weight: its bytes fit 32 bits of an object file's addresses with room to spare.
const MAX_WEIGHT: usize = 1 << 28;

/// What [`LayerDef::build`] sees: the input types, and where weights are declared.
pub struct BuildCx<'a> {
    kind: &'static str,
    inputs: &'a [TensorType],
    masked: &'a [MaskedType],
    weights: Vec<Weight>,
}

impl BuildCx<'_> {
    /// The layer's [`LayerDef::kind`].
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The type of the first input.
    pub fn input(&self) -> &TensorType {
        &self.inputs[0]
    }

    /// The types of all inputs.
    pub fn inputs(&self) -> &[TensorType] {
        self.inputs
    }

    /// The type of an input's mask, if it has one.
    pub fn mask(&self, input: usize) -> Option<&TensorType> {
        self.masked.get(input)?.mask.as_ref()
    }

    /// The narrow type of an input, if it has one.
    pub(crate) fn narrow(&self, input: usize) -> Option<Narrow> {
        self.masked.get(input)?.narrow
    }

    /// The type of an input's mask, if the call was given it: see [`CallCx::given_mask`].
    pub fn given_mask(&self, input: usize) -> Option<&TensorType> {
        self.masked.get(input).filter(|input| input.given)?.mask.as_ref()
    }

    /// The types of all inputs with their masks, as a call inside the layer takes them.
    pub(crate) fn masked_inputs(&self) -> Vec<MaskedType> {
        self.masked.iter().map(|input| MaskedType { given: false, ..input.clone() }).collect()
    }

    /// Declares a weight.
    pub fn weight(&mut self, weight: Weight) -> Result<(), Problem> {
        let Weight { name, shape, .. } = &weight;
        if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).is_none_or(|n| n > MAX_WEIGHT) {
            let shape = Shape::fixed(shape);
            let message = format!("{} needs a weight `{name}` of {shape}, more than {MAX_WEIGHT} elements", self.kind);
            return Err(Problem::new(Code::Size, message));
        }
        let shape = Shape::fixed(shape);
        weight.initializer.check(&shape)?;
        weight.regularizer.map_or(Ok(()), |r| r.check(&shape))?;
        weight.constraint.as_ref().map_or(Ok(()), |c| c.check(&shape))?;
        self.weights.push(weight);
        Ok(())
    }

    /// Declares a trained weight: how it begins, what is added to the loss for it, and what it is held to.
    pub fn param(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        initializer: Initializer,
        regularizer: Option<Regularizer>,
        constraint: &Option<Constraint>,
    ) -> Result<(), Problem> {
        let weight = Weight::new(name, shape, initializer);
        self.weight(weight.regularizer(regularizer).constraint(constraint.clone()))
    }

    /// Declares weights of a part of the layer, under names that begin with the part's. Its call finds them in
    /// [`CallCx::scope`].
    pub(crate) fn scope(
        &mut self,
        name: &str,
        kind: &'static str,
        inputs: &[MaskedType],
        build: impl FnOnce(&mut BuildCx<'_>) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let types: Vec<TensorType> = inputs.iter().map(|input| input.ty.clone()).collect();
        let mut part = BuildCx { kind, inputs: &types, masked: inputs, weights: Vec::new() };
        build(&mut part)?;
        let named = |w: Weight| Weight { name: format!("{name}/{}", w.name), ..w };
        self.weights.extend(part.weights.into_iter().map(named));
        Ok(())
    }

    /// Fails unless every input is `f32`.
    pub fn float(&self) -> Result<(), Problem> {
        match self.inputs.iter().find(|t| t.dtype != DType::F32) {
            None => Ok(()),
            Some(t) => {
                let problem = Problem::new(Code::DType, format!("{} takes f32, its input is {}", self.kind, t.dtype))
                    .help("convert it first: `x.cast(F32)`");
                Err(if t.dtype.is_float() { problem } else { problem.limit(Limit::WholeNumbers) })
            }
        }
    }

    /// The extents of one item of the first input, which must be `f32` and have this many axes besides the batch.
    pub fn item(&self, axes: usize, meaning: &str) -> Result<Vec<usize>, Problem> {
        self.float()?;
        self.ranked_item(axes, meaning)
    }

    /// The same for any element type.
    pub fn ranked_item(&self, axes: usize, meaning: &str) -> Result<Vec<usize>, Problem> {
        let item = self.any_item()?;
        if item.len() != axes {
            let message = format!(
                "{} takes items of rank {axes} ({meaning}), its input has items of rank {}",
                self.kind,
                item.len()
            );
            let help = match axes {
                1 if item.len() > 1 => "flatten it first: `Flatten.apply(&x)`",
                _ => "change its shape first: `Reshape::new([...]).apply(&x)`",
            };
            return Err(Problem::shape(message).help(help));
        }
        Ok(item)
    }

    /// The extents of one item of the first input: everything after the batch.
    pub fn any_item(&self) -> Result<Vec<usize>, Problem> {
        let shape = &self.input().shape;
        let item = match shape.split_first() {
            Some((first, rest)) if first.batch => Shape(rest.to_vec()).as_fixed(),
            _ => None,
        };
        item.ok_or_else(|| {
            Problem::shape(format!("{} takes a batch of items, its input is {}", self.kind, self.input()))
        })
    }

    /// Fails unless an argument is at least 1.
    pub fn positive(&self, argument: &str, value: usize) -> Result<(), Problem> {
        match value {
            0 => Err(Problem::value(format!("{} with {argument} 0: must be at least 1", self.kind))),
            _ => Ok(()),
        }
    }

    /// An axis counted from the front, where negative ones count from the back. Axis 0 is the batch.
    pub fn axis(&self, axis: isize) -> Result<usize, Problem> {
        resolve_axis(self.kind, axis, &self.input().shape)
    }
}

/// See [`BuildCx::axis`].
pub(crate) fn resolve_axis(kind: &str, axis: isize, shape: &Shape) -> Result<usize, Problem> {
    let rank = shape.rank() as isize;
    let resolved = if axis < 0 { axis.checked_add(rank).unwrap_or(-1) } else { axis };
    if (0..rank).contains(&resolved) {
        return Ok(resolved as usize);
    }
    let message = format!("{kind} with axis {axis}, its input {shape} has rank {rank}");
    Err(Problem::new(Code::Axis, message).help(match rank {
        0 => "a scalar has no axes".to_string(),
        _ => format!("axes are {}..{} or -{rank}..-1, and the batch is axis 0", 0, rank - 1),
    }))
}

/// The identity of a layer, shared by its clones and its applications.
#[derive(Debug)]
pub(crate) struct Core {
    pub id: u64,
    pub name: RefCell<Option<String>>,
    pub trainable: Cell<bool>,
    /// The penalty on its results.
    pub activity_regularizer: Cell<Option<Regularizer>>,
    /// Whether it has been applied.
    used: Cell<bool>,
    /// What it declared when it was first applied.
    weights: RefCell<Option<Vec<Weight>>>,
}

impl Core {
    pub fn new() -> Core {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Core {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: RefCell::default(),
            trainable: Cell::new(true),
            activity_regularizer: Cell::new(None),
            used: Cell::new(false),
            weights: RefCell::default(),
        }
    }
}

/// A layer of any kind.
#[derive(Clone, Debug)]
pub struct AnyLayer {
    pub(crate) def: Rc<dyn LayerDef>,
    pub(crate) core: Rc<Core>,
}

impl AnyLayer {
    /// A new layer with a definition.
    pub(crate) fn from_def(def: Rc<dyn LayerDef>) -> AnyLayer {
        AnyLayer { def, core: Rc::new(Core::new()) }
    }

    /// A layer with a definition and weights of its own, and with this one's name, flag and penalty.
    pub(crate) fn twin(&self, def: Rc<dyn LayerDef>) -> AnyLayer {
        let layer = AnyLayer::from_def(def);
        layer.set_name(&self.name().unwrap_or_default());
        layer.set_trainable(self.is_trainable());
        layer.set_activity_regularizer(self.activity_regularizer());
        layer
    }

    pub(crate) fn definition(&self) -> &dyn LayerDef {
        &*self.def
    }

    /// Its own name, if it has been given one.
    pub(crate) fn name(&self) -> Option<String> {
        self.core.name.borrow().clone()
    }

    /// Its own name, or the one that it has inside another layer.
    pub(crate) fn own_name(&self) -> String {
        self.name().unwrap_or_else(|| snake_case(self.def.kind()))
    }

    pub(crate) fn set_name(&self, name: &str) {
        *self.core.name.borrow_mut() = Some(name.to_string()).filter(|name| !name.is_empty());
    }

    pub(crate) fn is_trainable(&self) -> bool {
        self.core.trainable.get()
    }

    pub(crate) fn set_trainable(&self, trainable: bool) {
        self.core.trainable.set(trainable);
    }

    /// What the names of those of its weights begin with that belong to a frozen part of it.
    pub(crate) fn frozen(&self) -> Vec<String> {
        fn walk(parts: &[Part], prefix: &str, frozen: &mut Vec<String>) {
            for part in parts {
                match &part.held {
                    Held::Half(half, _) if !half.is_trainable() => frozen.push(format!("{prefix}{}/", half.own_name())),
                    Held::Half(half, parts) => walk(parts, &format!("{prefix}{}/", half.own_name()), frozen),
                    Held::Scope(name, parts) => walk(parts, &format!("{prefix}{name}/"), frozen),
                    Held::Layer(_) | Held::Layers(_) | Held::Weight(..) => {}
                }
            }
        }
        let mut frozen = Vec::new();
        walk(&self.def.parts(), "", &mut frozen);
        frozen
    }

    /// The penalty on its results, if it has one.
    pub fn activity_regularizer(&self) -> Option<Regularizer> {
        self.core.activity_regularizer.get()
    }

    pub(crate) fn set_activity_regularizer(&self, regularizer: Option<Regularizer>) {
        self.core.activity_regularizer.set(regularizer);
    }

    pub(crate) fn weights(&self) -> Vec<Weight> {
        self.core.weights.borrow().clone().unwrap_or_default()
    }

    /// Checks the inputs and fixes the weights, or compares them with those of an earlier application.
    pub(crate) fn build(&self, inputs: &[MaskedType]) -> Result<(), Problem> {
        let kind = self.def.kind();
        let arity = self.def.arity();
        if !arity.contains(&inputs.len()) {
            let (low, high) = (*arity.start(), *arity.end());
            let wanted = match (low, high) {
                (n, usize::MAX) => format!("at least {}", count(n, "input")),
                (n, m) if n == m => count(n, "input"),
                (n, m) => format!("{n} to {}", count(m, "input")),
            };
            return Err(Problem::new(Code::Arity, format!("{kind} takes {wanted}, got {}", inputs.len())));
        }
        let inputs = taken(&*self.def, inputs);
        let types: Vec<TensorType> = inputs.iter().map(|input| input.ty.clone()).collect();
        let mut cx = BuildCx { kind, inputs: &types, masked: &inputs, weights: Vec::new() };
        self.def.build(&mut cx)?;
        self.core.used.set(true);
        let mut before = self.core.weights.borrow_mut();
        let Some(before) = before.as_ref() else {
            *before = Some(cx.weights);
            return Ok(());
        };
        match before.iter().zip(&cx.weights).find(|(a, b)| a.shape != b.shape) {
            None => Ok(()),
            Some((a, b)) => {
                let (old, new) = (Shape::fixed(&a.shape), Shape::fixed(&b.shape));
                let message =
                    format!("{kind} is shared: its `{}` is {old} from its first use, this input needs {new}", a.name);
                Err(Problem::shape(message).help("make a second layer, or give both inputs the same shape"))
            }
        }
    }
}

/// A layer as users hold it: a definition with a name and an identity.
#[derive(Debug)]
pub struct Layer<D> {
    def: Rc<D>,
    core: Rc<Core>,
}

impl<D> Clone for Layer<D> {
    fn clone(&self) -> Layer<D> {
        Layer { def: self.def.clone(), core: self.core.clone() }
    }
}

impl<D: LayerDef + Clone + 'static> Layer<D> {
    pub fn new(def: D) -> Layer<D> {
        Layer { def: Rc::new(def), core: Rc::new(Core::new()) }
    }

    /// Changes the definition. A layer that has been applied before becomes a new layer with weights of its own.
    pub fn with(mut self, change: impl FnOnce(&mut D)) -> Layer<D> {
        self.detach();
        change(Rc::make_mut(&mut self.def));
        self
    }

    /// The name: part of the paths of its weights, unique in its model.
    pub fn name(mut self, name: impl Into<String>) -> Layer<D> {
        self.detach();
        *self.core.name.borrow_mut() = Some(name.into());
        self
    }

    /// Whether training changes its weights. Takes effect for every application of the layer, also for earlier ones.
    pub fn trainable(self, trainable: bool) -> Layer<D> {
        self.core.trainable.set(trainable);
        self
    }

    /// A penalty on the results, averaged over the batch, which is added to the loss of training and evaluation.
    pub fn activity_regularizer(mut self, regularizer: impl Into<Option<Regularizer>>) -> Layer<D> {
        self.detach();
        self.core.activity_regularizer.set(regularizer.into());
        self
    }

    fn detach(&mut self) {
        if self.core.used.get() {
            let core = Core::new();
            core.trainable.set(self.core.trainable.get());
            core.activity_regularizer.set(self.core.activity_regularizer.get());
            self.core = Rc::new(core);
        }
    }

    /// The definition and the identity.
    pub(crate) fn into_parts(self) -> (Rc<D>, Rc<Core>) {
        (self.def, self.core)
    }

    /// Applies the layer to one tensor.
    #[track_caller]
    pub fn apply(&self, x: &Tensor) -> Tensor {
        self.apply_many(&[x])
    }

    /// Applies the layer to several tensors and gives its first result.
    #[track_caller]
    pub fn apply_many(&self, xs: &[&Tensor]) -> Tensor {
        self.call(xs).swap_remove(0)
    }

    /// Applies the layer to any number of tensors and gives all its results.
    #[track_caller]
    pub fn call(&self, xs: &[&Tensor]) -> Vec<Tensor> {
        super::tensor::apply(&self.into_layer(), xs)
    }
}

/// Whatever can be used as a layer: a [`Layer`], a definition without weights such as `Flatten`, a model.
pub trait IntoLayer {
    fn into_layer(self) -> AnyLayer;
}

impl IntoLayer for AnyLayer {
    fn into_layer(self) -> AnyLayer {
        self
    }
}

impl<D: LayerDef + 'static> IntoLayer for Layer<D> {
    fn into_layer(self) -> AnyLayer {
        AnyLayer { def: self.def, core: self.core }
    }
}

impl<D: LayerDef + 'static> IntoLayer for &Layer<D> {
    fn into_layer(self) -> AnyLayer {
        self.clone().into_layer()
    }
}

impl<D: LayerDef + 'static> IntoLayer for D {
    fn into_layer(self) -> AnyLayer {
        AnyLayer::from_def(Rc::new(self))
    }
}

/// Lets a bare definition be named and applied: `Flatten.apply(&x)`. Each use is a layer of its own.
pub trait Apply: LayerDef + Clone + 'static {
    /// Applies it to one tensor.
    #[track_caller]
    fn apply(&self, x: &Tensor) -> Tensor {
        Layer::new(self.clone()).apply(x)
    }

    /// Applies it to several tensors.
    #[track_caller]
    fn apply_many(&self, xs: &[&Tensor]) -> Tensor {
        Layer::new(self.clone()).apply_many(xs)
    }

    /// A layer with this definition and a name.
    fn name(&self, name: impl Into<String>) -> Layer<Self> {
        Layer::new(self.clone()).name(name)
    }
}

impl<D: LayerDef + Clone + 'static> Apply for D {}

/// Keras's automatic name for a class: `MaxPooling2D` becomes `max_pooling2d`.
pub(crate) fn snake_case(kind: &str) -> String {
    let letters: Vec<char> = kind.chars().collect();
    let mut name = String::new();
    for (i, c) in letters.iter().enumerate() {
        let after_lower = i > 0 && letters[i - 1].is_lowercase();
        let before_lower = i > 0 && letters.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_names_are_those_of_keras() {
        let names = [
            ("Dense", "dense"),
            ("Conv2D", "conv2d"),
            ("MaxPooling2D", "max_pooling2d"),
            ("BatchNormalization", "batch_normalization"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("LSTM", "lstm"),
            ("PReLU", "p_re_lu"),
            ("ConvLSTM2D", "conv_lstm2d"),
            ("LeakyReLU", "leaky_re_lu"),
        ];
        for (kind, name) in names {
            assert_eq!(snake_case(kind), name);
        }
    }
}
