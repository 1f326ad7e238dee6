//! Zip archives: what `.npz` and PyTorch's `.pt` files are.
//!
//! Read from memory (a mapped file): entries that are stored are given without a copy. Entries lie apart from each
//! other and have different names, or the archive is refused: this leaves no way to unpack more than 1,032 bytes for each
//! byte of the file. Archives of more than 4 GB (zip64) are read and written; encrypted ones and those of several
//! parts are not.

mod write;

use std::borrow::Cow;
use std::collections::HashSet;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::bytes::read_exactly;

pub use write::Writer;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// The number of the extra field with 64-bit sizes.
const EXTRA_64: u16 = 1;

/// The entries of an archive. Errors say what is wrong; the caller knows the file's name.
///
/// ```
/// use wgrad_files::zip::{Archive, Writer};
///
/// let mut bytes = Vec::new();
/// let mut writer = Writer::new(&mut bytes);
/// writer.add("a.txt", b"contents").unwrap();
/// writer.finish().unwrap();
/// let archive = Archive::parse(&bytes).unwrap();
/// assert_eq!(&*archive.entries()[0].read().unwrap(), b"contents");
/// ```
pub struct Archive<'a> {
    entries: Vec<Entry<'a>>,
}

/// A file in an archive.
pub struct Entry<'a> {
    name: String,
    packed: &'a [u8],
    length: usize,
    deflated: bool,
    checksum: u32,
}

impl<'a> Archive<'a> {
    /// The entries of an archive in memory, in the directory's order.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub fn parse(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let (directory, count) = directory(bytes)?;
        let mut rest = Fields {
            bytes,
            at: directory,
        };
        let mut entries = Vec::new();
        let mut names = HashSet::new();
        let mut ranges = Vec::new();
        for _ in 0..count {
            let begin = rest.at;
            let (entry, range) = rest
                .entry(bytes, directory)
                .map_err(|problem| format!("directory entry at byte {begin}: {problem}"))?;
            if !names.insert(entry.name.clone()) {
                return Err(format!("two entries are named {:?}", entry.name));
            }
            ranges.push(range);
            entries.push(entry);
        }
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(format!("entries overlap at byte {}", pair[1].0));
        }
        Ok(Archive { entries })
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The entry of a name.
    pub fn entry(&self, name: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

impl<'a> Entry<'a> {
    /// The name, with `/` between directories.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the contents are, as the directory says.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no contents.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The contents; their checksum is right.
    ///
    /// # Errors
    /// What is wrong with the entry.
    pub fn read(&self) -> Result<Cow<'a, [u8]>, String> {
        let contents = if self.deflated {
            let unpacked = read_exactly(
                DeflateDecoder::new(self.packed),
                self.packed.len(),
                self.length,
            );
            Cow::Owned(unpacked.map_err(|problem| format!("{}: {problem}", self.name))?)
        } else {
            Cow::Borrowed(self.packed)
        };
        let mut checksum = Crc::new();
        checksum.update(&contents);
        if checksum.sum() != self.checksum {
            return Err(format!("{}: the checksum is wrong", self.name));
        }
        Ok(contents)
    }
}

/// Where the directory begins and how many entries it has.
fn directory(bytes: &[u8]) -> Result<(usize, usize), String> {
    // The end record is 22 bytes long, with a comment of up to 65,535 bytes behind it.
    let last = bytes
        .len()
        .checked_sub(22)
        .ok_or("too short for a zip archive")?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let is_end = |&at: &usize| {
        let mut end = Fields { bytes, at };
        let comment = Fields { bytes, at: at + 20 }.u16().map(usize::from);
        end.u32() == Ok(END) && comment == Ok(bytes.len() - at - 22)
    };
    let end = (first..=last).rev().find(is_end);
    let end = end.ok_or("not a zip archive, or cut short: it has no directory")?;
    let mut fields = Fields { bytes, at: end + 4 };
    let (disk, start_disk) = (fields.u16()?, fields.u16()?);
    let (_, count) = (fields.u16()?, fields.u16()?);
    let (size, offset) = (fields.u32()?, fields.u32()?);
    let many = u64::from(u16::MAX);
    let large = u64::from(u32::MAX);
    let (mut count, mut size, mut offset) = (u64::from(count), u64::from(size), u64::from(offset));
    let mut limit = end;
    let locator = end.checked_sub(20).map(|at| Fields { bytes, at });
    let is_locator = |mut f: Fields<'_>| f.u32() == Ok(LOCATOR_64);
    match locator {
        Some(mut locator) if is_locator(locator) => {
            locator.at += 8;
            let at =
                usize::try_from(locator.u64()?).map_err(|_| "a directory beyond any memory")?;
            let mut record = Fields { bytes, at };
            if at > end - 20 || record.u32()? != END_64 {
                return Err("the zip64 directory is not where it should be".to_string());
            }
            record.at = at.checked_add(32).ok_or("overflow")?;
            (count, size, offset) = (record.u64()?, record.u64()?, record.u64()?);
            limit = at;
        }
        _ if count == many || size == large || offset == large => {
            return Err("zip64 is announced, but not there".to_string());
        }
        _ => {}
    }
    if disk != start_disk || disk != 0 && disk != u16::MAX {
        return Err("archives of several parts are not read".to_string());
    }
    let directory_end = offset.checked_add(size).filter(|&end| end <= limit as u64);
    if directory_end.is_none() {
        return Err(format!(
            "a directory of {size} bytes at byte {offset} reaches beyond the end"
        ));
    }
    // An entry has 46 bytes at least.
    if count > size / 46 {
        return Err(format!(
            "{count} entries do not fit a directory of {size} bytes"
        ));
    }
    Ok((offset as usize, count as usize))
}

