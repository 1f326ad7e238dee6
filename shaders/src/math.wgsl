// Elementary functions on 4-vectors, within a few units in the last place where WGSL's own are
// allowed more: exp 3 + 2|x| ULP, sin and cos an absolute 2^-11 and only within [-pi, pi].

// The operand, as a value that compilers cannot look behind: they may rewrite (a + b) - a as b and
// n p + (n q + x) as n (p + q) + x, which undoes arithmetic in several parts.
fn settle(x: vec4<f32>) -> vec4<f32> {
    return max(x, vec4<f32>(-3.0e38));
}

// The root, NaN below 0. Roots of 0 and infinity are the operand (drivers may use x * rsqrt(x)).
fn sqrt_f32(x: vec4<f32>) -> vec4<f32> {
    let root = select(sqrt(max(x, vec4<f32>(0.0))), x, (x == vec4<f32>(0.0)) | is_inf(x) | is_nan(x));
    return select(root, nan_f32(x), x < vec4<f32>(0.0));
}

fn rsqrt_f32(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / sqrt_f32(x);
}

// e^r - 1 for |r| <= ln(2)/2: Taylor's series to r^7 (the rest is below 2e-8 of r).
fn expm1_small(r: vec4<f32>) -> vec4<f32> {
    var p = vec4<f32>(1.984126984e-4);
    p = fma(p, r, vec4<f32>(1.388888889e-3));
    p = fma(p, r, vec4<f32>(8.333333333e-3));
    p = fma(p, r, vec4<f32>(4.166666667e-2));
    p = fma(p, r, vec4<f32>(1.666666667e-1));
    p = fma(p, r, vec4<f32>(0.5));
    return fma(p, r * r, r);
}

// 2^n for integers in [-126, 127].
fn exp2_integer(n: vec4<i32>) -> vec4<f32> {
    return bitcast<vec4<f32>>((n + vec4<i32>(127)) << vec4<u32>(23u));
}

// e^x = 2^n e^r with n = round(x / ln 2); ln 2 in two parts so that r is exact enough.
fn exp_f32(x: vec4<f32>) -> vec4<f32> {
    let bounded = clamp(nan_to_zero_f32(x), vec4<f32>(-110.0), vec4<f32>(90.0));
    let n = round(bounded * 1.44269504);
    let r = fma(n, vec4<f32>(-1.42860677e-6), settle(fma(n, vec4<f32>(-0.693145752), bounded)));
    // In two factors, so that results near the ends of the range do not overflow on the way.
    let whole = vec4<i32>(n);
    let first = whole >> vec4<u32>(1u);
    let value = (expm1_small(r) + 1.0) * exp2_integer(first) * exp2_integer(whole - first);
    return select(value, x, is_nan(x));
}

fn expm1_f32(x: vec4<f32>) -> vec4<f32> {
    let value = select(exp_f32(x) - 1.0, expm1_small(x), abs(x) < vec4<f32>(0.34));
    // Keeps the sign of zero.
    return select(value, x, x == vec4<f32>(0.0));
}

// ln(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1], plus k ln 2 (FreeBSD's e_logf.c):
// with s = f / (2 + f), ln(1 + f) = 2 s + s R(s^2).
fn ln_reduced(f: vec4<f32>, k: vec4<f32>) -> vec4<f32> {
    let s = f / (f + 2.0);
    let z = s * s;
    var r = vec4<f32>(0.24279078841);
    r = fma(r, z, vec4<f32>(0.28498786688));
    r = fma(r, z, vec4<f32>(0.40000972152));
    r = fma(r, z, vec4<f32>(0.66666662693));
    r = r * z;
    let half_square = 0.5 * f * f;
    return fma(s, half_square + r, k * 9.0580006145e-6) - half_square + f + k * 0.69313812256;
}

// x = 2^k (1 + f).
struct LnParts {
    f: vec4<f32>,
    k: vec4<f32>,
}

