//! What cannot work: each ends with its exit code and a message that says where and what, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use super::workspace::{MANIFEST, Workspace};

#[test]
fn results_are_written_nowhere_but_in_the_workspace() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("tiny.csv");
    let workspace = Workspace::new();
    let set = |place: &Path| format!("results.csv={}", place.display());
    workspace.run_with("run tiny.yaml --set", &[&set(&target)]).with(3, &["is absolute"]);
    workspace
        .run("run tiny.yaml --set results.csv=../tiny.csv")
        .with(3, &["leads out of the workspace by `..`"]);

    symlink(elsewhere.path(), workspace.path("results")).unwrap();
    for place in ["results/tiny.csv", "results/deeper/tiny.csv"] {
        let ended = workspace.run_with("run tiny.yaml --set", &[&set(Path::new(place))]);
        ended.with(4, &[place, "outside the workspace"]);
    }
    assert_eq!(workspace.kept("records"), [] as [PathBuf; 0], "it is reported before anything runs");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    // A link in the place of the file itself is replaced, and what it leads to stays.
    fs::remove_file(workspace.path("results")).unwrap();
    fs::create_dir(workspace.path("results")).unwrap();
    fs::write(&target, "not ours").unwrap();
    symlink(&target, workspace.path("results/tiny.csv")).unwrap();
    workspace.run("run tiny.yaml").with(2, &["holds no table of results", "`--overwrite`"]);
    workspace.run("run tiny.yaml --overwrite").with(0, &[]);
    assert!(workspace.csv().starts_with("pipeline,"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "not ours");
}

#[test]
fn a_manifest_that_is_missing_or_unfit_is_told() {
    let workspace = Workspace::new();
    let files =
        [("empty.yaml", ""), ("broken.yaml", "stages: {a: [}"), ("cycle.yaml", CYCLE), ("typo.yaml", TYPO)];
    files.iter().for_each(|(name, text)| workspace.write(name, text));
    fs::write(workspace.path("bytes.yaml"), b"name: \xff").unwrap();
    fs::create_dir(workspace.path("folder.yaml")).unwrap();

    workspace.run("run gone.yaml").with(66, &["gone.yaml", "No such file"]);
    workspace.run("run folder.yaml").with(66, &["folder.yaml", "is a folder"]);
    workspace.run("run bytes.yaml").with(3, &["bytes.yaml", "UTF-8", "byte 6"]);
    workspace.run("run empty.yaml").with(3, &["the manifest is empty", "help: "]);
    workspace.run("run broken.yaml").with(3, &["broken.yaml:1:"]);
    workspace.run("run cycle.yaml").with(3, &["cycle.yaml:", "cycle"]);
    workspace.run("run typo.yaml").with(3, &["typo.yaml:4:", "did you mean `split`?"]);
    assert!(!workspace.path("cache").exists(), "nothing is made for a manifest that is wrong");
}

const CYCLE: &str = "\
name: cycle
stages:
  a: {kind: split, needs: {dataset: b}, with: {ratio: 0.5}}
  b: {kind: split, needs: {dataset: a}, with: {ratio: 0.5}}
";

const TYPO: &str = "\
name: typo
stages:
  images: {kind: dataset, with: {source: synthetic}}
  clean: {kind: spilt, needs: {dataset: images}, with: {ratio: 0.5}}
";

#[test]
fn all_errors_of_the_stages_are_told_at_once() {
    let workspace = Workspace::new();
    workspace.write("wrong.yaml", WRONG);
    let words = ["stages.images.with.train", "stages.clean.with.ratio", "stages.rest.needs", "wrong.yaml:5:"];
    workspace.run("plan wrong.yaml").with(3, &words).with(3, &["3 errors in the manifest; nothing was run"]);

    let structure =
        WRONG.replace("name: wrong", "seed: two\nvars: {a: \"${vars.gone}\"}\nmatrix: {part: []}");
    let structure = structure.replace("ratio: 0.5", "ratio: \"${matrix.part}\", stratified: \"${vars.a}\"");
    workspace.write("wrong.yaml", &structure);
    let more = ["expected an integer of at least 0", "vars.a", "matrix.part", "7 errors in the manifest"];
    workspace.run("plan wrong.yaml").with(3, &more).with(3, &words[..3]);
}

