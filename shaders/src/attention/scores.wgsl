## What reads and writes rows of a head, and makes scores of products, for all kernels of attention.
##
## Varies: pass; head and value_head (sizes); vectors (which operands load quads) and whole (which results store quads);
## causal, window, mask ("none", "bool", "float"), alibi, dropout.
#set lanes = ["x", "y", "z", "w"]
#macro loader(name, size)
fn {{name}}_quad(base: u32, row: u32, d: u32) -> vec4<f32> {
    let at = base + row * params.{{name}}_row;
    #if name in vectors
    if d >= {{size}}u {
        return vec4<f32>(0.0);
    }
    return load4_{{name}}(at + d);
    #else
    var quad = vec4<f32>(0.0);
    #for lane in lanes
    if d + {{loop.index0}}u < {{size}}u {
        quad.{{lane}} = load_{{name}}(at + (d + {{loop.index0}}u) * params.{{name}}_column);
    }
    #endfor
    return quad;
    #endif
}

#endmacro
{{loader("q", head)}}
{{loader("k", head)}}
{{loader("v", value_head)}}
#if pass != "forward"
{{loader("g", value_head)}}
#endif
#macro writer(name, size)
fn put_{{name}}(row: u32, d: u32, quad: vec4<f32>) {
    let at = row * {{size}}u + d;
    #if name in whole
    store4_{{name}}(at, quad);
    #else
    #for lane in lanes
    if d + {{loop.index0}}u < {{size}}u {
        store_{{name}}(at + {{loop.index0}}u, quad.{{lane}});
    }
    #endfor
    #endif
}

#endmacro
#if pass == "forward"
{{writer("out", value_head)}}
#elif pass == "query"
{{writer("dq", head)}}
#else
{{writer("dk", head)}}
{{writer("dv", value_head)}}
#endif
// What belongs to a head.
struct Head {
    q: u32,
    k: u32,
    v: u32,
    g: u32,
    mask: u32,
    slope: f32,
    // The number of its first query.
    row: u32,
}

fn head_of(batch: u32, head: u32) -> Head {
    let shared_head = head / params.group;
    var base: Head;
    base.q = params.q_start + batch * params.q_batch + head * params.q_head;
    base.k = params.k_start + batch * params.k_batch + shared_head * params.k_head;
    base.v = params.v_start + batch * params.v_batch + shared_head * params.v_head;
    #if pass != "forward"
    base.g = params.g_start + batch * params.g_batch + head * params.g_head;
    #endif
    #if mask != "none"
    base.mask = params.mask_start + batch * params.mask_batch + head * params.mask_head;
    #endif
    #if alibi
    base.slope = load_alibi(params.alibi_start + head * params.alibi_step);
    #endif
    base.row = (batch * params.heads + head) * params.queries;
    return base;
}

// Scores of products of the queries i and the keys j; minus infinity for what does not count.
fn scores_of(base: Head, products: vec4<f32>, i: vec4<u32>, j: vec4<u32>) -> vec4<f32> {
    var s = products * params.scale;
    var seen = (i < vec4<u32>(params.queries)) & (j < vec4<u32>(params.keys));
    #if alibi or window
    let apart = max(i, j) - min(i, j);
    #endif
    #if alibi
    s -= base.slope * vec4<f32>(apart);
    #endif
    #if causal
    seen = seen & (j <= i);
    #endif
    #if window
    seen = seen & (apart < vec4<u32>(params.window));
    #endif
    #if mask != "none"
    let row = base.mask + min(i, vec4<u32>(params.queries - 1u)) * params.mask_row;
    let at = row + min(j, vec4<u32>(params.keys - 1u)) * params.mask_column;
    #if mask == "bool"
    seen = seen & vec4<bool>(load_mask(at.x), load_mask(at.y), load_mask(at.z), load_mask(at.w));
    #else
    s += vec4<f32>(load_mask(at.x), load_mask(at.y), load_mask(at.z), load_mask(at.w));
    #endif
    #endif
    return select(-inf_f32(products), s, seen);
}
#if dropout

fn mix_bits(bits: vec4<u32>) -> vec4<u32> {
    var x = bits ^ (bits >> vec4<u32>(16u));
    x = x * vec4<u32>(0x7feb352du);
    x = x ^ (x >> vec4<u32>(15u));
    x = x * vec4<u32>(0x846ca68bu);
    return x ^ (x >> vec4<u32>(16u));
}

fn word(i: u32) -> vec4<u32> {
    return vec4<u32>(load_seed(params.seed_start + i * params.seed_step));
}

// The factors of weights that dropout leaves.
fn kept(base: Head, i: vec4<u32>, j: vec4<u32>) -> vec4<f32> {
    let row = mix_bits(mix_bits((base.row + i) ^ word(0u)) + word(1u));
    let bits = mix_bits((row ^ (j * 0x9e3779b9u + word(2u))) + word(3u));
    return select(vec4<f32>(0.0), vec4<f32>(params.factor), bits >= vec4<u32>(params.threshold));
}
#endif
