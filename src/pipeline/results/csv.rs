//! Tables as CSV, and their fields back.
//!
//! Spreadsheets compute a field that begins with `=`, `+`, `-` or `@`, and a manifest of others decides about the names in
//! a table. In the file, such a text begins with `'`, which a spreadsheet takes as "this is text". Numbers stay numbers.

use std::borrow::Cow;
use std::io;

/// The first characters of what a spreadsheet computes.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A header and rows as CSV.
pub(super) fn encode<'a>(header: &[String], rows: impl Iterator<Item = &'a [String]>) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(header)?;
    for row in rows {
        csv.write_record(row.iter().map(|field| as_text(field).into_owned()))?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// A field as it is in the file.
fn as_text(field: &str) -> Cow<'_, str> {
    if is_formula(field) { format!("'{field}").into() } else { field.into() }
}

/// A field of the file as it was before.
pub(super) fn decoded(field: &str) -> String {
    field.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(field).to_owned()
}

/// Whether a spreadsheet may compute a text. One that only looks like an escaped formula is escaped, too.
fn is_formula(field: &str) -> bool {
    let text = field.trim_start_matches('\'');
    text.starts_with(FORMULA) && (text.len() < field.len() || text.parse::<f64>().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_formula_and_a_number_stays_one() {
        let texts = ["=1+2", "+x", "-", "@sum", "\t=1", "'=1", "''-2"];
        let others = ["-0.25", "+1", "-inf", "nad", "a=b", "", "'quoted", "1-2"];
        let row: Vec<String> = texts.iter().chain(&others).map(|&field| field.to_owned()).collect();
        let bytes = encode(&row, [row.as_slice()].into_iter()).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let written = reader.records().next().unwrap().unwrap();
        let expected = texts.iter().map(|text| format!("'{text}"));
        assert_eq!(written.iter().take(texts.len()).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!(written.iter().skip(texts.len()).collect::<Vec<_>>(), others);
        assert_eq!(written.iter().map(decoded).collect::<Vec<_>>(), row);
    }
}
