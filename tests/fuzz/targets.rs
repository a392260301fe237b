//! The formats: seeds, pieces of syntax, and what reads them.

use std::fs;
use std::io::{Cursor, Read as _, Write};
use std::path::{Path, PathBuf};

use argd_pipe::attacks::operators::{Add, Blend, Noise, Overflow, Quantise, Reflect, Warp};
use argd_pipe::attacks::{LabelRule, Operator, Trigger};
use argd_pipe::data::fetch::{Packing, unpack_untrusted};
use argd_pipe::data::readers::{Source, read_pictures};
use argd_pipe::data::{Dataset, Images, Overlay};
use argd_pipe::manifest::Draft;
use argd_pipe::models::{self, Model, Spec};
use argd_pipe::nn::Backend;
use argd_pipe::shape::Shape;
use argd_pipe::store::{Digest, Execution, FORMAT_VERSION, Key, OutputRecord, Record, Store};
use argd_pipe::{pipeline, stages};
use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use image::{ImageFormat, Rgb, RgbImage};
use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::{Map, json};

/// Reads some bytes, and drops the answer.
pub type Read = Box<dyn FnMut(&[u8])>;

/// A format.
pub struct Target {
    pub name: &'static str,
    /// Valid input.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces of syntax, to be put where they do not belong.
    pub pieces: &'static [&'static [u8]],
    /// Prepares the reader, with a folder of its own.
    pub start: fn(&Path) -> Read,
    /// The most memory in bytes that a small input may take. The limit grows with the input.
    pub memory: usize,
}

const MB: usize = 1_000_000;

pub const ALL: &[Target] = &[
    Target { name: "manifest", seeds: manifests, pieces: YAML, start: plan, memory: 200 * MB },
    Target { name: "record", seeds: records, pieces: JSON, start: look_up, memory: 10 * MB },
    Target { name: "journal", seeds: journals, pieces: JSON, start: read_journal, memory: 10 * MB },
    Target { name: "pickle", seeds: pickles, pieces: OPCODES, start: import_pickle, memory: 50 * MB },
    Target { name: "zip", seeds: zips, pieces: ZIP, start: import_and_unzip, memory: 50 * MB },
    Target { name: "safetensors", seeds: tensors, pieces: JSON, start: load, memory: 50 * MB },
    Target { name: "idx", seeds: idx, pieces: &[], start: read_idx, memory: 10 * MB },
    Target { name: "gtsrb", seeds: lists, pieces: CSV, start: read_list, memory: 50 * MB },
    Target { name: "tar", seeds: tars, pieces: TAR, start: untar, memory: 10 * MB },
    // A small file can declare a picture of the largest size that is allowed.
    Target {
        name: "png",
        seeds: || pictures(ImageFormat::Png),
        pieces: PNG,
        start: see_png,
        memory: 1_200 * MB,
    },
    Target {
        name: "jpeg",
        seeds: || pictures(ImageFormat::Jpeg),
        pieces: JPEG,
        start: see,
        memory: 1_200 * MB,
    },
    Target { name: "ppm", seeds: || pictures(ImageFormat::Pnm), pieces: PPM, start: see, memory: 1_200 * MB },
];

