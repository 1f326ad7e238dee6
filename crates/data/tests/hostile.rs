//! Mutations of good files: never a panic, and memory within bounds of the file's size. Seeded, so that a failure comes
//! again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

use wgrad::data::cifar::{Cifar, Kind};
use wgrad::data::{CsvOptions, Random, Table, idx, npy, npz};

thread_local! {
    /// Bytes that this thread holds, and the most since the last reset.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, which counts.
struct Counting;

fn count(by: isize) {
    // While a thread ends its counters are gone.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + by, most.max(now + by)));
    });
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `f` holds at one time.
fn most_held(f: impl FnOnce()) -> isize {
    let before = HELD.get().0;
    HELD.set((before, before));
    f();
    HELD.get().1 - before
}

/// A few changes of a file: bytes, lengths that look large, parts cut out, doubled or put elsewhere.
fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len().max(1));
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = random.next_u64() as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 if at < end => bytes[at..end].fill([0, 0xff, 0x7f, 0x80][random.below(4)]),
            4 if at < end => {
                bytes.drain(at..end);
            }
            5 if at < end => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => bytes.push(random.next_u64() as u8),
        }
    }
    bytes
}

fn attack(name: &str, good: &[u8], rounds: usize, parse: impl Fn(&[u8]) -> bool) {
    assert!(parse(good), "{name}");
    let mut random = Random::keyed([name.len() as u64, good.len() as u64]);
    let mut refused = 0;
    for round in 0..rounds {
        let bytes = mutated(good, &mut random);
        let held = most_held(|| refused += usize::from(!parse(&bytes)));
        // What deflate can make of the file, with room for growing vectors and copies.
        let limit = 4 * 1032 * bytes.len() as isize + (1 << 20);
        assert!(
            held <= limit,
            "{name}, round {round}: {held} bytes for {}",
            bytes.len()
        );
    }
    assert!(
        refused > rounds / 20,
        "{name}: {refused} of {rounds} refused"
    );
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/");
    std::fs::read(format!("{directory}{name}")).unwrap()
}

#[test]
fn idx() {
    let mut file = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
    file.extend(0..24);
    attack("plain", &file, 20_000, |b| {
        idx::decode::<u8>(b, "x").is_ok()
    });
    attack("packed", &gzipped(&file), 20_000, |b| {
        idx::decode::<u8>(b, "x").is_ok()
    });
}

#[test]
fn npy_arrays() {
    for name in ["lf4.npy", "columns.npy", "lu2.npy", "bi8.npy", "bool.npy"] {
        attack(name, &fixture(name), 8_000, |b| {
            let typed = npy::decode_array::<f32>(b, "x").is_ok();
            let open = npy::decode_array::<i64>(b, "x").is_ok();
            let narrow = npy::decode_array::<i32>(b, "x").is_ok();
            typed || open || narrow || npy::decode_array::<bool>(b, "x").is_ok()
        });
    }
}

#[test]
fn npz_archives() {
    let dev = wgrad::cpu();
    for name in ["stored.npz", "deflated.npz"] {
        attack(name, &fixture(name), 8_000, |b| {
            npz::decode(b, "x", &dev).is_ok()
        });
    }
}

#[test]
fn csv_tables() {
    let text = "a,b,\"c, d\"\n1,2.5,\"x \"\"y\"\"\"\n-3,,\"two\nlines\"\n4,1e3,z\n";
    attack("csv", text.as_bytes(), 20_000, |b| {
        Table::from_csv(b, "x", &CsvOptions::default()).is_ok()
    });
}

#[test]
fn cifar_records() {
    let mut file = vec![3; 2 * 3073];
    file[3073] = 9;
    attack("cifar", &file, 3_000, |b| {
        Cifar::decode(b.to_vec(), Kind::Cifar10, "x").is_ok()
    });
}

#[cfg(feature = "images")]
#[test]
fn images() {
    use wgrad::data::{Channels, decode_image};
    let names = [
        "rgb.png",
        "rgba.png",
        "palette.png",
        "gray16.png",
        "bits.png",
        "rgb.jpg",
        "progressive.jpg",
        "odd.jpg",
        "gray.jpg",
    ];
    for name in names {
        attack(name, &fixture(name), 4_000, |b| {
            decode_image(b, "x", Channels::Rgb).is_ok()
        });
    }
}

/// The decoder is not this project's, and panics at some damage: that is an error like any other. (How much memory it
/// takes is its own affair: as much as a page says that it holds.)
#[cfg(feature = "parquet")]
#[test]
fn parquet_tables() {
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile.parquet");
    let (mut refused, mut gave_up) = (0, 0);
    for kind in ["none", "snappy", "gzip", "zstd", "lz4"] {
        let good = fixture(&format!("{kind}.parquet"));
        let mut random = Random::keyed([kind.len() as u64, good.len() as u64]);
        for _ in 0..3_000 {
            std::fs::write(path, mutated(&good, &mut random)).unwrap();
            if let Err(error) = Table::read_parquet(path) {
                refused += 1;
                gave_up += usize::from(error.to_string().ends_with("its decoder gave up"));
            }
        }
    }
    assert!(refused > 10_000 && gave_up > 0, "{refused}, {gave_up}");
}
