// The first `first` elements of rows of `row` elements in ascending order. What is moved are pairs of a key, whose
// order is that of the elements (see the prelude), and the element's position in its row:
//
//     block    sorts blocks of `length` elements of the rows
//     merge    makes one run of `ways` neighbouring ones, again and again
//     values   puts the elements at the positions
//
// Run i of a row has the elements from i * covered on (at most `covered`, as far as the row goes), of which the first
// `first` are kept, and begins at i * min(covered, first). Equal elements keep their order: a block compares
// positions where keys are equal, and in a merge earlier runs come first.
//
// A workgroup sorts 1024 elements, a block or several, in its memory by a bitonic network (Batcher, 1968; form
// "group"); or a thread sorts a block alone, by insertion (form "thread"), without barriers. In a merge each
// element finds its place alone: it is the number of elements before it in its own run, which is known, and in
// the others, which is found by halving.
//
// Varies: stage, form, length (a power of two), ways, descending, keys (whether a merge stores them: not the
// last), key (the type of an element in a register), t (the same, of what is stored).

#if stage == "block"
fn key_of(row: u32, j: u32) -> u32 {
    let key = key_{{key}}(vec4<{{key}}>(load_x(place_x(row * params.row + j)))).x;
    #if descending
    return ~key;
    #else
    return key;
    #endif
}
#if form == "thread"

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_group(group, groups) * 64u + lane;
    if block >= params.all {
        return;
    }
    let row = block / params.blocks;
    let start = block % params.blocks * {{length}}u;
    let end = min(start + {{length}}u, params.row);
    let kept = min({{length}}u, params.first);
    let base = row * params.stride + block % params.blocks * kept;
    var count = 0u;
    for (var j = start; j < end; j++) {
        let key = key_of(row, j);
        var at = count;
        if count == kept {
            if load_keys(base + count - 1u) <= key {
                continue;
            }
            at = count - 1u;
        }
        while at > 0u && load_keys(base + at - 1u) > key {
            store_keys(base + at, load_keys(base + at - 1u));
            store_positions(base + at, load_positions(base + at - 1u));
            at--;
        }
        store_keys(base + at, key);
        store_positions(base + at, j);
        count = min(count + 1u, kept);
    }
}
#else

var<workgroup> shared_keys: array<u32, 1024>;
var<workgroup> shared_positions: array<u32, 1024>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_block = linear_group(group, groups) * {{1024 // length}}u;
    for (var slot = lane; slot < 1024u; slot += 256u) {
        let block = first_block + slot / {{length}}u;
        let row = block / params.blocks;
        let j = block % params.blocks * {{length}}u + slot % {{length}}u;
        // What is not there comes last.
        shared_keys[slot] = 0xffffffffu;
        shared_positions[slot] = 0xffffffffu;
        if block < params.all && j < params.row {
            shared_keys[slot] = key_of(row, j);
            shared_positions[slot] = j;
        }
    }
    workgroupBarrier();
    for (var width = 2u; width <= {{length}}u; width *= 2u) {
        for (var reach = width / 2u; reach > 0u; reach /= 2u) {
            for (var pair = lane; pair < 512u; pair += 256u) {
                let low = pair / reach * (2u * reach) + pair % reach;
                let high = low + reach;
                let upwards = (low & width & {{length - 1}}u) == 0u;
                let low_key = shared_keys[low];
                let high_key = shared_keys[high];
                let low_position = shared_positions[low];
                let high_position = shared_positions[high];
                let above = low_key > high_key || (low_key == high_key && low_position > high_position);
                if above == upwards {
                    shared_keys[low] = high_key;
                    shared_keys[high] = low_key;
                    shared_positions[low] = high_position;
                    shared_positions[high] = low_position;
                }
            }
            workgroupBarrier();
        }
    }
    let kept = min({{length}}u, params.first);
    for (var slot = lane; slot < 1024u; slot += 256u) {
        let block = first_block + slot / {{length}}u;
        let at = slot % {{length}}u;
        if block < params.all && at < kept && shared_positions[slot] != 0xffffffffu {
            let to = block / params.blocks * params.stride + block % params.blocks * kept + at;
            #if keys
            store_keys(to, shared_keys[slot]);
            #endif
            store_positions(to, shared_positions[slot]);
        }
    }
}
#endif
#elif stage == "merge"
// How many elements run i has.
fn length_of(i: u32) -> u32 {
    let start = i * params.covered;
    if start >= params.row {
        return 0u;
    }
    return min(params.first, min(params.covered, params.row - start));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= params.all {
        return;
    }
    let row = e / params.stride;
    let run = e % params.stride / params.kept;
    let at = e % params.stride % params.kept;
    let key = load_from_keys(e);
    let first_run = run / {{ways}}u * {{ways}}u;
    var rank = at;
    for (var i = 0u; i < {{ways}}u; i++) {
        let other = first_run + i;
        if other == run {
            continue;
        }
        let base = row * params.stride + other * params.kept;
        var low = 0u;
        var high = length_of(other);
        while low < high {
            let middle = low + (high - low) / 2u;
            let other_key = load_from_keys(base + middle);
            let before = other_key < key || (other_key == key && other < run);
            low = select(low, middle + 1u, before);
            high = select(middle, high, before);
        }
        rank += low;
    }
    if rank >= params.first {
        return;
    }
    let to = row * params.to_stride + first_run / {{ways}}u * params.to_kept + rank;
    #if keys
    store_to_keys(to, key);
    #endif
    store_to_positions(to, load_from_positions(e));
}
#else
fn element(e: u32) -> {{t}} {
    return load_x(place_x(e / params.first * params.row + load_positions(e)));
}

#include "elements.wgsl"
#endif
