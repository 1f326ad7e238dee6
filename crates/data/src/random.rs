//! Random numbers for data: the same from a seed on every machine, in every version.

/// A generator of random numbers ([SplitMix64](https://doi.org/10.1145/2714064.2660195)).
///
/// Orders, splits, augmentations and generated sets draw from it. Its numbers depend on the seed alone: not on the
/// device, the system or the number of threads (logarithms and cosines are computed in software).
///
/// ```
/// use wgrad::data::Random;
///
/// let (mut a, mut b) = (Random::new(7), Random::new(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!((0.0..1.0).contains(&a.uniform()));
/// assert!(a.below(3) < 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Random {
        Random::keyed([seed])
    }

    /// A generator from several numbers, such as a seed, an epoch and an example: other numbers, an independent
    /// sequence.
    ///
    /// ```
    /// use wgrad::data::Random;
    ///
    /// assert_ne!(Random::keyed([1, 2]).next_u64(), Random::keyed([2, 1]).next_u64());
    /// ```
    pub fn keyed<const N: usize>(key: [u64; N]) -> Random {
        let absorb = |state: u64, &part: &u64| mixed(state ^ mixed(part.wrapping_add(STEP)));
        Random(key.iter().fold(N as u64, absorb))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// Uniform in 0..1, with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A whole number in `0..n`, each as likely (up to n / 2^64). 0 where n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The upper 64 bits of a product of 128.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// From the standard normal distribution (by
    /// [Box and Muller](https://doi.org/10.1214/aoms/1177706645)).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// From the gamma distribution of this shape and scale 1
    /// ([Marsaglia and Tsang 2000](https://doi.org/10.1145/358407.358414)).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let u = 1.0 - self.uniform();
            return self.gamma(shape + 1.0) * libm::pow(u, 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            let u = 1.0 - self.uniform();
            if v > 0.0 && libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    /// From the beta distribution. Both parameters are above 0.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        // Both are 0 where the parameters are so small that nearly all mass lies at the ends.
        if x + y > 0.0 {
            x / (x + y)
        } else {
            f64::from(u8::from(self.chance(a / (a + b))))
        }
    }

    /// Puts the items in a random order, each as likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// The numbers `0..n` in a random order.
    ///
    /// ```
    /// use wgrad::data::Random;
    ///
    /// let mut order = Random::new(1).permutation(5);
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// ```
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}
