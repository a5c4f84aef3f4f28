//! Networks that several tests train.

use bakelite_compiler::ir::NodeId;
use bakelite_compiler::prelude::*;

/// Two dense layers with RMSprop; wide enough that weights are kept in panels and threads share the work.
pub fn mlp(max_batch: usize) -> Model {
    let m = Model::new("mlp");
    m.max_batch(max_batch);
    let x = m.input("x", [61], F32);
    let h = Dense::new(128).activation(Relu).apply(&x);
    m.output(&Dense::new(10).apply(&h));
    m.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

/// Two convolutions with pooling and Adam.
pub fn convnet(max_batch: usize) -> Model {
    let m = Model::new("convnet");
    m.max_batch(max_batch);
    let x = m.input("x", [13, 11, 3], F32);
    let h = Conv2D::new(32, 3).activation(Relu).apply(&x);
    let h = MaxPooling2D::new(2).apply(&h);
    let h = Conv2D::new(64, 3).padding(Same).strides(2).activation(Relu).apply(&h);
    let h = Flatten.apply(&h);
    m.output(&Dense::new(10).apply(&h));
    m.compile(Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

/// Normalisation, dropout, a residual connection, regularizers and momentum.
pub fn everything(max_batch: usize) -> Model {
    let m = Model::new("everything");
    m.max_batch(max_batch);
    let x = m.input("x", [7, 7, 4], F32);
    let h = Conv2D::new(8, 3).padding(Same).kernel_regularizer(L2(1e-3)).apply(&x);
    let h = BatchNormalization::new().apply(&h);
    let h = Relu.apply(&h);
    let r = Conv2D::new(8, 1).apply(&x);
    let h = Add.apply_many(&[&h, &r]);
    let h = Dropout::new(0.25).apply(&h);
    let h = GlobalAveragePooling2D.apply(&h);
    let h = Dense::new(16).activation(Gelu).apply(&h);
    m.output(&Dense::new(10).activation(Softmax).apply(&h));
    m.compile(SGD::new(0.05).momentum(0.9).nesterov(true), SparseCategoricalCrossentropy::new(), [Accuracy]);
    m
}

/// Metrics with state, sample weights, and what an optimizer can do besides its rule.
pub fn judged(max_batch: usize) -> Model {
    let m = Model::new("judged");
    m.max_batch(max_batch);
    let x = m.input("x", [11], F32);
    let h = Dense::new(19).activation(Tanh).kernel_constraint(Constraint::max_norm(1.5)).apply(&x);
    let classes = Dense::new(10).activation(Softmax).name("classes").apply(&h);
    let marks = Dense::new(3).activation(Sigmoid).name("marks").apply(&h);
    m.output(&classes).output(&marks);
    m.sample_weight("marks", ());
    let optimizer = AdamW::new(CosineDecay::new(0.0, 8.0).warmup(0.02, 2.0))
        .exclude_from_weight_decay(["bias"])
        .global_clipnorm(0.5)
        .use_ema(true)
        .ema_overwrite_frequency(3)
        .gradient_accumulation_steps(2);
    let metrics = Metrics::new()
        .output("classes", SparseTopKCategoricalAccuracy::new(3))
        .output("classes", MeanIoU::new(10).sparse_y_pred(false))
        .output("marks", AUC::new())
        .output("marks", MeanAveragePrecision::new().num_thresholds(20))
        .output("marks", F1Score::new().threshold(0.5))
        .output("marks", R2Score::new());
    let losses = Losses::from((SparseCategoricalCrossentropy::new(), BinaryFocalCrossentropy::new()));
    m.compile(optimizer, losses.loss_weights([1.0, 0.3]), metrics);
    m.weighted_metrics(Metrics::new().output("marks", Precision::new()).output("marks", CosineSimilarity::new()));
    m
}

/// A variational autoencoder: the divergence is a loss of its own.
pub fn autoencoder(max_batch: usize) -> Model {
    let m = Model::new("autoencoder");
    m.max_batch(max_batch);
    let x = m.input("x", [9], F32);
    let h = Dense::new(16).activation(Relu).apply(&x);
    let (mean, log_variance) = (Dense::new(2).name("mean").apply(&h), Dense::new(2).name("log_variance").apply(&h));
    let z = Sampling.apply_many(&[&mean, &log_variance]);
    let decoder = Sequential::new("decoder").input("z", 2, F32).add(Dense::new(16).activation(Relu)).add(Dense::new(9));
    m.output_as("y", &decoder.apply(&z));
    let divergence = (&log_variance + 1.0 - mean.square() - log_variance.exp()).sum(&[1]).mean_all() * -0.5;
    m.add_loss(&divergence).track(&divergence, Mean::new("divergence"));
    m.compile(Adam::new(1e-2), MeanSquaredError.reduced(Reduction::Sum), [MeanAbsoluteError]);
    m.entry("decode").output("y", &decoder.apply(&mean));
    m
}

/// Normal numbers from means and logarithms of variances.
#[derive(Clone, Debug)]
struct Sampling;

impl LayerDef for Sampling {
    fn kind(&self) -> &'static str {
        "Sampling"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn build(&self, _cx: &mut BuildCx<'_>) -> Result<(), bakelite_compiler::diag::Problem> {
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let shape = cx.ty(x[0]).shape.clone();
        let noise = cx.random_normal(&shape, 0.0, 1.0);
        let half = cx.mul_s(x[1], 0.5);
        let deviation = cx.exp(half);
        let moved = cx.mul(deviation, noise);
        vec![cx.add(x[0], moved)]
    }
}

/// Two networks against each other, each trained by a step of its own.
pub fn adversaries(max_batch: usize) -> Model {
    let m = Model::new("adversaries");
    m.max_batch(max_batch);
    let generator = Sequential::new("generator")
        .input("code", 5, F32)
        .add(Dense::new(16))
        .add(BatchNormalization::new())
        .add(LeakyRelu(0.2))
        .add(Dense::new(7).activation(Tanh));
    let critic = Sequential::new("critic")
        .input("sample", 7, F32)
        .add(Dense::new(16).activation(LeakyRelu(0.2)))
        .add(Dropout::new(0.3))
        .add(Dense::new(1));
    let (noise, real) = (m.input("noise", 5, F32), m.input("real", 7, F32));
    let fake = generator.apply(&noise);
    let (judged, truth) = (critic.apply(&fake), critic.apply(&real));
    m.output(&fake);
    let loss = BinaryCrossentropy::from_logits().label_smoothing(0.1);
    let (no, yes) = (&judged * 0.0, &truth * 0.0 + 1.0);
    let critic_loss = (loss.between(&no, &judged) + loss.between(&yes, &truth)) * 0.5;
    let generator_loss = loss.between(&(&judged * 0.0 + 1.0), &judged);
    let adam = || Adam::new(2e-3).beta_1(0.5);
    m.entry("train_critic").output("loss", &critic_loss).minimize(&critic_loss, &["critic"], adam());
    m.entry("train_generator").output("loss", &generator_loss).minimize(&generator_loss, &["generator"], adam());
    m
}

/// Labels without alignment: the loss is a loop.
pub fn transcriber(max_batch: usize) -> Model {
    let m = Model::new("transcriber");
    m.max_batch(max_batch);
    let x = m.input("x", [8, 5], F32);
    m.output(&Dense::new(11).name("y").apply(&Dense::new(12).activation(Tanh).apply(&x)));
    m.target("y", 3, I32);
    m.compile(Nadam::new(0.01), CTC, ());
    m
}
