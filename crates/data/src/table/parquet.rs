//! Parquet files, row by row.

use std::fs::File;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::Column;

/// A value as tables hold it.
enum Value {
    Missing,
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Value {
    fn new(field: &Field) -> Result<Value, String> {
        Ok(match field {
            Field::Null => Value::Missing,
            Field::Bool(v) => Value::Integer(i64::from(*v)),
            Field::Byte(v) => Value::Integer(i64::from(*v)),
            Field::Short(v) => Value::Integer(i64::from(*v)),
            Field::Int(v) | Field::Date(v) | Field::TimeMillis(v) => Value::Integer(i64::from(*v)),
            Field::Long(v)
            | Field::TimeMicros(v)
            | Field::TimestampMillis(v)
            | Field::TimestampMicros(v) => Value::Integer(*v),
            Field::UByte(v) => Value::Integer(i64::from(*v)),
            Field::UShort(v) => Value::Integer(i64::from(*v)),
            Field::UInt(v) => Value::Integer(i64::from(*v)),
            Field::ULong(v) => Value::Integer(
                i64::try_from(*v).map_err(|_| format!("{v} is beyond the largest i64"))?,
            ),
            Field::Float16(v) => Value::Float(v.to_f64()),
            Field::Float(v) => Value::Float(f64::from(*v)),
            Field::Double(v) => Value::Float(*v),
            Field::Decimal(_) => {
                let text = field.to_string();
                Value::Float(
                    text.parse()
                        .map_err(|_| format!("{text} is not a number"))?,
                )
            }
            Field::Str(v) => Value::Text(v.clone()),
            Field::Bytes(v) => Value::Text(
                String::from_utf8(v.data().to_vec()).map_err(|_| "bytes that are not text")?,
            ),
            _ => return Err("nested columns are not read".to_string()),
        })
    }
}

/// The names of the columns, and what they hold.
pub(super) fn read(file: File) -> Result<(Vec<String>, Vec<Column>), String> {
    // The decoder takes some of what a file says for granted, and panics where that is damaged.
    std::panic::catch_unwind(|| decoded(file))
        .unwrap_or_else(|_| Err("damaged, so that its decoder gave up".to_string()))
}

fn decoded(file: File) -> Result<(Vec<String>, Vec<Column>), String> {
    let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<String> = schema
        .get_fields()
        .iter()
        .map(|f| f.name().to_string())
        .collect();
    let mut columns: Vec<Vec<Value>> = names.iter().map(|_| Vec::new()).collect();
    let rows = reader.get_row_iter(None).map_err(|e| e.to_string())?;
    for (number, row) in rows.enumerate() {
        let row = row.map_err(|e| format!("row {number}: {e}"))?;
        for ((name, field), column) in row.get_column_iter().zip(&mut columns) {
            let value = Value::new(field);
            column.push(value.map_err(|p| format!("row {number}, column {name:?}: {p}"))?);
        }
    }
    Ok((names, columns.into_iter().map(typed).collect()))
}

fn typed(values: Vec<Value>) -> Column {
    if values.iter().any(|v| matches!(v, Value::Text(_))) {
        let text = |v| match v {
            Value::Missing => String::new(),
            Value::Integer(v) => v.to_string(),
            Value::Float(v) => v.to_string(),
            Value::Text(v) => v,
        };
        return Column::Text(values.into_iter().map(text).collect());
    }
    let integers: Option<Vec<i64>> = values
        .iter()
        .map(|v| match v {
            Value::Integer(v) => Some(*v),
            _ => None,
        })
        .collect();
    integers.map_or_else(
        || {
            let float = |v: &Value| match v {
                Value::Integer(v) => *v as f64,
                Value::Float(v) => *v,
                _ => f64::NAN,
            };
            Column::Float(values.iter().map(float).collect())
        },
        Column::Integer,
    )
}
