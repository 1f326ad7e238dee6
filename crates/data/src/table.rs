//! Tables: columns of numbers and of text, as CSV and Parquet files hold them.

mod csv;
#[cfg(feature = "parquet")]
mod parquet;

use wgrad_core::{Error, Result};
use wgrad_files::file_error;

use crate::Array;

pub use csv::CsvOptions;

/// What a column holds.
///
/// ```
/// use wgrad::data::{ColumnType, CsvOptions, Table};
///
/// // A postal code is no number.
/// let options = CsvOptions { types: vec![("zip".into(), ColumnType::Text)], ..Default::default() };
/// let table = Table::from_csv(b"zip\n01069\n", "x.csv", &options)?;
/// assert_eq!(table.text("zip")?, ["01069"]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `f64`; empty fields are NaN.
    Float,
    /// `i64`; there are no empty fields.
    Integer,
    /// Text; empty fields are empty.
    Text,
}

/// A column's values.
///
/// ```
/// use wgrad::data::{Column, CsvOptions, Table};
///
/// let table = Table::from_csv(b"a,b\n1,2.5\n", "x.csv", &CsvOptions::default())?;
/// assert_eq!(table.column("a")?, &Column::Integer(vec![1]));
/// assert_eq!(table.column("b")?, &Column::Float(vec![2.5]));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Floats; what is missing is NaN.
    Float(Vec<f64>),
    /// Integers.
    Integer(Vec<i64>),
    /// Text.
    Text(Vec<String>),
}

impl Column {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Column::Float(values) => values.len(),
            Column::Integer(values) => values.len(),
            Column::Text(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Columns of equal length with names.
///
/// ```
/// use wgrad::data::{CsvOptions, Table};
///
/// let text = "city,rooms,price\nOslo,3,4.5\nRome,,2.25\nOslo,2,3\n";
/// let table = Table::from_csv(text.as_bytes(), "homes.csv", &CsvOptions::default())?;
/// assert_eq!(table.num_rows(), 3);
/// let x = table.floats(&["rooms", "price"])?;
/// assert_eq!(x.dims(), [3, 2]);
/// assert!(x.values()[2].is_nan()); // missing
/// let (classes, names) = table.classes("city")?;
/// assert_eq!((classes, names), (vec![0, 1, 0], vec!["Oslo".to_string(), "Rome".to_string()]));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Where it is from, for errors.
    source: String,
    names: Vec<String>,
    columns: Vec<Column>,
}

impl Table {
    /// Reads a CSV file (RFC 4180: fields in quotes may have separators, doubled quotes and line ends).
    ///
    /// The first line has the names, and a column's type is the narrowest that takes all its fields, unless the options
    /// say otherwise.
    ///
    /// # Errors
    /// [`Error::File`] with the line and the column where a field is not of the type that the options state, a line has
    /// another number of fields, or a quote is not closed; and where the file cannot be read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_csv(path: impl AsRef<std::path::Path>, options: &CsvOptions) -> Result<Table> {
        let path = path.as_ref();
        let file = wgrad_files::Mapped::open(path)?;
        Table::from_csv(&file, &path.display().to_string(), options)
    }

    /// [`Table::read_csv`] of a file's bytes; `name` stands for the file in errors.
    ///
    /// # Errors
    /// As `read_csv`.
    pub fn from_csv(bytes: &[u8], name: &str, options: &CsvOptions) -> Result<Table> {
        let (names, columns) = csv::read(bytes, options).map_err(|p| file_error(name, p))?;
        Ok(Table {
            source: name.to_string(),
            names,
            columns,
        })
    }

    /// Reads a Parquet file. Integers of all widths, bools and dates become integers, floats and decimals floats, strings
    /// text; missing numbers make a column one of floats with NaN. Nested columns are refused.
    ///
    /// # Errors
    /// [`Error::File`].
    #[cfg(feature = "parquet")]
    pub fn read_parquet(path: impl AsRef<std::path::Path>) -> Result<Table> {
        let name = path.as_ref().display().to_string();
        let wrong = |problem: String| file_error(&name, problem);
        let file = std::fs::File::open(path.as_ref()).map_err(|e| wrong(e.to_string()))?;
        let (names, columns) = parquet::read(file).map_err(wrong)?;
        Ok(Table {
            source: name,
            names,
            columns,
        })
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    /// The columns' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A column.
    ///
    /// # Errors
    /// [`Error::File`] where there is none of this name.
    pub fn column(&self, name: &str) -> Result<&Column> {
        let at = self.names.iter().position(|n| n == name);
        at.map(|at| &self.columns[at]).ok_or_else(|| {
            let names = self.names.join(", ");
            self.error(format!("no column {name:?}; there are {names}"))
        })
    }

    /// Columns of numbers side by side: `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::File`] where a column is not there or is text.
    pub fn floats(&self, names: &[&str]) -> Result<Array<f32>> {
        let (rows, width) = (self.num_rows(), names.len());
        let mut all = Array::full(0.0, [rows, width]);
        for (at, name) in names.iter().enumerate() {
            let to = all.values_mut().iter_mut().skip(at).step_by(width);
            match self.column(name)? {
                Column::Float(from) => to.zip(from).for_each(|(to, &v)| *to = v as f32),
                Column::Integer(from) => to.zip(from).for_each(|(to, &v)| *to = v as f32),
                Column::Text(_) => return Err(self.error(format!("column {name:?} is text"))),
            }
        }
        Ok(all)
    }

    /// The integers of a column.
    ///
    /// # Errors
    /// [`Error::File`] where it is not there or not one of integers.
    pub fn integers(&self, name: &str) -> Result<&[i64]> {
        match self.column(name)? {
            Column::Integer(values) => Ok(values),
            _ => Err(self.error(format!("column {name:?} is not one of integers"))),
        }
    }

    /// The fields of a column of text.
    ///
    /// # Errors
    /// [`Error::File`] where it is not there or not text.
    pub fn text(&self, name: &str) -> Result<&[String]> {
        match self.column(name)? {
            Column::Text(values) => Ok(values),
            _ => Err(self.error(format!("column {name:?} is not text"))),
        }
    }

    /// A column's different values as classes from 0, and their names, in order: text by letters, integers by size.
    ///
    /// # Errors
    /// [`Error::File`] where it is not there or is one of floats.
    pub fn classes(&self, name: &str) -> Result<(Vec<i32>, Vec<String>)> {
        fn numbered<T: Ord + ToString>(values: &[T]) -> (Vec<i32>, Vec<String>) {
            let mut known: Vec<&T> = values.iter().collect();
            known.sort();
            known.dedup();
            let class = |v| known.binary_search(&v).expect("is known") as i32;
            let classes = values.iter().map(class).collect();
            (classes, known.iter().map(|v| v.to_string()).collect())
        }
        match self.column(name)? {
            Column::Text(values) => Ok(numbered(values)),
            Column::Integer(values) => Ok(numbered(values)),
            Column::Float(_) => Err(self.error(format!("column {name:?} is one of floats"))),
        }
    }

    fn error(&self, problem: String) -> Error {
        file_error(&self.source, problem)
    }
}
