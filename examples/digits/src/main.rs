//! Trains a dense net and a small convnet on handwritten digits, with training steps that were compiled while this
//! program was built.

mod idx;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use bakelite::{Data, Fit, Model};
use clap::Parser;
use idx::Digits;

bakelite::include_model!("dense_8x8");
bakelite::include_model!("convnet_8x8");
bakelite::include_model!("dense_28x28");
bakelite::include_model!("convnet_28x28");

/// Trains compiled networks on handwritten digits.
#[derive(Parser)]
struct Args {
    /// Folder with the four uncompressed IDX files of MNIST; without it, the 1,797 digits of the UCI set.
    #[arg(long, value_name = "DIR")]
    mnist: Option<PathBuf>,
    #[arg(long, default_value_t = 30)]
    epochs: usize,
    /// Rows of a training step, at most 128.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seed of the weights, the split and the order of rows.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Threads; all cores without it.
    #[arg(long)]
    threads: Option<usize>,
    /// Where to save the convnet's weights.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Training and test images of one size.
struct Split {
    train: Digits,
    test: Digits,
}

/// The four files of MNIST.
fn mnist(dir: &std::path::Path) -> Result<Split, String> {
    let read = |part: &str| {
        let (images, labels) = (format!("{part}-images-idx3-ubyte"), format!("{part}-labels-idx1-ubyte"));
        Digits::read(&dir.join(images), &dir.join(labels), 255.0)
    };
    Ok(Split { train: read("train")?, test: read("t10k")? })
}

/// The digits beside this program, 80% for training, drawn by seed.
fn uci(seed: u64) -> Result<Split, String> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data"));
    let all = Digits::read(&dir.join("digits-images-idx3-ubyte"), &dir.join("digits-labels-idx1-ubyte"), 16.0)?;
    let mut rows: Vec<usize> = (0..all.len()).collect();
    bakelite::shuffle(&mut rows, seed);
    let (train, test) = rows.split_at(all.len() * 4 / 5);
    Ok(Split { train: all.pick(train), test: all.pick(test) })
}

/// Trains and measures one network; returns its accuracy on the test images.
fn run(name: &str, model: &mut Model, split: &Split, args: &Args) -> Result<f64, Box<dyn Error>> {
    if let Some(threads) = args.threads {
        model.set_threads(threads)?;
    }
    let train = Data::new().input("image", &split.train.images).target("digit", &split.train.labels);
    let test = Data::new().input("image", &split.test.images).target("digit", &split.test.labels);
    println!("{name}: {} training images, {} test images, {}", split.train.len(), split.test.len(), model.level());

    let start = Instant::now();
    let fit = Fit::epochs(args.epochs).batch(args.batch).shuffle(args.seed).validation(&test).progress();
    let history = model.fit(&train, fit)?;
    let seconds = start.elapsed().as_secs_f64();
    let steps = args.epochs * split.train.len().div_ceil(args.batch);
    for key in ["loss", "accuracy", "val_loss", "val_accuracy"] {
        if let Some(last) = history.get(key).and_then(|v| v.last()) {
            println!("  {key:<13} {last:.4}");
        }
    }
    println!("  {:.0} steps/s (validation included)", steps as f64 / seconds);

    let size = split.test.side * split.test.side;
    let mut logits = [0.0f32; 10];
    let rounds = 20_000;
    let start = Instant::now();
    for i in 0..rounds {
        let row = i % split.test.len();
        let image = &split.test.images[row * size..(row + 1) * size];
        model.predict_into(1, &[image.into()], &mut [(&mut logits[..]).into()])?;
    }
    println!("  {:.2} us to predict one image", start.elapsed().as_secs_f64() * 1e6 / rounds as f64);
    Ok(model.evaluate(&test, None)?.get("accuracy").unwrap_or(f64::NAN))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let split = match &args.mnist {
        Some(dir) => mnist(dir)?,
        None => uci(args.seed)?,
    };
    let (mut dense, mut convnet): (Model, Model) = match split.train.side {
        8 => (dense_8x8::Model::init(args.seed)?.into(), convnet_8x8::Model::init(args.seed)?.into()),
        28 => (dense_28x28::Model::init(args.seed)?.into(), convnet_28x28::Model::init(args.seed)?.into()),
        side => return Err(format!("networks are compiled for images of 8x8 and 28x28, not {side}x{side}").into()),
    };
    run("dense", &mut dense, &split, &args)?;
    let accuracy = run("convnet", &mut convnet, &split, &args)?;
    if let Some(path) = &args.save {
        convnet.save(path)?;
    }
    println!("test_accuracy={accuracy:.4}");
    Ok(())
}
