//! Loaders: the same batches from any number of threads, errors that name examples, no thread left behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wgrad::data::{
    Array, Batch, BatchSampler, Batches, ByLength, DataLoader, Dataset, IterableDataset, Sampler,
    Shuffled, Stratified, StreamLoader, Weighted, from_fn, sets, stream_from_fn,
};
use wgrad::prelude::*;

fn values(batch: &Batch) -> (Vec<f32>, Vec<i32>) {
    (batch.x.to_vec().unwrap(), batch.y.to_vec().unwrap())
}

fn all<B: Batches<Batch = Batch>>(
    loader: &B,
    epoch: u64,
    from: usize,
) -> Vec<(Vec<f32>, Vec<i32>)> {
    let batches = loader.epoch(epoch, from);
    batches.map(|batch| values(&batch.unwrap())).collect()
}

/// Numbers with an augmentation, after pauses that bring threads out of step.
fn uneven(n: usize) -> impl Dataset<Item = (f32, i32)> {
    let set = from_fn(n, |i| {
        std::thread::sleep(Duration::from_micros((i as u64 * 37) % 300));
        Ok((i as f32, i as i32))
    });
    set.augment(5, |(x, y), random| Ok((x + random.uniform() as f32, y)))
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let dev = wgrad::cpu();
    let loader = |workers| {
        let loader = DataLoader::new(uneven(103), &dev).batch_size(8).shuffle(3);
        loader.workers(workers).prefetch(2)
    };
    let reference = all(&loader(0), 4, 0);
    assert_eq!(reference.len(), 13);
    for workers in [1, 3, 40] {
        assert_eq!(all(&loader(workers), 4, 0), reference, "{workers} workers");
        assert_eq!(
            all(&loader(workers), 4, 5),
            reference[5..],
            "{workers} workers"
        );
    }
    assert_ne!(all(&loader(1), 5, 0), reference);
    let seen: BTreeSet<i32> = reference.into_iter().flat_map(|(_, y)| y).collect();
    assert_eq!(seen.len(), 103);
    assert_eq!(all(&loader(2), 4, 99).len(), 0);
}

#[test]
fn last_batches_are_kept_or_dropped() {
    let dev = wgrad::cpu();
    let set = || (0..10).map(|i| (i as f32, i)).collect::<Vec<_>>();
    let loader = DataLoader::new(set(), &dev).batch_size(4);
    assert_eq!(loader.num_batches(), Some(3));
    assert_eq!(all(&loader, 0, 0)[2].1, [8, 9]);
    let loader = loader.drop_last(true).workers(2);
    assert_eq!(loader.num_batches(), Some(2));
    assert_eq!(all(&loader, 0, 0).len(), 2);
    let empty = DataLoader::new(Vec::<(f32, i32)>::new(), &dev).workers(2);
    assert_eq!((all(&empty, 0, 0).len(), empty.num_batches()), (0, Some(0)));
    let none = DataLoader::new(set(), &dev).batch_size(0);
    assert!(none.epoch(0, 0).next().unwrap().is_err());
}

#[test]
fn errors_and_panics_name_the_example_and_spare_the_other_batches() {
    let dev = wgrad::cpu();
    for workers in [0, 1, 3] {
        let set = from_fn(20, |i| match i {
            7 => Err(Error::File {
                path: "seven.png".into(),
                problem: "not an image".into(),
            }),
            13 => panic!("thirteen"),
            _ => Ok((i as f32, i as i32)),
        });
        let loader = DataLoader::new(set, &dev).batch_size(2).workers(workers);
        let batches: Vec<_> = loader.epoch(0, 0).collect();
        assert_eq!(batches.len(), 10);
        for (i, batch) in batches.iter().enumerate() {
            match (i, batch) {
                (3, Err(error)) => {
                    assert_eq!(error.to_string(), "example 7: seven.png: not an image");
                    assert!(matches!(error.root(), Error::File { .. }));
                }
                (6, Err(error)) => {
                    let text = error.to_string();
                    assert!(
                        text.starts_with("example 13: DataLoader: reading it panicked: thirteen ("),
                        "{text}"
                    );
                    assert!(text.contains("tests/loader.rs"), "{text}");
                }
                (_, batch) => assert_eq!(values(batch.as_ref().unwrap()).1[0], i as i32 * 2),
            }
        }
        // Shapes that differ.
        let set = vec![(vec![1.0f32, 2.0], 0), (vec![1.0], 1)];
        let loader = DataLoader::new(set, &dev).batch_size(2).workers(workers);
        let error = loader
            .epoch(0, 0)
            .next()
            .unwrap()
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("examples 0, 1: stack: example 1 of the batch has shape [1]"),
            "{error}"
        );
    }
    let position = Weighted::new(&[0.0, 0.0, 1.0], 1, 0).unwrap();
    let loader = DataLoader::new(vec![(1.0f32, 1)], &dev).sampler(position);
    let error = loader.epoch(0, 0).next().unwrap().err().unwrap();
    assert!(
        matches!(
            error.root(),
            Error::IndexOutOfRange {
                index: 2,
                size: 1,
                ..
            }
        ),
        "{error}"
    );
}

