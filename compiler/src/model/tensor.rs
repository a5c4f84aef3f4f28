//! The handle of a tensor in a model under construction, and the application of layers to it.

use std::cell::RefCell;
use std::rc::Rc;

use super::builder::{Net, batch_type};
use super::call::{self, Inferred};
use super::graph::{Call, Encoded, MaskedType, Port, Role};
use super::layer::AnyLayer;
use super::preprocessing::TextDef;
use crate::diag::{Code, Diagnostic, InputNote, Problem};
use crate::ir::{SourceLine, TensorType};
use crate::limit;

/// A tensor of a model that is being described. Cheap to clone. The result of a layer that did not fit is poisoned:
/// it has no type, and layers applied to it yield poisoned tensors without a word.
#[derive(Clone)]
pub struct Tensor {
    pub(crate) net: Rc<RefCell<Net>>,
    pub(crate) port: Option<Port>,
}

impl Tensor {
    /// Its type, unless it is poisoned.
    pub fn ty(&self) -> Option<TensorType> {
        Some(self.net.borrow().graph.ty(self.port?).clone())
    }

    /// The extents of one item, without the batch; nothing if it is poisoned.
    pub fn item_shape(&self) -> Option<Vec<usize>> {
        let ty = self.ty()?;
        Some(ty.shape.iter().filter_map(|d| d.as_fixed()).collect())
    }

    /// The name of the layer or input that makes it.
    pub fn name(&self) -> Option<String> {
        Some(self.net.borrow().graph.call(self.port?.call).name.clone())
    }

    /// Applies a layer: the same as `layer.apply(&self)`, for chains.
    #[track_caller]
    pub fn then(&self, layer: impl super::IntoLayer) -> Tensor {
        apply(&layer.into_layer(), &[self]).swap_remove(0)
    }

    /// Whether it is text, which no layer computes with.
    fn is_text(&self) -> bool {
        self.port.is_some_and(|port| self.net.borrow().graph.is_text(port))
    }

    fn poison(net: &Rc<RefCell<Net>>) -> Tensor {
        Tensor { net: net.clone(), port: None }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.name(), self.ty()) {
            (Some(name), Some(ty)) => write!(f, "{name}: {ty}"),
            _ => f.write_str("poisoned"),
        }
    }
}

/// Applies a layer to tensors of one model. Mistakes are recorded there; the results are then poisoned.
#[track_caller]
pub(crate) fn apply(layer: &AnyLayer, xs: &[&Tensor]) -> Vec<Tensor> {
    apply_at(layer, xs, SourceLine::caller())
}

/// [`apply`] on behalf of another line.
pub(crate) fn apply_at(layer: &AnyLayer, xs: &[&Tensor], source: SourceLine) -> Vec<Tensor> {
    let settled = settle(layer, xs);
    let layer = settled.as_ref().unwrap_or(layer);
    let count = layer.def.results();
    let Some(first) = xs.first() else {
        // Without an operand there is no model to record the mistake in, so it waits in one of its own until the
        // result is used.
        let net = Rc::new(RefCell::new(Net::new(String::new(), source.clone())));
        let problem = Problem::new(Code::Arity, format!("{} is applied to nothing", layer.def.kind()));
        net.borrow_mut().lose(Diagnostic::new(problem, "", Some(source)));
        return vec![Tensor::poison(&net); count];
    };
    let net = &first.net;
    if let ([x], Some(def)) = (xs, layer.def.text())
        && let Some(text) = x.port
        && x.is_text()
    {
        return vec![encode(layer, def, net, text, source)];
    }
    let poisoned = || vec![Tensor::poison(net); count];
    for x in xs {
        if !adopt(net, x, layer.def.kind(), &source) {
            return poisoned();
        }
    }
    let Some(args) = xs.iter().map(|x| x.port).collect::<Option<Vec<Port>>>() else {
        return poisoned();
    };
    if !admit(net, layer, &source, &args) {
        return poisoned();
    }
    let types: Vec<MaskedType> = args.iter().map(|&port| net.borrow().graph.masked_type(port).clone()).collect();
    // The name comes first, so that diagnostics of a bad layer carry it too.
    let named = net.borrow_mut().name_layer(layer, &source);
    let name = match named {
        Ok(name) => name,
        Err(diagnostic) => {
            net.borrow_mut().lose(*diagnostic);
            return poisoned();
        }
    };
    match call::infer(layer, &types) {
        Ok(Inferred { results, uses_up }) => {
            let mut graph = std::cell::RefMut::map(net.borrow_mut(), |net| &mut net.graph);
            if uses_up {
                let ports: Vec<Port> = args.iter().flat_map(|&port| graph.unmasked(port)).collect();
                ports.into_iter().for_each(|port| graph.set_mask(port, None));
            }
            let call = graph.add(Call { role: Role::Layer(layer.clone()), name, source, args, results });
            drop(graph);
            (0..count).map(|output| Tensor { net: net.clone(), port: Some(Port { call, output }) }).collect()
        }
        Err(problem) => {
            let diagnostic = net.borrow().explain(problem, name, source, &args);
            net.borrow_mut().lose(diagnostic);
            poisoned()
        }
    }
}

