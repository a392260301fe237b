//! Names from data and caches: they never become paths, terminal escapes or forged lines.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::workspace::{Ended, Workspace};

/// A name that clears the screen, sets the title of the terminal, forges a line, and turns the order of text around.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\n finished forged in 1.0s\r\u{9b}31m\u{202e}\u{2028}y";

/// The same name in double quotes of YAML.
const IN_YAML: &str = r#""x\e[2J\e]0;t\a\n finished forged in 1.0s\r\x9b31m\u202e\u2028y""#;

/// A cheap manifest whose axis has that name as a label.
fn manifest() -> String {
    format!(
        "name: cheap\nseed: 2\nmatrix: {{part: [{{name: {IN_YAML}, ratio: 0.25}}]}}\nstages:\n  \
         images: {{kind: dataset, with: {{source: synthetic, train: 64, test: 32, size: 16}}}}\n  \
         part: {{kind: split, needs: {{dataset: images}}, with: {{ratio: \"${{matrix.part.ratio}}\"}}}}\n  \
         trained: {{kind: train, needs: {{dataset: part}}, with: {{model: wrn-10-1, epochs: 1}}}}\n  \
         after: {{kind: evaluate, needs: {{model: trained, dataset: images}}}}\n\
         results: {{csv: results/cheap.csv, from: [after]}}\n"
    )
}

/// Checks that a terminal shows what was printed as text, and that no line looks like one of a run.
#[track_caller]
fn assert_tame(what: &str, ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let hostile = |c: char| {
            (c.is_control() && c != '\n' && c != '\t')
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(hostile), "{what}: {text:?}");
        // A line of a run begins with a word of at most nine letters, aligned to the right. A table can be folded within a
        // column, far from the edge.
        let is_forged =
            |line: &&str| line.trim_start().starts_with("finished forged") && !line.starts_with("         ");
        let forged = text.lines().find(is_forged);
        assert_eq!(forged, None, "{what}:\n{text}");
    }
}

#[track_caller]
fn assert_shown(what: &str, ended: &Ended) {
    assert_tame(what, ended);
    // A narrow column folds it.
    let shown: String = ended.all().split_whitespace().collect();
    assert!(shown.contains(r"x\u{1b}[2J"), "{what}: the name is shown:\n{}", ended.all());
}

/// Changes a record or another file with a check sum at its head.
fn plant(path: &Path, change: impl Fn(&mut Value)) {
    let mut record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut record);
    record.as_object_mut().unwrap().remove("check");
    let text = serde_json::to_string_pretty(&record).unwrap();
    let checked = format!(",{}\n", &text[1..]);
    fs::write(path, format!("{{\"check\":\"{}\"{checked}", blake3::hash(checked.as_bytes()).to_hex()))
        .unwrap();
}

#[test]
fn a_label_of_an_axis_is_only_text() {
    let workspace = Workspace::cheap();
    workspace.write("m.yaml", &manifest());
    for command in
        ["plan m.yaml", "run m.yaml --dry-run", "status m.yaml", "dag m.yaml --expand", "run m.yaml -v"]
    {
        assert_shown(command, &workspace.run(command).with(0, &[]));
    }
    for command in [
        "run m.yaml -vv",
        "status m.yaml --why",
        "results m.yaml",
        "results m.yaml --format md",
        "dag m.yaml --expand --format mermaid",
        "cache ls",
    ] {
        assert_shown(command, &workspace.run(command).with(0, &[]));
    }
    assert_tame("dot", &workspace.run("dag m.yaml --expand --format dot").with(0, &[]));
    let task = format!("part@part={HOSTILE}");
    for command in ["show m.yaml", "log m.yaml", "plan m.yaml"] {
        let ended = workspace.run_with(command, &[&task]).with(0, &[]);
        assert_shown(command, &ended);
    }
    let export = workspace.run_with("export m.yaml", &[&task, "none", "there"]);
    assert_tame("export", &export);
    assert_shown("unknown target", &workspace.run_with("show m.yaml", &[&format!("{task}z")]));
    assert_shown("verify", &workspace.run_with("cache verify --recompute", &[&task]).with(0, &[]));
    let kept = workspace.kept("objects");
    kept.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_shown("verify", &workspace.run("cache verify").with(6, &["to compute again"]));
    assert_shown("run", &workspace.run("run m.yaml").with(0, &["finished"]));
    assert_shown("gc", &workspace.run("cache gc --keep-days 0").with(0, &["removed"]));
}