const WRONG: &str = "\
name: wrong
stages:
  images: {kind: dataset, with: {source: synthetic, train: many}}
  clean: {kind: split, needs: {dataset: images}, with: {ratio: 1.5}}
  rest: {kind: split, needs: {}, with: {ratio: 0.5}}
";

#[test]
fn an_override_that_makes_no_sense_is_told() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --set seed").with(2, &["--set", "has no `=`"]);
    workspace.run("run tiny.yaml --set sede=3").with(3, &["--set:1:1", "did you mean `seed`?"]);
    workspace
        .run("run tiny.yaml --set stages.imags.with.size=16")
        .with(3, &["--set:1:", "did you mean `images`?"]);
    workspace.run("run tiny.yaml --set matrix.epochs=[many]").with(3, &["--set:1:"]);
    workspace.run("run tiny.yaml --set matrix.epochs=[1]").with(0, &["4 ran"]);
}

#[test]
fn arguments_that_make_no_sense_are_told() {
    let workspace = Workspace::new();
    for arguments in
        ["run", "rum tiny.yaml", "run tiny.yaml -j 0", "run tiny.yaml --threads x", "plan --frobnicate"]
    {
        workspace.run(arguments).with(2, &["error: "]);
    }
    workspace.run("-C nowhere plan tiny.yaml").with(2, &["nowhere", "No such file"]);
}

#[test]
fn data_that_is_missing_is_told_and_stops_only_what_needs_it() {
    let workspace = Workspace::new();
    let manifest =
        MANIFEST.replace("stages:", "stages:\n  other: {kind: dataset, with: {source: cifar10, path: gone}}");
    workspace.write("tiny.yaml", &manifest);
    workspace.run("plan tiny.yaml").with(66, &["other: ", "gone", " tasks cannot run"]);
    workspace.run("run tiny.yaml").with(66, &["other: ", "gone", "6 ran, 1 failed"]);
    workspace.run("results tiny.yaml").with(0, &[]);
}

#[test]
fn what_an_attack_or_a_defense_lacks_is_told_before_anything_runs() {
    let workspace = Workspace::new();
    workspace.write("lacking.yaml", LACKING);
    workspace
        .run("run lacking.yaml")
        .with(3, &["lacking.yaml:4:", "`trojan-nn` needs the input `model`", "add `model: <stage>`"])
        .with(3, &["lacking.yaml:6:", "`argd` needs the input `teacher`", "add `teacher: <stage>`"]);
    assert!(!workspace.path("cache").exists(), "nothing is made for a manifest that is wrong");

    let picture = MANIFEST.replace("attack: badnets,", "attack: blend, image: kitty.png,");
    workspace.write("tiny.yaml", &picture);
    workspace.run("plan tiny.yaml").with(66, &["poisoned: ", "kitty.png"]);
}

#[test]
fn a_parameter_that_only_some_cells_do_not_have_is_told_with_their_choice() {
    let workspace = Workspace::new();
    let erased = "erased: {kind: erase, needs: {student: trained, teacher: trained, dataset: images}, with: {method: \"${matrix.defense}\", w_edge: 2}}";
    let manifest = MANIFEST
        .replace("epochs: [1, 2]", "epochs: [1, 2], defense: [argd, finetune]")
        .replace("  after:", &format!("  {erased}\n  after:"));
    workspace.write("tiny.yaml", &manifest);
    let told = ["unknown field `w_edge` with `method: finetune`", "help: fields with `method: finetune`: "];
    workspace.run("plan tiny.yaml").with(3, &told).with(3, &["1 error in the manifest"]);
}

const LACKING: &str = "\
name: lacking
stages:
  images: {kind: dataset, with: {source: synthetic}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: trojan-nn}}
  trained: {kind: train, needs: {dataset: images, poison: poisoned}}
  erased: {kind: erase, needs: {student: trained, dataset: images}, with: {method: argd}}
";

