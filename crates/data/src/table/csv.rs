//! Comma-separated values.

use super::{Column, ColumnType};

/// How a CSV file is read.
///
/// ```
/// use wgrad::data::{CsvOptions, Table};
///
/// let options = CsvOptions { separator: b';', header: false, ..Default::default() };
/// let table = Table::from_csv(b"1;x\n2;y\n", "x.csv", &options)?;
/// assert_eq!(table.names(), ["c0", "c1"]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CsvOptions {
    /// Between fields: `b','`, `b';'`, `b'\t'`.
    pub separator: u8,
    /// Whether the first line has the columns' names; without, they are `c0`, `c1`, ...
    pub header: bool,
    /// Types of columns by name. The others are found by looking.
    pub types: Vec<(String, ColumnType)>,
    /// What stands for a missing number beside an empty field. No column is text for these.
    pub missing: Vec<String>,
}

impl Default for CsvOptions {
    fn default() -> CsvOptions {
        CsvOptions {
            separator: b',',
            header: true,
            types: Vec::new(),
            missing: ["NA", "NaN", "nan", "null"].map(str::to_string).to_vec(),
        }
    }
}

/// A field and where it begins.
struct Field {
    text: String,
    line: usize,
}

pub(super) fn read(
    bytes: &[u8],
    options: &CsvOptions,
) -> Result<(Vec<String>, Vec<Column>), String> {
    // Excel writes a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut records = Records {
        bytes,
        at: 0,
        line: 1,
        separator: options.separator,
    };
    let mut first = records.next().transpose()?;
    let names: Vec<String> = match &mut first {
        None => Vec::new(),
        Some(fields) if !options.header => (0..fields.len()).map(|i| format!("c{i}")).collect(),
        Some(fields) => {
            let names = fields.drain(..).map(|f| f.text.trim().to_string());
            names.collect()
        }
    };
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("line 1: two columns are named {twice:?}"));
    }
    if let Some((unknown, _)) = options.types.iter().find(|(n, _)| !names.contains(n)) {
        return Err(format!(
            "line 1: no column {unknown:?}, whose type is given"
        ));
    }
    let mut columns: Vec<Vec<Field>> = names.iter().map(|_| Vec::new()).collect();
    let first = first.filter(|_| !options.header).map(Ok);
    for record in first.into_iter().chain(records) {
        let record = record?;
        if record.len() != columns.len() {
            return Err(format!(
                "line {}: {} fields, but {} columns",
                record.first().map_or(0, |f| f.line),
                record.len(),
                columns.len()
            ));
        }
        for (column, field) in columns.iter_mut().zip(record) {
            column.push(field);
        }
    }
    let typed = names.iter().zip(columns).map(|(name, fields)| {
        let stated = options.types.iter().find(|(n, _)| n == name);
        let kind = stated.map_or_else(|| look(&fields, options), |(_, kind)| *kind);
        column(name, fields, kind, options)
    });
    let columns = typed.collect::<Result<_, _>>()?;
    Ok((names, columns))
}

fn is_missing(text: &str, options: &CsvOptions) -> bool {
    text.is_empty() || options.missing.iter().any(|m| m == text)
}

/// The narrowest type of all fields.
fn look(fields: &[Field], options: &CsvOptions) -> ColumnType {
    let mut kind = ColumnType::Integer;
    for field in fields {
        let text = field.text.trim();
        if is_missing(text, options) {
            kind = ColumnType::Float;
        } else if kind == ColumnType::Integer && text.parse::<i64>().is_ok() {
        } else if text.parse::<f64>().is_ok() {
            kind = ColumnType::Float;
        } else {
            return ColumnType::Text;
        }
    }
    let all_missing = fields.iter().all(|f| is_missing(f.text.trim(), options));
    if all_missing && !fields.is_empty() {
        return ColumnType::Text;
    }
    kind
}

fn column(
    name: &str,
    fields: Vec<Field>,
    kind: ColumnType,
    options: &CsvOptions,
) -> Result<Column, String> {
    let wrong = |field: &Field, what: &str| {
        let start: String = field.text.chars().take(40).collect();
        format!(
            "line {}, column {name:?}: {start:?} is not {what}",
            field.line
        )
    };
    Ok(match kind {
        ColumnType::Text => Column::Text(fields.into_iter().map(|f| f.text).collect()),
        ColumnType::Integer => {
            let parse = |f: &Field| f.text.trim().parse().map_err(|_| wrong(f, "an integer"));
            Column::Integer(fields.iter().map(parse).collect::<Result<_, _>>()?)
        }
        ColumnType::Float => {
            let parse = |f: &Field| match f.text.trim() {
                text if is_missing(text, options) => Ok(f64::NAN),
                text => text.parse().map_err(|_| wrong(f, "a number")),
            };
            Column::Float(fields.iter().map(parse).collect::<Result<_, _>>()?)
        }
    })
}

/// The records of a file; empty lines are none.
struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    separator: u8,
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<Field>, String>;

    fn next(&mut self) -> Option<Result<Vec<Field>, String>> {
        while self.end_of_line() {}
        (self.at < self.bytes.len()).then(|| self.record())
    }
}

impl Records<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over the end of a line, if there is one.
    fn end_of_line(&mut self) -> bool {
        let length = match &self.bytes[self.at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => return false,
        };
        self.at += length;
        self.line += 1;
        true
    }

    fn record(&mut self) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        loop {
            let line = self.line;
            let bytes = match self.peek() {
                Some(b'"') => self.quoted()?,
                _ => self.plain(),
            };
            let number = fields.len() + 1;
            let text = String::from_utf8(bytes)
                .map_err(|_| format!("line {line}, column {number}: not UTF-8"))?;
            fields.push(Field { text, line });
            match self.peek() {
                Some(b) if b == self.separator => self.at += 1,
                None => return Ok(fields),
                Some(_) if self.end_of_line() => return Ok(fields),
                Some(_) => {
                    return Err(format!(
                        "line {}, column {number}: text behind a quote",
                        self.line
                    ));
                }
            }
        }
    }

    fn plain(&mut self) -> Vec<u8> {
        let rest = &self.bytes[self.at..];
        let ends = |b: &u8| *b == self.separator || matches!(b, b'\r' | b'\n');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_vec()
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let begin = self.line;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match &self.bytes[self.at..] {
                [b'"', b'"', ..] => {
                    text.push(b'"');
                    self.at += 2;
                }
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(text);
                }
                [byte, ..] => {
                    text.push(*byte);
                    self.line += usize::from(*byte == b'\n');
                    self.at += 1;
                }
                [] => return Err(format!("line {begin}: a quote that is not closed")),
            }
        }
    }
}
