// Elementwise operations that were fused into one program, over four consecutive elements per thread. First
// the elements of each operand are loaded, wherever they lie, then the program computes the results.
//
// Varies: loads, program (texts), values (the registers that hold the results y0, y1, ...).

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
    {{loads}}
    {{program}}
    #for value in values
    store4_y{{loop.index0}}(i, {{value}});
    #endfor
}
