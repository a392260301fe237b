use std::io::Cursor;

use proptest::prelude::*;

use super::super::entry::{Entry, Values};
use super::*;

/// The same dict, written by PyTorch 2.15 in both containers: tensors that share a storage, one of them transposed, of
/// every floating-point type, under `state_dict` and with the prefix of `DataParallel`, next to the state of an
/// optimizer.
const ARCHIVE: &[u8] = include_bytes!("fixtures/torch-2.15.pth");
const LEGACY: &[u8] = include_bytes!("fixtures/torch-2.15-legacy.pth");

fn open(bytes: &[u8]) -> Result<StateDict<Cursor<&[u8]>>, Problem> {
    StateDict::open(Cursor::new(bytes))
}

/// Opens a file and reads every tensor in it.
fn read(bytes: &[u8]) -> Result<Vec<Vec<f32>>, Problem> {
    let mut dict = open(bytes)?;
    let names: Vec<_> = dict.shapes().map(|(name, _)| name.to_owned()).collect();
    names.iter().map(|name| dict.values(name)).collect()
}

#[test]
fn what_pytorch_wrote_is_read_from_both_containers() {
    for bytes in [ARCHIVE, LEGACY] {
        let mut dict = open(bytes).unwrap();
        let shapes: Vec<(&str, &[usize])> = dict.shapes().collect();
        let expected: [(&str, &[usize]); 7] = [
            ("a", &[2, 3]),
            ("b", &[4, 3]),
            ("brain", &[2]),
            ("count", &[]),
            ("double", &[1]),
            ("half", &[2]),
            ("p", &[1, 2]),
        ];
        assert_eq!(shapes, expected);
        assert_eq!(dict.values("a").unwrap(), [-2.0, -1.75, -1.5, -1.25, -1.0, -0.75]);
        let transposed: Vec<f32> = (0..12).map(|i| (6 + 4 * (i % 3) + i / 3) as f32 / 4.0 - 2.0).collect();
        assert_eq!(dict.values("b").unwrap(), transposed);
        assert_eq!(dict.values("brain").unwrap(), [3.0, -0.25]);
        assert_eq!(dict.values("half").unwrap(), [0.5, -1.5]);
        assert_eq!(dict.values("double").unwrap(), [0.1]);
        assert_eq!(dict.values("p").unwrap(), [1.0, 1.0]);
        assert!(dict.values("count").unwrap_err().to_string().contains("`count` has integers"));
    }
}

fn entries() -> Vec<Entry> {
    let entry =
        |name: &str, shape: &[usize], values| Entry { name: name.into(), shape: shape.into(), values };
    vec![
        entry("w", &[2, 300], Values::F32((0..600u16).map(f32::from).collect())),
        entry("n", &[], Values::I64(vec![-3])),
    ]
}

/// `entries` in the container before PyTorch 1.6.
fn legacy(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    bytes.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    bytes.extend(write::pickle(entries));
    bytes.extend(b"\x80\x02](");
    (0..entries.len()).for_each(|key| bytes.extend([b'X', 1, 0, 0, 0, b'0' + key as u8]));
    bytes.extend(b"e.");
    for Entry { values, .. } in entries {
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.to_bytes());
    }
    bytes
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut file = Cursor::new(vec![]);
    write(entries, &mut file).unwrap();
    file.into_inner()
}

#[test]
fn what_is_written_is_read() {
    let ramp: Vec<f32> = (0..600u16).map(f32::from).collect();
    for bytes in [archive(&entries()), legacy(&entries())] {
        let mut dict = open(&bytes).unwrap();
        assert_eq!(dict.shapes().collect::<Vec<_>>(), [("n", &[][..]), ("w", &[2, 300][..])]);
        assert_eq!(dict.values("w").unwrap(), ramp);
    }
    assert_eq!(archive(&entries()), archive(&entries()));
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let whole = [archive(&entries()[..1]), legacy(&entries()[..1])];
    for bytes in &whole {
        assert!(read(bytes).is_ok());
        (0..bytes.len()).for_each(|length| assert!(read(&bytes[..length]).is_err(), "{length} bytes"));
    }
}

