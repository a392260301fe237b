//! Sizes as people write them: `500M`, `20G`, `1.5TiB`.

use std::str::FromStr;

/// A number of bytes; its unit is decimal (`20G`) unless it is written as a binary one (`20GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit: u64 = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "K" | "KB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "T" | "TB" => 1_000_000_000_000,
            "KIB" => 1 << 10,
            "MIB" => 1 << 20,
            "GIB" => 1 << 30,
            "TIB" => 1 << 40,
            other => return Err(format!("`{other}` is not a unit of size; write K, M, G or T")),
        };
        let number = digits.parse().ok().filter(|number: &f64| *number >= 0.0);
        let number = number.ok_or_else(|| format!("`{text}` is not a size; write `20G`"))?;
        Ok(Self((number * unit as f64) as u64))
    }
}

/// The least memory of a run. A smaller number lacks its unit.
const LEAST_MEMORY: u64 = 1_000_000;

/// Reads the memory of a run.
pub(super) fn memory(text: &str) -> Result<Size, String> {
    match text.parse::<Size>()? {
        Size(bytes) if bytes < LEAST_MEMORY && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("{bytes} bytes are too few for any task; did you mean `{text}G`?"))
        }
        Size(bytes) if bytes < LEAST_MEMORY => Err("too little for any task; write 1M or more".to_owned()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        let read = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("500"), Ok(500));
        assert_eq!((read("2k"), read("1.5G"), read("3MiB")), (Ok(2_000), Ok(1_500_000_000), Ok(3 << 20)));
        assert!(read("20X").unwrap_err().contains("not a unit"));
        let refused = memory("12").unwrap_err();
        assert_eq!(refused, "12 bytes are too few for any task; did you mean `12G`?");
        assert!(memory("2K").is_err() && memory("1M").is_ok());
        assert!(read("").is_err() && read("G").is_err() && read("-1G").is_err() && read("1..2").is_err());
    }
}
