//! Boundaries of bins from data that is seen batch by batch, as Keras computes them: a summary of the data is a rising
//! list of values with weights, and stays as short as the tolerance admits.

/// Whether a tolerance is a fraction.
pub fn is_sound(epsilon: f64) -> bool {
    epsilon > 0.0 && epsilon <= 1.0
}

/// Values in rising order, each standing for as many elements as it weighs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    values: Vec<f32>,
    weights: Vec<f32>,
}

impl Summary {
    /// The summary of some elements: about `1 / epsilon` of them, evenly spaced in their order.
    fn of(data: &[f32], epsilon: f64) -> Summary {
        let numbers = data.iter().filter(|x| !x.is_nan());
        let mut sorted: Vec<f32> = numbers.map(|x| x.clamp(f32::MIN, f32::MAX)).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let step = (sorted.len() as f64 / (1.0 / epsilon)).max(1.0);
        let values: Vec<f32> = sorted.into_iter().skip((step - 1.0) as usize).step_by(step as usize).collect();
        Summary { weights: vec![step as f32; values.len()], values }
    }

    /// Both summaries as one.
    pub fn merge(self, data: &[f32], epsilon: f64) -> Summary {
        let more = Summary::of(data, epsilon);
        let mut pairs: Vec<(f32, f32)> = [more, self].iter().flat_map(Summary::pairs).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (values, weights) = pairs.into_iter().unzip();
        Summary { values, weights }.compress(epsilon)
    }

    fn pairs(&self) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.values.iter().copied().zip(self.weights.iter().copied())
    }

    /// The values at multiples of `epsilon` of the whole weight, between which the summary is taken as straight.
    fn compress(self, epsilon: f64) -> Summary {
        if (self.values.len() as f64) * epsilon < 1.0 {
            return self;
        }
        let mut total = 0.0f32;
        let sums = self.weights.iter().map(|weight| {
            total += weight;
            total
        });
        let reached: Vec<f32> = sums.collect();
        let shares: Vec<f64> = reached.iter().map(|weight| f64::from(weight / total)).collect();
        let steps = (1.0 / epsilon).ceil() as usize;
        let percents: Vec<f64> = (0..steps).map(|i| epsilon + i as f64 * epsilon).collect();
        let at = |list: &[f32]| percents.iter().map(|p| between(*p, &shares, list)).collect::<Vec<f64>>();
        let (values, reached) = (at(&self.values), at(&reached));
        let before = std::iter::once(0.0).chain(reached.iter().copied());
        let weights = reached.iter().zip(before).map(|(now, before)| (now - before) as f32).collect();
        Summary { values: values.into_iter().map(|x| x as f32).collect(), weights }
    }

    /// The boundaries of so many bins.
    pub fn boundaries(self, bins: usize) -> Vec<f64> {
        let mut values: Vec<f64> = self.compress(1.0 / bins as f64).values.into_iter().map(f64::from).collect();
        values.pop();
        values
    }
}

/// The value at a place of a function that is straight between its points, and constant beyond them.
fn between(at: f64, places: &[f64], values: &[f32]) -> f64 {
    let value = |i: usize| f64::from(values[i]);
    let after = places.partition_point(|place| *place <= at);
    match after {
        0 => value(0),
        n if n == places.len() => value(n - 1),
        n => {
            let slope = (value(n) - value(n - 1)) / (places[n] - places[n - 1]);
            value(n - 1) + slope * (at - places[n - 1])
        }
    }
}
