//! The canonical encoding: one sequence of bytes per value, whatever order its fields were written in.
//!
//! Keys are hashes of these bytes, so the format is frozen: the test vectors below fail if it moves, and any
//! change must raise [`VERSION`], which invalidates every cache. Each value is a tag byte and a payload:
//!
//! | tag | value | payload |
//! |---|---|---|
//! | 0 | null | |
//! | 1, 2 | false, true | |
//! | 3 | integer >= 0 | u64, little-endian |
//! | 4 | integer < 0 | i64, little-endian |
//! | 5 | float | bits of the f64, little-endian, -0.0 as 0.0 |
//! | 6 | string | length in bytes (u64, little-endian), UTF-8 |
//! | 7 | list | count (u64, little-endian), values |
//! | 8 | map | count (u64, little-endian), then per entry, sorted by the bytes of its name: name as a string's payload, value |
//!
//! Types are told apart: `1`, `1.0` and `"1"` have different bytes, so a key must be taken from typed parameters,
//! never from the text of a manifest. NaN and the infinities cannot get in: a [`Value`] cannot hold them.

use serde_json::{Number, Value};

/// The version of the encoding; a component of every key.
pub const VERSION: u32 = 1;

/// Encodes a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    write(value, &mut bytes);
    bytes
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(yes) => out.push(1 + u8::from(*yes)),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => {
            out.push(6);
            write_bytes(text.as_bytes(), out);
        }
        Value::Array(items) => {
            out.push(7);
            write_length(items.len(), out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Object(map) => {
            out.push(8);
            write_length(map.len(), out);
            // serde_json's map keeps the order of insertion if any crate of the build asks for that.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in entries {
                write_bytes(name.as_bytes(), out);
                write(value, out);
            }
        }
    }
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    let (tag, payload) = if let Some(natural) = number.as_u64() {
        (3, natural.to_le_bytes())
    } else if let Some(negative) = number.as_i64() {
        (4, negative.to_le_bytes())
    } else {
        // Adding 0.0 turns -0.0 into 0.0 and changes nothing else.
        (5, (number.as_f64().unwrap_or_default() + 0.0).to_bits().to_le_bytes())
    };
    out.push(tag);
    out.extend(payload);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), out);
    out.extend(bytes);
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    out.extend((length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::super::Key;
    use super::*;

    fn hex(value: &Value) -> String {
        encode(value).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn test_vectors() {
        let vectors = [
            (json!(null), "00"),
            (json!(false), "01"),
            (json!(true), "02"),
            (json!(258), "030201000000000000"),
            (json!(u64::MAX), "03ffffffffffffffff"),
            (json!(-2), "04feffffffffffffff"),
            (json!(1.0), "05000000000000f03f"),
            (json!(-0.0), "050000000000000000"),
            (json!("é"), "060200000000000000c3a9"),
            (json!([true, []]), "07020000000000000002070000000000000000"),
            (
                json!({"b": null, "a": 1}),
                "08020000000000000001000000000000006103010000000000000001000000000000006200",
            ),
        ];
        for (value, bytes) in vectors {
            assert_eq!(hex(&value), bytes.replace(' ', ""), "{value}");
        }
    }

    #[test]
    fn a_key_is_frozen() {
        let components =
            json!({"encoding": VERSION, "kind": "split", "params": {"ratio": 0.05}, "inputs": {}});
        assert_eq!(
            Key::of(&components).to_string(),
            "dc83e5011a43677c4eb2d6243098e22c51d2681806bd2f34153851ce62606d52"
        );
    }

    #[test]
    fn types_are_told_apart() {
        let values = [json!(1), json!(1.0), json!("1"), json!([1]), json!({"1": 1}), json!(true), json!(-1)];
        for (i, a) in values.iter().enumerate() {
            assert!(values[i + 1..].iter().all(|b| encode(a) != encode(b)), "{a}");
        }
    }

    /// Values of every type, a few levels deep.
    fn any_value() -> impl Strategy<Value = Value> {
        let float = prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            float.prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Reads back what [`encode`] wrote: if this works for every value, no two values share their bytes.
    fn decode(bytes: &mut &[u8]) -> Value {
        let tag = take::<1>(bytes)[0];
        match tag {
            0 => Value::Null,
            1 | 2 => Value::from(tag == 2),
            3 => Value::from(u64::from_le_bytes(take(bytes))),
            4 => Value::from(i64::from_le_bytes(take(bytes))),
            5 => Value::from(f64::from_le_bytes(take(bytes))),
            6 => Value::from(take_text(bytes)),
            7 => (0..u64::from_le_bytes(take(bytes))).map(|_| decode(bytes)).collect(),
            8 => (0..u64::from_le_bytes(take(bytes))).map(|_| (take_text(bytes), decode(bytes))).collect(),
            other => panic!("tag {other}"),
        }
    }

    fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
        let (head, tail) = bytes.split_first_chunk().unwrap();
        *bytes = tail;
        *head
    }

    fn take_text(bytes: &mut &[u8]) -> String {
        let length = u64::from_le_bytes(take(bytes)) as usize;
        let (head, tail) = bytes.split_at(length);
        *bytes = tail;
        String::from_utf8(head.to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn different_values_have_different_bytes(value in any_value()) {
            let bytes = encode(&value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(decode(&mut rest), value);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn the_order_of_fields_does_not_matter(
            entries in prop::collection::btree_map(".{0,3}", any_value(), 0..6)
                .prop_flat_map(|map| {
                    let entries: Vec<_> = map.into_iter().collect();
                    (Just(entries.clone()), Just(entries).prop_shuffle())
                }),
        ) {
            let bytes = |entries: Vec<(String, Value)>| encode(&Value::Object(Map::from_iter(entries)));
            prop_assert_eq!(bytes(entries.0), bytes(entries.1));
        }

        #[test]
        fn the_encoding_survives_json(value in any_value()) {
            let read_back: Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(encode(&read_back), encode(&value));
        }
    }
}
