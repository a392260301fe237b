//! The part of TensorFlow's record files that TensorBoard's scalars need.
//!
//! A file is a sequence of records: length (u64), masked CRC-32C of the length, data, masked CRC-32C of the data, all
//! little-endian (`tensorflow/core/lib/io/record_writer.h`). The data is an `Event` message in Protocol Buffers
//! (`tensorflow/core/util/event.proto`, `tensorflow/core/framework/summary.proto`).

use std::io::{self, Write};

/// Writes one record.
pub(super) fn write_record(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    // In one call: a reader must never see half a record.
    out.write_all(&record)
}

/// The first event of a file: `wall_time = 1`, `file_version = 3`.
pub(super) fn version_event(time: f64) -> Vec<u8> {
    let mut event = vec![];
    write_double(&mut event, 1, time);
    write_bytes(&mut event, 3, b"brain.Event:2");
    event
}

/// An event with scalars: `wall_time = 1`, `step = 2`, `summary = 5` with `value = 1` of `tag = 1`, `simple_value = 2`.
pub(super) fn scalar_event(time: f64, step: u64, scalars: &[(String, f32)]) -> Vec<u8> {
    let mut summary = vec![];
    for (tag, scalar) in scalars {
        let mut value = vec![];
        write_bytes(&mut value, 1, tag.as_bytes());
        value.push(2 << 3 | FIXED_32);
        value.extend(scalar.to_le_bytes());
        write_bytes(&mut summary, 1, &value);
    }
    let mut event = vec![];
    write_double(&mut event, 1, time);
    event.push(2 << 3 | VARINT);
    write_varint(&mut event, step);
    write_bytes(&mut event, 5, &summary);
    event
}

/// Wire types of Protocol Buffers, the low bits of a field's tag.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

fn write_double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | FIXED_64);
    out.extend(value.to_le_bytes());
}

fn write_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | BYTES);
    write_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A masked checksum, for data that can itself contain checksums.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The checksum CRC-32C (Castagnoli), reflected. It goes bit by bit, which is fast enough for a few scalars per second.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, and the check value of the catalog of CRCs.
    #[test]
    fn checksums_are_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_record_is_framed() {
        let mut out = vec![];
        write_record(&mut out, b"data").unwrap();
        assert_eq!(out[..8], 4u64.to_le_bytes());
        assert_eq!(out[8..12], masked(&4u64.to_le_bytes()).to_le_bytes());
        assert_eq!(&out[12..16], b"data");
        assert_eq!(out[16..], masked(b"data").to_le_bytes());
    }

    #[test]
    fn events_are_protocol_buffers() {
        assert_eq!(version_event(0.0), [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 26, 13][..], b"brain.Event:2"].concat());
        let event = scalar_event(0.0, 300, &[("a".to_owned(), 1.0)]);
        let value = [10, 1, b'a', 21, 0, 0, 0x80, 0x3f];
        let expected = [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0xac, 2, 42, 10, 10, 8][..], &value].concat();
        assert_eq!(event, expected);
    }
}
