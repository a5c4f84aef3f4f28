//! Workloads in candle, an eager framework in Rust, with RMSprop written in its operations.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, Optimizer, VarBuilder, VarMap, loss};

use crate::workloads::{Target, Workload, numbers};

/// RMSprop with the constants of the workloads.
pub struct RmsProp {
    vars: Vec<(Var, Tensor)>,
    learning_rate: f64,
}

impl Optimizer for RmsProp {
    type Config = f64;

    fn new(vars: Vec<Var>, learning_rate: f64) -> Result<RmsProp> {
        let with_moment = |v: Var| Ok((v.clone(), v.zeros_like()?));
        Ok(RmsProp { vars: vars.into_iter().map(with_moment).collect::<Result<_>>()?, learning_rate })
    }

    fn step(&mut self, gradients: &candle_core::backprop::GradStore) -> Result<()> {
        for (var, moment) in &mut self.vars {
            let Some(g) = gradients.get(var.as_tensor()) else { continue };
            *moment = ((&*moment * 0.9)? + (g.sqr()? * 0.1)?)?;
            let step = (g * self.learning_rate)?.div(&(&*moment + 1e-7)?.sqrt()?)?;
            var.set(&var.sub(&step)?)?;
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }
}

/// A workload with fresh weights and a batch of data.
pub struct Candle {
    net: Net,
    optimizer: RmsProp,
    target: Target,
    x: Tensor,
    y: Tensor,
}

impl Candle {
    /// `None` for workloads that are not written in candle.
    pub fn new(w: &Workload) -> Option<Result<Candle>> {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        let net = match w.name {
            "tiny" => tiny(vb),
            "mlp" => mlp(vb),
            "conv" => conv(vb),
            _ => return None,
        };
        let rest = move || {
            let (net, optimizer) = (net?, RmsProp::new(map.all_vars(), 1e-3)?);
            // Images are channels first here.
            let item =
                if let [rows, columns, channels] = w.item { vec![*channels, *rows, *columns] } else { w.item.to_vec() };
            let shape = [&[w.batch], &item[..]].concat();
            let x = Tensor::from_vec(numbers(1, shape.iter().product()), shape, &Device::Cpu)?;
            let y = match w.target {
                Target::Numbers(n) => Tensor::from_vec(numbers(2, w.batch * n), (w.batch, n), &Device::Cpu)?,
                Target::Class(n) => {
                    let labels: Vec<u32> = (0..w.batch).map(|i| (i * 7 % n) as u32).collect();
                    Tensor::from_vec(labels, w.batch, &Device::Cpu)?
                }
                Target::Question | Target::Image => candle_core::bail!("no loss for this target"),
            };
            Ok(Candle { net, optimizer, target: w.target, x, y })
        };
        Some(rest())
    }

    /// One training step; returns the loss.
    pub fn train(&mut self) -> Result<f32> {
        let y = (self.net)(&self.x)?;
        let loss = match self.target {
            Target::Numbers(_) => loss::mse(&y, &self.y)?,
            Target::Class(_) | Target::Question | Target::Image => loss::cross_entropy(&y, &self.y)?,
        };
        self.optimizer.backward_step(&loss)?;
        loss.to_scalar()
    }

    /// Predicts the first rows of the batch; returns the first result.
    pub fn predict(&self, rows: usize) -> Result<f32> {
        (self.net)(&self.x.narrow(0, 0, rows)?)?.flatten_all()?.get(0)?.to_scalar()
    }
}

type Net = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

fn linear(inputs: usize, outputs: usize, vb: &VarBuilder, name: &str) -> Result<Linear> {
    candle_nn::linear(inputs, outputs, vb.pp(name))
}

fn tiny(vb: VarBuilder) -> Result<Net> {
    let (a, b, c) = (linear(4, 32, &vb, "a")?, linear(32, 32, &vb, "b")?, linear(32, 4, &vb, "c")?);
    Ok(Box::new(move |x| c.forward(&b.forward(&a.forward(x)?.tanh()?)?.tanh()?)))
}

fn mlp(vb: VarBuilder) -> Result<Net> {
    let (a, b) = (linear(784, 512, &vb, "a")?, linear(512, 10, &vb, "b")?);
    Ok(Box::new(move |x| b.forward(&a.forward(x)?.relu()?)))
}

fn conv(vb: VarBuilder) -> Result<Net> {
    let conv = |from, to, name: &str| -> Result<Conv2d> {
        candle_nn::conv2d(from, to, 3, Conv2dConfig::default(), vb.pp(name))
    };
    let (a, b, c) = (conv(1, 32, "a")?, conv(32, 64, "b")?, conv(64, 64, "c")?);
    let (d, e) = (linear(576, 64, &vb, "d")?, linear(64, 10, &vb, "e")?);
    Ok(Box::new(move |x| {
        let x = a.forward(x)?.relu()?.max_pool2d(2)?;
        let x = b.forward(&x)?.relu()?.max_pool2d(2)?;
        let x = c.forward(&x)?.relu()?.flatten_from(1)?;
        debug_assert_eq!(x.dim(D::Minus1)?, 576);
        e.forward(&d.forward(&x)?.relu()?)
    }))
}
