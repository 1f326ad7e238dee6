// Functions that generated and hand-written kernels share. Everything works on 4-vectors: a thread
// computes four elements. A kernel's module gets only the functions it reaches, see `link`.
//
// NaN is always told by its bits: drivers may assume `x == x`. WGSL has no literals for NaN and
// infinity, so they are made from bits at run time.

// ---- Launch geometry ----

// The number of this workgroup; a grid above 65 535 groups is folded into two dimensions.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// Keeps the first fault: the launch's code, then the index in two words.
fn report_fault(low: u32, high: u32) {
    loop {
        let claim = atomicCompareExchangeWeak(&fault[0], 0u, params.fault_code);
        if claim.exchanged {
            atomicStore(&fault[1], low);
            atomicStore(&fault[2], high);
            break;
        }
        if claim.old_value != 0u {
            break;
        }
    }
}

// ---- Products: c + a b ----

fn mad_f32(a: f32, b: vec4<f32>, c: vec4<f32>) -> vec4<f32> {
    return fma(vec4<f32>(a), b, c);
}

fn mad_i32(a: i32, b: vec4<i32>, c: vec4<i32>) -> vec4<i32> {
    return c + a * b;
}

fn mad_u32(a: u32, b: vec4<u32>, c: vec4<u32>) -> vec4<u32> {
    return c + a * b;
}

// ---- Special values ----

fn is_nan(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// NaN in every lane; the operand only keeps compilers from evaluating the constant.
fn nan_f32(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) | vec4<u32>(0x7fc00000u));
}

// Plus infinity in every lane.
fn inf_f32(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>((bitcast<vec4<u32>>(x) & vec4<u32>(0u)) | vec4<u32>(0x7f800000u));
}

fn is_inf(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) == vec4<u32>(0x7f800000u);
}

fn copysign_f32(x: vec4<f32>, s: vec4<f32>) -> vec4<f32> {
    let size = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
    let negative = bitcast<vec4<i32>>(s) < vec4<i32>(0);
    return bitcast<vec4<f32>>(select(size, size | vec4<u32>(0x80000000u), negative));
}

fn nan_to_zero_f32(x: vec4<f32>) -> vec4<f32> {
    return select(x, vec4<f32>(0.0), is_nan(x));
}

// ---- Signs, extremes, rounding ----

fn sign_f32(x: vec4<f32>) -> vec4<f32> {
    return select(sign(x), x, is_nan(x));
}

fn sign_i32(x: vec4<i32>) -> vec4<i32> {
    return sign(x);
}

fn sign_u32(x: vec4<u32>) -> vec4<u32> {
    return min(x, vec4<u32>(1u));
}

fn relu_f32(x: vec4<f32>) -> vec4<f32> {
    // -0 stays, as in torch.
    return select(select(x, vec4<f32>(0.0), x < vec4<f32>(0.0)), x, is_nan(x));
}

fn relu_i32(x: vec4<i32>) -> vec4<i32> {
    return max(x, vec4<i32>(0));
}

fn relu_u32(x: vec4<u32>) -> vec4<u32> {
    return x;
}

// The first of equal ones (zeros have signs); NaN if either is.
fn min_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(select(b, a, a <= b), b, is_nan(b)), a, is_nan(a));
}

fn min_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return min(a, b);
}

fn min_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return min(a, b);
}

fn max_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(select(b, a, a >= b), b, is_nan(b)), a, is_nan(a));
}

fn max_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return max(a, b);
}

fn max_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return max(a, b);
}

fn clamp_f32(x: vec4<f32>, lo: vec4<f32>, hi: vec4<f32>) -> vec4<f32> {
    return min_f32(max_f32(x, lo), hi);
}

fn clamp_i32(x: vec4<i32>, lo: vec4<i32>, hi: vec4<i32>) -> vec4<i32> {
    return min(max(x, lo), hi);
}

fn clamp_u32(x: vec4<u32>, lo: vec4<u32>, hi: vec4<u32>) -> vec4<u32> {
    return min(max(x, lo), hi);
}

fn floor_f32(x: vec4<f32>) -> vec4<f32> {
    return floor(x);
}

fn floor_i32(x: vec4<i32>) -> vec4<i32> {
    return x;
}

fn floor_u32(x: vec4<u32>) -> vec4<u32> {
    return x;
}

fn ceil_f32(x: vec4<f32>) -> vec4<f32> {
    return ceil(x);
}

fn ceil_i32(x: vec4<i32>) -> vec4<i32> {
    return x;
}

fn ceil_u32(x: vec4<u32>) -> vec4<u32> {
    return x;
}

// Halves to even, as WGSL's round is defined.
fn round_f32(x: vec4<f32>) -> vec4<f32> {
    return round(x);
}

fn round_i32(x: vec4<i32>) -> vec4<i32> {
    return x;
}

fn round_u32(x: vec4<u32>) -> vec4<u32> {
    return x;
}

fn trunc_f32(x: vec4<f32>) -> vec4<f32> {
    return trunc(x);
}

fn trunc_i32(x: vec4<i32>) -> vec4<i32> {
    return x;
}