fn ln_parts(x: vec4<f32>) -> LnParts {
    // Subnormal operands are scaled into the normal range.
    let tiny = x < vec4<f32>(1.17549435e-38);
    let bits = bitcast<vec4<i32>>(select(x, x * 8388608.0, tiny));
    let exponent = (bits - vec4<i32>(0x3f3504f3)) >> vec4<u32>(23u);
    let mantissa = bitcast<vec4<f32>>(bits - (exponent << vec4<u32>(23u)));
    return LnParts(mantissa - 1.0, vec4<f32>(exponent) - select(vec4<f32>(0.0), vec4<f32>(23.0), tiny));
}

// A logarithm that is y within its range: infinities, and NaN below 0.
fn ln_edges(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    var value = select(y, x, is_inf(x) | is_nan(x));
    value = select(value, nan_f32(x), x < vec4<f32>(0.0));
    return select(value, -inf_f32(x), x == vec4<f32>(0.0));
}

fn ln_f32(x: vec4<f32>) -> vec4<f32> {
    let parts = ln_parts(x);
    return ln_edges(x, ln_reduced(parts.f, parts.k));
}

fn log1p_f32(x: vec4<f32>) -> vec4<f32> {
    let near = (x > vec4<f32>(-0.2928)) & (x < vec4<f32>(0.4142));
    let value = select(ln_f32(x + 1.0), ln_reduced(select(vec4<f32>(0.0), x, near), vec4<f32>(0.0)), near);
    // Keeps the sign of zero.
    return select(value, x, x == vec4<f32>(0.0));
}

fn sigmoid_f32(x: vec4<f32>) -> vec4<f32> {
    let e = exp_f32(-abs(x));
    return select(vec4<f32>(1.0), e, x < vec4<f32>(0.0)) / (e + 1.0);
}

// tanh x = t / (t + 2) with t = e^(2 |x|) - 1; beyond 10 it is 1 in f32.
fn tanh_f32(x: vec4<f32>) -> vec4<f32> {
    let t = expm1_f32(2.0 * min(abs(x), vec4<f32>(10.0)));
    return select(copysign_f32(t / (t + 2.0), x), x, is_nan(x));
}

fn softplus_f32(x: vec4<f32>) -> vec4<f32> {
    let value = max(x, vec4<f32>(0.0)) + log1p_f32(exp_f32(-abs(x)));
    return select(value, x, is_nan(x));
}

// Minimax polynomials after N. Juffa: a polynomial near 0, 1 - e^p(|x|) beyond.
fn erf_f32(x: vec4<f32>) -> vec4<f32> {
    let t = min(abs(x), vec4<f32>(10.0));
    let s = t * t;
    var far = fma(vec4<f32>(-1.72853470e-5), t, vec4<f32>(3.83197126e-4));
    let odd = fma(vec4<f32>(-3.88396438e-3), t, vec4<f32>(2.42546219e-2));
    far = fma(far, s, odd);
    far = fma(far, t, vec4<f32>(-1.06777877e-1));
    far = fma(far, t, vec4<f32>(-6.34846687e-1));
    far = fma(far, t, vec4<f32>(-1.28717512e-1));
    far = fma(far, t, -t);
    far = copysign_f32(1.0 - exp_f32(far), x);
    var near = vec4<f32>(-5.96761703e-4);
    near = fma(near, s, vec4<f32>(4.99119423e-3));
    near = fma(near, s, vec4<f32>(-2.67681349e-2));
    near = fma(near, s, vec4<f32>(1.12819925e-1));
    near = fma(near, s, vec4<f32>(-3.76125336e-1));
    near = fma(near, s, vec4<f32>(1.28379166e-1));
    near = fma(near, x, x);
    return select(select(near, far, t > vec4<f32>(0.927734375)), x, is_nan(x));
}

// P of gelu_f32.
fn normal_tail(t: vec4<f32>) -> vec4<f32> {
    var p = vec4<f32>(-0.02095602424);
    p = fma(p, t, vec4<f32>(0.114257453));
    p = fma(p, t, vec4<f32>(-0.2325244073));
    p = fma(p, t, vec4<f32>(0.1975505846));
    p = fma(p, t, vec4<f32>(-0.08421348152));
    p = fma(p, t, vec4<f32>(0.09871138235));
    p = fma(p, t, vec4<f32>(0.07751790108));
    p = fma(p, t, vec4<f32>(0.1104184111));
    p = fma(p, t, vec4<f32>(0.1195504315));
    p = fma(p, t, vec4<f32>(0.1196877477));
    return p;
}

