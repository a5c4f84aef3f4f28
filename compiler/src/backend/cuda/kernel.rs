//! One kernel as one `__global__` function.

use std::fmt::Write;

use super::mapping::Mapping;
use super::stage::{Names, is_trivial};
use super::{Arg, Launch, spelling, width};
use crate::ir::{BinaryFn, DType, Dim};
use crate::schedule::print::bare;
use crate::schedule::program::{
    Acc, Access, Affine, AxisId, BufferId, Expr, ExprId, Indirect, Kernel, Place, Program, StorageLayout, StoreMode,
    TypedExpr,
};
use bakelite::names::printable;

/// The text of a kernel and how to launch it.
pub fn print(program: &Program, kernel: &Kernel, storage: &StorageLayout) -> (String, Launch) {
    let mapping = Mapping::of(program, kernel);
    let (_, writes) = kernel.touches();
    // Expressions that no stage uses are not printed, so neither are the buffers that only they load from.
    let reads = kernel.stages.iter().flat_map(|s| kernel.loads_of(s)).map(|load| load.buffer);
    let mut buffers: Vec<BufferId> = reads.chain(writes.iter().copied()).collect();
    buffers.sort();
    buffers.dedup();
    // Slices are declared behind what they are slices of.
    let (mut args, mut at) = (vec![Arg::Batch], 0);
    while let Some(&id) = buffers.get(at) {
        at += 1;
        match program.buffer(id).place {
            Place::Input(i) => args.push(Arg::Input(i)),
            Place::Output(i) => args.push(Arg::Output(i)),
            Place::Storage(_) => args.push(Arg::Storage),
            Place::Arena { .. } => args.push(Arg::Arena),
            Place::Const(_) => {}
            Place::Slice { of, step, .. } => {
                args.push(Arg::Step(step.index()));
                buffers.push(of);
            }
        }
    }
    buffers.sort();
    buffers.dedup();
    args.sort();
    args.dedup();

    let folds = match mapping {
        Mapping::Thread => false,
        Mapping::Block(_) => kernel.stages.iter().any(|s| !s.axes.is_empty() && !s.accs.is_empty()),
    };
    let widest = kernel.accs.iter().map(|a| a.dtype.size()).max().unwrap_or(0);
    let launch = Launch {
        symbol: symbol(program, kernel),
        points: kernel.outer.iter().map(|a| kernel.extent(*a)).collect(),
        mapping,
        shared: if folds { widest * mapping.threads() } else { 0 },
        args,
    };

    let wide = width::is_wide(program, kernel, mapping.threads());
    let stages = kernel.stages.iter().map(|stage| {
        let loops = match mapping {
            Mapping::Thread => stage.axes.len(),
            Mapping::Block(_) => stage.axes.len().min(1),
        };
        Names::of(kernel, stage, loops)
    });
    let stages = stages.collect();
    let mut printer = Printer { program, kernel, mapping, wide, stages, text: String::new(), indent: 0 };
    printer.function(&launch, &buffers, &writes, storage);
    (printer.text, launch)
}

/// The name of a parameter.
pub fn arg_name(arg: Arg) -> String {
    match arg {
        Arg::Batch => "batch".into(),
        Arg::Storage => "storage".into(),
        Arg::Arena => "arena".into(),
        Arg::Input(i) => format!("in{i}"),
        Arg::Output(i) => format!("out{i}"),
        Arg::Step(i) => format!("step{i}"),
    }
}

/// The name of a constant's array, unique in the module.
pub fn constant_name(program: &Program, id: BufferId) -> String {
    format!("{}_{}", identifier(&program.name), buffer_name(program, id))
}

fn symbol(program: &Program, kernel: &Kernel) -> String {
    format!("{}_{}", identifier(&program.name), identifier(&kernel.name))
}

/// The local name of a buffer; the number keeps equal names apart.
fn buffer_name(program: &Program, id: BufferId) -> String {
    format!("{}_{}", identifier(&program.buffer(id).name), id.0)
}

/// A name as an identifier of C++.
fn identifier(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let words: Vec<&str> = clean.split('_').filter(|w| !w.is_empty()).collect();
    match words.join("_") {
        joined if joined.starts_with(|c: char| c.is_ascii_alphabetic()) => joined,
        joined => format!("t{joined}"),
    }
}

struct Printer<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    mapping: Mapping,
    /// Indices are 64 bits wide.
    wide: bool,
    stages: Vec<Names>,
    text: String,
    indent: usize,
}