/// Whether a condition comes to hold.
fn eventually(condition: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

#[test]
fn threads_read_a_little_ahead_and_end_when_the_epoch_is_left() {
    let dev = wgrad::cpu();
    let read = Arc::new(AtomicUsize::new(0));
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let set = from_fn(100_000, {
        let (read, threads) = (Arc::clone(&read), Arc::clone(&threads));
        move |i| {
            read.fetch_add(1, Ordering::SeqCst);
            threads
                .lock()
                .unwrap()
                .insert(format!("{:?}", std::thread::current().id()));
            Ok((i as f32, i as i32))
        }
    });
    let set = Arc::new(set);
    let loader = DataLoader::new(Arc::clone(&set), &dev)
        .batch_size(10)
        .workers(3)
        .prefetch(2);
    let mut batches = loader.epoch(0, 0);
    // Six batches may wait, and one more is possible for each that was taken.
    assert!(eventually(|| read.load(Ordering::SeqCst) == 60));
    for taken in 1..=5 {
        batches.next().unwrap().unwrap();
        assert!(eventually(|| read.load(Ordering::SeqCst) == 60 + 10 * taken));
    }
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(read.load(Ordering::SeqCst), 110);
    assert!(
        !threads
            .lock()
            .unwrap()
            .contains(&format!("{:?}", std::thread::current().id()))
    );
    assert!(Arc::strong_count(&set) >= 2);
    drop(batches);
    drop(loader);
    // Nobody else holds the set: all threads have ended.
    assert_eq!(Arc::strong_count(&set), 1);
}

#[test]
fn an_epoch_is_left_while_examples_are_slow() {
    let dev = wgrad::cpu();
    let set = from_fn(1000, |i| {
        std::thread::sleep(Duration::from_millis(20));
        Ok((i as f32, i as i32))
    });
    let loader = DataLoader::new(set, &dev).batch_size(500).workers(2);
    let batches = loader.epoch(0, 0);
    std::thread::sleep(Duration::from_millis(30));
    let begin = Instant::now();
    drop(batches);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn items_of_many_kinds_are_put_together() {
    let dev = wgrad::cpu();
    let image = |v: u8| Array::full(v, [1, 2, 2]);
    let loader = DataLoader::new(
        vec![(image(1), [0.5f32, 1.0]), (image(2), [2.0, 3.0])],
        &dev,
    )
    .batch_size(2);
    let batch = loader.epoch(0, 0).next().unwrap().unwrap();
    assert_eq!(batch.x.dtype().unwrap(), DType::U8);
    assert_eq!(batch.x.dims::<4>().unwrap(), [2, 1, 2, 2]);
    assert_eq!(batch.y.dims::<2>().unwrap(), [2, 2]);
    let triples = DataLoader::new(vec![(1i32, 2.0f32, true), (3, 4.0, false)], &dev).batch_size(2);
    let (a, b, c) = triples.epoch(0, 0).next().unwrap().unwrap();
    assert_eq!(a.to_vec::<i32>().unwrap(), [1, 3]);
    assert_eq!(b.to_vec::<f32>().unwrap(), [2.0, 4.0]);
    assert_eq!(c.to_vec::<bool>().unwrap(), [true, false]);
    let alone = DataLoader::new(vec![vec![1.0f32], vec![2.0]], &dev).batch_size(2);
    assert_eq!(
        alone
            .epoch(0, 0)
            .next()
            .unwrap()
            .unwrap()
            .dims::<2>()
            .unwrap(),
        [2, 1]
    );
}

#[test]
fn samplers_keep_their_promises() {
    let labels = sets::breast_cancer().y;
    let order = Stratified::new(&labels, 1).positions(3);
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 569);
    for batch in order.chunks_exact(32) {
        let ones = batch.iter().filter(|&&i| labels[i] == 1).count() as f64;
        assert!((ones - 32.0 * 357.0 / 569.0).abs() <= 2.0, "{ones}");
    }
    assert_ne!(
        Shuffled::new(100, 1).positions(0),
        Shuffled::new(100, 1).positions(1)
    );
    assert_ne!(
        Shuffled::new(100, 1).positions(0),
        Shuffled::new(100, 2).positions(0)
    );

    // Draws in proportion to the weights.
    let weights = [0.5, 0.0, 1.5, 2.0];
    let order = Weighted::new(&weights, 40_000, 7).unwrap().positions(0);
    for (i, weight) in weights.iter().enumerate() {
        let share = order.iter().filter(|&&o| o == i).count() as f64 / 40_000.0;
        assert!((share - weight / 4.0).abs() < 0.01, "{i}: {share}");
    }
    // Without replacement the first draw has these proportions too, and none comes twice.
    let mut first = [0.0; 4];
    let sampler = Weighted::new(&weights, 3, 7)
        .unwrap()
        .without_replacement()
        .unwrap();
    for epoch in 0..20_000 {
        let order = sampler.positions(epoch);
        assert!(!order.contains(&1) && order.iter().collect::<BTreeSet<_>>().len() == 3);
        first[order[0]] += 1.0 / 20_000.0;
    }
    for (got, weight) in first.iter().zip(weights) {
        assert!((got - weight / 4.0).abs() < 0.015, "{first:?}");
    }
    for wrong in [&[-1.0, 1.0][..], &[f64::NAN], &[f64::INFINITY], &[0.0], &[]] {
        assert!(Weighted::new(wrong, 1, 0).is_err(), "{wrong:?}");
    }
    assert!(
        Weighted::new(&weights, 4, 0)
            .unwrap()
            .without_replacement()
            .is_err()
    );
    let huge = Weighted::new(&[f64::MAX, f64::MAX, 0.0], 100, 0)
        .unwrap()
        .positions(0);
    assert!(huge.contains(&0) && huge.contains(&1) && !huge.contains(&2));

    let lengths: Vec<usize> = (0..1000).map(|i| i * 7919 % 500).collect();
    let sampler = ByLength::new(&lengths, 16, true, 1);
    let batches = sampler.batches(2);
    assert_eq!((batches.len(), sampler.num_batches()), (62, 62));
    let spread = |b: &Vec<usize>| {
        let lengths = || b.iter().map(|&i| lengths[i]);
        lengths().max().unwrap() - lengths().min().unwrap()
    };
    assert!(batches.iter().all(|b| b.len() == 16 && spread(b) <= 16));
    assert_ne!(batches, sampler.batches(3));
}

#[test]
fn streams_are_walked_ahead_and_left() {
    let dev = wgrad::cpu();
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let set = stream_from_fn(move |epoch| {
        let counter = Arc::clone(&counter);
        (0..).map(move |i: i32| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok((i as f32 + epoch as f32 * 0.5, i))
        })
    });
    let loader = StreamLoader::new(set, &dev).batch_size(4).prefetch(3);
    let mut batches = loader.epoch(1, 2);
    assert_eq!(
        values(&batches.next().unwrap().unwrap()).0,
        [8.5, 9.5, 10.5, 11.5]
    );
    drop(batches);
    let after = made.load(Ordering::SeqCst);
    assert!(after <= 4 * 8, "{after}");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(made.load(Ordering::SeqCst), after);
    assert_eq!(Arc::strong_count(&made), 2);

    let failing = || {
        stream_from_fn(|_| {
            (0..10).map(|i: i32| match i {
                5 => panic!("five"),
                _ => Ok((i as f32, i)),
            })
        })
    };
    let loader = StreamLoader::new(failing(), &dev).batch_size(2);
    let results: Vec<_> = loader.epoch(0, 0).collect();
    assert_eq!(results.len(), 3);
    let error = results[2].as_ref().err().unwrap().to_string();
    assert!(error.contains("the stream panicked: five"), "{error}");

    let mixed = |epoch| {
        let set = stream_from_fn(|_| (0..50).map(Ok)).mixed(10, 3);
        set.stream(epoch).collect::<Result<Vec<i32>>>().unwrap()
    };
    assert_eq!(mixed(1), mixed(1));
    assert_ne!(mixed(1), mixed(2));
    // A number is given at the earliest when the buffer has it.
    assert!(
        mixed(1)
            .iter()
            .enumerate()
            .all(|(at, &v)| v as usize <= at + 9)
    );
}

#[test]
fn adapters_reach_through_to_the_epoch() {
    let set = || vec![1.0, 2.0, 3.0].augment(1, |x, r| Ok(x + r.uniform()));
    let plain = set();
    let through = [
        set().map(Ok).example_in_epoch(1, 9),
        set().subset(vec![2, 1]).example_in_epoch(1, 9),
        vec![0.0].chain(set()).example_in_epoch(2, 9),
        set()
            .zip(vec![0; 3])
            .map(|(x, _)| Ok(x))
            .example_in_epoch(1, 9),
        Arc::new(set()).example_in_epoch(1, 9),
        (&set() as &dyn Dataset<Item = f64>).example_in_epoch(1, 9),
        Box::new(set()).example_in_epoch(1, 9),
    ];
    for x in through {
        assert_eq!(x, plain.example_in_epoch(1, 9));
        assert_ne!(x, plain.example(1));
    }
    assert!(set().subset(vec![0]).example(1).is_err());
    assert!(set().chain(set()).example(6).is_err());
    assert!(set().cached().example(3).is_err());
    assert_eq!(set().zip(vec![1]).len(), 1);
}
