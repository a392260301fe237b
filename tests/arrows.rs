//! The house's rules, held against the code: which folder imports which, no circle of files, and one place that
//! names a device.

#[path = "arrows/house.rs"]
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use house::{Arrow, House, How};
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

/// The floors of a folder, top floor first. A room, which is a file or a folder, imports from floors below its own.
struct Floors {
    /// The folder's module.
    of: &'static [&'static str],
    floors: &'static [&'static [&'static str]],
}

const HOUSE: &[Floors] = &[
    Floors {
        of: &[],
        floors: &[
            &["cli"],
            &["report", "pipeline"],
            &["manifest", "store", "stages"],
            &["attacks", "defenses"],
            &["detectors"],
            &["train"],
            &["models", "data"],
            &["nn"],
            &["kernels"],
            &["files", "shape", "rng", "in_order", "methods", "plain"],
        ],
    },
    Floors {
        of: &["pipeline"],
        floors: &[
            &["results"],
            &["record", "forecast"],
            &["run"],
            &["state"],
            &["job"],
            &["error"],
            &["plan"],
        ],
    },
];

/// Rooms that only some rooms import, though they are below others, too.
const ONLY_FOR: &[(&str, &[&str])] = &[("kernels", &["nn"])];

/// The one file that names a device.
const BACKEND: &str = "src/nn/backend.rs";

impl Floors {
    /// The room of this folder that a module is in.
    fn room<'m>(&self, module: &'m [String]) -> Option<&'m str> {
        let inside = module.len() > self.of.len() && module.iter().zip(self.of).all(|(name, of)| name == of);
        inside.then(|| &*module[self.of.len()])
    }

    /// Counted from the top.
    fn floor(&self, room: &str) -> Option<usize> {
        self.floors.iter().position(|rooms| rooms.contains(&room))
    }

    /// What is wrong with an arrow, if it runs from one room of this folder to another.
    fn fault(&self, arrow: &Arrow<'_>) -> Option<String> {
        let from = self.room(arrow.from)?;
        // A name that the folder itself hands on belongs to the room that defines it.
        let to = self.room(&arrow.place.through).or_else(|| self.room(&arrow.place.module))?;
        let reserved =
            self.of.is_empty() && ONLY_FOR.iter().any(|(room, users)| *room == to && !users.contains(&from));
        let up = self.floor(from)? >= self.floor(to)?;
        let Arrow { file, path, .. } = arrow;
        (from != to && (up || reserved)).then(|| format!("{file}: `{path}`: {from} must not import {to}"))
    }

    /// Rooms that have no floor.
    fn homeless(&self, house: &House) -> BTreeSet<String> {
        let rooms = house.modules().filter_map(|module| self.room(module));
        rooms.filter(|room| self.floor(room).is_none()).map(ToOwned::to_owned).collect()
    }
}

/// Imports that run up or sideways, and rooms that have no floor.
fn forbidden(house: &House, rules: &[Floors]) -> Vec<String> {
    let faults = |floors: &Floors| {
        let of = ["src"].iter().chain(floors.of).copied().collect::<Vec<_>>().join("/");
        let homeless = floors.homeless(house).into_iter();
        let homeless = homeless.map(|room| format!("{of}/{room}: it has no floor in tests/arrows.rs"));
        homeless.chain(house.arrows().filter_map(|arrow| floors.fault(&arrow))).collect::<Vec<_>>()
    };
    rules.iter().flat_map(faults).collect()
}