// x Phi(x), Phi the standard normal distribution. Phi(-y) = e^(-y^2/2) h(y) for y >= 0, and
// h(y) = t P(t) with t = 1 / (1 + 0.3 y), P of degree 9 interpolating at the Chebyshev nodes of
// 0 <= y <= 14.5. y is split so that its square is exact. Nothing cancels, so the left tail keeps its
// precision. At -infinity this is the limit, 0.
fn gelu_f32(x: vec4<f32>) -> vec4<f32> {
    let y = min(abs(x), vec4<f32>(14.5));
    let head = upper_f32(y);
    let power = exp_f32(-0.5 * head * head) * exp_f32(-0.5 * (y - head) * (y + head));
    let t = 1.0 / fma(y, vec4<f32>(0.3), vec4<f32>(1.0));
    let tail = y * t * normal_tail(t) * power;
    let value = select(x, vec4<f32>(-0.0), x < vec4<f32>(0.0)) - tail;
    return select(value, x, is_nan(x));
}

// 0.5 x (1 + tanh u) = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3). From -12 on it is 0, at
// -infinity too.
fn gelu_tanh_f32(x: vec4<f32>) -> vec4<f32> {
    let value = x * sigmoid_f32(x * fma(x * x, vec4<f32>(0.0713548162726), vec4<f32>(1.59576912161)));
    return select(value, vec4<f32>(-0.0), x < vec4<f32>(-12.0));
}

// ---- Trigonometry ----

// The sine and cosine of r in [-pi/4, pi/4] (Cephes' sinf.c).
fn sin_small(r: vec4<f32>) -> vec4<f32> {
    let z = r * r;
    var p = vec4<f32>(-1.9515295891e-4);
    p = fma(p, z, vec4<f32>(8.3321608736e-3));
    p = fma(p, z, vec4<f32>(-1.6666654611e-1));
    return fma(p * z, r, r);
}

fn cos_small(r: vec4<f32>) -> vec4<f32> {
    let z = r * r;
    var p = vec4<f32>(2.443315711809948e-5);
    p = fma(p, z, vec4<f32>(-1.388731625493765e-3));
    p = fma(p, z, vec4<f32>(4.166664568298827e-2));
    return fma(p, z * z, fma(vec4<f32>(-0.5), z, vec4<f32>(1.0)));
}

// Word i of the binary expansion of 1 / (2 pi).
fn turn_bits(i: u32) -> u32 {
    switch i {
        case 0u: { return 0x28be60dbu; }
        case 1u: { return 0x9391054au; }
        case 2u: { return 0x7f09d5f4u; }
        case 3u: { return 0x7d4d3770u; }
        case 4u: { return 0x36d8a566u; }
        case 5u: { return 0x4f10e410u; }
        case 6u: { return 0x7f9458eau; }
        default: { return 0u; }
    }
}

struct Reduced {
    quadrant: vec4<u32>,
    rest: vec4<f32>,
}

struct ReducedLane {
    quadrant: u32,
    rest: f32,
}

// The high word of a product of two words, by 16-bit halves.
fn mul_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let cross = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (cross >> 16u);
}

