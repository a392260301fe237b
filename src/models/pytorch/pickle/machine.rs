//! The stack machine that runs a pickle.
//!
//! Python's machine calls any function that a pickle names. This one knows only the opcodes that `torch.save` writes
//! and the names in [`Global`], which it interprets itself. Anything else is an error. An opcode has at least one byte
//! and makes at most one value, so the memory is proportional to the bytes read.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::rc::Rc;

use super::opcode;
use super::value::{Global, Id, MAX_NAME, Pickle, Value, name};
use crate::models::pytorch::problem::Problem;
use crate::models::pytorch::tensor::{MAX_RANK, Storage, Tensor};

/// The largest number of values, of stack entries, of marks and of memo entries. A state dict makes about 10 values
/// per tensor.
const MAX_VALUES: usize = 1 << 22;

/// The state between two opcodes.
pub(super) struct Machine<R> {
    source: R,
    /// Bytes read.
    offset: u64,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack, each at most the current one.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    storages: BTreeMap<String, Rc<Storage>>,
}

impl<R: Read> Machine<R> {
    /// A machine at the start of a program.
    pub fn new(source: R) -> Self {
        let (values, stack, marks) = (vec![], vec![], vec![]);
        Self { source, offset: 0, values, stack, marks, memo: HashMap::new(), storages: BTreeMap::new() }
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Pickle, Problem> {
        let root = self.run_to_stop().map_err(|problem| Problem::Pickle { at: self.offset, problem })?;
        Ok(Pickle { values: self.values, root, storages: self.storages })
    }

    /// Runs to the end and returns the remaining value.
    fn run_to_stop(&mut self) -> Result<Id, String> {
        loop {
            let opcode = self.byte()?;
            if opcode == opcode::STOP {
                return self.pop();
            }
            self.step(opcode)?;
            let sizes = [self.values.len(), self.stack.len(), self.marks.len(), self.memo.len()];
            if sizes.iter().any(|&size| size > MAX_VALUES) {
                return Err(format!("more than {MAX_VALUES} values"));
            }
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            opcode::PROTO => match self.byte()? {
                2 => {}
                other => return Err(format!("pickle protocol {other}, but torch.save writes protocol 2")),
            },
            opcode::MARK => self.marks.push(self.stack.len()),
            opcode::NONE => self.push(Value::None),
            opcode::NEWTRUE => self.push(Value::Bool(true)),
            opcode::NEWFALSE => self.push(Value::Bool(false)),
            opcode::BININT => self.int(|[a, b, c, d]: [u8; 4]| i32::from_le_bytes([a, b, c, d]).into())?,
            opcode::BININT1 => self.int(|[a]: [u8; 1]| a.into())?,
            opcode::BININT2 => self.int(|[a, b]: [u8; 2]| u16::from_le_bytes([a, b]).into())?,
            opcode::LONG1 => self.long()?,
            opcode::BINFLOAT => {
                self.bytes::<8>()?;
                self.push(Value::Other);
            }
            opcode::BINUNICODE => self.unicode()?,
            opcode::EMPTY_TUPLE => self.push(Value::Tuple(vec![])),
            opcode::TUPLE1 => self.tuple(1)?,
            opcode::TUPLE2 => self.tuple(2)?,
            opcode::TUPLE3 => self.tuple(3)?,
            opcode::TUPLE => {
                let items = self.pop_marked()?;
                self.push(Value::Tuple(items));
            }
            opcode::EMPTY_LIST => self.push(Value::List(vec![])),
            opcode::APPEND => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            opcode::APPENDS => {
                let items = self.pop_marked()?;
                self.append(items)?;
            }
            opcode::EMPTY_DICT => self.push(Value::Dict(vec![])),
            opcode::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            opcode::SETITEMS => {
                let items = self.pop_marked()?;
                self.set(&items)?;
            }
            opcode::BINPUT => {
                let [key] = self.bytes()?;
                self.put(key.into())?;
            }
            opcode::LONG_BINPUT => {
                let key = u32::from_le_bytes(self.bytes()?);
                self.put(key)?;
            }
            opcode::BINGET => {
                let [key] = self.bytes()?;
                self.recall(key.into())?;
            }
            opcode::LONG_BINGET => {
                let key = u32::from_le_bytes(self.bytes()?);
                self.recall(key)?;
            }
            opcode::GLOBAL => self.global()?,
            opcode::REDUCE => self.reduce()?,
            // Sets attributes (a dict's `_metadata`, a NumPy array's bytes), which are not used.
            opcode::BUILD => {
                self.pop()?;
            }
            opcode::BINPERSID => self.persistent()?,
            other => return Err(format!("opcode {other:#04x}, which state dicts do not need")),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) {
        // `run` keeps the list far below u32::MAX.
        self.stack.push(Id(self.values.len() as u32));
        self.values.push(value);
    }

    /// Removes the top of the stack, which must be above the last mark.
    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value is missing on the stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    /// Removes the last mark and the values above it, and returns them.
    fn pop_marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    /// The top of the stack, in place.
    fn top(&mut self) -> Result<&mut Value, String> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.values[id.0 as usize])
    }

    fn int<const N: usize>(&mut self, decode: impl Fn([u8; N]) -> i128) -> Result<(), String> {
        let int = decode(self.bytes()?);
        self.push(Value::Int(int));
        Ok(())
    }

