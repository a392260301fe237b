//! Files of others that are read: their size, nesting and type are limited before they are believed.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::workspace::{Ended, Workspace};

/// Runs the program with two threads and at most 500 MB of memory.
fn run_in_little_memory(workspace: &Workspace, arguments: &str) -> Ended {
    let mut program = workspace.program();
    program.args(arguments.split(' ')).env("ARGD_PIPE_THREADS", "2");
    let limit = Rlimit { current: Some(500_000_000), maximum: Some(500_000_000) };
    // SAFETY: between fork and exec only the system call `setrlimit` runs.
    unsafe { program.pre_exec(move || Ok(setrlimit(Resource::Data, limit.clone())?)) };
    program.output().unwrap().into()
}

/// Zeros, by the million.
fn zeros(to: &mut dyn Write, millions: usize) {
    let million = vec![0; 1_000_000];
    (0..millions).for_each(|_| to.write_all(&million).unwrap());
}

fn idx(dimensions: &[u32]) -> Vec<u8> {
    let sizes = dimensions.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, dimensions.len() as u8].into_iter().chain(sizes).collect()
}

fn gzip(head: &[u8], millions: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(vec![], Compression::fast());
    packed.write_all(head).unwrap();
    zeros(&mut packed, millions);
    packed.finish().unwrap()
}

/// A chunk of a PNG file.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let typed = [&kind[..], data].concat();
    let mut sum = flate2::Crc::new();
    sum.update(&typed);
    [&(data.len() as u32).to_be_bytes(), &typed[..], &sum.sum().to_be_bytes()].concat()
}

/// Adds a color profile of zeros to a PNG file.
fn with_profile(png: &[u8], millions: usize) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(vec![], Compression::fast());
    zeros(&mut packed, millions);
    let profile = [&b"x\0\0"[..], &packed.finish().unwrap()].concat();
    // After the signature and the header.
    let (start, rest) = png.split_at(8 + 25);
    [start, &chunk(b"iCCP", &profile), rest].concat()
}

fn reads(source: &str) -> String {
    format!("name: reads\nstages:\n  images: {{kind: dataset, with: {{source: {source}, path: images}}}}\n")
}

#[test]
fn a_packed_idx_file_is_read_as_far_as_its_header_says() {
    let workspace = Workspace::new();
    workspace.write("m.yaml", &reads("idx"));
    fs::create_dir(workspace.path("images")).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(workspace.path("images").join(name), bytes).unwrap();
    put("train-images-idx3-ubyte.gz", &gzip(&[&idx(&[1, 2, 2])[..], &[1, 2, 3, 4]].concat(), 3_000));
    put("train-labels-idx1-ubyte.gz", &gzip(&[&idx(&[1])[..], &[1]].concat(), 0));
    let ended = run_in_little_memory(&workspace, "run m.yaml");
    ended.with(4, &["byte 20: the header declares [1, 2, 2] values, but the file has another number"]);
}

#[test]
fn a_color_profile_is_not_unpacked() {
    let workspace = Workspace::new();
    workspace.write("m.yaml", &reads("image-folder"));
    for (part, class) in [("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")] {
        let folder = workspace.path("images").join(part).join(class);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("0.png");
        image::RgbImage::from_pixel(4, 4, image::Rgb([9, 9, 9])).save(&path).unwrap();
        let png = fs::read(&path).unwrap();
        fs::write(&path, with_profile(&png, 400)).unwrap();
    }
    run_in_little_memory(&workspace, "run m.yaml").with(0, &[]);
}

#[test]
fn a_circle_of_thousands_of_stages_is_reported_at_once() {
    let workspace = Workspace::new();
    let count = 5_000;
    let manifest = |stage: &dyn Fn(usize) -> String| {
        format!("name: circle\nstages:\n{}", (0..count).map(stage).collect::<String>())
    };
    let circle = |i| format!("  s{i}: {{kind: split, needs: {{dataset: s{}}}}}\n", (i + 1) % count);
    let wrong_port = |i| format!("  s{i}: {{kind: split, needs: {{x: s{}}}}}\n", (i + 1) % count);
    let loops = |i| format!("  s{i}: {{kind: split, needs: {{x: s{i}}}}}\n");
    let unknown = |i| format!("  s{i}: {{kind: split, needs: {{dataset: t{i}}}}}\n");
    let cases: [(&dyn Fn(usize) -> String, &str); 4] = [
        (&circle, "5000 stages need each other in a circle: s0 → s1 → s2"),
        (&wrong_port, "5000 stages need each other in a circle"),
        (&loops, "the stage `s0` needs itself"),
        (&unknown, "unknown stage `t0`"),
    ];
    for (stage, told) in cases {
        workspace.write("circle.yaml", &manifest(stage));
        let started = Instant::now();
        workspace.run("validate circle.yaml").with(3, &[told]);
        // Far less in an optimized program; comparing each error with each took up to a minute.
        assert!(started.elapsed() < Duration::from_secs(4), "{told}: {:?}", started.elapsed());
    }
}

#[test]
fn no_command_waits_for_a_pipe() {
    let workspace = Workspace::new();
    let pipe = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    pipe(&workspace.path("pipe"));
    let cases = [
        ("validate pipe", 66),
        ("run pipe", 66),
        ("plan pipe", 66),
        ("status pipe", 66),
        ("dag pipe", 66),
        ("results pipe", 66),
        ("model import pipe to.safetensors --model wrn-16-1", 4),
        ("model export pipe to.pth", 4),
        ("diff pipe pipe", 66),
    ];
    for (arguments, code) in cases {
        workspace.run(arguments).with(code, &["is not a regular file"]);
    }
    fs::create_dir(workspace.path("results")).unwrap();
    pipe(&workspace.path("results/tiny.lock"));
    workspace
        .run("run tiny.yaml --locked --set matrix.epochs=[1] --dry-run")
        .with(66, &["is not a regular file"]);
}

/// What the shell gives to a command is no trap: the user asked for it.
#[test]
fn a_manifest_is_read_from_standard_input() {
    let workspace = Workspace::new();
    let mut program = workspace.program();
    program.args(["validate", "/dev/stdin"]).stdin(std::process::Stdio::piped());
    program.stdout(std::process::Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all(crate::workspace::MANIFEST.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/dev/stdin: valid: 4 stages, 6 tasks\n");
}
