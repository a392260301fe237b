//! Records: the results that the store keeps under a key.
//!
//! A record is a JSON file. Its first member, `check`, is the blake3 hash of every byte after it. The metrics of a record
//! go straight into results, so a damaged record must be found, like a damaged artifact.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Tried;
use super::files::is_damage;
use super::{Digest, Key, StoreError};
use crate::files::Folder;

/// The format version of the records that this program writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The outputs and metrics of a task, and everything that determines them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The format of the record: [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Its key.
    pub key: Key,
    /// The components of the key, which is their hash.
    pub components: Value,
    /// The artifacts.
    pub outputs: Vec<OutputRecord>,
    /// Numbers for tables and the CSV, by name.
    pub metrics: Map<String, Value>,
    /// Whether computing the key twice gave different outputs: it lacks something that determines them.
    pub nondeterministic: bool,
    /// Who computed it, when and for how long. Results never depend on this.
    pub exec: Execution,
}

impl Record {
    /// The name of its task in the run that computed it: `badnets/erased@defense=argd`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.exec.pipeline, self.exec.task)
    }

    /// The digest of an output.
    pub fn output(&self, port: &str) -> Option<&Digest> {
        self.outputs.iter().find(|output| output.port == port).map(|output| &output.digest)
    }
}

/// An artifact of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The output port.
    pub port: String,
    /// Bytes.
    pub size: u64,
    /// The digest of its content.
    pub digest: Digest,
}

/// How a task was executed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// The machine.
    pub host: String,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// How long it took.
    pub seconds: f64,
    /// Threads that it could use.
    pub threads: usize,
    /// The version of argd-pipe.
    pub argd_version: String,
    /// The peak memory of the process while it ran, in bytes, if the system reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// What a user should know before using the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The name of the manifest that it was first computed for.
    #[serde(default)]
    pub pipeline: String,
    /// The name of the task there.
    #[serde(default)]
    pub task: String,
}

/// The parts of a record before it is committed.
#[derive(Clone, Debug, Default)]
pub struct RecordDraft {
    /// The components of the key, which is their hash.
    pub components: Value,
    /// The artifacts.
    pub outputs: Vec<DraftOutput>,
    /// Numbers for tables and the CSV, by name.
    pub metrics: Map<String, Value>,
    /// How it was executed.
    pub exec: Execution,
}

/// The source of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftOutput {
    /// The file in the work folder with the name of this port.
    Written(String),
    /// An artifact that is in the store: an input that the stage passes on.
    PassedOn {
        /// The output port.
        port: String,
        /// The artifact.
        digest: Digest,
    },
}

/// The content of the file of a record.
pub(super) enum Found {
    Nothing,
    Record(Box<Record>),
    /// A damaged record, and the cause.
    Damaged(String),
}

/// Encodes a record as its file.
pub(super) fn encode(record: &Record) -> serde_json::Result<Vec<u8>> {
    let object = serde_json::to_vec_pretty(record)?;
    let mut checked = b",".to_vec();
    checked.extend(&object[1..]);
    checked.push(b'\n');
    let mut bytes = format!("{CHECK_STARTS}{}\"", blake3::hash(&checked).to_hex()).into_bytes();
    bytes.extend(checked);
    Ok(bytes)
}

const CHECK_STARTS: &str = "{\"check\":\"";

/// No record has more bytes. A file in its place may have any number.
const LARGEST: u64 = 64 << 20;

/// Reads the record file of a key.
pub(super) fn read(root: &Folder, path: &Path, key: &Key) -> Result<Found, StoreError> {
    let bytes = match bytes(root, path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if is_damage(&error) => return Ok(Found::Damaged(format!("it cannot be read: {error}"))),
        Err(error) => return Err(error).tried("read", path),
    };
    if bytes.len() as u64 > LARGEST {
        return Ok(Found::Damaged("it is larger than any record".to_owned()));
    }
    let decoded = decode(&bytes);
    let version = decoded.as_ref().map_or_else(|_| version(&bytes), |record| Some(record.format_version));
    if let Some(found) = version.filter(|version| *version > FORMAT_VERSION) {
        return Err(StoreError::NewerFormat { path: path.to_owned(), found, known: FORMAT_VERSION });
    }
    let fit = decoded.and_then(|record| flaw(&record, key).map_or(Ok(record), Err));
    Ok(fit.map_or_else(Found::Damaged, |record| Found::Record(Box::new(record))))
}

