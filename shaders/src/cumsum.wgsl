// Running sums along rows of `row` elements. A row is scanned in blocks of `length` elements by themselves, the
// blocks' sums are scanned in turn, and what comes before a block is added to it:
//
//     scan   each block by itself; with `sums`, the block's sum is stored
//     add    to each element the scanned sum of the block before its own
//
// A workgroup shares a block (form "group"): each thread sums `count` elements, the threads' sums are
// scanned in log2(size) steps (Hillis and Steele, 1986), and each thread goes over its elements again. Or a
// thread takes a block alone (form "thread"), without barriers and for short rows.
//
// Varies: stage, form, size (threads), count (elements of a thread), reverse (from the end of a row to its
// beginning), sums, t (the type of an element in a register).

// Element j of a row in the direction of the sums.
fn position(row: u32, j: u32) -> u32 {
    #if reverse
    return row * params.row + (params.row - 1u - j);
    #else
    return row * params.row + j;
    #endif
}

#if stage == "add"
fn element(e: u32) -> {{t}} {
    let row = e / params.row;
    let at = e - row * params.row;
    #if reverse
    let block = (params.row - 1u - at) / params.length;
    #else
    let block = at / params.length;
    #endif
    let before = load_before(e);
    if block == 0u {
        return before;
    }
    return load_sums(row * params.blocks + block - 1u) + before;
}

#include "elements.wgsl"
#elif form == "thread"
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
    // Sixteen at a time: the error of one chain of additions grows with its length.
    var before = {{t}}();
    var sum = {{t}}();
    for (var j = first; j < end; j++) {
        sum += load_x(place_x(position(row, j)));
        store_y(position(row, j), before + sum);
        if (j & 15u) == 15u {
            before += sum;
            sum = {{t}}();
        }
    }
    #if sums
    store_sums(block, before + sum);
    #endif
}
#else
var<workgroup> partial: array<{{t}}, {{size}}>;

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
    var sum = {{t}}();
    var own: array<{{t}}, {{count}}>;
    #for k in range(count)
    if first + {{k}}u < params.row {
        sum += load_x(place_x(position(row, first + {{k}}u)));
    }
    own[{{k}}] = sum;
    #endfor
    partial[lane] = sum;
    workgroupBarrier();
    for (var reach = 1u; reach < {{size}}u; reach *= 2u) {
        var far = {{t}}();
        if lane >= reach {
            far = partial[lane - reach];
        }
        workgroupBarrier();
        partial[lane] = far + partial[lane];
        workgroupBarrier();
    }
    var before = {{t}}();
    if lane > 0u {
        before = partial[lane - 1u];
    }
    #for k in range(count)
    if first + {{k}}u < params.row {
        store_y(position(row, first + {{k}}u), before + own[{{k}}]);
    }
    #endfor
    #if sums
    if lane == {{size - 1}}u {
        store_sums(block, partial[lane]);
    }
    #endif
}
#endif
