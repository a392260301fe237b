//! The container before PyTorch 1.6: a stream of pickles (a magic number, the version of the format, facts about the
//! machine, the object, the keys of the storages), followed by the storages in the order of the keys, each after the
//! count of its elements.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::pickle::{self, Pickle, Value};
use super::problem::Problem;
use super::tensor::Storage;

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const VERSION: i128 = 1001;

/// An open stream.
#[derive(Debug)]
pub(super) struct Legacy<R> {
    source: BufReader<R>,
    /// The offset of the elements of each storage.
    places: BTreeMap<String, u64>,
}

impl<R: Read + Seek> Legacy<R> {
    /// Opens a stream, reads its pickles and finds its storages.
    pub fn open(source: R) -> Result<(Pickle, Self), Problem> {
        let mut source = BufReader::new(source);
        let size = source.seek(SeekFrom::End(0))?;
        source.rewind()?;
        if !matches!(pickle::read(&mut source)?.root(), Value::Int(MAGIC)) {
            return Problem::format("a pickle, but not written by torch.save");
        }
        if !matches!(pickle::read(&mut source)?.root(), Value::Int(VERSION)) {
            return Problem::format("a version of the old format other than 1001");
        }
        if !is_little_endian(&pickle::read(&mut source)?) {
            return Problem::format("its numbers are big-endian");
        }
        let pickle = pickle::read(&mut source)?;
        let keys = pickle::read(&mut source)?;
        let places = places(&mut source, size, &pickle, &keys)?;
        Ok((pickle, Self { source, places }))
    }

    /// Reads the bytes of a storage.
    pub fn storage(&mut self, storage: &Storage) -> Result<Vec<u8>, Problem> {
        let (Some(&place), Some(size)) = (self.places.get(&storage.key), storage.bytes()) else {
            return Problem::format(format!("storage `{}` is missing", storage.key));
        };
        self.source.seek(SeekFrom::Start(place))?;
        let mut bytes = vec![];
        (&mut self.source).take(size as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn is_little_endian(facts: &Pickle) -> bool {
    let Value::Dict(facts_by_name) = facts.root() else {
        return false;
    };
    let fact = facts_by_name.iter().find(|&&(name, _)| facts.name(name) == Some("little_endian"));
    fact.is_some_and(|&(_, value)| matches!(facts.get(value), Value::Bool(true)))
}

/// Returns the offset of each storage's elements: `source` is at the count of the first.
fn places<R: Read + Seek>(
    source: &mut BufReader<R>,
    size: u64,
    pickle: &Pickle,
    keys: &Pickle,
) -> Result<BTreeMap<String, u64>, Problem> {
    let Value::List(keys_in_order) = keys.root() else {
        return Problem::format("the list of storages is missing");
    };
    let mut places = BTreeMap::new();
    for &key in keys_in_order {
        let storage = keys.name(key).and_then(|key| pickle.storages.get(key));
        let Some((storage, bytes)) = storage.and_then(|storage| Some((storage, storage.bytes()?))) else {
            return Problem::format("the list of storages has one that no tensor uses");
        };
        let mut count = [0; 8];
        let cut_short = |_| Problem::Format(format!("the file ends before storage `{}`", storage.key));
        source.read_exact(&mut count).map_err(cut_short)?;
        if u64::from_le_bytes(count) != storage.len as u64 {
            return Problem::format(format!("storage `{}` has another size than declared", storage.key));
        }
        let place = source.stream_position()?;
        let rest = size.saturating_sub(place);
        let (true, Ok(step)) = (bytes as u64 <= rest, bytes.try_into()) else {
            return Problem::format(format!("the file ends in storage `{}`", storage.key));
        };
        source.seek_relative(step)?;
        places.insert(storage.key.clone(), place);
    }
    Ok(places)
}