#[test]
fn a_storage_that_differs_from_its_checksum_is_refused() {
    let mut bytes = archive(&entries()[..1]);
    let at = bytes.windows(4).position(|window| window == 255f32.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    assert!(read(&bytes).unwrap_err().to_string().contains("checksum"));
}

/// The error for a pickle.
fn refusal(pickle: &[u8]) -> String {
    pickle::read(pickle).err().unwrap().to_string()
}

#[test]
fn nothing_but_what_state_dicts_need_is_understood() {
    let call = b"\x80\x02cposix\nsystem\nX\x02\0\0\0id\x85R.";
    assert!(
        refusal(call).contains("byte 16 of the pickle: it uses `posix.system`, which no state dict needs")
    );
    assert!(
        refusal(b"\x80\x02cmodels.wresnet\nWideResNet\n)\x81.")
            .contains("`models.wresnet.WideResNet`, which no state dict needs")
    );
    assert!(refusal(b"\x80\x04.").contains("pickle protocol 4"));
    assert!(refusal(b"\x80\x02ctorch\nFloatStorage\n)\x81.").contains("opcode 0x81"));
    assert!(refusal(b"\x80\x02ctorch\nload\n.").contains("`torch.load`"));
    assert!(refusal(b"\x80\x02ctorch\nFloatStorage\n)R.").contains("a call of a storage's class"));
}

#[test]
fn a_pickle_that_makes_no_sense_is_refused() {
    let cases: [(&[u8], &str); 14] = [
        (b"", "byte 0 of the pickle: the pickle is truncated"),
        (b"\x80\x02.", "a value is missing on the stack"),
        (b"\x80\x02K\x01(.", "a value is missing on the stack"),
        (b"\x80\x02t.", "a mark is missing"),
        (b"\x80\x02h\x07.", "memo 7 is empty"),
        (b"\x80\x02\x8a\x11", "an integer of 17 bytes"),
        (b"\x80\x02X\xff\xff\xff\xffabc", "truncated"),
        (b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8"),
        (b"\x80\x02}K\x01a.", "an item for a value that is not a list"),
        (b"\x80\x02]K\x01K\x02s.", "a key for a value that is not a dict"),
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02K\x01)R.", "a call of a value that is not a function"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01R.", "without a tuple of arguments"),
        (b"\x80\x02K\x01Q.", "a persistent id that is not a tuple"),
    ];
    for (pickle, message) in cases {
        assert!(refusal(pickle).contains(message), "{} instead of {message}", refusal(pickle));
    }
    assert!(refusal(&[b"\x80\x02c", [b'a'; 300].as_slice()].concat()).contains("more than 256 bytes"));
}

/// A pickle that makes storage 0 of `len` floats, followed by `rest`.
fn with_storage(len: u8, rest: &[u8]) -> Vec<u8> {
    let id = b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK";
    [id, [len].as_slice(), b"tQ", rest].concat()
}

#[test]
fn views_and_storages_that_do_not_fit_are_refused() {
    let view = |offset: u8, size: u8| {
        let rest = [
            b"ctorch._utils\n_rebuild_tensor\n(h\0K".as_slice(),
            &[offset],
            b"K",
            &[size],
            b"\x85K\x01\x85tR.",
        ];
        with_storage(4, &[b"q\0".as_slice(), &rest.concat()].concat())
    };
    assert!(pickle::read(view(1, 3).as_slice()).is_ok());
    assert!(refusal(&view(1, 4)).contains("exceeds its storage `0`"));
    let again = with_storage(5, b".");
    let twice = [with_storage(4, b"").as_slice(), &again[2..]].concat();
    assert!(refusal(&twice).contains("storage `0` with two types or sizes"));
}

