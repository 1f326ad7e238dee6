//! Writing archives of stored entries.

use std::io::{self, Write};

use flate2::Crc;

use super::{CENTRAL, END, END_64, EXTRA_64, LOCAL, LOCATOR_64};

/// Writes an archive whose entries are stored as they are.
pub struct Writer<W> {
    file: W,
    at: u64,
    entries: Vec<Written>,
}

struct Written {
    name: String,
    length: u64,
    checksum: u32,
    offset: u64,
}

/// 1 January 1980, the earliest there is: the same contents make the same file.
const DATE: u16 = 0x21;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// Directories and 64-bit sizes.
const VERSION: u16 = 45;

fn narrow(v: u64) -> u32 {
    u32::try_from(v).unwrap_or(u32::MAX)
}

impl<W: Write> Writer<W> {
    /// An archive without entries yet.
    pub fn new(file: W) -> Writer<W> {
        Writer {
            file,
            at: 0,
            entries: Vec::new(),
        }
    }

    /// Writes an entry. Names are not looked at: two of the same make an archive that is not read.
    ///
    /// # Errors
    /// What writing fails with, and names of more than 65,535 bytes.
    pub fn add(&mut self, name: &str, contents: &[u8]) -> io::Result<()> {
        if name.len() > usize::from(u16::MAX) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a name too long for a zip archive",
            ));
        }
        let mut checksum = Crc::new();
        checksum.update(contents);
        let entry = Written {
            name: name.to_string(),
            length: contents.len() as u64,
            checksum: checksum.sum(),
            offset: self.at,
        };
        let mut header = LOCAL.to_le_bytes().to_vec();
        entry.common(&mut header);
        let extra = entry.extra(&[entry.length, entry.length], entry.is_large());
        header.extend((extra.len() as u16).to_le_bytes());
        header.extend(name.as_bytes());
        header.extend(extra);
        self.write(&header)?;
        self.write(contents)?;
        self.entries.push(entry);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Writes the directory.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn finish(mut self) -> io::Result<W> {
        let begin = self.at;
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            self.write(&entry.central())?;
        }
        let (size, count) = (self.at - begin, entries.len() as u64);
        let large = u64::from(u32::MAX);
        let mut end = Vec::new();
        if count >= u64::from(u16::MAX) || size >= large || begin >= large {
            let record = self.at;
            end.extend(END_64.to_le_bytes());
            end.extend(44u64.to_le_bytes());
            end.extend([VERSION, VERSION].map(u16::to_le_bytes).concat());
            end.extend([0u32, 0].map(u32::to_le_bytes).concat());
            end.extend([count, count, size, begin].map(u64::to_le_bytes).concat());
            end.extend(LOCATOR_64.to_le_bytes());
            end.extend(0u32.to_le_bytes());
            end.extend(record.to_le_bytes());
            end.extend(1u32.to_le_bytes());
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        end.extend(END.to_le_bytes());
        end.extend([0, 0, count, count].map(u16::to_le_bytes).concat());
        end.extend([narrow(size), narrow(begin)].map(u32::to_le_bytes).concat());
        end.extend(0u16.to_le_bytes());
        self.write(&end)?;
        self.file.flush()?;
        Ok(self.file)
    }
}

impl Written {
    fn is_large(&self) -> bool {
        self.length >= u64::from(u32::MAX)
    }

    /// What the header before the contents and the directory have alike, up to the length of the name.
    fn common(&self, header: &mut Vec<u8>) {
        header.extend([VERSION, FLAGS, 0, 0, DATE].map(u16::to_le_bytes).concat());
        let length = narrow(self.length);
        header.extend(
            [self.checksum, length, length]
                .map(u32::to_le_bytes)
                .concat(),
        );
        header.extend((self.name.len() as u16).to_le_bytes());
    }

    fn extra(&self, values: &[u64], present: bool) -> Vec<u8> {
        let mut extra = Vec::new();
        if present {
            extra.extend(EXTRA_64.to_le_bytes());
            extra.extend((8 * values.len() as u16).to_le_bytes());
            values.iter().for_each(|v| extra.extend(v.to_le_bytes()));
        }
        extra
    }

    fn central(&self) -> Vec<u8> {
        let mut values = Vec::new();
        if self.is_large() {
            values.extend([self.length, self.length]);
        }
        if self.offset >= u64::from(u32::MAX) {
            values.push(self.offset);
        }
        let extra = self.extra(&values, !values.is_empty());
        let mut header = CENTRAL.to_le_bytes().to_vec();
        header.extend(VERSION.to_le_bytes());
        self.common(&mut header);
        header.extend([extra.len() as u16, 0, 0, 0].map(u16::to_le_bytes).concat());
        header.extend([0, narrow(self.offset)].map(u32::to_le_bytes).concat());
        header.extend(self.name.as_bytes());
        header.extend(extra);
        header
    }
}