// Payne and Hanek's reduction for large operands: x / (2 pi) modulo 1 in 64 bits.
fn reduce_large(x: f32) -> ReducedLane {
    let bits = bitcast<u32>(x);
    let mantissa = (bits << 8u) | 0x80000000u;
    let exponent = ((bits >> 23u) & 255u) - 126u;
    let word = exponent >> 5u;
    let shift = exponent & 31u;
    var high = select(turn_bits(word - 1u), 0u, word == 0u);
    var middle = turn_bits(word);
    var low = turn_bits(word + 1u);
    if shift != 0u {
        high = (high << shift) | (middle >> (32u - shift));
        middle = (middle << shift) | (low >> (32u - shift));
        low = (low << shift) | (turn_bits(word + 2u) >> (32u - shift));
    }
    let carry = mul_high(mantissa, low);
    var product_low = carry + mantissa * middle;
    var product_high = mul_high(mantissa, middle) + select(0u, 1u, product_low < carry) + mantissa * high;
    var quadrant = product_high >> 30u;
    product_high = product_high & 0x3fffffffu;
    var negative = false;
    if (product_high & 0x20000000u) != 0u {
        // Beyond half a quadrant: count from the next one.
        quadrant = quadrant + 1u;
        negative = true;
        let borrow = select(0u, 1u, product_low != 0u);
        product_low = 0u - product_low;
        product_high = 0x40000000u - product_high - borrow;
    }
    // pi/2 2^-62
    var rest = fma(f32(product_high), 4294967296.0, f32(product_low)) * 3.40612158e-19;
    rest = select(rest, -rest, negative);
    if (bits >> 31u) != 0u {
        rest = -rest;
        quadrant = 0u - quadrant;
    }
    return ReducedLane(quadrant & 3u, rest);
}

// x = quadrant pi/2 + rest with |rest| <= pi/4. Small operands by Cody and Waite's reduction with
// pi/2 in three parts, whose products with the quadrant are exact.
fn reduce_angle(x: vec4<f32>) -> Reduced {
    let near = abs(x) < vec4<f32>(8192.0);
    let bounded = select(vec4<f32>(0.0), x, near);
    let n = round(bounded * 0.636619772);
    var rest = settle(fma(n, vec4<f32>(-1.5703125), bounded));
    rest = settle(fma(n, vec4<f32>(-4.837512969970703125e-4), rest));
    rest = fma(n, vec4<f32>(-7.54978995489188216e-8), rest);
    var result = Reduced(bitcast<vec4<u32>>(vec4<i32>(n)) & vec4<u32>(3u), rest);
    if !all(near) {
        let a = reduce_large(x.x);
        let b = reduce_large(x.y);
        let c = reduce_large(x.z);
        let d = reduce_large(x.w);
        result.quadrant = select(vec4<u32>(a.quadrant, b.quadrant, c.quadrant, d.quadrant), result.quadrant, near);
        result.rest = select(vec4<f32>(a.rest, b.rest, c.rest, d.rest), rest, near);
        result.rest = select(result.rest, nan_f32(x), is_inf(x) | is_nan(x));
    }
    return result;
}

fn sin_reduced(a: Reduced) -> vec4<f32> {
    let value = select(sin_small(a.rest), cos_small(a.rest), (a.quadrant & vec4<u32>(1u)) != vec4<u32>(0u));
    return select(value, -value, (a.quadrant & vec4<u32>(2u)) != vec4<u32>(0u));
}

fn sin_f32(x: vec4<f32>) -> vec4<f32> {
    return select(sin_reduced(reduce_angle(x)), x, x == vec4<f32>(0.0));
}

fn cos_f32(x: vec4<f32>) -> vec4<f32> {
    var a = reduce_angle(x);
    a.quadrant = a.quadrant + 1u;
    return sin_reduced(a);
}

fn tan_f32(x: vec4<f32>) -> vec4<f32> {
    var a = reduce_angle(x);
    let sine = sin_reduced(a);
    a.quadrant = a.quadrant + 1u;
    return select(sine / sin_reduced(a), x, x == vec4<f32>(0.0));
}

// ---- Powers ----

// The upper 12 bits of the mantissa: products of two such numbers are exact.
fn upper_f32(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4<u32>(0xfffff000u));
}

// a b - p without rounding, for p the rounded product (Dekker).
fn product_error(a: vec4<f32>, b: vec4<f32>, p: vec4<f32>) -> vec4<f32> {
    let a_upper = upper_f32(a);
    let a_lower = settle(a - a_upper);
    let b_upper = upper_f32(b);
    let b_lower = settle(b - b_upper);
    let head = settle(a_upper * b_upper - p);
    return settle(head + a_upper * b_lower) + settle(a_lower * b_upper + a_lower * b_lower);
}