/// Circles of files, each with what ties it.
fn circles(house: &House) -> Vec<String> {
    let mut ties: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for arrow in house.arrows() {
        let to = house.file(&arrow.place.module);
        if let Some(item) = arrow.place.item.clone().filter(|_| to != arrow.file && counts(&arrow)) {
            ties.entry((arrow.file, to)).or_default().insert(item);
        }
    }
    let files = DiGraphMap::<&str, ()>::from_edges(ties.keys().copied());
    let circles = tarjan_scc(&files).into_iter().filter(|files| files.len() > 1);
    let told = |files: Vec<&str>| {
        let inside = ties.iter().filter(|((from, to), _)| files.contains(from) && files.contains(to));
        let tie = |((from, to), names): (&(&str, &str), &BTreeSet<String>)| {
            format!("{from} -> {to}: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        inside.map(tie).collect::<Vec<_>>().join("\n")
    };
    circles.map(told).collect()
}

/// Whether an arrow can close a circle. A file that hands a name on does not use it; and a module may name those below
/// it in passing, as a registry does: it is what holds them together.
fn counts(arrow: &Arrow<'_>) -> bool {
    match arrow.how {
        How::Use => true,
        How::HandOn => false,
        How::Inline => !arrow.place.module.starts_with(arrow.from),
    }
}

/// Places outside the backend that name a device.
fn devices(house: &House) -> Vec<String> {
    let names_one = |path: &[String]| path.windows(2).any(|pair| pair[0] == "Device");
    let found = house.named().filter(|(file, path)| *file != BACKEND && names_one(path));
    found.map(|(file, path)| format!("{file}: `{}`", path.join("::"))).collect()
}

fn this_house() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    House::read(&|file| fs::read_to_string(root.join(file)).ok())
}

#[test]
fn imports_point_down() {
    let found = forbidden(&this_house(), HOUSE);
    assert!(found.is_empty(), "{} imports that the house does not allow:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = circles(&this_house());
    assert!(found.is_empty(), "{} circles of files:\n{}", found.len(), found.join("\n\n"));
}

#[test]
fn one_file_names_devices() {
    let found = devices(&this_house());
    assert!(
        found.is_empty(),
        "{} places name a device; {BACKEND} alone may:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// A house of a few files, each with its text.
fn house(files: &[(&str, &str)]) -> House {
    let texts: BTreeMap<&str, &str> = files.iter().copied().collect();
    House::read(&|file| texts.get(file).map(ToString::to_string))
}

/// A house with the rooms `cli`, `pipeline`, `store` and `stages`; `store` has this text.
fn with_store(text: &str) -> House {
    house(&[
        ("src/lib.rs", "pub mod cli; mod pipeline; mod stages; mod store;"),
        ("src/cli.rs", "use crate::pipeline::run; fn main() { run(crate::store::open()) }"),
        ("src/pipeline.rs", "use crate::stages::{self, Kind}; pub use crate::store::Key; pub fn run() {}"),
        ("src/stages.rs", "pub struct Kind; pub fn all() {}"),
        ("src/store.rs", text),
    ])
}

#[test]
fn imports_of_lower_floors_pass() {
    let house = with_store("use std::fs; pub struct Key; pub fn open() { fs::read(crate::store::NAME) }");
    assert_eq!(forbidden(&house, HOUSE), [""; 0]);
}

#[test]
fn forbidden_imports_are_found() {
    for (text, path, room) in [
        ("use crate::stages::Kind;", "crate::stages::Kind", "stages"),
        ("use crate::{cli, pipeline::{run as start}};", "crate::pipeline::run", "pipeline"),
        ("pub(crate) use super::pipeline::run;", "super::pipeline::run", "pipeline"),
        ("fn f() { crate::stages::all() }", "crate::stages::all", "stages"),
        ("struct S { kind: Vec<crate::stages::Kind> }", "crate::stages::Kind", "stages"),
        ("fn f() { println!(\"{}\", [crate::stages::all()]) }", "crate::stages::all", "stages"),
        ("mod inner { use super::super::stages::Kind; }", "super::super::stages::Kind", "stages"),
        ("fn f() { use crate::stages::*; }", "crate::stages", "stages"),
        ("impl S { #[cfg(not(test))] fn f(_: crate::stages::Kind) {} }", "crate::stages::Kind", "stages"),
    ] {
        let fault = format!("src/store.rs: `{path}`: store must not import {room}");
        assert_eq!(forbidden(&with_store(text), HOUSE).last(), Some(&fault), "{text}");
    }
}

#[test]
fn code_for_tests_does_not_count() {
    for text in [
        "#[cfg(test)] use crate::stages::Kind;",
        "#[cfg(test)] mod tests { use crate::stages::Kind; }",
        "#[cfg(test)] mod tests;",
        "#[cfg(all(test, unix))] fn f() { crate::stages::all() }",
        "#[test] fn f() { crate::stages::all() }",
        "impl S { #[cfg(test)] fn f() { crate::stages::all() } }",
        "struct S { #[cfg(test)] kind: crate::stages::Kind }",
        "/// See [`crate::stages::Kind`].\n// crate::stages::Kind\nconst NAME: &str = \"crate::stages::Kind\";",
    ] {
        assert_eq!(forbidden(&with_store(text), HOUSE), [""; 0], "{text}");
    }
}

#[test]
fn rooms_need_a_floor_and_kernels_are_for_nn_alone() {
    let house = house(&[
        ("src/lib.rs", "mod attic; mod kernels; mod nn; mod train;"),
        ("src/attic.rs", ""),
        ("src/kernels.rs", "pub struct Level;"),
        ("src/nn.rs", "pub use crate::kernels::Level; fn f(_: Level) {}"),
        ("src/train.rs", "use crate::nn::Level; use crate::kernels;"),
    ]);
    let faults = [
        "src/attic: it has no floor in tests/arrows.rs",
        "src/train.rs: `crate::kernels`: train must not import kernels",
    ];
    assert_eq!(forbidden(&house, HOUSE), faults);
}

#[test]
fn floors_within_a_folder_look_through_its_own_list_of_names() {
    let floors = [Floors { of: &["pipeline"], floors: &[&["run"], &["state"], &["plan"]] }];
    let folder = |plan| {
        house(&[
            ("src/lib.rs", "mod pipeline;"),
            ("src/pipeline/mod.rs", "mod plan; mod run; mod state; pub use plan::plan; pub use state::Key;"),
            ("src/pipeline/plan.rs", plan),
            ("src/pipeline/run.rs", "use super::plan; use crate::pipeline::Key;"),
            ("src/pipeline/state/mod.rs", "mod key; pub use key::Key;"),
            ("src/pipeline/state/key.rs", "pub struct Key; fn f() { super::super::plan() }"),
        ])
    };
    assert_eq!(forbidden(&folder("pub fn plan() {}"), &floors), [""; 0]);
    assert_eq!(
        forbidden(&folder("pub fn plan(_: crate::pipeline::Key) {}"), &floors),
        ["src/pipeline/plan.rs: `crate::pipeline::Key`: plan must not import state"]
    );
}

/// A house with a folder of two files; the names of its `mod.rs` are one of its own and one that it hands on.
fn with_files(one: &str, two: &str) -> House {
    house(&[
        ("src/lib.rs", "mod folder;"),
        (
            "src/folder/mod.rs",
            "mod one; mod two; pub use one::One; pub struct Own; fn all() { [two::new()] }",
        ),
        ("src/folder/one.rs", one),
        ("src/folder/two.rs", two),
    ])
}

#[test]
fn circles_are_found_where_names_are_defined() {
    let told = "src/folder/one.rs -> src/folder/two.rs: Two\nsrc/folder/two.rs -> src/folder/one.rs: One";
    for one in [
        "use super::two::Two;",
        "use super::two; fn f(_: two::Two) {}",
        "fn f() { vec![crate::folder::two::Two] }",
    ] {
        let house = with_files(&format!("pub struct One; {one}"), "use super::One; pub struct Two;");
        assert_eq!(circles(&house), [told], "{one}");
    }
    // Macros define two of the names, and the circle has three files.
    let house = house(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use crate::b::B; named!(A);"),
        ("src/b.rs", "use crate::c::C as D; named!(B);"),
        ("src/c.rs", "pub struct C; fn f() { crate::a::A::new() }"),
    ]);
    assert_eq!(
        circles(&house),
        ["src/a.rs -> src/b.rs: B\nsrc/b.rs -> src/c.rs: C\nsrc/c.rs -> src/a.rs: A"]
    );
}

#[test]
fn what_is_no_circle_passes() {
    for (one, two) in [
        ("pub struct One;", "use super::{One, Own}; pub fn new() {}"),
        ("pub struct One; mod inner { use super::One; }", "use super::one::One;"),
        ("pub struct One; #[cfg(test)] mod tests { use super::super::two::Two; }", "use super::One;"),
        ("pub struct One; pub use super::two::Two;", "use super::One; pub struct Two;"),
        ("use super::two; pub struct One;", "use super::One;"),
    ] {
        assert_eq!(circles(&with_files(one, two)), [""; 0], "{one} {two}");
    }
    let house = house(&[
        ("src/lib.rs", "mod folder;"),
        ("src/folder.rs", "mod one; use one::One; pub struct Own;"),
        ("src/folder/one.rs", "use super::Own; pub struct One;"),
    ]);
    assert_eq!(circles(&house).len(), 1, "a file that uses one below it for itself");
}

#[test]
fn devices_are_found() {
    let house = house(&[
        ("src/lib.rs", "mod nn; mod train;"),
        ("src/nn/mod.rs", "mod backend;"),
        ("src/nn/backend.rs", "use candle_core::Device; const CPU: Device = Device::Cpu;"),
        (
            "src/train.rs",
            "use candle_core::{self as candle, Device};
             fn f(device: &Device) -> Tensor { Tensor::new(candle_core::Device::Cpu) }
             fn g() { vec![Device::new_cuda(0)] }
             #[cfg(test)] mod tests { fn f() { Device::Cpu } }",
        ),
    ]);
    assert_eq!(
        devices(&house),
        ["src/train.rs: `candle_core::Device::Cpu`", "src/train.rs: `Device::new_cuda`"]
    );
}
