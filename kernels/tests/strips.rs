//! Every strip kernel at every level of this machine against `f64` references.

use bakelite_kernels::manifest::{KernelTable, Level, Strip2Fn, StripFn, table};

struct Row {
    name: &'static str,
    kernel: fn(&KernelTable) -> StripFn,
    reference: fn(f64) -> f64,
    /// Where most points are drawn from; others come from all bit patterns.
    domain: (f32, f32),
    /// Magnitude beyond which only finiteness of the result is promised.
    limit: f32,
    ulps: f64,
}

const ROWS: &[Row] = &[
    Row {
        name: "exp",
        kernel: |t| t.exp,
        reference: f64::exp,
        domain: (-105.0, 90.0),
        limit: f32::INFINITY,
        ulps: 1.5,
    },
    Row {
        name: "expm1",
        kernel: |t| t.expm1,
        reference: f64::exp_m1,
        domain: (-20.0, 90.0),
        limit: f32::INFINITY,
        ulps: 1.0,
    },
    Row { name: "log", kernel: |t| t.log, reference: f64::ln, domain: (0.0, 10.0), limit: f32::INFINITY, ulps: 1.5 },
    Row {
        name: "log1p",
        kernel: |t| t.log1p,
        reference: f64::ln_1p,
        domain: (-1.0, 10.0),
        limit: f32::INFINITY,
        ulps: 1.0,
    },
    Row {
        name: "tanh",
        kernel: |t| t.tanh,
        reference: f64::tanh,
        domain: (-10.0, 10.0),
        limit: f32::INFINITY,
        ulps: 2.0,
    },
    Row {
        name: "sigmoid",
        kernel: |t| t.sigmoid,
        reference: |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
        domain: (-105.0, 30.0),
        limit: f32::INFINITY,
        ulps: 2.0,
    },
    Row { name: "erf", kernel: |t| t.erf, reference: erf, domain: (-4.5, 4.5), limit: f32::INFINITY, ulps: 2.0 },
    Row { name: "sin", kernel: |t| t.sin, reference: f64::sin, domain: (-1e5, 1e5), limit: 8e8, ulps: 1.0 },
    Row { name: "cos", kernel: |t| t.cos, reference: f64::cos, domain: (-10.0, 10.0), limit: 8e8, ulps: 1.0 },
];

/// The series `2 / sqrt(pi) * e^-x^2 * sum of 2^n x^(2n+1) / (2n+1)!!`, whose terms all have one sign.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bits(&mut self) -> f32 {
        f32::from_bits((self.next() >> 32) as u32)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1 << 24) as f32)
    }
}

const SPECIAL: &[f32] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    0.625,
    1e-3,
    -1e-3,
    1e-10,
    -1e-10,
    88.722_84,
    -87.336_55,
    -103.972_08,
    -103.972_1,
    1e30,
    -1e30,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    1e-40,
    -1e-40,
    16_777_215.0,
    16_777_216.0,
    -16_777_215.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

fn levels() -> impl Iterator<Item = (Level, &'static KernelTable)> {
    Level::ALL.into_iter().filter_map(|l| Some((l, table(l)?)))
}

/// The distance of a result from the exact value in units of the last place of the latter.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || got.is_infinite() || want == 0.0 {
        return if got == rounded { 0.0 } else { f64::INFINITY };
    }
    let exponent = (rounded.abs().max(f32::MIN_POSITIVE).to_bits() >> 23) as i32 - 127;
    (got as f64 - want).abs() / 2f64.powi(exponent - 23)
}

fn run(kernel: StripFn, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    // SAFETY: both slices have the length that is passed, and the table exists only where the level does.
    unsafe { kernel(y.as_mut_ptr(), x.as_ptr(), x.len()) };
    y
}

fn run2(kernel: Strip2Fn, x: &[f32], y: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), y.len());
    let mut z = vec![0.0; x.len()];
    // SAFETY: as above.
    unsafe { kernel(z.as_mut_ptr(), x.as_ptr(), y.as_ptr(), x.len()) };
    z
}