    /// A two's-complement integer with its length before it.
    fn long(&mut self) -> Result<(), String> {
        let length = usize::from(self.byte()?);
        let mut bytes = [0; 16];
        let Some(filled) = bytes.get_mut(..length) else {
            return Err(format!("an integer of {length} bytes"));
        };
        for byte in filled {
            *byte = self.byte()?;
        }
        if length > 0 && bytes[length - 1] >= 0x80 {
            bytes[length..].fill(0xff);
        }
        self.push(Value::Int(i128::from_le_bytes(bytes)));
        Ok(())
    }

    fn unicode(&mut self) -> Result<(), String> {
        let length = u32::from_le_bytes(self.bytes()?);
        // The declared length may be wrong: memory grows with the bytes read.
        let mut bytes = vec![];
        let read = (&mut self.source).take(length.into()).read_to_end(&mut bytes).map_err(broken)?;
        self.offset += read as u64;
        if read < length as usize {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let text = String::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<(), String> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            _ => return Err("an item for a value that is not a list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks();
        match self.top()? {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            Value::Dict(_) => return Err("a key without a value".to_owned()),
            _ => return Err("a key for a value that is not a dict".to_owned()),
        }
        Ok(())
    }

    fn put(&mut self, key: u32) -> Result<(), String> {
        let id = self.pop()?;
        self.stack.push(id);
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = self.memo.get(&key).ok_or_else(|| format!("memo {key} is empty"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::find(&module, &name)
            .ok_or_else(|| format!("it uses `{module}.{name}`, which no state dict needs"))?;
        self.push(Value::Global(global));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = self.values[function.0 as usize] else {
            return Err("a call of a value that is not a function".to_owned());
        };
        let Value::Tuple(arguments) = &self.values[arguments.0 as usize] else {
            return Err("a call without a tuple of arguments".to_owned());
        };
        let made = match (function, arguments.as_slice()) {
            (Global::OrderedDict, []) => Value::Dict(vec![]),
            (Global::OrderedDict, _) => return Err("an OrderedDict with arguments".to_owned()),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                Value::Tensor(Rc::new(self.view(*storage, *offset, *shape, *strides)?))
            }
            (Global::RebuildParameter, &[tensor, ..]) => {
                self.stack.push(tensor);
                return Ok(());
            }
            (Global::Bystander, _) => Value::Other,
            (Global::RebuildTensor | Global::RebuildParameter, _) => {
                return Err("a tensor with too few arguments".to_owned());
            }
            (Global::Storage(_), _) => return Err("a call of a storage's class".to_owned()),
        };
        self.push(made);
        Ok(())
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Tensor, String> {
        let Value::Storage(storage) = &self.values[storage.0 as usize] else {
            return Err("a tensor without a storage".to_owned());
        };
        let sizes = |tuple: Id| match &self.values[tuple.0 as usize] {
            Value::Tuple(sizes) if sizes.len() <= MAX_RANK => {
                sizes.iter().map(|&size| self.size(size)).collect()
            }
            _ => None,
        };
        let parts = (self.size(offset), sizes(shape), sizes(strides));
        let (Some(offset), Some(shape), Some(strides)) = parts else {
            return Err("a tensor whose shape is not a tuple of sizes".to_owned());
        };
        Tensor::new(Rc::clone(storage), offset, shape, strides)
            .ok_or_else(|| format!("a tensor that exceeds its storage `{}`", storage.key))
    }

    /// A storage by its persistent id: ("storage", class, key, device, number of elements[, None]).
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let Value::Tuple(parts) = &self.values[id.0 as usize] else {
            return Err("a persistent id that is not a tuple".to_owned());
        };
        let (&[kind, class, key, _, len], view) = parts.split_first_chunk().ok_or("a short persistent id")?;
        if name(&self.values, kind) != Some("storage") {
            return Err("a persistent id that is not a storage's".to_owned());
        }
        if !view.iter().all(|&view| matches!(self.values[view.0 as usize], Value::None)) {
            return Err("a view of a storage, which only old versions of PyTorch wrote".to_owned());
        }
        let class = &self.values[class.0 as usize];
        let key = name(&self.values, key);
        let (&Value::Global(Global::Storage(dtype)), Some(key), Some(len)) = (class, key, self.size(len))
        else {
            return Err("a storage without class, key or size".to_owned());
        };
        let new = || Rc::new(Storage { key: key.to_owned(), dtype, len });
        let storage = Rc::clone(self.storages.entry(key.to_owned()).or_insert_with(new));
        if (storage.dtype, storage.len) != (dtype, len) {
            return Err(format!("storage `{key}` with two types or sizes"));
        }
        self.push(Value::Storage(storage));
        Ok(())
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.values[id.0 as usize] {
            Value::Int(int) => int.try_into().ok(),
            _ => None,
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.bytes().map(|[byte]| byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(broken)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<String, String> {
        let mut line = vec![];
        loop {
            match self.byte()? {
                b'\n' => return String::from_utf8(line).map_err(|_| "a name that is not UTF-8".to_owned()),
                byte if line.len() < MAX_NAME => line.push(byte),
                _ => return Err(format!("a name of more than {MAX_NAME} bytes")),
            }
        }
    }
}

fn broken(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the pickle is truncated".to_owned(),
        _ => error.to_string(),
    }
}
