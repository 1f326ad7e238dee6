// Sorts the chain that starts at link `head` in ascending order and returns its new head: merge
// sort of a linked list from the bottom up. In each round, runs of `width` links are merged in
// pairs. Link l stands for position l - 1; its successor is next[base + l - 1]; 0 ends the chain.
fn sort_chain(base: u32, head: u32) -> u32 {
    var list = head;
    var width = 1u;
    loop {
        var left = list;
        var tail = 0u;
        var merges = 0u;
        list = 0u;
        while left != 0u {
            merges++;
            var right = left;
            var left_size = 0u;
            while left_size < width && right != 0u {
                left_size++;
                right = load_next(base + right - 1u);
            }
            var right_size = width;
            while left_size > 0u || (right_size > 0u && right != 0u) {
                var link = left;
                let from_right = left_size == 0u || (right_size > 0u && right != 0u && right < left);
                if from_right {
                    link = right;
                    right = load_next(base + right - 1u);
                    right_size--;
                } else {
                    left = load_next(base + left - 1u);
                    left_size--;
                }
                if tail == 0u {
                    list = link;
                } else {
                    store_next(base + tail - 1u, link);
                }
                tail = link;
            }
            left = right;
        }
        if tail != 0u {
            store_next(base + tail - 1u, 0u);
        }
        if merges <= 1u {
            break;
        }
        width = width * 2u;
    }
    return list;
}
