// Stochastic gradient descent over whole arenas, as torch.optim.SGD, four parameters per thread. With g
// the gradient (its negative where the step ascends) plus weight_decay p:
//
//     with momentum:  b = g in the first step, else momentum b + (1 - dampening) g
//                     g = g + momentum b (Nesterov), or b
//     p = p - lr g
//
// Segments, `goal` and `keep` as in adam.wgsl.
//
// Varies: segments (how many), keep, maximize, momentum, nesterov.

struct Segment {
    found: bool,
    lr: f32,
    weight_decay: f32,
    momentum: f32,
    rest: f32, // 1 - dampening
    first: u32,
}

fn segment_of(i: u32) -> Segment {
    var s: Segment;
    #for k in range(segments)
    #set of = "params.s" ~ k ~ "_"
    if i >= {{of}}start && i < {{of}}end {
        s = Segment(true, {{of}}lr, {{of}}weight_decay, {{of}}momentum, {{of}}rest, {{of}}first);
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
    let p = load4_param(i);
    #if maximize
    var g = -load4_grad(i) + s.weight_decay * p;
    #else
    var g = load4_grad(i) + s.weight_decay * p;
    #endif
    #if momentum
    // The buffer holds nothing before the first step: not even multiplied by 0.
    var b = g;
    if s.first == 0u {
        b = s.momentum * load4_momentum(i) + s.rest * g;
    }
    store4_momentum(i, b);
    #if nesterov
    g = g + s.momentum * b;
    #else
    g = b;
    #endif
    #endif
    store4_goal(i, p - s.lr * g);
}