#[test]
fn a_cache_that_cannot_be_used_is_told() {
    let workspace = Workspace::new();
    workspace
        .run("run tiny.yaml --cache-dir tiny.yaml")
        .with(6, &["the cache folder `tiny.yaml`", "--cache-dir"]);
    assert_eq!(fs::read_to_string(workspace.path("tiny.yaml")).unwrap(), MANIFEST);

    workspace.run("run tiny.yaml").with(0, &[]);
    for record in workspace.kept("records") {
        fs::write(record, r#"{"format_version": 4000000000}"#).unwrap();
    }
    workspace.run("run tiny.yaml").with(6, &["was written by a newer argd-pipe", "help: update argd-pipe"]);
}

/// Changes a file of a data set, if it is to be damaged.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn data_that_is_damaged_is_told_with_its_place() {
    let cases: [(&str, Damage<'_>, &str); 4] = [
        ("data_batch_2.bin", &|bytes| bytes.extend([0; 100]), "data_batch_2.bin, byte 30730: truncated"),
        ("data_batch_3.bin", &|bytes| bytes[3073] = 77, "data_batch_3.bin, byte 3073: label 77"),
        ("test_batch.bin", &|bytes| bytes.clear(), "test_batch.bin"),
        ("batches.meta.txt", &|bytes| bytes.truncate(4), "batches.meta.txt: 2 class names"),
    ];
    for (name, damage, message) in cases {
        let workspace = cifar10();
        let file = workspace.path("data").join(name);
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(&file, bytes).unwrap();
        workspace.run("run cifar10.yaml").with(4, &["images: ", message]);
        assert_eq!(workspace.kept("records"), [] as [PathBuf; 0]);
    }
    cifar10().run("run cifar10.yaml").with(0, &["1 ran"]);
}

#[test]
fn a_training_that_diverges_is_told_with_its_place() {
    let workspace = Workspace::new();
    let steep = MANIFEST.replace("model: wrn-10-1,", "model: wrn-10-1, schedule: [{epoch: 0, lr: 1e20}],");
    workspace.write("tiny.yaml", &steep);
    workspace.run("run tiny.yaml").with(4, &["trained", "is not finite in epoch 2, batch 1", "lower the"]);
}

#[test]
fn a_picture_that_is_damaged_is_told_with_its_file() {
    let manifest = "name: m\nstages: {images: {kind: dataset, with: {source: image-folder, path: data}}}\n";
    let workspace = Workspace::new();
    workspace.write("folder.yaml", manifest);
    for part in ["train", "test"] {
        for class in ["cat", "dog"] {
            let folder = workspace.path("data").join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for name in ["a.png", "b.jpg"] {
                RgbImage::from_fn(16, 16, |x, y| Rgb([(x * y) as u8; 3])).save(folder.join(name)).unwrap();
            }
        }
    }
    for name in ["train/dog/a.png", "test/cat/b.jpg"] {
        let file = workspace.path("data").join(name);
        let whole = fs::read(&file).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"no picture", b""] {
            fs::write(&file, damaged).unwrap();
            workspace.run("run folder.yaml").with(4, &["images: ", name]);
            assert_eq!(workspace.kept("records"), [] as [PathBuf; 0]);
        }
        fs::write(&file, whole).unwrap();
    }
    let other = workspace.path("data/test/horse");
    fs::rename(workspace.path("data/test/dog"), &other).unwrap();
    workspace.run("run folder.yaml").with(4, &["images: ", "`dog` is in only one of"]);
    fs::rename(other, workspace.path("data/test/dog")).unwrap();
    workspace.run("run folder.yaml").with(0, &["1 ran"]);
}

/// A workspace with a manifest that reads CIFAR-10, ten images to a file.
fn cifar10() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("cifar10.yaml", CIFAR10);
    let data = workspace.path("data");
    fs::create_dir(&data).unwrap();
    let images: Vec<u8> = (0..10).flat_map(|label| [vec![label], vec![0; 3072]].concat()).collect();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    {
        fs::write(data.join(name).with_extension("bin"), &images).unwrap();
    }
    fs::write(data.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n").unwrap();
    workspace
}

const CIFAR10: &str = "\
name: cifar10
stages:
  images: {kind: dataset, with: {source: cifar10, path: data}}
";
