//! Products over several dimensions: convolutions and their gradients, and what lies stranger.

mod harness;

use harness::*;
use wgrad_core::{Arg, DType, Kernel, Layout, Operand, Output, Program, Shape};

/// Sizes of `[batch, m, n, k]`, and how A and B lie.
struct Case {
    name: &'static str,
    dims: [Vec<usize>; 4],
    a: Layout,
    b: Layout,
}

impl Case {
    fn new(name: &'static str, dims: [&[usize]; 4], a: Layout, b: Layout) -> Case {
        Case {
            name,
            dims: dims.map(<[usize]>::to_vec),
            a,
            b,
        }
    }

    /// The sizes of A's, B's or C's dimensions.
    fn shape(&self, parts: [usize; 3]) -> Shape {
        parts
            .iter()
            .flat_map(|&i| self.dims[i].iter().copied())
            .collect()
    }

    fn kernel(&self, a: Operand, b: Operand, dtype: DType, output: Output) -> Kernel {
        assert_eq!(a.layout.shape, self.shape([0, 1, 3]), "{}", self.name);
        assert_eq!(b.layout.shape, self.shape([0, 3, 2]), "{}", self.name);
        let [batch, m, n, k] = [0, 1, 2, 3].map(|i| Shape::new(&self.dims[i]));
        Kernel::MatMul {
            batch,
            m,
            n,
            k,
            a,
            b,
            epilogue_inputs: vec![],
            epilogue: Program {
                accumulators: vec![dtype],
                outputs: vec![(Arg::Acc(0), dtype)],
                ..Program::default()
            },
            outputs: vec![output],
            sums: None,
        }
    }

    /// The products of elements as the layouts have them.
    fn expected(&self, x: &[f64], y: &[f64]) -> Vec<f64> {
        let [batch, m, n, k] = [0, 1, 2, 3].map(|i| self.dims[i].iter().product::<usize>());
        (0..batch * m * n)
            .map(|at| {
                let (item, i, j) = (at / n / m, at / n % m, at % n);
                let term = |p: usize| x[(item * m + i) * k + p] * y[(item * k + p) * n + j];
                (0..k).map(term).sum()
            })
            .collect()
    }
}

/// The windows of `[n, c, h, w]`, of `kernel` places `dilation` apart, each `stride` from the last, with their
/// dimensions in the order of `perm` of `[n, c, oh, ow, kh, kw]`.
fn windows(
    from: [usize; 4],
    kernel: usize,
    stride: usize,
    dilation: usize,
    perm: [usize; 6],
) -> Layout {
    let [n, c, h, w] = from;
    let places = |size: usize| (size - dilation * (kernel - 1) - 1) / stride + 1;
    let (s, d) = (stride as isize, dilation as isize);
    let base = Layout::contiguous(from.into());
    let across = base.strides[2];
    Layout {
        shape: [n, c, places(h), places(w), kernel, kernel].into(),
        strides: [
            base.strides[0],
            base.strides[1],
            across * s,
            s,
            across * d,
            d,
        ]
        .as_slice()
        .into(),
        offset: 0,
    }
    .permute(&perm)
}