const YAML: &[&[u8]] = &[
    b"*a",
    b"&a ",
    b"<<: ",
    b"${",
    b"}",
    b"${vars.x}",
    b"${matrix.x}",
    b"${seed}",
    b"[",
    b"]",
    b"{",
    b"}",
    b": ",
    b"- ",
    b", ",
    b"\n",
    b"\n  ",
    b"\t",
    b"'",
    b"\"",
    b"#",
    b"|\n",
    b"!!binary ",
    b"---\n",
    b"null",
    b".nan",
    b"-1",
    b"1e999",
    b"\xff",
    b"99999999999999999999",
    b"\0",
    b"\xef\xbb\xbf",
    "é".as_bytes(),
];
const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"0.1",
    b"[[[[[[[[[[",
    b"18446744073709551616",
    b"\n",
    b"\xff",
    b"{\"\":",
    b"\"F32\"",
    b"\"U8\"",
    b"\"BF16\"",
    b"\"F4\"",
    b"__metadata__",
    b"[0,0]",
];
const OPCODES: &[&[u8]] = &[
    b".",
    b"(",
    b"N",
    b"\x88",
    b"\x89",
    b"J",
    b"K",
    b"M",
    b"\x8a",
    b"G",
    b"X",
    b")",
    b"\x85",
    b"\x86",
    b"\x87",
    b"t",
    b"]",
    b"a",
    b"e",
    b"}",
    b"s",
    b"u",
    b"q",
    b"r",
    b"h",
    b"j",
    b"R",
    b"b",
    b"Q",
    b"ccollections\nOrderedDict\n)R",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    b"X\x07\0\0\0storage",
];
const ZIP: &[&[u8]] = &[
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"PK\x07\x08",
    b"../",
    b"\x08\0",
];
const CSV: &[&[u8]] = &[
    b";",
    b"\"",
    b"\n",
    b"\r",
    b"..",
    b"/",
    b"ClassId",
    b"Filename",
    b"-1",
    b"43",
    b"4294967296",
    b"\xff",
    b"\0",
];
const TAR: &[&[u8]] = &[
    b"../",
    b"/",
    b"\0",
    b"0",
    b"5",
    b"2",
    b"L",
    b"x",
    b"g",
    b"S",
    b"7777777",
    b"ustar",
    b"\x80\0\0\0\0\0\0",
];
const PNG: &[&[u8]] =
    &[b"IHDR", b"IDAT", b"iCCP", b"zTXt", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IEND", b"eXIf"];
const JPEG: &[&[u8]] = &[
    b"\xff\xd8",
    b"\xff\xc0",
    b"\xff\xc2",
    b"\xff\xc4",
    b"\xff\xda",
    b"\xff\xdb",
    b"\xff\xdd",
    b"\xff\xe2",
    b"\xff\xd9",
];
const PPM: &[&[u8]] =
    &[b"P1", b"P3", b"P5", b"P6", b"P7", b"#", b" ", b"65535", b"99999999", b"TUPLTYPE", b"ENDHDR\n"];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files with this extension in a folder and below.
fn files(folder: &Path, extension: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let contents = paths.into_iter().flat_map(|path| match path.extension() {
        _ if path.is_dir() => files(&path, extension),
        Some(found) if found == extension => vec![fs::read(&path).unwrap()],
        _ => vec![],
    });
    contents.collect()
}

/// What `write` writes to a file.
fn written(write: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path);
    fs::read(path).unwrap()
}

fn manifests() -> Vec<Vec<u8>> {
    [files(&here("pipelines"), "yaml"), files(&here("tests/bad_manifests"), "yaml")].concat()
}

fn plan(_: &Path) -> Read {
    let kinds = stages::all();
    Box::new(move |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Err(errors) = pipeline::plan(Draft::parse("m.yaml", text, &[]), &kinds, &Backend::default())
        else {
            return;
        };
        assert!(!errors.0.is_empty());
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        // As many as a terminal shows.
        for error in errors.0.iter().take(100) {
            handler.render_report(&mut String::new(), error).unwrap();
        }
    })
}

fn components() -> serde_json::Value {
    json!({"kind": "split", "params": {"ratio": 0.1}, "seed": 2})
}

/// A record without its check sum, which an attacker can compute, too.
fn records() -> Vec<Vec<u8>> {
    let record = Record {
        format_version: FORMAT_VERSION,
        key: Key::of(&components()),
        components: components(),
        outputs: vec![OutputRecord { port: "indices".into(), size: 3, digest: Digest::of(b"abc") }],
        metrics: Map::from_iter([
            ("acc".to_owned(), json!(100.0 / 3.0)),
            ("classes".to_owned(), json!([1, 2])),
        ]),
        nondeterministic: false,
        exec: Execution { host: "host".into(), started: 1, seconds: 0.3, threads: 2, ..Execution::default() },
    };
    vec![[b",", &serde_json::to_vec_pretty(&record).unwrap()[1..], b"\n"].concat()]
}

