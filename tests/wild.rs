//! Nothing panics: every public operation on tensors of any type, shape and layout with arguments of any size.
//! What does not fit is a failed tensor, and its error is no driver's opinion.
//!
//! `WGRAD_WILD=100000` asks for more cases, `WGRAD_WILD_OP=einsum` for one operation alone.

mod devices;
#[path = "wild/draw.rs"]
mod draw;
#[path = "golden/scan.rs"]
#[allow(dead_code)]
mod scan;

use std::panic::{AssertUnwindSafe, catch_unwind};

use draw::Wild;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use wgrad::prelude::*;
use wgrad::{BatchNorm, Unique};

/// What operations return, as tensors.
trait Tensors {
    fn tensors(self) -> Vec<Tensor>;
}

impl Tensors for Tensor {
    fn tensors(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl Tensors for Vec<Tensor> {
    fn tensors(self) -> Vec<Tensor> {
        self
    }
}

impl Tensors for (Tensor, Tensor) {
    fn tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1]
    }
}

impl Tensors for (Tensor, Tensor, Tensor) {
    fn tensors(self) -> Vec<Tensor> {
        vec![self.0, self.1, self.2]
    }
}

impl Tensors for Unique {
    fn tensors(self) -> Vec<Tensor> {
        vec![self.values, self.inverse, self.counts]
    }
}

impl Tensors for BatchNorm {
    fn tensors(self) -> Vec<Tensor> {
        let running = self.running.into_iter().flat_map(|(mean, var)| [mean, var]);
        let own = [self.output, self.mean, self.variance];
        own.into_iter().chain(running).collect()
    }
}

type Operation = (&'static str, fn(&mut Wild<'_>) -> Vec<Tensor>);

/// An argument of a kind; the kinds are [`Wild`]'s methods, tensors and lists of them borrowed.
macro_rules! argument {
    ($w:ident tensor) => {
        &$w.tensor()
    };
    ($w:ident tensors) => {
        &$w.tensors()[..]
    };
    ($w:ident option) => {
        $w.option().as_ref()
    };
    ($w:ident list_of_sizes) => {
        &$w.list_of_sizes()[..]
    };
    ($w:ident list_of_dims) => {
        &$w.dims()[..]
    };
    ($w:ident slices) => {
        &$w.slices()[..]
    };
    ($w:ident cells) => {
        &$w.cells()[..]
    };
    ($w:ident indices) => {
        &$w.indices()[..]
    };
    ($w:ident $kind:ident) => {
        $w.$kind()
    };
}

macro_rules! operations {
    (methods { $($name:ident($($kind:ident),*);)* } functions { $($f:ident($($fkind:ident),*);)* }) => {
        const OPERATIONS: &[Operation] = &[
            $((stringify!($name), |w| {
                let x = w.tensor();
                x.$name($(argument!(w $kind)),*).tensors()
            }),)*
            $((stringify!($f), |w| Tensor::$f($(argument!(w $fkind)),*).tensors()),)*
        ];
    };
}

