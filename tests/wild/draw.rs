//! Arguments of every kind, most of them odd, from words that proptest makes and shrinks.

use std::fmt::{Debug, Write};

use half::{bf16, f16};
use wgrad::prelude::*;
use wgrad::{
    AttentionOptions, BagMode, BatchNormOptions, CellWeights, ColumnOptions, CtcOptions,
    EmbeddingBagOptions, GridOptions, GridPadding, GridSampling, Index, Indexing,
    InterpolateOptions, Interpolation, PadMode, RecurrenceOptions, Resampling, Rhs, RotaryOptions,
    Rounding, Scalar, ScatterReduce, Slice,
};

/// A source of arguments: 0 when the words are used up, so that shorter lists are simpler arguments.
pub struct Wild<'a> {
    words: &'a [u32],
    at: usize,
    dev: &'a Device,
    /// What was drawn, for reports.
    pub drawn: String,
}

const FLOATS: [f64; 16] = [
    0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    -0.0,
    1e-30,
    -1e30,
    65_504.0,
    1e39,
    f64::MAX,
    -f64::MAX,
    f64::MIN_POSITIVE,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];
const INTEGERS: [i64; 14] = [
    0,
    1,
    -1,
    2,
    3,
    7,
    -8,
    31,
    255,
    256,
    i32::MAX as i64,
    i32::MIN as i64,
    i64::MAX,
    i64::MIN,
];

