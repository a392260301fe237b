//! Tables as CSV.

use std::io;

/// A header and rows as CSV.
pub(super) fn encode<'a>(header: &[String], rows: impl Iterator<Item = &'a [String]>) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(header)?;
    for row in rows {
        csv.write_record(row)?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
}