// |x|^y = e^(y ln|x|) with the logarithm in two floats: an error in it is multiplied by up to 88.
fn pow_magnitude(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let parts = ln_parts(x);
    let f = parts.f;
    let k = parts.k;
    // s + s_low = f / (2 + f)
    let d = settle(f + 2.0);
    let d_low = f - settle(d - 2.0);
    let s = f / d;
    let sd = settle(s * d);
    let s_low = ((f - sd) - product_error(s, d, sd) - s * d_low) / d;
    let z = s * s;
    var r = vec4<f32>(0.24279078841);
    r = fma(r, z, vec4<f32>(0.28498786688));
    r = fma(r, z, vec4<f32>(0.40000972152));
    r = fma(r, z, vec4<f32>(0.66666662693));
    let tail = fma(s * z, r, 2.0 * s_low) + k * 9.0580006145e-6;
    let head = k * 0.69313812256;
    let ln_head = settle(head + 2.0 * s);
    let back = settle(ln_head - head);
    let ln_tail = (head - settle(ln_head - back)) + settle(2.0 * s - back) + tail;
    let ln_high = settle(ln_head + ln_tail);
    let ln_low = ln_tail - settle(ln_high - ln_head);
    let p = settle(y * ln_high);
    let p_low = product_error(y, ln_high, p) + y * ln_low;
    let inside = abs(p) < vec4<f32>(120.0);
    let value = exp_f32(p);
    return select(fma(value, select(vec4<f32>(0.0), p_low, inside), value), value, is_inf(value));
}

// IEEE 754's pow.
fn pow_f32(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let magnitude = abs(x);
    let exponent = clamp(y, vec4<f32>(-1.0e12), vec4<f32>(1.0e12));
    let zero = magnitude == vec4<f32>(0.0);
    let infinite = is_inf(x);
    let rising = y > vec4<f32>(0.0);
    let usual = select(magnitude, vec4<f32>(1.0), zero | infinite | is_nan(x));
    var value = pow_magnitude(usual, exponent);
    value = select(value, vec4<f32>(0.0), (zero & rising) | (infinite & !rising));
    value = select(value, inf_f32(x), (zero & !rising) | (infinite & rising));
    let whole = floor(y) == y;
    let small = abs(y) < vec4<f32>(16777216.0);
    let odd = whole & small & ((vec4<i32>(clamp(y, vec4<f32>(-16777216.0), vec4<f32>(16777216.0))) & vec4<i32>(1)) != vec4<i32>(0));
    let negative = (bitcast<vec4<u32>>(x) & vec4<u32>(0x80000000u)) != vec4<u32>(0u);
    value = select(value, -value, negative & odd);
    value = select(value, nan_f32(x), (x < vec4<f32>(0.0)) & !infinite & !whole);
    value = select(value, nan_f32(x), is_nan(x) | is_nan(y));
    // The logarithm's rounding would carry the largest number over the edge.
    value = select(value, x, eq_f32(y, vec4<f32>(1.0)));
    return select(value, vec4<f32>(1.0), eq_f32(y, vec4<f32>(0.0)) | eq_f32(x, vec4<f32>(1.0))
        | (eq_f32(x, vec4<f32>(-1.0)) & is_inf(y)));
}

// Integers to integer powers wrap; a negative power leaves what is left of the fraction: 0, or 1 and
// -1 of these.
fn pow_i32(x: vec4<i32>, y: vec4<i32>) -> vec4<i32> {
    let falling = y < vec4<i32>(0);
    let unit = abs(x) == vec4<i32>(1);
    // 0, 1 and -1 to the powers 2 and 3 are themselves or their squares.
    let base = select(x, select(vec4<i32>(0), x, unit), falling);
    let exponent = select(y, (y & vec4<i32>(1)) | vec4<i32>(2), falling);
    return bitcast<vec4<i32>>(pow_u32(bitcast<vec4<u32>>(base), bitcast<vec4<u32>>(exponent)));
}

fn pow_u32(x: vec4<u32>, y: vec4<u32>) -> vec4<u32> {
    var power = vec4<u32>(1u);
    var base = x;
    var rest = y;
    while any(rest != vec4<u32>(0u)) {
        power = select(power, power * base, (rest & vec4<u32>(1u)) != vec4<u32>(0u));
        base = base * base;
        rest = rest >> vec4<u32>(1u);
    }
    return power;
}
