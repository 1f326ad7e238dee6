//! Mutations of good files: never a panic, and memory within bounds of the file's size. Seeded, so that a failure comes
//! again. And what reading takes: each tensor's bytes once.

mod device;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use device::cpu;
use half::bf16;
use wgrad_core::{Result, Tensor};
use wgrad_files::zip::{Archive, Writer};
use wgrad_nn::{StateDict, safetensors as files, torch};

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

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A few changes of a file: bytes, lengths that look large, parts cut out, doubled or put elsewhere.
fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 if at < end => bytes[at..end].fill([0, 0xff, 0x7f, 0x80][random.below(4)]),
            4 if at < end => drop(bytes.drain(at..end)),
            5 if at < end => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => bytes.push(random.next() as u8),
        }
    }
    bytes
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch/");
    std::fs::read(format!("{directory}{name}")).unwrap()
}

fn attack(name: &str, good: &[u8], rounds: usize, factor: usize, parse: impl Fn(&[u8]) -> bool) {
    assert!(parse(good), "{name}");
    let mut random = Random(good.len() as u64);
    let (mut refused, begin) = (0, Instant::now());
    for round in 0..rounds {
        let bytes = mutated(good, &mut random);
        let held = most_held(|| refused += usize::from(!parse(&bytes)));
        let limit = (factor * bytes.len() + (2 << 20)) as isize;
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
    let each = begin.elapsed() / rounds as u32;
    assert!(each.as_millis() < 100, "{name}: {each:?} each");
}

#[test]
fn safetensors_headers() {
    let dev = cpu();
    let file = fixture("torch.safetensors");
    attack("safetensors", &file, 20_000, 64, |b| {
        files::decode(b, "x", &dev).is_ok()
    });
}

#[test]
fn torch_archives() {
    let dev = cpu();
    for name in ["views.pt", "types.pt", "checkpoint.pt", "module.pt"] {
        attack(name, &fixture(name), 4_000, 1032 + 512, |b| {
            torch::decode(b, "x", &dev).is_ok()
        });
    }
}

/// Checksums keep most mutations from the pickle machine: here they are made anew.
#[test]
fn pickles() {
    let dev = cpu();
    for name in [
        "views.pt",
        "types.pt",
        "checkpoint.pt",
        "module.pt",
        "protocol4.pt",
    ] {
        let file = fixture(name);
        let archive = Archive::parse(&file).unwrap();
        let is_pickle = |name: &str| name.ends_with("/data.pkl");
        let pickle = archive
            .entries()
            .iter()
            .find(|e| is_pickle(e.name()))
            .unwrap();
        let pickle = pickle.read().unwrap();
        attack(name, &pickle, 4_000, 1024, |pickle| {
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes);
            for entry in archive.entries() {
                match is_pickle(entry.name()) {
                    true => writer.add(entry.name(), pickle).unwrap(),
                    false => writer.add(entry.name(), &entry.read().unwrap()).unwrap(),
                }
            }
            writer.finish().unwrap();
            torch::decode(&bytes, "x", &dev).is_ok()
        });
    }
}

/// Instructions of the pickle machine at random.
#[test]
fn random_pickles() {
    let dev = cpu();
    let mut random = Random(1);
    let parts: [&[u8]; 34] = [
        b"N",
        b"K\x02",
        b"J\xff\xff\xff\xff",
        b"(",
        b"t",
        b"l",
        b"d",
        b"]",
        b"}",
        b")",
        b"\x85",
        b"\x86",
        b"\x87",
        b"a",
        b"e",
        b"s",
        b"u",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"0",
        b"1",
        b"2",
        b"X\x01\0\0\x000",
        b"Q",
        b"R",
        b"b",
        b"cbuiltins\nlist\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ",
        b"\x81",
        b"\x8f",
    ];
    for _ in 0..20_000 {
        let mut pickle = Vec::new();
        for _ in 0..1 + random.below(40) {
            pickle.extend_from_slice(parts[random.below(parts.len())]);
        }
        pickle.push(b'.');
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.add("x/data.pkl", &pickle).unwrap();
        writer.add("x/data/0", &[0; 16]).unwrap();
        writer.finish().unwrap();
        let held = most_held(|| drop(torch::decode(&bytes, "x", &dev)));
        assert!(held < 2 << 20, "{held} bytes: {pickle:?}");
    }
}

#[test]
fn a_large_file_is_copied_once_and_in_seconds() -> Result<()> {
    let dev = cpu();
    let n = 1 << 24;
    let path = std::env::temp_dir().join(format!("wgrad-large-{}", std::process::id()));
    let bytes: Vec<u8> = (0..2 * n).map(|i| (i * 7 % 127) as u8).collect();
    let brain: Vec<bf16> = bytes
        .chunks_exact(2)
        .map(|b| bf16::from_le_bytes([b[0], b[1]]))
        .collect();
    let tensor = Tensor::from_vec(brain, [n], &dev);
    files::save(&path, &StateDict::from([("x".to_string(), tensor)]))?;
    let begin = Instant::now();
    let mut loaded = None;
    let held = most_held(|| loaded = Some(files::load(&path, &dev).unwrap()));
    assert!(
        held < 2 * n as isize + (1 << 20),
        "{held} bytes held for {} of numbers",
        2 * n
    );
    assert!(loaded.unwrap()["x"].to_bytes()? == bytes);

    // The same numbers as torch would write them.
    let pickle = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nBFloat16Storage\nX\x01\0\0\x000X\x03\0\0\0cpuJ".to_vec(),
        (n as u32).to_le_bytes().to_vec(),
        b"tQK\0J".to_vec(),
        (n as u32).to_le_bytes().to_vec(),
        b"\x85K\x01\x85\x89NtR.".to_vec(),
    ]
    .concat();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = Writer::new(file);
    writer.add("x/data.pkl", &pickle).unwrap();
    writer.add("x/data/0", &bytes).unwrap();
    writer.finish().unwrap();
    let mut loaded = None;
    let held = most_held(|| loaded = Some(torch::load(&path, &dev).unwrap()));
    assert!(
        held < 2 * n as isize + (1 << 20),
        "{held} bytes held for {} of numbers",
        2 * n
    );
    assert!(loaded.unwrap().as_tensor().unwrap().to_bytes()? == bytes);
    std::fs::remove_file(&path).ok();
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    Ok(())
}