fn look_up(folder: &Path) -> Read {
    let (store, key) = (Store::open(folder).unwrap(), Key::of(&components()));
    let shard = folder.join("v1/records").join(&key.to_string()[..2]);
    let (path, corrupt) = (shard.join(format!("{key}.json")), folder.join("v1/corrupt"));
    fs::create_dir_all(&shard).unwrap();
    Box::new(move |bytes| {
        let start = format!("{{\"check\":\"{}\"", blake3::hash(bytes).to_hex());
        fs::write(&path, [start.as_bytes(), bytes].concat()).unwrap();
        if let Ok(Some(record)) = store.record(&key) {
            drop(record.name());
        }
        drop(store.lookup(&key));
        // Damaged records are set aside there.
        fs::read_dir(&corrupt).unwrap().for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
    })
}

fn journals() -> Vec<Vec<u8>> {
    let key = Key::of(&components());
    let lines = [
        format!("{{\"task\":\"a@x=1\",\"at\":1,\"key\":\"{key}\"}}\n"),
        format!("{{\"task\":\"b\",\"at\":2,\"key\":\"{key}\",\"failed\":\"no such file\"}}\n"),
        "{\"task\":\"c\",\"at\":3,\"failed\":\"no such file\"}\n".to_owned(),
    ];
    vec![lines.concat().into_bytes()]
}

fn read_journal(folder: &Path) -> Read {
    let store = Store::open(folder).unwrap();
    let path = folder.join("v1/journals/p.jsonl");
    Box::new(move |bytes| {
        fs::write(&path, bytes).unwrap();
        let journal = store.journal("p");
        drop(journal.past("a@x=1").cloned());
    })
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(here("src/models/pytorch/fixtures").join(name)).unwrap()
}

/// The network of the models among the seeds.
fn spec() -> Spec {
    let image = Shape { height: 8, width: 8, channels: 3 };
    Spec { architecture: "wrn-10-1".parse().unwrap(), image, classes: 2, normalise: None }
}

fn model() -> Model {
    let spec = spec();
    Model { weights: spec.graph().init(3).into(), spec }
}

fn exported(format: models::Format) -> Vec<u8> {
    written(|path| models::export(&model(), path, format).unwrap())
}