fn cases() -> Vec<Case> {
    let dense = |dims: &[usize]| Layout::contiguous(Shape::new(dims));
    let repeated = |layout: Layout, by: usize| {
        let mut dims = vec![by];
        dims.extend(layout.shape.iter());
        layout.expand(&Shape::from(dims)).unwrap()
    };
    // Channels and places of the kernel, then places of the result.
    let forward = [0, 1, 4, 5, 2, 3];
    let backward = [0, 2, 3, 1, 4, 5];
    vec![
        Case::new(
            "convolution",
            [&[2], &[5], &[8, 10], &[3, 3, 3]],
            repeated(dense(&[5, 3, 3, 3]), 2),
            windows([2, 3, 10, 12], 3, 1, 1, forward),
        ),
        Case::new(
            "large",
            [&[2], &[70], &[14, 14], &[19, 3, 3]],
            repeated(dense(&[70, 19, 3, 3]), 2),
            windows([2, 19, 16, 16], 3, 1, 1, forward),
        ),
        Case::new(
            "strided and dilated",
            [&[1], &[33], &[6, 5], &[7, 3, 3]],
            repeated(dense(&[33, 7, 3, 3]), 1),
            windows([1, 7, 15, 13], 3, 2, 2, forward),
        ),
        Case::new(
            "1 x 1",
            [&[3], &[9], &[4, 8], &[12, 1, 1]],
            repeated(dense(&[9, 12, 1, 1]), 3),
            windows([3, 12, 4, 8], 1, 1, 1, forward),
        ),
        Case::new(
            "gradient of the weight",
            [&[], &[6], &[3, 3, 3], &[4, 8, 10]],
            dense(&[4, 6, 8, 10]).permute(&[1, 0, 2, 3]),
            windows([4, 3, 10, 12], 3, 1, 1, backward),
        ),
        Case::new(
            "gradient of a large weight",
            [&[], &[40], &[9, 3, 3], &[5, 14, 14]],
            dense(&[5, 40, 14, 14]).permute(&[1, 0, 2, 3]),
            windows([5, 9, 16, 16], 3, 1, 1, backward),
        ),
        Case::new(
            "gradient of a weight of whole slivers",
            [&[], &[64], &[9, 3, 3], &[5, 14, 14]],
            dense(&[5, 64, 14, 14]).permute(&[1, 0, 2, 3]),
            windows([5, 9, 16, 16], 3, 1, 1, backward),
        ),
        Case::new(
            "gradients of weights, nearly whole slivers, strided",
            [&[2], &[61], &[5, 3, 3], &[6, 9, 10]],
            dense(&[6, 2, 61, 9, 10]).permute(&[1, 2, 0, 3, 4]),
            windows([6, 10, 19, 21], 3, 2, 1, backward)
                .reshape(&[6, 9, 10, 2, 5, 3, 3].into())
                .unwrap()
                .permute(&[3, 0, 1, 2, 4, 5, 6]),
        ),
        Case::new(
            "gradient of a weight along one dimension",
            [&[], &[32], &[5, 9], &[3, 500]],
            dense(&[3, 32, 500]).permute(&[1, 0, 2]),
            Layout {
                shape: Shape::new(&[3, 500, 5, 9]),
                strides: [2540, 1, 508, 1].as_slice().into(),
                offset: 0,
            },
        ),
        Case::new(
            "one row a channel",
            [&[2, 5], &[1], &[12, 20], &[3, 3]],
            repeated(dense(&[5, 1, 3, 3]), 2),
            windows([2, 5, 14, 22], 3, 1, 1, [0, 1, 4, 5, 2, 3]),
        ),
        Case::new(
            "gradient of one row a channel",
            [&[5], &[1], &[3, 3], &[2, 12, 20]],
            dense(&[2, 5, 1, 12, 20]).permute(&[1, 2, 0, 3, 4]),
            windows([2, 5, 14, 22], 3, 1, 1, [1, 0, 2, 3, 4, 5]),
        ),
        Case::new(
            "deep windows of eight rows",
            [&[1], &[8], &[5, 40], &[40, 3, 3]],
            repeated(dense(&[8, 40, 3, 3]), 1),
            windows([1, 40, 7, 42], 3, 1, 1, forward),
        ),
        Case::new(
            "deep windows of one row, in short runs",
            [&[1], &[1], &[9, 13], &[40, 3, 3]],
            repeated(dense(&[1, 40, 3, 3]), 1),
            windows([1, 40, 11, 15], 3, 1, 1, forward),
        ),
        Case::new(
            "windows backwards",
            [&[2], &[3], &[8, 20], &[4, 3, 3]],
            repeated(dense(&[3, 4, 3, 3]), 2),
            windows([2, 4, 10, 22], 3, 1, 1, forward).flip(2).flip(4),
        ),
        Case::new(
            "deep gradient of one row a channel",
            [&[2], &[1], &[3, 3], &[40, 12, 20]],
            dense(&[40, 2, 1, 12, 20]).permute(&[1, 2, 0, 3, 4]),
            windows([40, 2, 14, 22], 3, 1, 1, [1, 0, 2, 3, 4, 5]),
        ),
        Case::new(
            "one dimension",
            [&[2], &[4], &[995], &[3, 6]],
            repeated(dense(&[4, 3, 6]), 2),
            windows([2, 3, 1, 1000], 1, 1, 1, [0, 1, 2, 3, 4, 5])
                .remove(5)
                .remove(4)
                .remove(2)
                .slice(2, 0, 995, 1)
                .insert(2)
                .expand(&[2, 3, 6, 995].into())
                .map(|mut layout| {
                    layout.strides[2] = 1;
                    layout
                })
                .unwrap(),
        ),
        Case::new(
            "deep windows of many rows",
            [&[2], &[20], &[9, 17], &[40, 3, 3]],
            repeated(dense(&[20, 40, 3, 3]), 2),
            windows([2, 40, 11, 19], 3, 1, 1, forward),
        ),
        Case::new(
            "windows of more rows than a block",
            [&[1], &[300], &[6, 64], &[3, 3, 3]],
            repeated(dense(&[300, 3, 3, 3]), 1),
            windows([1, 3, 8, 66], 3, 1, 1, forward),
        ),
        Case::new(
            "windows of many rows, backwards",
            [&[2], &[14], &[8, 50], &[4, 3, 3]],
            repeated(dense(&[14, 4, 3, 3]), 2),
            windows([2, 4, 12, 54], 3, 1, 2, forward).flip(2).flip(4),
        ),
        Case::new(
            "one dimension of many rows",
            [&[2], &[19], &[995], &[3, 6]],
            repeated(dense(&[19, 3, 6]), 2),
            Layout {
                shape: Shape::new(&[2, 3, 6, 995]),
                strides: [3000, 1000, 1, 1].as_slice().into(),
                offset: 0,
            },
        ),
        Case::new(
            "vectors along k",
            [&[], &[35], &[18], &[4, 3, 8]],
            dense(&[3, 35, 4, 8]).permute(&[1, 2, 0, 3]),
            dense(&[4, 18, 3, 8]).permute(&[0, 2, 3, 1]),
        ),
        Case::new(
            "vectors across",
            [&[2], &[3, 8], &[5, 12], &[2, 9]],
            dense(&[2, 2, 3, 9, 8]).permute(&[0, 2, 4, 1, 3]),
            dense(&[2, 5, 9, 2, 12]).permute(&[0, 3, 2, 1, 4]),
        ),
        Case::new(
            "four dimensions of k, backwards",
            [&[], &[7, 2], &[3, 2, 5], &[2, 3, 2, 5]],
            dense(&[2, 7, 5, 2, 3, 2])
                .permute(&[1, 0, 3, 4, 5, 2])
                .flip(2)
                .flip(5),
            dense(&[3, 2, 5, 3, 2, 5, 2])
                .permute(&[1, 3, 4, 2, 0, 6, 5])
                .flip(1)
                .flip(4),
        ),
        Case::new(
            "nothing to add",
            [&[2], &[3], &[2, 2], &[0, 3]],
            dense(&[2, 3, 0, 3]),
            dense(&[2, 0, 3, 2, 2]),
        ),
        Case::new(
            "no dimension of k",
            [&[], &[3], &[2, 2], &[]],
            dense(&[3]),
            dense(&[2, 2]),
        ),
        Case::new(
            "deep",
            [&[], &[3], &[2, 3], &[40, 70, 30]],
            dense(&[40, 3, 70, 30]).permute(&[1, 0, 2, 3]),
            windows([40, 2, 70, 32], 1, 1, 1, [0, 2, 3, 1, 4, 5])
                .remove(5)
                .slice(2, 0, 30, 1)
                .expand(&[40, 70, 30, 2, 1].into())
                .unwrap()
                .remove(4)
                .insert(4)
                .expand(&[40, 70, 30, 2, 3].into())
                .map(|mut layout| {
                    layout.strides[4] = 1;
                    layout
                })
                .unwrap(),
        ),
    ]
}

