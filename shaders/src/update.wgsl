// An optimizer's step over whole arenas, four elements per thread: the rule's program computes a new parameter
// and new states from the parameter, its gradient, the states and the numbers of the segment.
//
// A launch has up to eight segments, ranges of elements that share their numbers. New parameters go to `goal`,
// which is `param` itself where the old ones need not stay; else (`keep`) the first launch also copies what no
// segment covers. States are updated in place.
//
// Where the device decides on the step (`decided`), `control` holds a flag, which leaves everything as it is, and the
// first `read` numbers of each segment.
//
// Varies: segments (how many), keep, numbers (how many), states (how many), program (text), values (the registers
// that hold its results), decided, read (how many), first (where the numbers of the first segment are).

struct Segment {
    found: bool,
    #for number in range(numbers)
    n{{number}}: f32,
    #endfor
}

fn segment_of(i: u32) -> Segment {
    var s: Segment;
    #for k in range(segments)
    #set of = "params.s" ~ k ~ "_"
    if i >= {{of}}start && i < {{of}}end {
        s.found = true;
        #for number in range(numbers)
        #if number < read
        s.n{{number}} = load_control({{first + k * read + number}}u);
        #else
        s.n{{number}} = {{of}}n{{number}};
        #endif
        #endfor
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
    #if decided
    if load_control(0u) != 0.0 {
        #if keep
        store4_goal(i, load4_param(i));
        #endif
        return;
    }
    #endif
    let s = segment_of(i);
    if !s.found {
        #if keep
        store4_goal(i, load4_param(i));
        #endif
        return;
    }
    let p = load4_param(i);
    let g = load4_grad(i);
    #for k in range(states)
    let x{{k}} = load4_state{{k}}(i);
    #endfor
    #for number in range(numbers)
    let n{{number}} = vec4<f32>(s.n{{number}});
    #endfor
    {{program}}
    #for value in values
    #if loop.first
    store4_goal(i, {{value}});
    #else
    store4_state{{loop.index0 - 1}}(i, {{value}});
    #endif
    #endfor
}