/// Files of the older container, and pickles of the newer one.
fn pickles() -> Vec<Vec<u8>> {
    let pickle = |archive: Vec<u8>| {
        let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
        let at = (0..archive.len())
            .find(|&at| archive.by_index(at).unwrap().name().unwrap().ends_with("data.pkl"));
        let mut bytes = vec![];
        archive.by_index(at.unwrap()).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let newer = [fixture("torch-2.15.pth"), exported(models::Format::PyTorch)].map(pickle);
    newer.into_iter().chain([fixture("torch-2.15-legacy.pth")]).collect()
}

/// An archive of files that are not compressed, with the right check sums.
fn stored(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, content) in files {
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        archive.start_file(*name, stored).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn import(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    drop(models::import(path, spec()));
    drop(models::read_small_tensors(path));
}

fn import_pickle(folder: &Path) -> Read {
    let path = folder.join("model.pth");
    Box::new(move |bytes| {
        import(&path, bytes);
        import(&path, &stored(&[("x/data.pkl", bytes), ("x/data/0", &[0; 48]), ("x/data/1", &[0; 8])]));
    })
}

fn zips() -> Vec<Vec<u8>> {
    let mut packed = zip::ZipWriter::new(Cursor::new(vec![]));
    packed.start_file("inside/a", zip::write::SimpleFileOptions::default()).unwrap();
    packed.write_all(&[7; 500]).unwrap();
    packed.add_directory("inside/b", zip::write::SimpleFileOptions::default()).unwrap();
    let plain = stored(&[("inside/c", b"some"), ("d", b"")]);
    vec![fixture("torch-2.15.pth"), packed.finish().unwrap().into_inner(), plain]
}

fn import_and_unzip(folder: &Path) -> Read {
    let (path, unpacked) = (folder.join("model.pth"), folder.join("unpacked"));
    Box::new(move |bytes| {
        import(&path, bytes);
        unpack(Packing::Zip, &path, &unpacked);
    })
}

/// Unpacks an archive, and checks that nothing was written outside of the folder.
fn unpack(packing: Packing, archive: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    drop(unpack_untrusted(packing, archive, folder));
    fs::remove_dir_all(folder).unwrap();
    let beside = fs::read_dir(archive.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "files beside the archive");
}

fn tensors() -> Vec<Vec<u8>> {
    let shape = Shape { height: 2, width: 2, channels: 3 };
    let images = |count: usize| Images::new(shape, vec![9; 12 * count], vec![1; count]).unwrap();
    let dataset = Dataset::new(vec!["a".into(), "b".into()], images(3), images(2)).unwrap();
    let overlay = Overlay::new(vec![0, 2], images(2)).unwrap();
    let seen = Shape { height: 16, width: 16, channels: 1 };
    let operators: [Operator; 6] = [
        Blend { mask: vec![0.5; 256], pattern: vec![7; 256] }.into(),
        Add { delta: vec![-0.5; 256], overflow: Overflow::Wrap }.into(),
        Noise { alpha: 0.25, seed: u64::MAX }.into(),
        Warp { field: vec![1.5; 512] }.into(),
        Quantise { levels: 8, dither: true }.into(),
        Reflect { pool: vec![9; 512], ghost: 0.49, alpha: Some(0.5), seed: 3 }.into(),
    ];
    let trigger =
        |operator| Trigger::new("test", seen, 2, LabelRule::All2one { target: 1 }, operator).unwrap();
    let triggers = operators.map(|operator| written(|path| trigger(operator).save(path).unwrap()));
    let others = [
        written(|path| dataset.save(path).unwrap()),
        written(|path| overlay.save(path, 2).unwrap()),
        written(|path| model().save(path).unwrap()),
        exported(models::Format::Safetensors),
    ];
    triggers.into_iter().chain(others).collect()
}

fn load(folder: &Path) -> Read {
    let path = folder.join("file");
    Box::new(move |bytes| {
        import(&path, bytes);
        drop((Dataset::load(&path), Overlay::load(&path), Model::load(&path)));
        if let Ok(trigger) = Trigger::load(&path)
            && trigger.shape().len() < 1000
        {
            drop(trigger.picture());
        }
    })
}

fn source(folder: &Path, mut with: serde_json::Value) -> Source {
    with["path"] = json!(folder);
    serde_json::from_value(with).unwrap()
}

/// An IDX file.
fn idx_file(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let sizes = dimensions.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, dimensions.len() as u8].into_iter().chain(sizes).chain(values.iter().copied()).collect()
}

fn gzip(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut packed = GzEncoder::new(vec![], level);
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn idx() -> Vec<Vec<u8>> {
    let images = idx_file(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    vec![gzip(&images, Compression::fast()), images, idx_file(&[2], &[0, 1])]
}

fn read_idx(folder: &Path) -> Read {
    let images = source(folder, json!({"source": "idx", "pad_to": 4}));
    let place = |name: &str| folder.join(name);
    let names = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ];
    let [whole_images, whole_labels] = [idx_file(&[2, 1, 1], &[1, 2]), idx_file(&[2], &[0, 1])];
    for (name, bytes) in names.into_iter().zip([&whole_images, &whole_labels].repeat(2)) {
        fs::write(place(name), bytes).unwrap();
    }
    let [images_path, labels_path] = [place(names[0]), place(names[1])];
    let packed_path = images_path.with_added_extension("gz");
    let read = move || drop(images.get().read(0));
    Box::new(move |bytes| {
        fs::write(&images_path, bytes).unwrap();
        read();
        fs::remove_file(&images_path).unwrap();
        let packed =
            if bytes.starts_with(&[0x1f, 0x8b]) { bytes.to_vec() } else { gzip(bytes, Compression::none()) };
        fs::write(&packed_path, packed).unwrap();
        read();
        fs::remove_file(&packed_path).unwrap();
        fs::write(&images_path, &whole_images).unwrap();
        fs::write(&labels_path, bytes).unwrap();
        read();
        fs::write(&labels_path, &whole_labels).unwrap();
    })
}

const HEAD: &str = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n";

fn lists() -> Vec<Vec<u8>> {
    vec![format!("{HEAD}0.ppm;29;30;5;6;24;25;0\n0.ppm;29;30;5;6;24;25;42\n").into_bytes()]
}

fn read_list(folder: &Path) -> Read {
    let put = |path: PathBuf, bytes: &[u8]| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let picture = b"P6 2 1 255\n123456";
    for class in 0..43 {
        let images = folder.join(format!("GTSRB/Final_Training/Images/{class:05}"));
        put(images.join("0.ppm"), picture);
        put(
            images.join(format!("GT-{class:05}.csv")),
            format!("{HEAD}0.ppm;2;1;0;0;1;1;{class}\n").as_bytes(),
        );
    }
    put(folder.join("GTSRB/Final_Test/Images/0.ppm"), picture);
    put(folder.join("GT-final_test.csv"), format!("{HEAD}0.ppm;2;1;0;0;1;1;7\n").as_bytes());
    let images = source(folder, json!({"source": "gtsrb", "resize": 2}));
    let path = folder.join("GTSRB/Final_Training/Images/00000/GT-00000.csv");
    Box::new(move |bytes| {
        fs::write(&path, bytes).unwrap();
        drop(images.get().read(0));
    })
}

fn tars() -> Vec<Vec<u8>> {
    let archive = |mut header: tar::Header| {
        let mut builder = tar::Builder::new(vec![]);
        header.set_size(3);
        header.set_mode(0o644);
        builder.append_data(&mut header.clone(), "inside/a", &b"abc"[..]).unwrap();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Directory);
        builder.append_data(&mut header.clone(), "inside/b", &b""[..]).unwrap();
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, "inside/c", "/etc").unwrap();
        builder.into_inner().unwrap()
    };
    let [old, gnu, ustar] =
        [tar::Header::new_old(), tar::Header::new_gnu(), tar::Header::new_ustar()].map(archive);
    vec![gzip(&gnu, Compression::fast()), old, gnu, ustar]
}