/// Convolutions and gradients of their weights whose rows are of every width around a vector's: they are packed by
/// vectors and blocks that reach beyond a row's end.
fn narrow_images() -> Vec<Case> {
    let widths = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 31, 33,
    ];
    let case = |w: usize| {
        let (image, kernel) = ([2, 3, 7, w + 2], [36, 3, 3, 3]);
        let weights = Layout::contiguous(kernel.into()).insert(0);
        let gradient = Layout::contiguous([2, 36, 5, w].into());
        [
            Case::new(
                "narrow images",
                [&[2], &[36], &[5, w], &[3, 3, 3]],
                weights.expand(&[2, 36, 3, 3, 3].into()).unwrap(),
                windows(image, 3, 1, 1, [0, 1, 4, 5, 2, 3]),
            ),
            Case::new(
                "three channels of narrow images",
                [&[2], &[4], &[5, w], &[3, 3, 3]],
                Layout::contiguous([1, 4, 3, 3, 3].into())
                    .expand(&[2, 4, 3, 3, 3].into())
                    .unwrap(),
                windows(image, 3, 1, 1, [0, 1, 4, 5, 2, 3]),
            ),
            Case::new(
                "narrow images, channel by channel",
                [&[2, 3], &[1], &[5, w], &[3, 3]],
                Layout::contiguous([1, 3, 1, 3, 3].into())
                    .expand(&[2, 3, 1, 3, 3].into())
                    .unwrap(),
                windows(image, 3, 1, 1, [0, 1, 4, 5, 2, 3]),
            ),
            Case::new(
                "gradients of the weights of channels",
                [&[3], &[1], &[3, 3], &[2, 5, w]],
                Layout::contiguous([2, 3, 1, 5, w].into()).permute(&[1, 2, 0, 3, 4]),
                windows(image, 3, 1, 1, [1, 4, 5, 0, 2, 3]).permute(&[0, 3, 4, 5, 1, 2]),
            ),
            Case::new(
                "gradients of the weight of narrow images",
                [&[], &[36], &[3, 3, 3], &[2, 5, w]],
                gradient.permute(&[1, 0, 2, 3]),
                windows(image, 3, 1, 1, [0, 2, 3, 1, 4, 5]),
            ),
        ]
    };
    widths.into_iter().flat_map(case).collect()
}

#[test]
fn views_of_any_kind_multiply() {
    let mut dice = Dice::new(11);
    for case in cases().into_iter().chain(narrow_images()) {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I32] {
            let mut bench = Bench::new();
            let mut operand = |layout: &Layout| {
                let data = Data::random(&mut dice, dtype, layout.end(), -4.0, 4.0);
                let values = view(&data.rounded(), layout);
                (bench.input(data, layout.clone()), values)
            };
            let (a, x) = operand(&case.a);
            let (b, y) = operand(&case.b);
            let result = dtype.compute();
            let output = bench.output(result, case.shape([0, 1, 2]).numel());
            let got = bench.run(case.kernel(a, b, result, output));
            let want = case.expected(&x, &y);
            let deep = case.dims[3].iter().product::<usize>() as f64;
            let slack =
                if result == DType::F64 { 1e-13 } else { 2e-6 } * 16.0 * deep.max(1.0).sqrt();
            for (at, (got, want)) in got[0].iter().zip(&want).enumerate() {
                assert!(
                    (got - want).abs() <= slack,
                    "{} {dtype}: {at} is {got}, not {want}",
                    case.name
                );
            }
        }
    }
}
