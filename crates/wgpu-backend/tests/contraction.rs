//! Products over several dimensions: convolutions and their gradients, and what lies stranger.

mod harness;

use harness::*;
use wgrad_core::*;
use wgrad_wgpu_backend::MatmulChoice;

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
            "vectors along k",
            [&[], &[35], &[18], &[4, 3, 8]],
            dense(&[3, 35, 4, 8]).permute(&[1, 2, 0, 3]),
            dense(&[4, 18, 3, 8]).permute(&[0, 2, 3, 1]),
        ),
        Case::new(
            "vectors along k, for many tiles",
            [&[], &[35], &[18], &[9, 13, 12]],
            dense(&[13, 35, 9, 12]).permute(&[1, 2, 0, 3]),
            dense(&[9, 18, 13, 12]).permute(&[0, 2, 3, 1]),
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

fn multiply(choice: MatmulChoice) {
    let Some(gpu) = with_matmul(choice) else {
        return;
    };
    let mut rng = Rng(21);
    for case in cases() {
        for dtype in [DType::F32, DType::F16, DType::I32] {
            let mut trial = Trial::new(&gpu);
            let mut operand = |layout: &Layout| {
                let values = rng.values(dtype, layout.end());
                (
                    trial.operand(dtype, &values, layout.clone()),
                    view(&values, layout),
                )
            };
            let (a, x) = operand(&case.a);
            let (b, y) = operand(&case.b);
            let (result, count) = (dtype.compute(), case.shape([0, 1, 2]).numel());
            let output = trial.output(result, count);
            trial.launch(case.kernel(a, b, result, output), &[]);
            trial.run();
            let what = format!("{choice:?}, {} {dtype}", case.name);
            close(
                &trial.read(output, count),
                &case.expected(&x, &y),
                1e-5,
                1e-3,
                &what,
            );
        }
    }
}

#[test]
fn chosen_by_shape() {
    multiply(MatmulChoice::Auto);
}

#[test]
fn tiles() {
    multiply(MatmulChoice::Tile64);
    multiply(MatmulChoice::Tile128);
}

#[test]
fn registers_and_lanes() {
    multiply(MatmulChoice::Registers);
    multiply(MatmulChoice::Lanes);
}

#[test]
fn parts_and_reductions() {
    multiply(MatmulChoice::SplitK);
    multiply(MatmulChoice::Dot);
}