impl Printer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.text, "{:1$}{2}", "", self.indent * 4, text.as_ref()).unwrap();
    }

    fn open(&mut self, text: impl AsRef<str>) {
        self.line(text);
        self.indent += 1;
    }

    fn close(&mut self) {
        self.indent -= 1;
        self.line("}");
    }

    /// The type of indices.
    fn index_type(&self) -> &'static str {
        if self.wide { "long long" } else { "int" }
    }

    fn function(&mut self, launch: &Launch, buffers: &[BufferId], writes: &[BufferId], storage: &StorageLayout) {
        let parameters: Vec<String> = launch.args.iter().map(|a| self.parameter(*a)).collect();
        if !self.kernel.sites.is_empty() {
            let sites: Vec<String> = self.kernel.sites.iter().map(|s| s.to_string()).collect();
            self.line(format!("// {}", printable(&sites.join(" + ")).replace('\\', " ")));
        }
        let threads = launch.block();
        self.open(format!(
            "extern \"C\" __global__ void __launch_bounds__({threads}) {}({}) {{",
            launch.symbol,
            parameters.join(", ")
        ));
        for &id in buffers {
            let written = writes.iter().any(|w| *w == id || self.program.whole(*w) == self.program.whole(id));
            self.buffer(id, written, storage);
        }
        self.point(&launch.points, threads);
        for index in 0..self.stages.len() {
            self.stage(index);
        }
        self.close();
    }

    fn parameter(&self, arg: Arg) -> String {
        let name = arg_name(arg);
        let element = |id: BufferId| spelling::memory_type(self.program.buffer(id).dtype);
        match arg {
            Arg::Batch | Arg::Step(_) => format!("int {name}"),
            Arg::Storage | Arg::Arena => format!("unsigned char* {name}"),
            Arg::Input(i) => format!("const {}* {name}", element(self.program.inputs[i])),
            Arg::Output(i) => format!("{}* {name}", element(self.program.outputs[i])),
        }
    }

    /// Declares the pointer to a buffer.
    fn buffer(&mut self, id: BufferId, written: bool, storage: &StorageLayout) {
        let ty = spelling::memory_type(self.program.buffer(id).dtype);
        let constness = if written { "" } else { "const " };
        let source = match &self.program.buffer(id).place {
            Place::Input(i) => arg_name(Arg::Input(*i)),
            Place::Output(i) => arg_name(Arg::Output(*i)),
            Place::Storage(cell) => format!("({constness}{ty}*)(storage + {})", storage.offsets[cell.0 as usize]),
            Place::Arena { offset } => format!("({constness}{ty}*)(arena + {offset})"),
            Place::Const(_) => format!("(const {ty}*){}", constant_name(self.program, id)),
            Place::Slice { of, step, stride } => {
                let (whole, step) = (buffer_name(self.program, *of), arg_name(Arg::Step(step.index())));
                format!("{whole} + (long long){step} * {stride}")
            }
        };
        self.line(format!("{constness}{ty}* const {} = {source};", buffer_name(self.program, id)));
    }

    /// Finds the outer point of this thread or block.
    fn point(&mut self, points: &[Dim], threads: usize) {
        let ty = self.index_type();
        let used = |axis: &AxisId| self.stages.iter().any(|names| names.axes().contains(axis));
        let axes: Vec<(AxisId, bool)> = self.kernel.outer.iter().map(|a| (*a, used(a))).collect();
        let block = if self.wide { "(long long)blockIdx.x" } else { "(int)blockIdx.x" };
        match self.mapping {
            Mapping::Thread => {
                self.line(format!("const {ty} point = {block} * {threads} + (int)threadIdx.x;"));
                let total = spelling::product(points, self.wide);
                self.line(format!("if (point >= {}) return;", bare(&total)));
            }
            Mapping::Block(_) if axes.iter().any(|a| a.1) => self.line(format!("const {ty} point = {block};")),
            Mapping::Block(_) => {}
        }
        self.coordinates("point", &axes);
    }

    /// Declares the axes (where used) of a flat row-major index.
    fn coordinates(&mut self, flat: &str, axes: &[(AxisId, bool)]) {
        let ty = self.index_type();
        for (at, &(axis, used)) in axes.iter().enumerate() {
            if !used {
                continue;
            }
            let extent = self.kernel.extent(axis);
            let inner: Vec<Dim> = axes[at + 1..].iter().map(|a| self.kernel.extent(a.0)).collect();
            let quotient = match spelling::product(&inner, self.wide) {
                one if one == "1" => flat.to_string(),
                inner => format!("{flat} / {inner}"),
            };
            let value = match extent {
                Dim::ONE => "0".to_string(),
                _ if at == 0 => quotient,
                _ => format!("{quotient} % {}", spelling::size(extent)),
            };
            self.line(format!("const {ty} i{} = {value};", axis.0));
        }
    }

    fn stage(&mut self, at: usize) {
        let stage = &self.kernel.stages[at];
        for &acc in &stage.accs {
            let Acc { f, dtype, .. } = self.kernel.accs[acc.index()];
            let neutral = spelling::literal(f.neutral(dtype), dtype);
            self.line(format!("{} acc{} = {};", spelling::value_type(dtype), acc.0, bare(&neutral)));
        }
        // A loop that never runs, whose body might read from buffers without elements.
        if stage.axes.iter().any(|a| self.kernel.extent(*a).scale == 0) {
            return;
        }
        let last = at + 1 == self.kernel.stages.len();
        let scoped = !last && self.stages[at].at(0).next().is_some();
        if scoped {
            self.open("{");
        }
        match self.mapping {
            Mapping::Thread => self.own_points(at),
            Mapping::Block(_) if stage.axes.is_empty() => self.one_point(at),
            Mapping::Block(threads) => self.shared_points(at, threads),
        }
        if scoped {
            self.close();
        }
        let folded = !stage.axes.is_empty() && !stage.accs.is_empty();
        match self.mapping {
            Mapping::Block(_) if !last && !folded => self.line("__syncthreads();"),
            Mapping::Block(_) | Mapping::Thread => {}
        }
    }

    /// A stage whose points all belong to this thread.
    fn own_points(&mut self, at: usize) {
        let stage = &self.kernel.stages[at];
        let ty = self.index_type();
        self.names(at, 0);
        for (depth, axis) in stage.axes.iter().enumerate() {
            let extent = spelling::size(self.kernel.extent(*axis));
            let i = format!("i{}", axis.0);
            self.open(format!("for ({ty} {i} = 0; {i} < {}; ++{i}) {{", bare(&extent)));
            self.names(at, depth + 1);
        }
        self.accumulate(at);
        self.stores(at);
        for _ in &stage.axes {
            self.close();
        }
    }

    /// A stage without axes in a block: every thread has the accumulators, one thread stores.
    fn one_point(&mut self, at: usize) {
        let stage = &self.kernel.stages[at];
        if !stage.accs.is_empty() {
            self.names(at, 0);
            self.accumulate(at);
            if stage.stores.is_empty() {
                return;
            }
            self.line("__syncthreads();");
        }
        self.open("if (threadIdx.x == 0) {");
        if stage.accs.is_empty() {
            self.names(at, 0);
        }
        self.stores(at);
        self.close();
    }

    /// A stage whose points the threads of a block share out.
    fn shared_points(&mut self, at: usize, threads: usize) {
        let stage = &self.kernel.stages[at];
        let ty = self.index_type();
        self.names(at, 0);
        let extents: Vec<Dim> = stage.axes.iter().map(|a| self.kernel.extent(*a)).collect();
        let total = spelling::product(&extents, self.wide);
        self.open(format!("for ({ty} p = (int)threadIdx.x; p < {}; p += {threads}) {{", bare(&total)));
        let axes: Vec<(AxisId, bool)> = stage.axes.iter().map(|a| (*a, self.stages[at].axes().contains(a))).collect();
        self.coordinates("p", &axes);
        self.names(at, 1);
        self.accumulate(at);
        self.stores(at);
        self.close();
        for &acc in &stage.accs {
            let Acc { f, dtype, .. } = self.kernel.accs[acc.index()];
            let ty = spelling::value_type(dtype);
            let combined = spelling::binary(f.combine(), "x", "y", dtype);
            let combined = bare(&combined);
            self.line(format!("acc{0} = bk_fold(acc{0}, []({ty} x, {ty} y) {{ return {combined}; }});", acc.0));
        }
    }

    /// Declares the named expressions that this many loops of the stage enclose.
    fn names(&mut self, at: usize, loops: usize) {
        let ids: Vec<ExprId> = self.stages[at].at(loops).collect();
        for id in ids {
            let ty = spelling::value_type(self.kernel.expr(id).dtype);
            let value = self.spell(at, id);
            self.line(format!("const {ty} v{} = {};", id.0, bare(&value)));
        }
    }

    /// Folds the stage's values into its accumulators.
    fn accumulate(&mut self, at: usize) {
        for &acc in &self.kernel.stages[at].accs {
            let Acc { f, value, dtype } = self.kernel.accs[acc.index()];
            let name = format!("acc{}", acc.0);
            let folded = spelling::binary(f.combine(), &name, &self.value(at, value), dtype);
            self.line(format!("{name} = {};", bare(&folded)));
        }
    }

    /// Performs the stage's stores. All values are computed before the first store, since a later one may read what
    /// an earlier one overwrites.
    fn stores(&mut self, at: usize) {
        let stores = &self.kernel.stages[at].stores;
        let mut values = Vec::new();
        // Stages without loops share a scope, so names are numbered through the kernel.
        let before: usize = self.kernel.stages[..at].iter().map(|s| s.stores.len()).sum();
        for (i, store) in (before..).zip(stores) {
            let value = self.value(at, store.value);
            let typed = self.kernel.expr(store.value);
            if stores.len() == 1 || is_trivial(&typed.expr) || self.stages[at].has(store.value) {
                values.push(value);
            } else {
                let ty = spelling::value_type(typed.dtype);
                self.line(format!("const {ty} s{i} = {};", bare(&value)));
                values.push(format!("s{i}"));
            }
        }
        for (store, value) in stores.iter().zip(values) {
            let mut guard = String::new();
            let mut address = store.access.index.to_string();
            if let Some(Indirect { index, stride, extent }) = &store.access.indirect {
                let index = self.value(at, *index);
                guard = format!("if (bk_inside({}, {extent})) ", bare(&index));
                address = self.offset(&address, *stride, &format!("(int){index}"));
            }
            let buffer = self.program.buffer(store.access.buffer);
            let slot = format!("{}[{address}]", buffer_name(self.program, store.access.buffer));
            let value = match store.mode {
                StoreMode::Set => value,
                StoreMode::Add => spelling::binary(BinaryFn::Add, &read(&slot, buffer.dtype), &value, buffer.dtype),
            };
            self.line(format!("{guard}{slot} = {};", bare(&value)));
        }
    }

    /// An expression as an operand: its name, or itself.
    fn value(&self, at: usize, id: ExprId) -> String {
        if self.stages[at].has(id) { format!("v{}", id.0) } else { self.spell(at, id) }
    }

    /// An expression written out.
    fn spell(&self, at: usize, id: ExprId) -> String {
        let TypedExpr { expr, dtype } = self.kernel.expr(id);
        let from = |x: &ExprId| self.kernel.expr(*x).dtype;
        match expr {
            Expr::Const(number) => spelling::literal(number.0, *dtype),
            Expr::Size(dim) => spelling::cast(&spelling::size(*dim), DType::I32, *dtype),
            Expr::Index(index) => self.index(index, *dtype),
            Expr::Load(access) => self.load(at, access),
            Expr::Acc(acc) => format!("acc{}", acc.0),
            Expr::Unary(f, x) => spelling::unary(*f, &self.value(at, *x), from(x)),
            Expr::Binary(f, x, y) => spelling::binary(*f, &self.value(at, *x), &self.value(at, *y), from(x)),
            Expr::Select(c, a, b) => {
                format!("({} ? {} : {})", self.value(at, *c), self.value(at, *a), self.value(at, *b))
            }
            Expr::Cast(x) => spelling::cast(&self.value(at, *x), from(x), *dtype),
        }
    }

    /// The value of an affine form.
    fn index(&self, index: &Affine, dtype: DType) -> String {
        let text = match (index.terms.as_slice(), index.base) {
            ([], base) if base >= 0 => base.to_string(),
            ([(axis, 1)], 0) => format!("i{}", axis.0),
            _ => format!("({index})"),
        };
        match dtype {
            DType::I32 if self.wide => format!("((int){text})"),
            DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::U8 | DType::Bool => {
                spelling::cast(&text, DType::I32, dtype)
            }
        }
    }

    fn load(&self, at: usize, access: &Access) -> String {
        let mut address = access.index.to_string();
        if let Some(Indirect { index, stride, extent }) = &access.indirect {
            let index = self.value(at, *index);
            address = self.offset(&address, *stride, &format!("bk_clamp({}, {extent})", bare(&index)));
        }
        let name = buffer_name(self.program, access.buffer);
        read(&format!("{name}[{address}]"), self.program.buffer(access.buffer).dtype)
    }

    /// An address plus `stride * index`.
    fn offset(&self, address: &str, stride: i64, index: &str) -> String {
        let wide = if self.wide { "LL" } else { "" };
        match (address, stride) {
            ("0", 1) => index.to_string(),
            ("0", _) => format!("{stride}{wide} * {index}"),
            (_, 1) => format!("{address} + {index}"),
            _ => format!("{address} + {stride}{wide} * {index}"),
        }
    }
}

/// The value of an element in memory.
fn read(slot: &str, dtype: DType) -> String {
    match dtype {
        DType::Bool => format!("({slot} != 0)"),
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::U8 => slot.to_string(),
    }
}
