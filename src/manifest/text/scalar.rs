//! The type of a YAML scalar: a quoted scalar is a string, and a plain one has the type that `serde_yaml` gives it.

use saphyr_parser::{ScalarStyle, Tag};

use super::node::NodeKind;

/// Why a scalar is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::manifest) enum ScalarError {
    /// `.nan` or `.inf`.
    NotFinite,
    /// An integer beyond 64 bits.
    TooLarge,
    /// A tag that is not in YAML's core schema.
    UnknownTag,
    /// A core tag that does not match the value: `!!int abc`.
    WrongTag,
}

/// Finds the type of a scalar. Text is [`NodeKind::Str`] even if it has `${...}` in it.
pub(in crate::manifest) fn read(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<NodeKind, ScalarError> {
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain { plain(text) } else { Ok(NodeKind::Str(text.to_owned())) };
    };
    if !tag.is_yaml_core_schema() {
        return Err(ScalarError::UnknownTag);
    }
    if tag.suffix == "str" {
        return Ok(NodeKind::Str(text.to_owned()));
    }
    match (tag.suffix.as_str(), plain(text)?) {
        ("null", kind @ NodeKind::Null)
        | ("bool", kind @ NodeKind::Bool(_))
        | ("int", kind @ NodeKind::Int(_))
        | ("float", kind @ NodeKind::Float(_)) => Ok(kind),
        ("float", NodeKind::Int(int)) => Ok(NodeKind::Float(int as f64)),
        ("null" | "bool" | "int" | "float", _) => Err(ScalarError::WrongTag),
        _ => Err(ScalarError::UnknownTag),
    }
}

fn plain(text: &str) -> Result<NodeKind, ScalarError> {
    if !may_be_typed(text) {
        return Ok(NodeKind::Str(text.to_owned()));
    }
    match serde_yaml::from_str(text) {
        Ok(serde_yaml::Value::Null) => Ok(NodeKind::Null),
        Ok(serde_yaml::Value::Bool(value)) => Ok(NodeKind::Bool(value)),
        Ok(serde_yaml::Value::Number(number)) => number_kind(&number),
        Err(_) if is_integer(text) => Err(ScalarError::TooLarge),
        _ => Ok(NodeKind::Str(text.to_owned())),
    }
}

/// Whether a text can be something else than a string. This saves calls of `serde_yaml`.
fn may_be_typed(text: &str) -> bool {
    matches!(
        text.bytes().next(),
        None | Some(b'0'..=b'9' | b'+' | b'-' | b'.' | b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F')
    )
}

fn number_kind(number: &serde_yaml::Number) -> Result<NodeKind, ScalarError> {
    let int = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (int, number.as_f64()) {
        (Some(int), _) => Ok(NodeKind::Int(int)),
        (None, Some(float)) if float.is_finite() => Ok(NodeKind::Float(float)),
        _ => Err(ScalarError::NotFinite),
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr_parser::{Event, Parser};

    use super::*;

    fn typed(text: &str) -> NodeKind {
        read(text, ScalarStyle::Plain, None).unwrap()
    }

    #[test]
    fn plain_scalars_are_typed_as_yaml_1_2_does() {
        assert_eq!(typed(""), NodeKind::Null);
        assert_eq!(typed("~"), NodeKind::Null);
        assert_eq!(typed("TRUE"), NodeKind::Bool(true));
        assert_eq!(typed("0x1f"), NodeKind::Int(31));
        assert_eq!(typed("18446744073709551615"), NodeKind::Int(u64::MAX.into()));
        assert_eq!(typed("1e-3"), NodeKind::Float(0.001));
        for text in ["yes", "on", "no", "010", "1_000", "1.2.3", "2026-11-22", "-", "--", "null-op", "1e999"]
        {
            assert_eq!(typed(text), NodeKind::Str(text.into()));
        }
    }

    #[test]
    fn quoted_scalars_are_strings() {
        for style in [ScalarStyle::SingleQuoted, ScalarStyle::DoubleQuoted, ScalarStyle::Literal] {
            assert_eq!(read("1", style, None), Ok(NodeKind::Str("1".into())));
        }
    }

    #[test]
    fn numbers_that_no_parameter_can_take_are_refused() {
        for text in [".nan", ".inf", "-.Inf", "+.inf"] {
            assert_eq!(read(text, ScalarStyle::Plain, None), Err(ScalarError::NotFinite), "{text}");
        }
        for text in ["18446744073709551616", "-9223372036854775809"] {
            assert_eq!(read(text, ScalarStyle::Plain, None), Err(ScalarError::TooLarge), "{text}");
        }
    }

    #[test]
    fn core_tags_decide_and_others_are_refused() {
        let tagged = |suffix: &str, text| {
            let tag = Tag { handle: "tag:yaml.org,2002:".into(), suffix: suffix.into() };
            read(text, ScalarStyle::Plain, Some(&tag))
        };
        assert_eq!(tagged("str", "1"), Ok(NodeKind::Str("1".into())));
        assert_eq!(tagged("float", "1"), Ok(NodeKind::Float(1.0)));
        assert_eq!(tagged("int", "abc"), Err(ScalarError::WrongTag));
        assert_eq!(tagged("binary", "abc"), Err(ScalarError::UnknownTag));
        let own = Tag { handle: "!".into(), suffix: "python".into() };
        assert_eq!(read("1", ScalarStyle::Plain, Some(&own)), Err(ScalarError::UnknownTag));
    }

    /// What `serde_yaml` makes of `text` in the place of a plain scalar, unless our reader refuses it.
    fn serde_yaml_agrees(text: &str) -> bool {
        let ours = match read(text, ScalarStyle::Plain, None) {
            Ok(kind) => kind,
            Err(_) => return true,
        };
        match (serde_yaml::from_str(&format!("[{text}]")), ours) {
            (Ok(serde_yaml::Value::Sequence(items)), ours) if items.len() == 1 => match (&items[0], ours) {
                (serde_yaml::Value::Null, NodeKind::Null) => true,
                (serde_yaml::Value::Bool(a), NodeKind::Bool(b)) => *a == b,
                (serde_yaml::Value::Number(a), NodeKind::Int(b)) => {
                    a.as_i64().map(i128::from).or(a.as_u64().map(i128::from)) == Some(b)
                }
                (serde_yaml::Value::Number(a), NodeKind::Float(b)) => a.as_f64() == Some(b),
                (serde_yaml::Value::String(a), NodeKind::Str(b)) => *a == b,
                _ => false,
            },
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn types_are_those_of_serde_yaml(text in "[-+.0-9a-zA-Z_]{1,6}") {
            let source = format!("[{text}]");
            let events: Vec<_> = Parser::new_from_str(&source).map_while(Result::ok).collect();
            let scalar = events.iter().any(|(event, _)| matches!(event, Event::Scalar(value, ..) if *value == text));
            prop_assume!(scalar && events.len() == 8 - 1);
            prop_assert!(serde_yaml_agrees(&text), "{}", text);
        }
    }
}