#[test]
fn unary_strips_are_accurate() {
    for row in ROWS {
        let mut random = Random(7);
        let mut x = SPECIAL.to_vec();
        x.extend((0..200_000).map(|_| random.bits()));
        x.extend((0..400_000).map(|_| random.between(row.domain.0, row.domain.1)));
        x.extend((0..100_000).map(|_| random.between(-1.5, 1.5)));
        let reference: Vec<f64> = x.iter().map(|x| (row.reference)(*x as f64)).collect();
        let mut fused: Option<Vec<f32>> = None;
        for (level, table) in levels() {
            let y = run((row.kernel)(table), &x);
            let (mut worst, mut at) = (0.0, 0.0);
            for i in 0..x.len() {
                if x[i].is_finite() && x[i].abs() > row.limit {
                    assert!(
                        y[i].is_finite() && y[i].abs() <= 1.0,
                        "{} {} at {:e}: {:e}",
                        row.name,
                        level.name(),
                        x[i],
                        y[i]
                    );
                    continue;
                }
                let error = ulps(y[i], reference[i]);
                if error > worst {
                    (worst, at) = (error, x[i]);
                }
                if reference[i] == 0.0 {
                    assert_eq!(
                        y[i].to_bits(),
                        (reference[i] as f32).to_bits(),
                        "{} {}: sign of zero",
                        row.name,
                        level.name()
                    );
                }
            }
            println!("{:8} {:10} {worst:.3} ulp at {at:e}", row.name, level.name());
            assert!(worst <= row.ulps, "{} {}: {worst} ulp at {at:e}", row.name, level.name());
            if !matches!(level, Level::V3 | Level::V4) {
                continue;
            }
            // NaN payloads aside, levels with fused multiply-adds give the same bits.
            let fused = fused.get_or_insert_with(|| y.clone());
            let same = fused.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
            assert!(same, "{}: levels differ", row.name);
        }
    }
}

#[test]
fn powers_are_accurate() {
    let mut random = Random(11);
    let (mut x, mut y) = (vec![], vec![]);
    for a in SPECIAL {
        for b in SPECIAL {
            x.push(*a);
            y.push(*b);
        }
    }
    for _ in 0..200_000 {
        x.push(random.bits());
        y.push(random.between(-8.0, 8.0));
        x.push(random.between(0.0, 3.0));
        y.push(random.between(-150.0, 150.0));
        x.push(random.between(-10.0, 10.0));
        y.push((random.next() % 21) as f32 - 10.0);
        x.push(random.between(0.999, 1.001));
        y.push(random.between(-90_000.0, 90_000.0));
    }
    for (level, table) in levels() {
        let z = run2(table.pow, &x, &y);
        let mut worst = 0.0;
        for i in 0..x.len() {
            let want = (x[i] as f64).powf(y[i] as f64);
            let error = ulps(z[i], want);
            assert!(error <= 1.0, "{} {:e}^{:e} = {:e}, not {want:e}: {error}", level.name(), x[i], y[i], z[i]);
            if want == 0.0 {
                assert_eq!(z[i].to_bits(), (want as f32).to_bits(), "{:e}^{:e}: sign of zero", x[i], y[i]);
            }
            worst = f64::max(worst, error);
        }
        println!("pow      {:10} {worst:.3} ulp", level.name());
    }
}

#[test]
fn bits_depend_on_the_element_alone() {
    let mut random = Random(3);
    let x: Vec<f32> = (0..300).map(|_| random.between(-4.0, 4.0)).collect();
    for (level, table) in levels() {
        for row in ROWS {
            let kernel = (row.kernel)(table);
            let whole = run(kernel, &x);
            for (start, len) in
                [(0, 0), (0, 1), (5, 1), (3, 15), (1, 16), (2, 17), (0, 63), (7, 64), (9, 65), (11, 200)]
            {
                let part = run(kernel, &x[start..start + len]);
                for i in 0..len {
                    let (a, b) = (part[i], whole[start + i]);
                    assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{} {}", row.name, level.name());
                }
            }
            let mut place = x.clone();
            // SAFETY: in place is allowed.
            unsafe { kernel(place.as_mut_ptr(), place.as_ptr(), place.len()) };
            assert!(place.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
        }
    }
}
