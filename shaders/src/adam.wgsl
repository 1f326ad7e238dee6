// Adam (Kingma and Ba, 2014) and AdamW (Loshchilov and Hutter, 2017) over whole arenas, four parameters
// per thread. With g the gradient (its negative where the step ascends):
//
//     decoupled:  p = p decay                  otherwise:  g = g + decay p
//     m = beta1 m + (1 - beta1) g
//     v = beta2 v + (1 - beta2) g^2
//     u = v, or with amsgrad the largest v so far
//     p = p - step m / (sqrt(u) scale + eps)
//
// A launch has up to eight segments, ranges of parameters that share their numbers. New values go to
// `goal`, which is `param` itself where the old ones need not stay; else (`keep`) the first launch also
// copies what no segment covers.
//
// Varies: segments (how many), keep, maximize, decoupled, amsgrad.

struct Segment {
    found: bool,
    decay: f32,
    beta1: f32,
    rest1: f32, // 1 - beta1, computed in f64: in f32 1 - 0.999 is off by 1e-5 of itself
    beta2: f32,
    rest2: f32,
    step: f32,
    scale: f32,
    eps: f32,
}

fn segment_of(i: u32) -> Segment {
    var s: Segment;
    #for k in range(segments)
    #set of = "params.s" ~ k ~ "_"
    if i >= {{of}}start && i < {{of}}end {
        s = Segment(true, {{of}}decay, {{of}}beta1, {{of}}rest1, {{of}}beta2, {{of}}rest2, {{of}}step, {{of}}scale, {{of}}eps);
    }
    #endfor
    return s;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (linear_group(group, groups) * 64u + lane) * 4u;
    if i >= params.n {
        return;
    }
    let s = segment_of(i);
    if !s.found {
        #if keep
        store4_goal(i, load4_param(i));
        #endif
        return;
    }
    var p = load4_param(i);
    #if maximize
    var g = -load4_grad(i);
    #else
    var g = load4_grad(i);
    #endif
    #if decoupled
    p = p * s.decay;
    #else
    g = g + s.decay * p;
    #endif
    let m = s.beta1 * load4_m(i) + s.rest1 * g;
    let v = s.beta2 * load4_v(i) + s.rest2 * g * g;
    #if amsgrad
    let u = max_f32(load4_vmax(i), v);
    store4_vmax(i, u);
    #else
    let u = v;
    #endif
    store4_m(i, m);
    store4_v(i, v);
    store4_goal(i, p - s.step * m / (sqrt_f32(u) * s.scale + s.eps));
}
