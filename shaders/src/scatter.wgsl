// Elements merged by an index along a dimension: out[.., v, ..] = the sum (product, largest, smallest) of
// from[.., i, ..] where index[.., i, ..] is v, in ascending order of i. The elements of each place of the result
// are chained as linked lists, so that the work grows with the source alone and sums have a fixed order:
//
//     clear   no chain has a link
//     link    each element of the index goes in front of its place's chain, by atomic exchange
//     sort    each chain in ascending order
//     add     each place of the result walks its chain
//     join    merges a batch of pieces of a long source with what the batches before gave
//
// Link l stands for position l - 1 along the dimension; 0 ends a chain. Chain c has head[c * size + v] for
// place v, and its links are next[c * length ..]. Where the index does not step along other dimensions, one
// chain serves all positions along them.
//
// Varies: stage; merge; signed (whether the index is i32); before (whether something was merged before); block
// (how many elements, or sums, are added up at a time); t (the type of an element in a register). params.none has
// the bits of what is merged of no elements, but for sums.

#if stage == "clear"
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (linear_group(group, groups) * 64u + lane) * 4u;
    if i < params.n {
        store4_head(i, vec4<u32>(0u));
    }
}
#elif stage == "link"
#include "index.wgsl"

// place_index(e), place_chain(e), place_along(e): where the index lies, its chain, its position along the
// dimension.
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= params.n {
        return;
    }
    let value = index_value(place_index(e));
    if value < 0 || u32(value) >= params.size {
        bad_index(value);
        return;
    }
    let chain = place_chain(e);
    let along = place_along(e);
    let before = atomicExchange(&heads[chain * params.size + u32(value)], along + 1u);
    store_next(chain * params.length + along, before);
}
#elif stage == "sort"
#include "scatter_sort.wgsl"

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let list = linear_group(group, groups) * 64u + lane;
    if list >= params.n {
        return;
    }
    let base = list / params.size * params.length;
    store_head(list, sort_chain(base, load_head(list)));
}
#elif stage == "add"
#include "merged.wgsl"

fn element(e: u32) -> {{t}} {
    let chain = place_chain(e);
    let base = place_from(e);
    var link = load_head(chain * params.size + place_along(e));
    #if merge != "sum"
    var total = bitcast<{{t}}>(params.none);
    while link != 0u {
        total = merged(total, load_from(base + (link - 1u) * params.from_step));
        link = load_next(chain * params.length + link - 1u);
    }
    #if before
    return merged(load_before(e), total);
    #else
    return total;
    #endif
    #else
    // Sums of blocks of sums of blocks: the error of one chain of additions grows with its length.
    var total = {{t}}();
    var blocks = {{t}}();
    var block = {{t}}();
    var steps = 0u;
    while link != 0u {
        block += load_from(base + (link - 1u) * params.from_step);
        link = load_next(chain * params.length + link - 1u);
        steps++;
        if steps % {{block}}u == 0u {
            blocks += block;
            block = {{t}}();
            if steps % {{block * block}}u == 0u {
                total += blocks;
                blocks = {{t}}();
            }
        }
    }
    #if before
    return merged(load_before(e), total + (blocks + block));
    #else
    return total + (blocks + block);
    #endif
    #endif
}

#include "elements.wgsl"
#else
#include "merged.wgsl"

fn element(e: u32) -> {{t}} {
    #if before
    return merged(load_before(e), load_batch(e));
    #else
    return load_batch(e);
    #endif
}

#include "elements.wgsl"
#endif