/// Makes the check sum of each header of an archive right, as an attacker would.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

fn untar(folder: &Path) -> Read {
    let (path, unpacked) = (folder.join("archive.tar.gz"), folder.join("unpacked"));
    Box::new(move |bytes| {
        let is_packed = bytes.starts_with(&[0x1f, 0x8b]);
        let packed = if is_packed { bytes.to_vec() } else { gzip(&with_sums(bytes), Compression::none()) };
        fs::write(&path, packed).unwrap();
        unpack(Packing::TarGz, &path, &unpacked);
    })
}

fn pictures(format: ImageFormat) -> Vec<Vec<u8>> {
    let picture = RgbImage::from_fn(9, 7, |x, y| Rgb([20 * x as u8, 30 * y as u8, (x * y) as u8]));
    let encoded = |picture: image::DynamicImage| {
        let mut bytes = Cursor::new(vec![]);
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let colors = image::DynamicImage::from(picture);
    vec![encoded(colors.grayscale()), encoded(colors)]
}

fn see(folder: &Path) -> Read {
    let path = folder.join("picture.png");
    Box::new(move |bytes| {
        fs::write(&path, bytes).unwrap();
        drop(read_pictures(&path, Shape { height: 2, width: 2, channels: 3 }));
    })
}

/// Makes the check sum of each chunk right, as an attacker would.
fn see_png(folder: &Path) -> Read {
    let mut see = see(folder);
    Box::new(move |bytes| {
        let mut bytes = bytes.to_vec();
        let mut at = 8;
        while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            let (start, end) = (at + 4, at + 8 + u32::from_be_bytes(*length) as usize);
            let Some(typed) = bytes.get(start..end) else { break };
            let mut sum = Crc::new();
            sum.update(typed);
            if let Some(place) = bytes.get_mut(end..end + 4) {
                place.copy_from_slice(&sum.sum().to_be_bytes());
            }
            at = end + 4;
        }
        see(&bytes);
    })
}
