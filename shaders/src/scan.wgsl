// Running combinations along rows of `row` elements, of an element and all before it. A row is scanned in blocks of
// `length` elements:
//
//     totals   each block's combination
//     scan     each block, after the scanned total of the block before it (with `before`)
//
// The totals of a row's blocks are rows themselves, and scanned in the same way. What combines are states:
//
//     sum, product      the number
//     logsumexp         (m, s) for the logarithm m + ln(s): m is the largest element, so nothing overflows
//     argmax, argmin    (key, position); the keys (see the prelude) have the order of the elements or the other
//                       way round, NaN the largest, and of equal ones the later wins
//
// A workgroup shares a block (form "group"): each thread combines `count` elements, the threads' states are
// scanned in log2(size) steps (Hillis and Steele, 1986), and each thread goes over its elements again. Or a
// thread takes a block alone (form "thread"), without barriers and for short rows.
//
// Varies: stage; form; size (threads); count (elements of a thread); combine; reverse (from the end of a row to its
// beginning); states (what is scanned are states, and so is the result); before; t (the type of an element in a
// register).
#set pairs = combine not in ["sum", "product"]

#if not pairs
alias State = {{t}};

fn nothing() -> State {
    return {{t}}({{0 if combine == "sum" else 1}});
}

fn join(a: State, b: State) -> State {
    return a {{"+" if combine == "sum" else "*"}} b;
}
#elif combine == "logsumexp"
alias State = vec2<f32>;

fn nothing() -> State {
    return vec2<f32>(-inf_f32(vec4<f32>(f32(params.row))).x, 0.0);
}

fn join(a: State, b: State) -> State {
    let top = max_f32(vec4<f32>(a.x), vec4<f32>(b.x)).x;
    // Two infinities of one sign have no difference.
    let apart = select(vec2<f32>(a.x, b.x) - top, vec2<f32>(0.0), vec2<f32>(a.x, b.x) == vec2<f32>(top));
    let scale = exp_f32(vec4<f32>(apart, 0.0, 0.0)).xy;
    return vec2<f32>(top, a.y * scale.x + b.y * scale.y);
}
#else
alias State = vec2<u32>;

fn nothing() -> State {
    return vec2<u32>(0u);
}

fn join(a: State, b: State) -> State {
    return select(a, b, b.x >= a.x);
}
#endif

// Element j of a row in the direction of the scan.
fn position(row: u32, j: u32) -> u32 {
    #if reverse
    return row * params.row + (params.row - 1u - j);
    #else
    return row * params.row + j;
    #endif
}

fn load_state(row: u32, j: u32) -> State {
    let i = position(row, j);
    #if states and pairs
    return State(load_x(i), load_x_more(i));
    #elif states
    return load_x(i);
    #elif not pairs
    return load_x(place_x(i));
    #elif combine == "logsumexp"
    return vec2<f32>(load_x(place_x(i)), 1.0);
    #else
    let key = {{"down_key" if combine == "argmin" else "key"}}_{{t}}(vec4<{{t}}>(load_x(place_x(i)))).x;
    return vec2<u32>(key, i - row * params.row);
    #endif
}

#if stage == "totals" or states
fn store_state(i: u32, state: State) {
    #if pairs
    store_y(i, state.x);
    store_y_more(i, state.y);
    #else
    store_y(i, state);
    #endif
}
#endif
#if stage == "scan"
// What comes before a block.
fn load_before_block(block: u32) -> State {
    #if before
    if block % params.blocks > 0u {
        #if pairs
        return State(load_before(block - 1u), load_before_more(block - 1u));
        #else
        return load_before(block - 1u);
        #endif
    }
    #endif
    return nothing();
}

fn store_result(row: u32, j: u32, state: State) {
    let i = position(row, j);
    #if states
    store_state(i, state);
    #elif not pairs
    store_y(i, state);
    #elif combine == "logsumexp"
    store_y(i, state.x + ln_f32(vec4<f32>(state.y)).x);
    #else
    store_y(i, state.y);
    #endif
}
#endif
#if form == "thread"

@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_group(group, groups) * {{size}}u + lane;
    if block >= params.all {
        return;
    }
    let row = block / params.blocks;
    let first = block % params.blocks * params.length;
    let end = min(first + params.length, params.row);
    #if stage == "scan"
    let before = load_before_block(block);
    #endif
    // Sixteen at a time: the error of one chain of additions grows with its length.
    var total = nothing();
    var some = nothing();
    for (var j = first; j < end; j++) {
        some = join(some, load_state(row, j));
        #if stage == "scan"
        store_result(row, j, join(before, join(total, some)));
        #endif
        if (j & 15u) == 15u {
            total = join(total, some);
            some = nothing();
        }
    }
    #if stage == "totals"
    store_state(block, join(total, some));
    #endif
}
#else

var<workgroup> partial: array<State, {{size}}>;

@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_group(group, groups);
    if block >= params.all {
        return;
    }
    let row = block / params.blocks;
    let first = block % params.blocks * params.length + lane * {{count}}u;
    var some = nothing();
    #if stage == "scan"
    var own: array<State, {{count}}>;
    #endif
    #for k in range(count)
    if first + {{k}}u < params.row {
        some = join(some, load_state(row, first + {{k}}u));
    }
    #if stage == "scan"
    own[{{k}}] = some;
    #endif
    #endfor
    partial[lane] = some;
    workgroupBarrier();
    for (var reach = 1u; reach < {{size}}u; reach *= 2u) {
        var far = nothing();
        if lane >= reach {
            far = partial[lane - reach];
        }
        workgroupBarrier();
        partial[lane] = join(far, partial[lane]);
        workgroupBarrier();
    }
    #if stage == "scan"
    var total = nothing();
    if lane > 0u {
        total = partial[lane - 1u];
    }
    let before = load_before_block(block);
    #for k in range(count)
    if first + {{k}}u < params.row {
        store_result(row, first + {{k}}u, join(before, join(total, own[{{k}}])));
    }
    #endfor
    #else
    if lane == {{size - 1}}u {
        store_state(block, partial[lane]);
    }
    #endif
}
#endif