operations! {
    methods {
        abs();
        acos();
        acosh();
        add(rhs);
        addcdiv(tensor, tensor, scalar);
        addcmul(tensor, tensor, scalar);
        addmm(tensor, tensor, float, float);
        addmv(tensor, tensor, float, float);
        all();
        all_dims(dims, flag);
        alpha_dropout(float, flag);
        amax(dims, flag);
        amin(dims, flag);
        aminmax(dims, flag);
        any();
        any_dims(dims, flag);
        argmax(dims, flag);
        argmin(dims, flag);
        argsort(dim, flag);
        argwhere();
        asin();
        asinh();
        atan();
        atan2(rhs);
        atanh();
        baddbmm(tensor, tensor, float, float);
        batch_norm(batch_norm_options);
        adaptive_avg_pool1d(per_dimension);
        adaptive_max_pool1d(per_dimension);
        adaptive_max_pool1d_with_indices(per_dimension);
        avg_pool1d(per_dimension);
        avg_pool1d_with(per_dimension, avg_pool_options);
        conv1d(tensor, option);
        conv1d_with(tensor, option, conv_options);
        conv_transpose1d(tensor, option);
        conv_transpose1d_with(tensor, option, conv_transpose_options);
        lp_pool1d(float, per_dimension);
        lp_pool1d_with(float, per_dimension, lp_pool_options);
        max_pool1d(per_dimension);
        max_pool1d_with(per_dimension, max_pool_options);
        max_pool1d_with_indices(per_dimension, max_pool_options);
        max_unpool1d(tensor, per_dimension);
        max_unpool1d_with(tensor, per_dimension, unpool_options);
        adaptive_avg_pool2d(per_dimension);
        adaptive_max_pool2d(per_dimension);
        adaptive_max_pool2d_with_indices(per_dimension);
        avg_pool2d(per_dimension);
        avg_pool2d_with(per_dimension, avg_pool_options);
        conv2d(tensor, option);
        conv2d_with(tensor, option, conv_options);
        conv_transpose2d(tensor, option);
        conv_transpose2d_with(tensor, option, conv_transpose_options);
        lp_pool2d(float, per_dimension);
        lp_pool2d_with(float, per_dimension, lp_pool_options);
        max_pool2d(per_dimension);
        max_pool2d_with(per_dimension, max_pool_options);
        max_pool2d_with_indices(per_dimension, max_pool_options);
        max_unpool2d(tensor, per_dimension);
        max_unpool2d_with(tensor, per_dimension, unpool_options);
        adaptive_avg_pool3d(per_dimension);
        adaptive_max_pool3d(per_dimension);
        adaptive_max_pool3d_with_indices(per_dimension);
        avg_pool3d(per_dimension);
        avg_pool3d_with(per_dimension, avg_pool_options);
        conv3d(tensor, option);
        conv3d_with(tensor, option, conv_options);
        conv_transpose3d(tensor, option);
        conv_transpose3d_with(tensor, option, conv_transpose_options);
        lp_pool3d(float, per_dimension);
        lp_pool3d_with(float, per_dimension, lp_pool_options);
        max_pool3d(per_dimension);
        max_pool3d_with(per_dimension, max_pool_options);
        max_pool3d_with_indices(per_dimension, max_pool_options);
        max_unpool3d(tensor, per_dimension);
        max_unpool3d_with(tensor, per_dimension, unpool_options);
        unfold(dim, size, size);
        im2col(per_dimension, column_options);
        col2im(per_dimension, per_dimension, column_options);
        fractional_max_pool2d(per_dimension, per_dimension, tensor);
        fractional_max_pool2d_with_indices(per_dimension, per_dimension, tensor);
        fractional_max_pool3d(per_dimension, per_dimension, tensor);
        fractional_max_pool3d_with_indices(per_dimension, per_dimension, tensor);
        bincount(option, size);
        bitwise_and(rhs);
        bitwise_left_shift(rhs);
        bitwise_not();
        bitwise_or(rhs);
        bitwise_right_shift(rhs);
        bitwise_xor(rhs);
        bmm(tensor);
        bucketize(tensor, flag);
        cdist(tensor, float);
        ceil();
        celu(float);
        channel_shuffle(few);
        chunk(few, dim);
        clamp(rhs, rhs);
        clamp_max(rhs);
        clamp_min(rhs);
        contiguous();
        copysign(rhs);
        cos();
        cosh();
        cosine_similarity(tensor, dim, float);
        count_nonzero(dims);
        cross(tensor, dim);
        cross_entropy(tensor);
        cross_entropy_with(tensor, cross_entropy_options);
        ctc_loss(tensor, tensor, tensor, ctc_options);
        cummax(dim);
        cummin(dim);
        cumprod(dim);
        cumsum(dim);
        cumulative_trapezoid(rhs, dim);
        deg2rad();
        diag(dim);
        diag_embed(dim, dim, dim);
        diagonal(dim, dim, dim);
        diff(few, dim);
        digamma();
        div(rhs);
        div_rounded(rhs, rounding);
        div_trunc(rhs);
        dot(tensor);
        dropout(float, flag);
        dropout1d(float, flag);
        dropout2d(float, flag);
        dropout3d(float, flag);
        dsplit(few);
        elu(float);
        embedding(tensor);
        embedding_bag(tensor, bag_options);
        eq(rhs);
        erf();
        erfc();
        erfinv();
        exp();
        exp2();
        expand(dims);
        expm1();
        feature_alpha_dropout(float, flag);
        feature_dropout(float, flag);
        flatten(dim, dim);
        flatten_from(dim);
        flip(dims);
        fliplr();
        flipud();
        floor();
        floor_divide(rhs);
        fmod(rhs);
        frac();
        full_like(scalar);
        gather(dim, tensor);
        gcd(rhs);
        ge(rhs);
        gelu();
        gelu_tanh();
        glu(dim);
        grid_sample(tensor, grid_options);
        group_norm(few, option, option, float);
        gt(rhs);
        hardshrink(float);
        hardsigmoid();
        hardswish();
        hardtanh(float, float);
        heaviside(tensor);
        histc(size, float, float);
        hsplit(few);
        hypot(rhs);
        index(indices);
        index_add(dim, tensor, tensor, scalar);
        index_copy(dim, tensor, tensor);
        index_fill(dim, tensor, rhs);
        index_put(indices, rhs, flag);
        index_select(dim, tensor);
        inner(tensor);
        instance_norm(batch_norm_options);
        interpolate(list_of_sizes, resampling);
        interpolate_with(interpolate_options);
        isclose(tensor, float, float, flag);
        isfinite();
        isin(tensor);
        isinf();
        isnan();
        kron(tensor);
        kthvalue(size, dim, flag);
        layer_norm(shape, option, option, float);
        lcm(tensor);
        le(rhs);
        leaky_relu(float);
        lerp(tensor, rhs);
        lgamma();
        linear(tensor, option);
        linear_cross_entropy(tensor, option, tensor);
        linear_cross_entropy_by(size, tensor, option, tensor, cross_entropy_options);
        linear_cross_entropy_with(tensor, option, tensor, cross_entropy_options);
        ln();
        local_response_norm(few, float, float, float);
        log10();
        log1p();
        log2();
        log_softmax(dim);
        logaddexp(rhs);
        logaddexp2(rhs);
        logcumsumexp(dim);
        logical_and(rhs);
        logical_not();
        logical_or(rhs);
        logical_xor(rhs);
        logit();
        logit_within(float);
        logsigmoid();
        logsumexp(dim, flag);
        lt(rhs);
        masked_fill(tensor, rhs);
        masked_scatter(tensor, tensor);
        masked_select(tensor);
        matmul(tensor);
        matrix_power(power);
        max();
        max_along(dim, flag);
        max_dims(dims, flag);
        maximum(rhs);
        mean();
        mean_dims(dims, flag);
        median();
        median_along(dim, flag);
        min();
        min_along(dim, flag);
        min_dims(dims, flag);
        minimum(rhs);
        mish();
        mm(tensor);
        mode(dim, flag);
        movedim(dims, dims);
        msort();
        mul(rhs);
        mv(tensor);
        nan_to_num(optional_float, optional_float, optional_float);
        nan_to_zero();
        nanmean(dims, flag);
        nanmedian();
        nanmedian_along(dim, flag);
        nanquantile(rhs, dims, flag, interpolation);
        nansum(dims, flag);
        narrow(dim, size, size);
        ne(rhs);
        neg();
        nll_loss_with(tensor, cross_entropy_options);
        nonzero();
        norm(float);
        normalize(float, dims, float);
        one_hot(size);
        ones_like();
        outer(tensor);
        pad(list_of_dims, pad_mode);
        pairwise_distance(tensor, float, float, flag);
        permute(dims);
        pixel_shuffle(few);
        pixel_unshuffle(few);
        polygamma(int);
        pow(rhs);
        powf(float);
        powi(int);
        prelu(tensor);
        prod();
        prod_dims(dims, flag);
        put(tensor, tensor, flag);
        quantile(rhs, dims, flag, interpolation);
        rad2deg();
        rand_like();
        randn_like();
        recip();
        relu();
        relu6();
        remainder(rhs);
        repeat(list_of_sizes);
        repeat_interleave(rhs, optional_dim);
        reshape(dims);
        rms_norm(shape, option, optional_float);
        roll(list_of_dims, dims);
        rot90(dim, two_dims);
        round();
        round_decimals(int);
        rrelu(float, float, flag);
        rsqrt();
        scatter(dim, tensor, rhs);
        scatter_add(dim, tensor, tensor);
        scatter_reduce(dim, tensor, tensor, scatter_reduce, flag);
        searchsorted(tensor, flag);
        select(dim, dim);
        select_scatter(tensor, dim, dim);
        selu();
        sigmoid();
        sign();
        signbit();
        silu();
        sin();
        sinc();
        sinh();
        slice(slices);
        slice_scatter(tensor, dim, slice);
        softmax(dim);
        softplus();
        softshrink(float);
        softsign();
        sort(dim, flag);
        split(few, dim);
        split_with_sizes(list_of_sizes, dim);
        sqr();
        sqrt();
        squeeze(dim);
        squeeze_dims(dims);
        std();
        std_dims(dims, float, flag);
        std_mean(dims, float, flag);
        sub(rhs);
        sum();
        sum_dims(dims, flag);
        swapaxes(dim, dim);
        t();
        take(tensor);
        take_along_dim(tensor, optional_dim);
        tan();
        tanh();
        tanhshrink();
        tensor_split(few, dim);
        tensor_split_at(list_of_dims, dim);
        tensordot(tensor, dims, dims);
        threshold(scalar, scalar);
        tile(list_of_sizes);
        to_dtype(dtype);
        topk(size, dim, flag);
        trace();
        transpose(dim, dim);
        trapezoid(rhs, dim);
        tril(dim);
        triu(dim);
        trunc();
        unbind(dim);
        unflatten(dim, dims);
        unique();
        unique_along(dim);
        unique_consecutive();
        unique_consecutive_along(dim);
        unsqueeze(dim);
        var();
        var_dims(dims, float, flag);
        var_mean(dims, float, flag);
        vector_norm(float, dims, flag);
        vsplit(few);
        weight_norm(tensor, optional_dim);
        where_cond(rhs, rhs);
        xlogy(rhs);
        zeros_like();
        gru(tensor, cells, recurrence_options);
        gru_cell(tensor, tensor, tensor, option, option);
        lstm(tensor, tensor, cells, recurrence_options);
        lstm_cell(tensor, tensor, tensor, tensor, option, option);
        rnn_relu(tensor, cells, recurrence_options);
        rnn_relu_cell(tensor, tensor, tensor, option, option);
        rnn_tanh(tensor, cells, recurrence_options);
        rnn_tanh_cell(tensor, tensor, tensor, option, option);
        rotary_embedding();
        rotary_embedding_with(rotary_options);
        scaled_dot_product_attention(tensor, tensor);
        scaled_dot_product_attention_with(tensor, tensor, attention_options);
    }
    functions {
        affine_grid(tensor, shape, flag);
        arange(progression, target);
        bernoulli(shape, float, target);
        bernoulli_of(tensor);
        block_diag(tensors);
        cartesian_prod(tensors);
        cat(tensors, dim);
        chain_matmul(tensors);
        dstack(tensors);
        einsum(equation, tensors);
        exponential(shape, float, target);
        eye(shape, target);
        full(shape, scalar, target);
        hstack(tensors);
        linspace(float, float, size, target);
        logspace(float, float, size, float, target);
        meshgrid(tensors, indexing);
        multinomial(tensor, size, flag);
        normal(shape, float, float, target);
        normal_of(tensor, rhs);
        ones(shape, target);
        rand(shape, target);
        randint(shape, int, int, target);
        randn(shape, target);
        randperm(size, target);
        stack(tensors, dim);
        tril_indices(size, size, dim, target);
        triu_indices(size, size, dim, target);
        trunc_normal(shape, float, float, two_floats, target);
        uniform(shape, float, float, target);
        vstack(tensors);
        zeros(shape, target);
    }
}

