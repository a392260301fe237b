//! Writes a state dict in the format of `torch.save` since PyTorch 1.6, for `torch.load(.., weights_only=True)`.

use std::io::{Seek, Write};

use zip::result::ZipResult;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::super::entry::{Entry, Values};
use super::super::layout::row_major;
use super::archive::{BYTE_ORDER, PICKLE};
use super::pickle::opcode;

/// The prefix of the names of all entries. torch.save uses the file's name; torch.load accepts any.
const PREFIX: &str = "archive";
/// The version of the container that PyTorch 1.6 and later write.
const VERSION: &[u8] = b"3\n";
/// The alignment of storages in torch.save's files, for memory maps.
const ALIGNMENT: u16 = 64;

/// Writes `entries`, in PyTorch's layout, in their order. Equal entries give equal bytes.
pub(in crate::models) fn write(entries: &[Entry], sink: impl Write + Seek) -> ZipResult<()> {
    let mut zip = ZipWriter::new(sink);
    let options = SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Stored);
    let options = options.with_alignment(ALIGNMENT);
    let mut put = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("{PREFIX}/{name}"), options)?;
        ZipResult::Ok(zip.write_all(bytes)?)
    };
    put(PICKLE, &pickle(entries))?;
    put(BYTE_ORDER, b"little")?;
    for (key, entry) in entries.iter().enumerate() {
        put(&format!("data/{key}"), &entry.values.to_bytes())?;
    }
    put("version", VERSION)?;
    zip.finish()?;
    Ok(())
}

/// The pickle of an `OrderedDict` whose tensor number n is all of storage n.
pub(super) fn pickle(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer(vec![opcode::PROTO, 2]);
    writer.ordered_dict();
    writer.op(opcode::MARK);
    for (key, entry) in entries.iter().enumerate() {
        writer.text(&entry.name);
        writer.tensor(key, entry);
    }
    writer.op(opcode::SETITEMS);
    writer.op(opcode::STOP);
    writer.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn op(&mut self, opcode: u8) {
        self.0.push(opcode);
    }

    fn text(&mut self, text: &str) {
        self.op(opcode::BINUNICODE);
        // Names of tensors, far below 4 GiB.
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn int(&mut self, int: usize) {
        self.0.extend([opcode::LONG1, 8]);
        self.0.extend((int as i64).to_le_bytes());
    }

    fn ints(&mut self, ints: &[usize]) {
        self.op(opcode::MARK);
        ints.iter().for_each(|&int| self.int(int));
        self.op(opcode::TUPLE);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.op(opcode::GLOBAL);
        self.0.extend(format!("{module}\n{name}\n").as_bytes());
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.0.extend([opcode::EMPTY_TUPLE, opcode::REDUCE]);
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`
    fn tensor(&mut self, key: usize, entry: &Entry) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.op(opcode::MARK);
        self.storage(key, &entry.values);
        self.int(0);
        self.ints(&entry.shape);
        self.ints(&row_major(&entry.shape));
        self.op(opcode::NEWFALSE);
        self.ordered_dict();
        self.0.extend([opcode::TUPLE, opcode::REDUCE]);
    }

    /// The persistent id `("storage", class, key, device, number of elements)`
    fn storage(&mut self, key: usize, values: &Values) {
        self.op(opcode::MARK);
        self.text("storage");
        self.global("torch", if matches!(values, Values::F32(_)) { "FloatStorage" } else { "LongStorage" });
        self.text(&key.to_string());
        self.text("cpu");
        self.int(values.len());
        self.0.extend([opcode::TUPLE, opcode::BINPERSID]);
    }
}