impl<'a> Wild<'a> {
    pub fn new(words: &'a [u32], dev: &'a Device) -> Wild<'a> {
        Wild {
            words,
            at: 0,
            dev,
            drawn: String::new(),
        }
    }

    pub fn word(&mut self) -> u32 {
        let word = self.words.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        word
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.word() as usize % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn noted<T: Debug>(&mut self, value: T) -> T {
        let _ = write!(self.drawn, "{value:?}, ");
        value
    }

    /// Sizes that fit each other often: few and small.
    fn sizes(&mut self) -> Vec<usize> {
        let rank = self.below(5);
        (0..rank).map(|_| self.pick(&[2, 3, 1, 0, 4])).collect()
    }

    fn stored(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let odd = self.below(3) == 2;
        let float = |w: &mut Self| match odd {
            true => w.pick(&FLOATS),
            false => w.below(9) as f64 - 4.0,
        };
        let dev = self.dev;
        macro_rules! of {
            (float $t:ty, $from:expr) => {{
                let from: fn(f64) -> $t = $from;
                let values: Vec<$t> = (0..n).map(|_| from(float(self))).collect();
                Tensor::from_vec(values, shape, dev)
            }};
            (integer $t:ty) => {{
                let number = |w: &mut Self| match odd {
                    true => w.pick(&INTEGERS) as $t,
                    false => w.below(5) as $t,
                };
                let values: Vec<$t> = (0..n).map(|_| number(self)).collect();
                Tensor::from_vec(values, shape, dev)
            }};
        }
        match dtype {
            DType::F64 => of!(float f64, |v| v),
            DType::F16 => of!(float f16, f16::from_f64),
            DType::BF16 => of!(float bf16, bf16::from_f64),
            DType::I64 => of!(integer i64),
            DType::I32 => of!(integer i32),
            DType::I16 => of!(integer i16),
            DType::I8 => of!(integer i8),
            DType::U32 => of!(integer u32),
            DType::U8 => of!(integer u8),
            DType::Bool => of!(float f32, |v| v as f32).to_dtype(DType::Bool),
            _ => of!(float f32, |v| v as f32),
        }
    }

    /// A tensor of any type, shape and layout; sometimes a variable, sometimes a failed one.
    pub fn tensor(&mut self) -> Tensor {
        let all = DType::ALL;
        let dtype = self.pick(&[DType::F32, DType::F32, DType::I32]);
        let dtype = match self.below(3) {
            2 => self.pick(&all),
            _ => dtype,
        };
        let shape = self.sizes();
        let mut x = self.stored(dtype, &shape);
        if dtype.is_float() && self.below(3) == 1 {
            x = x.requires_grad();
        }
        let mut how = "";
        match self.below(12) {
            8 => (x, how) = (x.transpose(0, -1), " transposed"),
            9 if !shape.is_empty() => (x, how) = (x.slice(s(..).step(2)), " stepped"),
            10 => (x, how) = (x.unsqueeze(0).expand((3, -1, -1)), " expanded"),
            11 => (x, how) = (&x + Tensor::zeros([7, 11, 13], self.dev), " failed perhaps"),
            _ => {}
        }
        let text = format!("{dtype}{shape:?}{how}");
        let _ = write!(self.drawn, "{text}, ");
        x
    }

    pub fn tensors(&mut self) -> Vec<Tensor> {
        let n = self.below(4);
        (0..n).map(|_| self.tensor()).collect()
    }

    pub fn option(&mut self) -> Option<Tensor> {
        (self.below(2) == 1).then(|| self.tensor())
    }

    pub fn scalar(&mut self) -> Scalar {
        let value = match self.below(4) {
            0 => Scalar::Integer(self.below(5) as i64),
            1 => Scalar::Integer(self.pick(&INTEGERS)),
            2 => Scalar::Bool(self.below(2) == 1),
            _ => Scalar::Float(self.pick(&FLOATS)),
        };
        self.noted(value)
    }

    pub fn rhs(&mut self) -> Rhs {
        match self.below(3) {
            0 => Rhs::Scalar(self.scalar()),
            _ => Rhs::Tensor(self.tensor()),
        }
    }

    pub fn float(&mut self) -> f64 {
        let value = self.pick(&FLOATS);
        self.noted(value)
    }

    pub fn two_floats(&mut self) -> (f64, f64) {
        (self.float(), self.float())
    }

    pub fn optional_float(&mut self) -> Option<f64> {
        (self.below(2) == 1).then(|| self.float())
    }

    pub fn flag(&mut self) -> bool {
        let value = self.below(2) == 1;
        self.noted(value)
    }

    /// Mostly a dimension.
    fn near(&mut self) -> isize {
        match self.below(8) {
            7 => self.pick(&[isize::MIN, isize::MAX, -100, 100, 5, -6]),
            n => n as isize - 3,
        }
    }

    pub fn dim(&mut self) -> isize {
        let value = self.near();
        self.noted(value)
    }

    pub fn optional_dim(&mut self) -> Option<isize> {
        (self.below(2) == 1).then(|| self.dim())
    }

    pub fn dims(&mut self) -> Vec<isize> {
        let n = self.below(4);
        let value = (0..n).map(|_| self.near()).collect();
        self.noted(value)
    }

    pub fn two_dims(&mut self) -> [isize; 2] {
        let value = [self.near(), self.near()];
        self.noted(value)
    }

    /// A small size, or one of which no computer has so many.
    pub fn size(&mut self) -> usize {
        let value = match self.below(12) {
            11 => self.pick(&[usize::MAX, usize::MAX / 2 + 1, isize::MAX as usize / 4]),
            n => n % 6,
        };
        self.noted(value)
    }

    /// A small number of parts, of which each would be a tensor.
    pub fn few(&mut self) -> usize {
        let value = self.below(6);
        self.noted(value)
    }

    pub fn list_of_sizes(&mut self) -> Vec<usize> {
        let n = self.below(4);
        (0..n).map(|_| self.size()).collect()
    }

    pub fn shape(&mut self) -> Vec<usize> {
        self.list_of_sizes()
    }

    pub fn int(&mut self) -> i32 {
        let value = self.pick(&[0, 1, 2, -1, 3, -2, 7, 100, i32::MAX, i32::MIN]);
        self.noted(value)
    }

    pub fn power(&mut self) -> u32 {
        let value = self.pick(&[0, 1, 2, 3, 10, u32::MAX]);
        self.noted(value)
    }

    pub fn dtype(&mut self) -> DType {
        let all = DType::ALL;
        let value = self.pick(&all);
        self.noted(value)
    }

    /// Start, end and step: few numbers, or more than any computer has.
    pub fn progression(&mut self) -> (f64, f64, f64) {
        const ENDS: [f64; 9] = [
            0.0,
            1.0,
            5.0,
            -3.0,
            2.5,
            1e30,
            -1e30,
            f64::INFINITY,
            f64::NAN,
        ];
        let steps = [1.0, 2.0, 0.5, -1.0, 0.0, f64::NAN, f64::INFINITY];
        let value = (self.pick(&ENDS), self.pick(&ENDS), self.pick(&steps));
        self.noted(value)
    }

    /// A type and the device.
    pub fn target(&mut self) -> (DType, &'a Device) {
        (self.dtype(), self.dev)
    }

    pub fn slice(&mut self) -> Slice {
        let (start, end, step) = (self.size(), self.size(), self.few());
        s(start..end).step(step)
    }

    pub fn slices(&mut self) -> Vec<Slice> {
        let n = self.below(4);
        (0..n).map(|_| self.slice()).collect()
    }

    pub fn indices(&mut self) -> Vec<Index> {
        let n = self.below(4);
        let index = |w: &mut Self| match w.below(5) {
            0 => Index::from(w.dim()),
            1 => Index::from(w.tensor()),
            2 => Index::from(wgrad::NewAxis),
            3 => Index::from(wgrad::Ellipsis),
            _ => Index::from(w.slice()),
        };
        (0..n).map(|_| index(self)).collect()
    }

    pub fn rounding(&mut self) -> Rounding {
        self.pick(&[Rounding::Trunc, Rounding::Floor])
    }

    pub fn indexing(&mut self) -> Indexing {
        self.pick(&[Indexing::Ij, Indexing::Xy])
    }

    pub fn interpolation(&mut self) -> Interpolation {
        use Interpolation::*;
        self.pick(&[Linear, Lower, Higher, Midpoint, Nearest])
    }

    pub fn scatter_reduce(&mut self) -> ScatterReduce {
        use ScatterReduce::*;
        self.pick(&[Sum, Prod, Mean, Amax, Amin])
    }

    pub fn equation(&mut self) -> &'static str {
        let value = self.pick(&[
            "ij,jk->ik",
            "ii->i",
            "ij->ji",
            "...i,i->...",
            "i,j",
            "",
            "->",
            "ij,jk",
            "i->ii",
            "?",
            "ij->k",
            ",,",
            "...->...",
            "iii",
        ]);
        self.noted(value)
    }

    /// Small sizes, and now and then any.
    pub fn per_dimension<const N: usize>(&mut self) -> [usize; N] {
        std::array::from_fn(|_| match self.below(12) {
            0 => self.size(),
            _ => self.below(4),
        })
    }

    fn optional_sizes<const N: usize>(&mut self) -> Option<[usize; N]> {
        self.flag().then(|| self.per_dimension())
    }

    pub fn conv_options<const N: usize>(&mut self) -> ConvOptions<N> {
        ConvOptions {
            stride: self.per_dimension(),
            padding: match self.below(4) {
                0 => ConvPadding::Same,
                1 => ConvPadding::Valid,
                _ => ConvPadding::Zeros(self.per_dimension()),
            },
            dilation: self.per_dimension(),
            groups: self.below(4),
        }
    }

    pub fn conv_transpose_options<const N: usize>(&mut self) -> ConvTransposeOptions<N> {
        ConvTransposeOptions {
            stride: self.per_dimension(),
            padding: self.per_dimension(),
            output_padding: self.per_dimension(),
            dilation: self.per_dimension(),
            groups: self.below(4),
        }
    }

    pub fn max_pool_options<const N: usize>(&mut self) -> MaxPoolOptions<N> {
        MaxPoolOptions {
            stride: self.optional_sizes(),
            padding: self.per_dimension(),
            dilation: self.per_dimension(),
            ceil_mode: self.flag(),
        }
    }

    pub fn avg_pool_options<const N: usize>(&mut self) -> AvgPoolOptions<N> {
        AvgPoolOptions {
            stride: self.optional_sizes(),
            padding: self.per_dimension(),
            ceil_mode: self.flag(),
            count_include_pad: self.flag(),
            divisor: self.flag().then(|| self.size()),
        }
    }

    pub fn lp_pool_options<const N: usize>(&mut self) -> LpPoolOptions<N> {
        LpPoolOptions {
            stride: self.optional_sizes(),
            ceil_mode: self.flag(),
        }
    }

    pub fn unpool_options<const N: usize>(&mut self) -> UnpoolOptions<N> {
        UnpoolOptions {
            stride: self.optional_sizes(),
            padding: self.per_dimension(),
            size: self.optional_sizes(),
        }
    }

    pub fn column_options(&mut self) -> ColumnOptions {
        ColumnOptions {
            dilation: self.per_dimension(),
            padding: self.per_dimension(),
            stride: self.per_dimension(),
        }
    }

    pub fn pad_mode(&mut self) -> PadMode {
        let number = PadMode::Constant(self.scalar());
        let value = self.pick(&[
            number,
            PadMode::ZERO,
            PadMode::Reflect,
            PadMode::Replicate,
            PadMode::Circular,
        ]);
        self.noted(value)
    }

    pub fn resampling(&mut self) -> Resampling {
        let value = self.pick(&[
            Resampling::Nearest,
            Resampling::NearestExact,
            Resampling::Linear,
            Resampling::Bicubic,
            Resampling::Area,
        ]);
        self.noted(value)
    }

    pub fn interpolate_options(&mut self) -> InterpolateOptions {
        let factors = |w: &mut Self| (0..w.below(3)).map(|_| w.float()).collect();
        InterpolateOptions {
            size: (self.below(4) == 1).then(|| self.list_of_sizes()),
            scale_factor: (self.below(4) != 1).then(|| factors(self)),
            mode: self.resampling(),
            align_corners: self.flag(),
            recompute_scale_factor: self.flag(),
            antialias: self.flag(),
        }
    }

    pub fn grid_options(&mut self) -> GridOptions {
        GridOptions {
            mode: self.pick(&[
                GridSampling::Bilinear,
                GridSampling::Nearest,
                GridSampling::Bicubic,
            ]),
            padding: self.pick(&[
                GridPadding::Zeros,
                GridPadding::Border,
                GridPadding::Reflection,
            ]),
            align_corners: self.flag(),
        }
    }

    pub fn ctc_options(&mut self) -> CtcOptions {
        CtcOptions {
            blank: self.below(3),
            reduction: self.pick(&[Reduction::Mean, Reduction::Sum, Reduction::None]),
            zero_infinity: self.flag(),
        }
    }

    pub fn bag_options(&mut self) -> EmbeddingBagOptions {
        EmbeddingBagOptions {
            offsets: self.option(),
            include_last_offset: self.flag(),
            mode: self.pick(&[BagMode::Sum, BagMode::Mean, BagMode::Max]),
            per_sample_weights: self.option(),
            padding_index: (self.below(2) == 1).then(|| self.pick(&INTEGERS)),
        }
    }

    pub fn batch_norm_options(&mut self) -> BatchNormOptions {
        BatchNormOptions {
            running: self.option().zip(self.option()),
            weight: self.option(),
            bias: self.option(),
            training: self.flag(),
            momentum: self.float(),
            eps: self.float(),
        }
    }

    pub fn attention_options(&mut self) -> AttentionOptions {
        AttentionOptions {
            mask: self.option(),
            is_causal: self.flag(),
            dropout: self.pick(&[0.0, 0.5, 1.0, -1.0, f64::NAN]),
            scale: self.flag().then(|| self.float()),
            enable_gqa: self.flag(),
            window: self.flag().then(|| self.size()),
            alibi: self.option(),
        }
    }

    pub fn cells(&mut self) -> Vec<CellWeights> {
        let n = self.below(4);
        let one = |w: &mut Self| CellWeights {
            w_ih: w.tensor(),
            w_hh: w.tensor(),
            b_ih: w.option(),
            b_hh: w.option(),
        };
        (0..n).map(|_| one(self)).collect()
    }

    pub fn recurrence_options(&mut self) -> RecurrenceOptions {
        RecurrenceOptions {
            batch_first: self.flag(),
            bidirectional: self.flag(),
            dropout: self.pick(&[0.0, 0.5, 1.0, -1.0, f64::NAN]),
        }
    }

    pub fn rotary_options(&mut self) -> RotaryOptions {
        RotaryOptions {
            offset: self.size(),
            positions: self.option(),
            base: self.float(),
            interleaved: self.flag(),
        }
    }

    pub fn cross_entropy_options(&mut self) -> CrossEntropyOptions {
        CrossEntropyOptions {
            weight: self.option(),
            ignore_index: (self.below(2) == 1).then(|| self.pick(&INTEGERS)),
            reduction: self.pick(&[Reduction::Mean, Reduction::Sum, Reduction::None]),
            label_smoothing: match self.below(2) {
                0 => 0.0,
                _ => self.float(),
            },
        }
    }
}