fn trunc_u32(x: vec4<u32>) -> vec4<u32> {
    return x;
}

// ---- Comparisons: false where an operand is NaN ----

fn ordered(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return !(is_nan(a) | is_nan(b));
}

fn eq_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return (a == b) & ordered(a, b);
}

fn eq_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<bool> {
    return a == b;
}

fn eq_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<bool> {
    return a == b;
}

fn eq_bool(a: vec4<bool>, b: vec4<bool>) -> vec4<bool> {
    return a == b;
}

fn lt_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return (a < b) & ordered(a, b);
}

fn lt_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<bool> {
    return a < b;
}

fn lt_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<bool> {
    return a < b;
}

fn lt_bool(a: vec4<bool>, b: vec4<bool>) -> vec4<bool> {
    return !a & b;
}

fn le_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return (a <= b) & ordered(a, b);
}

fn le_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<bool> {
    return a <= b;
}

fn le_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<bool> {
    return a <= b;
}

fn le_bool(a: vec4<bool>, b: vec4<bool>) -> vec4<bool> {
    return !a | b;
}

// ---- Conversions: saturating, NaN to 0 ----

fn f32_to_i32(x: vec4<f32>) -> vec4<i32> {
    let inside = vec4<i32>(clamp(nan_to_zero_f32(x), vec4<f32>(-2147483648.0), vec4<f32>(2147483520.0)));
    return select(inside, vec4<i32>(2147483647), x >= vec4<f32>(2147483648.0));
}

fn f32_to_u32(x: vec4<f32>) -> vec4<u32> {
    let inside = vec4<u32>(clamp(nan_to_zero_f32(x), vec4<f32>(0.0), vec4<f32>(4294967040.0)));
    return select(inside, vec4<u32>(4294967295u), x >= vec4<f32>(4294967296.0));
}

fn f32_to_u8(x: vec4<f32>) -> vec4<u32> {
    return vec4<u32>(clamp(nan_to_zero_f32(x), vec4<f32>(0.0), vec4<f32>(255.0)));
}

fn f32_to_i16(x: vec4<f32>) -> vec4<i32> {
    return vec4<i32>(clamp(nan_to_zero_f32(x), vec4<f32>(-32768.0), vec4<f32>(32767.0)));
}

fn f32_to_i8(x: vec4<f32>) -> vec4<i32> {
    return vec4<i32>(clamp(nan_to_zero_f32(x), vec4<f32>(-128.0), vec4<f32>(127.0)));
}

fn f32_to_bool(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) != vec4<u32>(0u);
}

// An integer as an f32 that rounds to the 16-bit floats as the integer itself does: of more than 24
// digits the others are cut off, and where they were not 0 the last one is set ("round to odd").
fn u32_to_odd(x: vec4<u32>) -> vec4<f32> {
    let surplus = vec4<u32>(8u) - min(countLeadingZeros(x), vec4<u32>(8u));
    let kept = x >> surplus;
    let sticky = select(vec4<u32>(0u), vec4<u32>(1u), (kept << surplus) != x);
    return vec4<f32>((kept | sticky) << surplus);
}

fn i32_to_odd(x: vec4<i32>) -> vec4<f32> {
    // The smallest is its own absolute value, and as an unsigned number right.
    let value = u32_to_odd(bitcast<vec4<u32>>(abs(x)));
    return select(value, -value, x < vec4<i32>(0));
}

// The bits of an f16, rounded to nearest even, overflowing to infinity, NaN kept. Below the
// normal range, adding 0.5 (whose last place is 2^-24, f16's smallest step) makes the adder round.
fn f16_bits(x: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let even = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (magnitude + vec4<u32>(0xfffu) + even - vec4<u32>(0x38000000u)) >> vec4<u32>(13u);
    let small = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude) + vec4<f32>(0.5)) - vec4<u32>(0x3f000000u);
    var half = select(normal, small, magnitude < vec4<u32>(0x38800000u));
    half = select(half, vec4<u32>(0x7c00u), magnitude >= vec4<u32>(0x47800000u));
    half = select(half, vec4<u32>(0x7e00u), magnitude > vec4<u32>(0x7f800000u));
    return half | ((bits >> vec4<u32>(16u)) & vec4<u32>(0x8000u));
}

// The value of f16 bits in the low half of each word.
fn f16_value(bits: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(bits.x | (bits.y << 16u)), unpack2x16float(bits.z | (bits.w << 16u)));
}

fn f16_scalar(bits: u32) -> f32 {
    return unpack2x16float(bits & 0xffffu).x;
}

fn bf16_scalar(bits: u32) -> f32 {
    return bitcast<f32>(bits << 16u);
}

// The bits of a bf16, rounded to nearest even, NaN kept.
fn bf16_bits(x: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let even = (bits >> vec4<u32>(16u)) & vec4<u32>(1u);
    let rounded = (bits + vec4<u32>(0x7fffu) + even) >> vec4<u32>(16u);
    return select(rounded, (bits >> vec4<u32>(16u)) | vec4<u32>(0x40u), is_nan(x));
}