#[test]
fn json_and_csv_keep_the_label() {
    let workspace = Workspace::cheap();
    workspace.write("m.yaml", &manifest());
    workspace.run("run m.yaml").with(0, &[]);
    let json = workspace.run("results m.yaml --format json").with(0, &[]);
    assert_tame("json", &json);
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["rows"][0]["part"], HOSTILE);
    let csv = workspace.run("results m.yaml --format csv").with(0, &[]);
    assert_eq!(csv.stdout, fs::read_to_string(workspace.path("results/cheap.csv")).unwrap());
    let mut reader = csv::Reader::from_reader(csv.stdout.as_bytes());
    let column = reader.headers().unwrap().iter().position(|name| name == "part").unwrap();
    assert_eq!(&reader.records().next().unwrap().unwrap()[column], HOSTILE);
}

#[test]
fn names_of_stages_and_axes_are_plain() {
    let workspace = Workspace::cheap();
    for (text, what) in [
        (
            format!("name: m\nstages: {{{IN_YAML}: {{kind: dataset}}}}\n"),
            "the name of a stage cannot contain",
        ),
        (
            format!("name: m\nmatrix: {{{IN_YAML}: [1]}}\nstages: {{a: {{kind: dataset}}}}\n"),
            "the name of an axis",
        ),
        (format!("name: {IN_YAML}\nstages: {{a: {{kind: dataset}}}}\n"), "the name of a manifest"),
        (format!("name: m\nstages: {{a: {{kind: {IN_YAML}}}}}\n"), "unknown"),
        ("name: m # \u{9b}2J \u{202e}\nstages: {a: {kind: datset}}\n".to_owned(), "datset"),
        ("name: m\nstages: {è: {kind: dataset}}\n".to_owned(), "cannot contain `è`"),
    ] {
        workspace.write("m.yaml", &text);
        for command in ["validate m.yaml", "run m.yaml"] {
            assert_tame(command, &workspace.run(command).with(3, &[what]));
        }
    }
    workspace.write("m.yaml", &manifest());
    let set = workspace.run_with("plan m.yaml --set", &[&format!("stages.part.with.{HOSTILE}=1")]);
    assert_tame("--set", &set.with(3, &[]));
}

#[test]
fn a_foreign_cache_only_has_text() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    for record in workspace.kept("records") {
        plant(&record, |record| {
            for field in ["task", "pipeline", "host", "argd_version"] {
                record["exec"][field] = HOSTILE.into();
            }
            record["metrics"][HOSTILE] = json!(1);
        });
    }
    for log in workspace.kept("logs") {
        fs::OpenOptions::new().append(true).open(log).unwrap().write_all(b"\x1b[2J\xc2\x9b31m\r").unwrap();
    }
    for command in ["cache ls", "show cheap.yaml images", "cache verify --recompute x*"] {
        assert_shown(command, &workspace.run(command));
    }
    assert_tame("ls", &workspace.run("cache ls --json").with(0, &[]));
    assert_tame("show", &workspace.run("show cheap.yaml images --json").with(0, &[]));
    let log = workspace.run("log cheap.yaml images").with(0, &[]);
    assert_tame("log", &log);
    assert!(log.stdout.contains(r"\u{1b}[2J\u{9b}31m\r"), "{}", log.stdout);
    assert_tame("run", &workspace.run("run cheap.yaml -v").with(0, &[]));
    assert_tame("status", &workspace.run("status cheap.yaml --why --set seed=3").with(0, &[]));
    assert_shown("gc", &workspace.run("cache gc --keep-days 0").with(0, &[]));
}

