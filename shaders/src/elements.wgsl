// Stores what is made of element(e), the result's element at row-major position e, everywhere: four in each thread,
// those behind the end into padding.
//
// Varies: quads (whether there is quad(e) instead, four elements from e on); t (the type of an element in a register),
// epilogue (text: what the planner fused behind the elements, of `acc`), stores (the buffers that are written, each with the
// register that holds its value).
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
    #if quads
    let acc = quad(i);
    #else
    let last = params.n - 1u;
    let acc = vec4<{{t}}>(element(i), element(min(i + 1u, last)), element(min(i + 2u, last)), element(min(i + 3u, last)));
    #endif
    {{epilogue}}
    #for y in stores
    store4_{{y.name}}(i, {{y.value}});
    #endfor
}
