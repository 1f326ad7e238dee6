//! Generation with the keys and values of all tokens so far.

use wgrad::KvCache;

use super::*;

#[test]
fn generation_with_a_cache_gives_what_the_whole_does() {
    for dev in everywhere() {
        let (heads, shared, length, size) = (4, 2, 9, 8);
        let x = |seed, heads| tensor(seed, &[1, heads, length, size], &dev);
        let (q, k, v) = (x(1, heads), x(2, shared), x(3, shared));
        let options = AttentionOptions {
            enable_gqa: true,
            ..causal()
        };
        let whole = q.scaled_dot_product_attention_with(&k, &v, options);
        let mut cache = KvCache::new([1, shared, 16, size], &dev);
        for (first, count) in [(0, 4), (4, 1), (5, 1), (6, 1), (7, 1)] {
            let part = |x: &Tensor| x.narrow(2, first, count).contiguous();
            let y = cache.attend(&part(&q), &part(&k), &part(&v)).unwrap();
            let want = whole.narrow(2, first, count);
            assert_close(&y.to_vec().unwrap(), &want.to_vec().unwrap(), 1e-4, 1e-5);
            assert_eq!(cache.len(), first + count);
        }
        let many = tensor(4, &[1, shared, 9, size], &dev);
        assert!(
            cache
                .attend(&tensor(5, &[1, heads, 9, size], &dev), &many, &many)
                .is_err()
        );
        assert_eq!(cache.len(), 8);
        cache.clear();
        let y = cache.attend(&q, &k, &v).unwrap();
        assert_close(&y.to_vec().unwrap(), &whole.to_vec().unwrap(), 1e-4, 1e-5);
    }
}

/// Attention goes over blocks of what is filled; their ends change nothing but the program, which is planned once for
/// each.
#[test]
fn generation_goes_over_what_is_filled() {
    for dev in [Some(cpu()), gpu(), flash_gpu()].into_iter().flatten() {
        let length = 150;
        let x = tensor(1, &[1, 2, length, 8], &dev);
        let whole = x.scaled_dot_product_attention_with(&x, &x, causal());
        let whole = whole.to_vec::<f32>().unwrap();
        let x = x.to_vec::<f32>().unwrap();
        let token = |at: usize| {
            let heads = [0, 1].map(|head| (head * length + at) * 8);
            heads.map(|from| from..from + 8)
        };
        let mut cache = KvCache::new([1, 2, 160, 8], &dev);
        let (mut misses, mut changes) = (0, Vec::new());
        for step in 0..length {
            let own: Vec<f32> = token(step)
                .into_iter()
                .flat_map(|r| x[r].to_vec())
                .collect();
            let own = Tensor::from_vec(own, [1, 2, 1, 8], &dev);
            let y = cache.attend(&own, &own, &own).unwrap();
            let want: Vec<f32> = token(step)
                .into_iter()
                .flat_map(|r| whole[r].to_vec())
                .collect();
            assert_close(&y.to_vec().unwrap(), &want, 1e-4, 1e-5);
            let now = dev.stats().plan_misses;
            if now != misses {
                changes.push(step);
            }
            misses = now;
        }
        let steady: Vec<usize> = changes.into_iter().filter(|&step| step > 2).collect();
        // At the ends of blocks, and there indeed: to go over all of the cache would be one program.
        assert!(steady.len() <= 4, "{dev}: planned in {steady:?}");
        assert!(steady.iter().all(|step| step % 64 < 2), "{dev}: {steady:?}");
        assert!(
            steady.contains(&64) && steady.contains(&128),
            "{dev}: {steady:?}"
        );
    }
}

/// A step of generation is planned once, and then replayed.
#[test]
fn steps_of_generation_replay() {
    for dev in [Some(cpu()), flash_gpu()].into_iter().flatten() {
        let x = tensor(1, &[1, 2, 1, 8], &dev);
        let mut cache = KvCache::new([1, 2, 32, 8], &dev);
        let mut misses = 0;
        for step in 0..6 {
            let y = cache.attend(&x, &x, &x).unwrap();
            dev.synchronize().unwrap();
            drop(y);
            let now = dev.stats().plan_misses;
            assert!(step < 2 || now == misses, "{dev}: step {step}");
            misses = now;
        }
    }
}