#[test]
fn names_of_tensors_are_only_text() {
    let workspace = Workspace::cheap();
    let header = json!({HOSTILE: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 4]);
    fs::write(workspace.path("m.safetensors"), bytes).unwrap();
    fs::write(workspace.path("m.pth"), checkpoint()).unwrap();
    fs::write(workspace.path("code.pth"), checkpoint_of(b"\x80\x02cx\x1b[2J\x07\nsystem\n)R.")).unwrap();
    for file in ["m.safetensors", "m.pth", "code.pth"] {
        let ended =
            workspace.run(&format!("model import {file} to.safetensors --model wrn-10-1")).with(4, &[]);
        assert_tame(file, &ended);
        assert_eq!(ended.stderr.contains(r"x\u{1b}[2J"), file == "code.pth", "{}", ended.stderr);
    }
}

/// A PyTorch file with one tensor.
fn checkpoint() -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let storage =
        [&b"("[..], &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x01tQ"];
    let tensor =
        [b"ctorch._utils\n_rebuild_tensor_v2\n(", &*storage.concat(), b"K\x00K\x01\x85K\x01\x85\x89"];
    let rest = b"ccollections\nOrderedDict\n)RtRs.";
    checkpoint_of(&[&b"\x80\x02}"[..], &text(HOSTILE), &tensor.concat(), rest].concat())
}

/// A PyTorch file with a pickle and one storage.
fn checkpoint_of(pickle: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("m/data.pkl", pickle), ("m/version", b"3\n"), ("m/data/0", &[0; 4])] {
        archive.start_file(name, stored).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn paths_are_only_text() {
    let workspace = Workspace::cheap();
    let name = HOSTILE.replace('/', "_");
    let missing = format!("{name}.yaml");
    for command in ["run", "validate", "plan", "show"] {
        let ended = workspace.run_with(command, &[&missing, "images"][..1 + usize::from(command == "show")]);
        assert_shown(command, &ended.with(66, &[]));
    }
    workspace.write(&missing, "name: m\nstages: {a: {kind: nothing}}\n");
    assert_shown("validate", &workspace.run_with("validate", &[&missing]).with(3, &["unknown"]));
    workspace.write(&missing, &manifest());
    assert_shown("validate", &workspace.run_with("validate", &[&missing]).with(0, &[]));
    assert_shown(
        "results",
        &workspace.run_with("results", &[&missing]).with(5, &["argd-pipe run $'x\\x1b[2J"]),
    );
    assert_shown(
        "cache",
        &workspace.run_with("cache ls --cache-dir", &[&name]).with(0, &["there is no cache"]),
    );
    assert_shown("-C", &workspace.run_with("cache ls -C", &[&name]).with(2, &["cannot enter"]));
    let import = workspace.run_with("model import --model wrn-10-1", &[&name, "to"]);
    assert_shown("import", &import.with(66, &[]));
    assert_tame("usage", &workspace.run_with("plan --cache-dir c --color", &[&name]).with(2, &[]));
}

#[test]
fn completions_leave_out_what_a_shell_would_run() {
    let workspace = Workspace::cheap();
    workspace.write(
        "m.yaml",
        &manifest()
            .replace("matrix: {part: [", "matrix: {part: [{name: b, ratio: 0.5}, ")
            .replace(IN_YAML, "\"$(touch planted)\""),
    );
    let targets = workspace.run("complete-targets m.yaml").with(0, &[]);
    assert_eq!(targets.stdout, "images\npart\ntrained\nafter\npart@part=b\ntrained@part=b\nafter@part=b\n");
}
