// Philox4x32-10 (Salmon et al. 2011): four words of random bits for a counter and a key. Element e
// of a tensor takes word e % 4 of block e / 4, so the four elements of a thread are one block.

fn philox(block: u32, key: vec2<u32>, counter: vec2<u32>) -> vec4<u32> {
    var c = vec4<u32>(block, 0u, counter.x, counter.y);
    var k = key;
    for (var step = 0u; step < 10u; step++) {
        let a_high = mul_high(c.x, 0xd2511f53u);
        let a_low = c.x * 0xd2511f53u;
        let b_high = mul_high(c.z, 0xcd9e8d57u);
        let b_low = c.z * 0xcd9e8d57u;
        c = vec4<u32>(b_high ^ c.y ^ k.x, b_low, a_high ^ c.w ^ k.y, a_low);
        k = k + vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

fn uniform_from_bits(bits: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(bits >> vec4<u32>(8u)) * 5.9604644775390625e-8;
}

// Box and Muller's transform of pairs of words: r cos(2 pi u) and r sin(2 pi u) with
// r = sqrt(-2 ln v). The angle is reduced in turns, where it is exact.
fn normal_from_bits(bits: vec4<u32>) -> vec4<f32> {
    let v = vec4<f32>((bits.xxzz >> vec4<u32>(8u)) + vec4<u32>(1u)) * 5.9604644775390625e-8;
    let radius = sqrt_f32(max(-2.0 * ln_f32(v), vec4<f32>(0.0)));
    let turns = vec4<f32>(bits.yyww >> vec4<u32>(8u)) * 2.384185791015625e-7;
    let n = round(turns);
    var angle = Reduced(vec4<u32>(n), (turns - n) * 1.57079632679);
    angle.quadrant = angle.quadrant + vec4<u32>(1u, 0u, 1u, 0u);
    return radius * sin_reduced(angle);
}

fn random_bits_block(e: vec4<u32>, k0: u32, k1: u32, c0: u32, c1: u32) -> vec4<u32> {
    return philox(e.x >> 2u, vec2<u32>(k0, k1), vec2<u32>(c0, c1));
}

// For elements that are not one block.
fn random_bits_each(e: vec4<u32>, k0: u32, k1: u32, c0: u32, c1: u32) -> vec4<u32> {
    let key = vec2<u32>(k0, k1);
    let counter = vec2<u32>(c0, c1);
    return vec4<u32>(
        philox(e.x >> 2u, key, counter)[e.x & 3u],
        philox(e.y >> 2u, key, counter)[e.y & 3u],
        philox(e.z >> 2u, key, counter)[e.z & 3u],
        philox(e.w >> 2u, key, counter)[e.w & 3u],
    );
}

fn normal_lane(e: u32, key: vec2<u32>, counter: vec2<u32>) -> f32 {
    return normal_from_bits(philox(e >> 2u, key, counter))[e & 3u];
}

fn normal_block(e: vec4<u32>, k0: u32, k1: u32, c0: u32, c1: u32) -> vec4<f32> {
    return normal_from_bits(random_bits_block(e, k0, k1, c0, c1));
}

fn normal_each(e: vec4<u32>, k0: u32, k1: u32, c0: u32, c1: u32) -> vec4<f32> {
    let key = vec2<u32>(k0, k1);
    let counter = vec2<u32>(c0, c1);
    return vec4<f32>(
        normal_lane(e.x, key, counter),
        normal_lane(e.y, key, counter),
        normal_lane(e.z, key, counter),
        normal_lane(e.w, key, counter),
    );
}