fn round_f16(x: vec4<f32>) -> vec4<f32> {
    return f16_value(f16_bits(x));
}

fn round_bf16(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bf16_bits(x) << vec4<u32>(16u));
}

fn unpack_f16(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn unpack_bf16(words: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u,
        words.y << 16u, words.y & 0xffff0000u));
}

fn pack_16(bits: vec4<u32>) -> vec2<u32> {
    return vec2<u32>(bits.x | (bits.y << 16u), bits.z | (bits.w << 16u));
}

fn unpack_u8(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

fn pack_u8(x: vec4<u32>) -> u32 {
    return (x.x & 255u) | ((x.y & 255u) << 8u) | ((x.z & 255u) << 16u) | ((x.w & 255u) << 24u);
}

// The low bits as a signed number.
fn wrap_i16(x: vec4<i32>) -> vec4<i32> {
    return (x << vec4<u32>(16u)) >> vec4<u32>(16u);
}

fn wrap_i8(x: vec4<i32>) -> vec4<i32> {
    return (x << vec4<u32>(24u)) >> vec4<u32>(24u);
}

fn i16_bits(x: vec4<i32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x) & vec4<u32>(0xffffu);
}

fn unpack_i16(words: vec2<u32>) -> vec4<i32> {
    return wrap_i16(bitcast<vec4<i32>>(vec4<u32>(words.x, words.x >> 16u, words.y, words.y >> 16u)));
}

fn unpack_i8(word: u32) -> vec4<i32> {
    return wrap_i8(bitcast<vec4<i32>>(vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)));
}

fn low_byte(x: vec4<u32>) -> vec4<u32> {
    return x & vec4<u32>(255u);
}

// ---- Order-preserving keys: max over keys is max over values, NaN above everything ----

fn key_f32(x: vec4<f32>) -> vec4<u32> {
    // Adding 0 turns -0 into 0, so that the two are equal.
    let bits = select(bitcast<vec4<u32>>(x), vec4<u32>(0u), x == vec4<f32>(0.0));
    let flip = select(vec4<u32>(0x80000000u), vec4<u32>(0xffffffffu), (bits & vec4<u32>(0x80000000u)) != vec4<u32>(0u));
    return select(bits ^ flip, vec4<u32>(0xffffffffu), is_nan(x));
}

// Keys whose maximum is the smallest value; NaN still on top.
fn down_key_f32(x: vec4<f32>) -> vec4<u32> {
    return select(~key_f32(x), vec4<u32>(0xffffffffu), is_nan(x));
}

fn unkey_f32(key: vec4<u32>) -> vec4<f32> {
    let flip = select(vec4<u32>(0xffffffffu), vec4<u32>(0x80000000u), (key & vec4<u32>(0x80000000u)) != vec4<u32>(0u));
    return bitcast<vec4<f32>>(key ^ flip);
}

fn down_unkey_f32(key: vec4<u32>) -> vec4<f32> {
    let value = unkey_f32(~key);
    return select(value, nan_f32(value), key == vec4<u32>(0xffffffffu));
}

fn key_i32(x: vec4<i32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(x) ^ vec4<u32>(0x80000000u);
}

fn down_key_i32(x: vec4<i32>) -> vec4<u32> {
    return ~key_i32(x);
}

fn unkey_i32(key: vec4<u32>) -> vec4<i32> {
    return bitcast<vec4<i32>>(key ^ vec4<u32>(0x80000000u));
}

fn down_unkey_i32(key: vec4<u32>) -> vec4<i32> {
    return unkey_i32(~key);
}

fn key_u32(x: vec4<u32>) -> vec4<u32> {
    return x;
}

fn down_key_u32(x: vec4<u32>) -> vec4<u32> {
    return ~x;
}

fn unkey_u32(key: vec4<u32>) -> vec4<u32> {
    return key;
}

fn down_unkey_u32(key: vec4<u32>) -> vec4<u32> {
    return ~key;
}

fn key_bool(x: vec4<bool>) -> vec4<u32> {
    return select(vec4<u32>(0u), vec4<u32>(1u), x);
}

fn down_key_bool(x: vec4<bool>) -> vec4<u32> {
    return select(vec4<u32>(1u), vec4<u32>(0u), x);
}

fn unkey_bool(key: vec4<u32>) -> vec4<bool> {
    return key != vec4<u32>(0u);
}

fn down_unkey_bool(key: vec4<u32>) -> vec4<bool> {
    return key == vec4<u32>(0u);
}

// Two words of a 64-bit one.
fn unpack_64(v: u64) -> vec2<u32> {
    return vec2<u32>(u32(v), u32(v >> 32u));
}

fn unpack_64x2(v: vec2<u64>) -> vec4<u32> {
    return vec4<u32>(unpack_64(v.x), unpack_64(v.y));
}

fn pack_64x2(v: vec4<u32>) -> vec2<u64> {
    let low = vec2<u64>(u64(v.x), u64(v.z));
    let high = vec2<u64>(u64(v.y), u64(v.w));
    return low | (high << vec2<u32>(32u));
}