#[test]
fn every_public_operation_is_here() {
    let mut public = scan::operations();
    for (name, _) in OPERATIONS {
        assert!(public.remove(*name), "{name} is no public operation");
    }
    assert!(public.is_empty(), "not in this file: {public:?}");
}

/// One operation, read, and differentiated where it can be.
fn run(words: &[u32], of: &[&Operation], dev: &Device) -> Result<(), TestCaseError> {
    let mut wild = Wild::new(words, dev);
    let (name, operation) = of[wild.below(of.len())];
    let differentiates = wild.flag();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut errors = Vec::new();
        let results = operation(&mut wild);
        // Some ask for billions of elements, and get them if they are read.
        let small = |y: &&Tensor| y.numel().is_ok_and(|n| n <= 100_000);
        for y in &results {
            if y.error().is_some() || small(&y) {
                errors.extend(y.to_bytes().err());
            }
        }
        let first = results.first().filter(small);
        if differentiates && let Some(y) = first.filter(|y| y.needs_grad()) {
            errors.extend(y.sum().backward().err());
            errors.extend(dev.synchronize().err());
        }
        errors
    }));
    let call = || format!("{name}({}) on {dev}", wild.drawn);
    match outcome {
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            let message = message.unwrap_or_default();
            Err(TestCaseError::fail(format!("{}: {message}", call())))
        }
        Ok(errors) => {
            let opinion = |e: &&Error| matches!(e, Error::Device(_) | Error::DeviceLost(_));
            match errors.iter().find(opinion) {
                Some(error) => Err(TestCaseError::fail(format!("{}: {error}", call()))),
                None => Ok(()),
            }
        }
    }
}

fn walk(dev: &Device, cases: u32) {
    let cases = std::env::var("WGRAD_WILD")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(cases);
    let only = std::env::var("WGRAD_WILD_OP").unwrap_or_default();
    let wanted = |(name, _): &&Operation| only.is_empty() || only == *name;
    let of: Vec<&Operation> = OPERATIONS.iter().filter(wanted).collect();
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    });
    let words = prop::collection::vec(any::<u32>(), 0..80);
    let outcome = runner.run(&words, |words| run(&words, &of, dev));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn on_the_cpu() {
    let dev = DeviceOptions::cpu().memory_limit(1 << 28).open().unwrap();
    walk(&dev, 20_000);
}

#[test]
fn on_the_gpu() {
    let options = DeviceOptions::gpu().memory_limit(1 << 28);
    if let Some(dev) = devices::open_gpu(options) {
        walk(&dev, 2000);
    }
}