/// Makes an input of text by a layer: what the caller gives in its place.
fn encode(layer: &AnyLayer, def: &dyn TextDef, net: &Rc<RefCell<Net>>, text: Port, source: SourceLine) -> Tensor {
    let refuse = |diagnostic: Diagnostic| {
        net.borrow_mut().lose(diagnostic);
        Tensor::poison(net)
    };
    let named = net.borrow_mut().name_layer(layer, &source);
    let name = match named {
        Ok(name) => name,
        Err(diagnostic) => return refuse(*diagnostic),
    };
    let (input, item) = {
        let graph = &net.borrow().graph;
        let item: Vec<usize> = graph.ty(text).shape.iter().filter_map(|d| d.as_fixed()).collect();
        (graph.call(text.call).name.clone(), item)
    };
    let first = net.borrow().graph.reader(text).map(|call| call.source.clone());
    if first.is_some() {
        let problem = Problem::new(Code::Layer, format!("the text `{input}` is read by two layers"))
            .help("declare an input for each, and give both the same texts");
        let diagnostic = Diagnostic::new(problem, name, Some(source));
        return refuse(diagnostic.related("first read", first));
    }
    let made = def.made(&item).and_then(|made| {
        let ty = batch_type(&format!("what {} gives", layer.def.kind()), &made.item, made.dtype)?;
        Ok((made.form, ty))
    });
    let (form, ty) = match made {
        Ok(made) => made,
        Err(problem) => return refuse(Diagnostic::new(problem, name, Some(source))),
    };
    let role = Role::Encoded(Encoded { layer: layer.clone(), input, form: form.into() });
    let call = Call { role, name, source, args: vec![text], results: vec![ty.into()] };
    let call = net.borrow_mut().graph.add(call);
    Tensor { net: net.clone(), port: Some(Port { call, output: 0 }) }
}

/// The layer for what it is applied to, where it depends on that.
fn settle(layer: &AnyLayer, xs: &[&Tensor]) -> Option<AnyLayer> {
    let ty = |x: &&Tensor| Some(x.net.borrow().graph.masked_type(x.port?).clone());
    let given: Vec<MaskedType> = xs.iter().map(ty).collect::<Option<_>>()?;
    let def = layer.def.settle(&given, layer)?;
    Some(AnyLayer { def, core: layer.core.clone() })
}

/// Whether a layer can be part of a model at all: not if it is a model with mistakes of its own, which move here, or
/// one that contains this model.
fn admit(net: &Rc<RefCell<Net>>, layer: &AnyLayer, source: &SourceLine, args: &[Port]) -> bool {
    let Some(inner) = layer.def.submodel() else { return true };
    let name = inner.graph.name.clone();
    if inner.contains(net.borrow().core.id) {
        let outer = net.borrow().graph.name.clone();
        let message = match name == outer {
            true => format!("the model `{name}` is used inside itself"),
            false => format!("the model `{name}` contains `{outer}` and is used inside it"),
        };
        let problem =
            Problem::new(Code::Cycle, message).help("models nest like boxes; put the shared layers in a third");
        let diagnostic = net.borrow().explain(problem, name, source.clone(), args);
        net.borrow_mut().lose(diagnostic);
        return false;
    }
    let problems = std::mem::take(&mut inner.net.borrow_mut().problems);
    let mut origin = inner.net.borrow_mut();
    origin.broken |= !problems.is_empty();
    let sound = !origin.broken;
    drop(origin);
    problems.into_iter().for_each(|mut p| {
        p.path = if p.path.is_empty() { name.clone() } else { format!("{name}/{}", p.path) };
        net.borrow_mut().lose(p);
    });
    sound
}

/// Whether a tensor belongs to a model. If not, that is recorded in the model, together with what is wrong in the
/// other one.
pub(crate) fn adopt(net: &Rc<RefCell<Net>>, x: &Tensor, user: &str, source: &SourceLine) -> bool {
    if Rc::ptr_eq(net, &x.net) {
        if x.is_text() {
            let limit = limit::of_text(user);
            let help = match limit {
                Some(_) => "look it up first, with `StringLookup`: its indices are numbers, whose hashes are others",
                None => "look it up first: `TextVectorization::new().output_sequence_length(80).apply(&x)`",
            };
            let message = format!("{user} takes numbers, `{}` is text", x.name().unwrap_or_default());
            let problem = Problem::new(Code::DType, message).help(help).limit(limit);
            net.borrow_mut().lose(Diagnostic::new(problem, "", Some(source.clone())));
            return false;
        }
        return true;
    }
    let mut problems = std::mem::take(&mut x.net.borrow_mut().problems);
    if problems.is_empty() {
        let (here, there) = (net.borrow().graph.name.clone(), x.net.borrow().graph.name.clone());
        let name = x.name().unwrap_or_default();
        let message = format!("{user} mixes tensors of two models: `{name}` belongs to `{there}`, not to `{here}`");
        let problem = Problem::new(Code::Model, message)
            .help(format!("apply the model `{there}` as a layer to a tensor of `{here}`"));
        problems.push(Diagnostic::new(problem, "", Some(source.clone())));
    }
    problems.into_iter().for_each(|problem| net.borrow_mut().lose(problem));
    false
}

impl Net {
    /// A problem of a layer, with its place: the operands, and how the first came about.
    pub(crate) fn explain(&self, problem: Problem, path: String, source: SourceLine, args: &[Port]) -> Diagnostic {
        let inputs = args.iter().map(|&port| {
            let call = self.graph.call(port.call);
            let ty = self.graph.ty(port).clone();
            InputNote { ty, from: call.name.clone(), source: Some(call.source.clone()) }
        });
        let trail = args.first().map(|&port| self.graph.trail(port)).unwrap_or_default();
        Diagnostic { inputs: inputs.collect(), trail, ..Diagnostic::new(problem, path, Some(source)) }
    }
}
