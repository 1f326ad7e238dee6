//! The pickle machine: a stack, marks on it, and a memory of values
//! ([pickletools](https://github.com/python/cpython/blob/main/Lib/pickletools.py) describes it).
//!
//! Each instruction makes one value at most, so that their number is bounded by the program's length.

use std::collections::HashMap;

use super::objects::{Id, Object};
use super::storage::Storages;

pub(super) struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    pub(super) objects: Vec<Object>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memory: HashMap<u64, Id>,
    pub(super) storages: Storages<'a>,
    /// How many bytes of values may yet be copied: one value may be an argument of many calls.
    room: usize,
}

impl<'a> Machine<'a> {
    pub fn new(program: &'a [u8], storages: Storages<'a>) -> Machine<'a> {
        Machine {
            program,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memory: HashMap::new(),
            storages,
            room: program.len().saturating_mul(64).saturating_add(1 << 16),
        }
    }

    /// Pays for a copy.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), String> {
        let room = self.room.checked_sub(bytes);
        self.room = room.ok_or("values that are shared would take far more than the file")?;
        Ok(())
    }

    /// Where the machine stands.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Runs the program; its result.
    pub fn run(&mut self) -> Result<Id, String> {
        loop {
            let instruction = self.bytes(1)?[0];
            if instruction == b'.' {
                return self.pop();
            }
            self.step(instruction)?;
        }
    }

    fn step(&mut self, instruction: u8) -> Result<(), String> {
        match instruction {
            // Protocol and frames: only sizes for readers of streams.
            0x80 => self.bytes(1).map(drop)?,
            0x95 => self.bytes(8).map(drop)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.popped_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'I' | b'L' | b'F' | b'S' | b'V' => self.line_value(instruction)?,
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(n.into()));
            }
            b'K' => {
                let [n] = self.array()?;
                self.push(Object::Int(n.into()));
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Object::Int(n.into()));
            }
            0x8a | 0x8b => {
                let width = if instruction == 0x8a { 1 } else { 4 };
                let length = self.length(width)?;
                let n = integer(self.bytes(length)?)?;
                self.push(Object::Int(n));
            }
            b'G' => {
                let v = f64::from_be_bytes(self.array()?);
                self.push(Object::Float(v));
            }
            b'U' | b'T' | b'X' | 0x8c | 0x8d => {
                let width = match instruction {
                    b'U' | 0x8c => 1,
                    0x8d => 8,
                    _ => 4,
                };
                let length = self.length(width)?;
                let text = text(self.bytes(length)?);
                self.push(text);
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let width = match instruction {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                };
                let length = self.length(width)?;
                let bytes = self.bytes(length)?.to_vec();
                self.push(Object::Bytes(bytes));
            }
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            0x8f => self.push(Object::List(Vec::new())),
            b't' | b'l' | 0x91 => {
                let values = self.popped_mark()?;
                self.push(match instruction {
                    b't' => Object::Tuple(values),
                    _ => Object::List(values),
                });
            }
            0x85..=0x87 => {
                let n = usize::from(instruction - 0x84);
                let first = self
                    .stack
                    .len()
                    .checked_sub(n)
                    .filter(|&f| f >= self.floor());
                let values = self.stack.split_off(first.ok_or("the stack is empty")?);
                self.push(Object::Tuple(values));
            }
            b'd' => {
                let pairs = pairs(self.popped_mark()?)?;
                self.push(Object::Dict(pairs));
            }
            b'a' => {
                let value = self.pop()?;
                self.append(&[value])?;
            }
            b'e' | 0x90 => {
                let values = self.popped_mark()?;
                self.append(&values)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = pairs(self.popped_mark()?)?;
                self.set(pairs)?;
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let at = match instruction {
                    b'p' => self.number_line()?,
                    b'q' => self.length(1)? as u64,
                    b'r' => self.length(4)? as u64,
                    _ => self.memory.len() as u64,
                };
                let top = self.top()?;
                self.memory.insert(at, top);
            }
            b'g' | b'h' | b'j' => {
                let at = match instruction {
                    b'g' => self.number_line()?,
                    b'h' => self.length(1)? as u64,
                    _ => self.length(4)? as u64,
                };
                let known = self.memory.get(&at).copied();
                self.stack.push(known.ok_or("a value that was not kept")?);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Name(format!("{module}.{name}")));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) =
                    (&self.objects[module], &self.objects[name])
                else {
                    return Err("a class without a name".to_string());
                };
                let name = format!("{module}.{name}");
                self.push(Object::Name(name));
            }
            b'R' | 0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                let made = self.made(class, args)?;
                self.push(made);
            }
            0x92 => {
                let (_, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                let made = self.made(class, args)?;
                self.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.set_state(object, state);
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage);
            }
            other => return Err(format!("instruction {other:#04x} is not known")),
        }
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
    }

    /// Below it values belong to an earlier mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, String> {
        let above = self.stack.get(self.floor()..).and_then(<[Id]>::last);
        above
            .copied()
            .ok_or_else(|| "the stack is empty".to_string())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn popped_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, values: &[Id]) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.objects[list] {
            Object::List(list) => list.extend(values),
            Object::Made { items, .. } => items.extend(values.iter().map(|&v| (v, v))),
            _ => return Err("values for what is no list".to_string()),
        }
        Ok(())
    }

    fn set(&mut self, pairs: Vec<(Id, Id)>) -> Result<(), String> {
        let dict = self.top()?;
        match &mut self.objects[dict] {
            Object::Dict(dict) => dict.extend(pairs),
            Object::Made { items, .. } => items.extend(pairs),
            _ => return Err("entries for what is no dictionary".to_string()),
        }
        Ok(())
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n);
        let bytes = end.and_then(|end| self.program.get(self.at..end));
        let bytes = bytes.ok_or("the pickle is cut short")?;
        self.at += n;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.bytes(N)?.try_into().expect("N bytes"))
    }

    /// A length of 1, 4 or 8 bytes.
    fn length(&mut self, width: usize) -> Result<usize, String> {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.bytes(width)?);
        usize::try_from(u64::from_le_bytes(wide))
            .map_err(|_| "a length beyond any memory".to_string())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.program[self.at..];
        let length = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or("a line without end")?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a line that is not text".to_string())
    }

    fn number_line(&mut self) -> Result<u64, String> {
        self.line()?
            .trim()
            .parse()
            .map_err(|_| "a line that is no number".to_string())
    }

    /// A value written as a line of text, by the oldest protocol.
    fn line_value(&mut self, instruction: u8) -> Result<(), String> {
        let line = self.line()?.trim_end_matches('\r');
        let wrong = || {
            format!(
                "{:?} is not a value",
                line.chars().take(40).collect::<String>()
            )
        };
        let object = match (instruction, line) {
            (b'I', "00") => Object::Bool(false),
            (b'I', "01") => Object::Bool(true),
            (b'I' | b'L', _) => {
                let digits = line.trim_end_matches('L');
                Object::Int(digits.parse().map_err(|_| wrong())?)
            }
            (b'F', _) => Object::Float(line.parse().map_err(|_| wrong())?),
            (b'S', _) => {
                let quoted = line.get(1..line.len().saturating_sub(1));
                Object::Text(quoted.ok_or_else(wrong)?.to_string())
            }
            _ => Object::Text(line.to_string()),
        };
        self.push(object);
        Ok(())
    }
}

/// Python 2 wrote bytes where Python 3 writes text.
fn text(bytes: &[u8]) -> Object {
    match std::str::from_utf8(bytes) {
        Ok(text) => Object::Text(text.to_string()),
        Err(_) => Object::Bytes(bytes.to_vec()),
    }
}

fn pairs(values: Vec<Id>) -> Result<Vec<(Id, Id)>, String> {
    if !values.len().is_multiple_of(2) {
        return Err("a key without a value".to_string());
    }
    Ok(values
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}

/// A signed integer of any length, little-endian.
fn integer(bytes: &[u8]) -> Result<i128, String> {
    let negative = bytes.last().is_some_and(|&b| b >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    let kept = wide
        .get_mut(..bytes.len())
        .ok_or("an integer of more than 128 bits")?;
    kept.copy_from_slice(bytes);
    Ok(i128::from_le_bytes(wide))
}