/// The bytes of a record file, but not many more than a record can have.
fn bytes(root: &Folder, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    root.read(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why a decoded record is not one that this store wrote for the key; `None` if it can be one.
///
/// Anybody can compute a check sum. So a record also has to be of the computation that the key is the hash of, and its
/// ports have to be names that no two outputs share.
fn flaw(record: &Record, key: &Key) -> Option<String> {
    let ports: Vec<&str> = record.outputs.iter().map(|output| output.port.as_str()).collect();
    let repeated = ports.iter().enumerate().find(|(at, port)| ports[..*at].contains(port));
    if record.key != *key {
        Some(format!("it is the record of another key, {}", record.key))
    } else if Key::of(&record.components) != *key {
        Some("it is the record of another computation".to_owned())
    } else if let Some(port) = ports.iter().find(|port| !is_name(port)) {
        Some(format!("`{port}` is not the name of an output"))
    } else {
        repeated.map(|(_, port)| format!("it has the output `{port}` twice"))
    }
}

/// Whether an output can have this name, which is also the name of its file in a work folder.
fn is_name(port: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !port.is_empty() && port.bytes().all(fits)
}

fn decode(bytes: &[u8]) -> Result<Record, String> {
    let (check, checked) = bytes
        .strip_prefix(CHECK_STARTS.as_bytes())
        .and_then(|rest| rest.split_at_checked(64))
        .and_then(|(check, rest)| Some((check, rest.strip_prefix(b"\"")?)))
        .ok_or("its first bytes are not those of a record")?;
    if blake3::hash(checked).to_hex().as_bytes() != check {
        return Err("its content does not match its check sum".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The format version of a file that cannot be decoded, if it is a record of any format.
fn version(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Versioned {
        format_version: u32,
    }
    Some(serde_json::from_slice::<Versioned>(bytes).ok()?.format_version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Record {
        let components = json!({"kind": "split", "params": {"ratio": 0.1}});
        Record {
            format_version: FORMAT_VERSION,
            key: Key::of(&components),
            components,
            outputs: vec![OutputRecord { port: "indices".into(), size: 3, digest: Digest::of(b"abc") }],
            metrics: Map::from_iter([("acc".to_owned(), json!(100.0 / 3.0))]),
            nondeterministic: false,
            exec: Execution {
                host: "host".into(),
                started: 1,
                seconds: 0.1 + 0.2,
                threads: 2,
                ..Execution::default()
            },
        }
    }

    #[test]
    fn a_record_survives_its_file_to_the_last_bit() {
        let bytes = encode(&record()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), record());
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["components"]["kind"], "split", "readable by any JSON tool");
        assert_eq!(record().output("indices"), Some(&Digest::of(b"abc")));
        assert_eq!(record().output("model"), None);
    }

    #[test]
    fn a_record_is_of_its_key_and_its_ports_are_names() {
        let whole = record();
        assert_eq!(flaw(&whole, &whole.key), None);
        let flawed = |change: &dyn Fn(&mut Record)| {
            let mut record = whole.clone();
            change(&mut record);
            let bytes = encode(&record).unwrap();
            assert!(decode(&bytes).is_ok(), "its check sum is right");
            flaw(&record, &whole.key).unwrap()
        };
        let told = flawed(&|record| record.components["params"]["ratio"] = json!(0.2));
        assert_eq!(told, "it is the record of another computation");
        assert!(flawed(&|record| record.key = Key::of(&json!("other"))).contains("of another key"));
        let told = flawed(&|record| record.outputs.push(record.outputs[0].clone()));
        assert_eq!(told, "it has the output `indices` twice");
        for name in ["", "..", "../x", "/x", "a/b", "a b"] {
            let told = flawed(&|record| record.outputs[0].port = name.to_owned());
            assert!(told.contains("is not the name of an output"), "{name}");
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bytes = encode(&record()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