#[test]
fn sharing_and_nesting_cost_nothing() {
    // A tuple of the tuple before it, twice, a thousand times: 2^1000 values, were they copied.
    let shared = [b"\x80\x02)q\0".to_vec(), b"h\0h\0\x86q\0".repeat(1000), b".".to_vec()].concat();
    assert!(
        matches!(pickle::read(shared.as_slice()).unwrap().root(), Value::Tuple(items) if items.len() == 2)
    );
    let deep = [b"\x80\x02)".to_vec(), vec![0x85; 1_000_000], b".".to_vec()].concat();
    assert!(pickle::read(deep.as_slice()).is_ok());
    let many = [b"\x80\x02".to_vec(), vec![b')'; (1 << 22) + 1], b".".to_vec()].concat();
    assert!(refusal(&many).contains("more than 4194304 values"));
}

#[test]
fn the_state_dict_is_found_where_training_scripts_put_it() {
    // {"epoch": 3, key: <the dict>}
    let inner = write::pickle(&entries()[..1]);
    let inner = &inner[2..inner.len() - 1];
    let under = |key: &str| {
        let name = |key: &str| [b"X", (key.len() as u32).to_le_bytes().as_slice(), key.as_bytes()].concat();
        let parts = [b"\x80\x02}(".to_vec(), name("epoch"), b"K\x03".to_vec(), name(key), inner.to_vec()];
        let pickle = [parts.concat(), b"u.".to_vec()].concat();
        tensors(&pickle::read(pickle.as_slice()).unwrap())
    };
    for key in KEYS {
        assert!(under(key).unwrap().contains_key("w"));
    }
    let message = under("weights").unwrap_err().to_string();
    assert!(message.contains("no tensors, neither at the top nor under `state_dict`"), "{message}");
}

/// A change to a file: the position (as a fraction of its length), the new bytes, and the number of bytes that they
/// replace.
fn edit() -> impl Strategy<Value = (f64, Vec<u8>, usize)> {
    (0.0..1.0, prop::collection::vec(any::<u8>(), 0..6), 0usize..6)
}

fn changed(bytes: &[u8], edits: &[(f64, Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (share, new, replaced) in edits {
        let at = (share * bytes.len() as f64) as usize;
        let end = bytes.len().min(at + replaced);
        bytes.splice(at..end, new.iter().copied());
    }
    bytes
}

/// Bytes, many of which are opcodes.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let opcodes = b".(N\x88\x89JKM\x8aGX)\x85\x86\x87t]ae}suqrhjcRbQ".to_vec();
    let piece = prop_oneof![
        8 => prop::sample::select(opcodes).prop_map(|opcode| vec![opcode]),
        2 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => Just(b"ccollections\nOrderedDict\n)R".to_vec()),
        1 => Just(b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec()),
        1 => Just(with_storage(3, b"")[2..].to_vec()),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| [b"\x80\x02".to_vec(), pieces.concat()].concat())
}

/// Eight cases for each of `PROPTEST_CASES`, by default 2048.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.saturating_mul(8), ..config }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_file_makes_the_reader_panic(legacy in any::<bool>(), edits in prop::collection::vec(edit(), 1..4)) {
        let bytes = changed(if legacy { LEGACY } else { ARCHIVE }, &edits);
        let Ok(mut dict) = open(&bytes) else { return Ok(()) };
        let names: Vec<_> = dict.shapes().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let elements: usize = dict.tensors[&name].shape.iter().product();
            // As for a network: only what has the expected shape is read.
            if elements < 100 {
                let _ = dict.values(&name);
            }
        }
    }

    #[test]
    fn no_pickle_makes_the_machine_panic_or_grow(program in program()) {
        if let Ok(pickle) = pickle::read(program.as_slice()) {
            prop_assert!(pickle.len() < program.len());
        }
    }
}