/// Reads numbers, little-endian.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| format!("cut short at byte {}", self.bytes.len()))?;
        self.at += n;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(u16::from_le_bytes(
            self.take(2)?.try_into().expect("2 bytes"),
        ))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(
            self.take(4)?.try_into().expect("4 bytes"),
        ))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(
            self.take(8)?.try_into().expect("8 bytes"),
        ))
    }

    /// An entry of the directory, and where its header and data lie.
    fn entry(
        &mut self,
        archive: &'a [u8],
        directory: usize,
    ) -> Result<(Entry<'a>, (usize, usize)), String> {
        if self.u32()? != CENTRAL {
            return Err("not an entry".to_string());
        }
        self.take(4)?; // versions
        let (flags, method) = (self.u16()?, self.u16()?);
        self.take(4)?; // time and date
        let checksum = self.u32()?;
        let (packed, length) = (self.u32()?, self.u32()?);
        let (name, extra, comment) = (self.u16()?, self.u16()?, self.u16()?);
        self.take(8)?; // disk and attributes
        let offset = self.u32()?;
        let name = self.take(usize::from(name))?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| "a name that is not UTF-8")?;
        let mut extra = Fields {
            bytes: self.take(usize::from(extra))?,
            at: 0,
        };
        self.take(usize::from(comment))?;
        let wide = extra.wide([length, packed, offset])?;
        let [length, packed, offset] = wide.map(|v| usize::try_from(v).unwrap_or(usize::MAX));
        if flags & 1 != 0 {
            return Err(format!("{name} is encrypted"));
        }
        let deflated = match method {
            0 if packed != length => return Err(format!("{name} has two lengths")),
            0 => false,
            8 => true,
            other => {
                return Err(format!(
                    "{name} is packed by method {other}; 0 and 8 are read"
                ));
            }
        };
        let mut local = Fields {
            bytes: archive,
            at: offset,
        };
        if local.u32()? != LOCAL {
            return Err(format!("{name} is not at byte {offset}"));
        }
        local.take(22)?;
        let (local_name, local_extra) = (local.u16()?, local.u16()?);
        if local.take(usize::from(local_name))? != name.as_bytes() {
            return Err(format!("{name} has another name at byte {offset}"));
        }
        local.take(usize::from(local_extra))?;
        let packed = local.take(packed)?;
        if local.at > directory {
            return Err(format!("{name} reaches into the directory"));
        }
        let entry = Entry {
            name,
            packed,
            length,
            deflated,
            checksum,
        };
        Ok((entry, (offset, local.at)))
    }

    /// Sizes and offset, from the extra field where they need 64 bits: there they are in this order.
    fn wide(&mut self, narrow: [u32; 3]) -> Result<[u64; 3], String> {
        let mut values = narrow.map(u64::from);
        if !narrow.contains(&u32::MAX) {
            return Ok(values);
        }
        while self.at < self.bytes.len() {
            let (kind, size) = (self.u16()?, self.u16()?);
            let bytes = self.take(usize::from(size))?;
            if kind == EXTRA_64 {
                let mut field = Fields { bytes, at: 0 };
                for (value, narrow) in values.iter_mut().zip(narrow) {
                    if narrow == u32::MAX {
                        *value = field.u64()?;
                    }
                }
                return Ok(values);
            }
        }
        Err("64-bit sizes are announced, but not there".to_string())
    }
}
