// Elements merged by an index along a dimension: out[.., v, ..] = the sum (product, largest, smallest) of
// from[.., i, ..] where index[.., i, ..] is v, in ascending order of i. Where the index is short and steps along no other
// dimension, one launch does:
//
//     find    a workgroup for each place compares all of the index, and sums what it found
//
// Else the elements of each place of the result are chained as linked lists, so that the work grows with the source
// alone and sums have a fixed order:
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
// Varies: stage; each (places of a workgroup), words (bits for all positions along the dimension); merge; signed (whether the index is i32); before (whether something was merged before); block
// (how many elements, or sums, are added up at a time); t (the type of an element in a register). params.none has
// the bits of what is merged of no elements, but for sums.

#if stage == "find"
#include "index.wgsl"

// Of each of the workgroup's places, a bit for each position along the dimension that belongs to it.
var<workgroup> found: array<atomic<u32>, {{words * each}}>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = linear_group(group, groups) * {{each}}u;
    if first >= params.places {
        return;
    }
    for (var word = lane; word < {{words * each}}u; word += 64u) {
        atomicStore(&found[word], 0u);
    }
    workgroupBarrier();
    let first_value = first % params.size;
    for (var along = lane; along < params.length; along += 64u) {
        let value = index_value(place_index(along));
        if value >= 0 && u32(value) < params.size {
            // The places of one value are `size` apart.
            let nearest = u32(value) - first_value + select(0u, params.size, u32(value) < first_value);
            for (var place = nearest; place < {{each}}u; place += params.size) {
                atomicOr(&found[place * {{words}}u + along / 32u], 1u << (along % 32u));
            }
        } else if first == 0u {
            bad_index(value);
        }
    }
    workgroupBarrier();
    let quads = params.behind / 4u;
    for (var unit = lane; unit < quads * {{each}}u; unit += 64u) {
        let place = unit / quads;
        if first + place >= params.places {
            break;
        }
        let e = (first * quads + unit) * 4u;
        let base = vec4<u32>(place_from(e), place_from(e + 1u), place_from(e + 2u), place_from(e + 3u));
        // Sums of blocks: the error of one chain of additions grows with its length.
        var total = vec4<{{t}}>();
        var block = vec4<{{t}}>();
        var steps = 0u;
        for (var word = 0u; word * 32u < params.length; word++) {
            for (var bits = atomicLoad(&found[place * {{words}}u + word]); bits != 0u; bits &= bits - 1u) {
                let at = base + vec4<u32>((word * 32u + countTrailingZeros(bits)) * params.from_step);
                block += vec4<{{t}}>(load_from(at.x), load_from(at.y), load_from(at.z), load_from(at.w));
                steps++;
                if steps % {{block}}u == 0u {
                    total += block;
                    block = vec4<{{t}}>();
                }
            }
        }
        store4_y(e, total + block);
    }
}
#elif stage == "clear"
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
