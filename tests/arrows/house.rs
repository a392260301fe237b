//! The modules of a crate, and what each of them names of the others.
//!
//! Code for tests does not count: what stands under `#[cfg(test)]` or `#[test]` is not read, with the files below it.

use std::collections::{BTreeMap, BTreeSet};

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// A path in segments.
pub type Segments = Vec<String>;

/// Every module of a crate by its path; the crate itself has the empty one.
#[derive(Debug, Default)]
pub struct House(BTreeMap<Segments, Module>);

#[derive(Debug, Default)]
struct Module {
    file: String,
    /// Items that stand in it.
    defined: BTreeSet<String>,
    /// What names from elsewhere mean.
    imports: BTreeMap<String, Segments>,
    globs: Vec<Segments>,
    named: Vec<(Segments, How)>,
}

/// How a file names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A `use` for itself.
    Use,
    /// A `use` with a visibility: it hands the name on.
    HandOn,
    /// A path amid the code.
    Inline,
}

/// A module names something of the crate.
#[derive(Debug)]
pub struct Arrow<'h> {
    /// The file that names it.
    pub file: &'h str,
    /// The module of that file.
    pub from: &'h [String],
    /// The path as it is written.
    pub path: String,
    pub how: How,
    /// What it is.
    pub place: Place,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The module that the path names it in.
    pub through: Segments,
    /// The module that defines it, which differs if the name is handed on.
    pub module: Segments,
    /// The item; `None` if the path leads to a module.
    pub item: Option<String>,
}

impl House {
    /// Reads a crate from its `src/lib.rs` on. `load` gives the text of a file, if it exists.
    pub fn read(load: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut house = Self::default();
        Reader { house: &mut house, load, file: String::new(), folder: "src".to_owned(), module: vec![] }
            .read_file("src/lib.rs");
        house
    }

    /// The modules' paths.
    pub fn modules(&self) -> impl Iterator<Item = &[String]> {
        self.0.keys().map(Vec::as_slice)
    }

    /// The file that a module stands in.
    pub fn file(&self, module: &[String]) -> &str {
        &self.0[module].file
    }

    /// Every path of two segments and more, with its file.
    pub fn named(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.values().flat_map(|module| module.named.iter().map(|(path, _)| (&*module.file, &**path)))
    }

    /// Every path that leads into the crate.
    pub fn arrows(&self) -> impl Iterator<Item = Arrow<'_>> {
        self.0.iter().flat_map(move |(from, module)| {
            module.named.iter().filter_map(move |(path, how)| {
                let place = self.resolve(from, path)?;
                Some(Arrow { file: &module.file, from, path: path.join("::"), how: *how, place })
            })
        })
    }

    /// What a path in a module leads to; `None` outside the crate.
    pub fn resolve(&self, from: &[String], path: &[String]) -> Option<Place> {
        // Names that are handed on in a circle would otherwise be followed forever.
        self.follow(from, path, 20)
    }

    fn follow(&self, from: &[String], path: &[String], steps: usize) -> Option<Place> {
        let steps = steps.checked_sub(1)?;
        let (mut at, mut rest) = start(from, path)?;
        while let [name, more @ ..] = rest {
            let here = &self.0[&at];
            let child: Segments = at.iter().chain([name]).cloned().collect();
            let item = here.defined.contains(name);
            let import = here.imports.get(name);
            // At the end of a path an item goes before a module of the same name.
            if self.0.contains_key(&child) && !(more.is_empty() && (item || import.is_some())) {
                (at, rest) = (child, more);
            } else if item {
                return Some(Place { through: at.clone(), module: at, item: Some(name.clone()) });
            } else if let Some(target) = import {
                let place = self.follow(&at, target, steps)?;
                if place.item.is_some() || more.is_empty() {
                    return Some(Place { through: at, ..place });
                }
                (at, rest) = (place.module, more);
            } else if let Some(place) = self.in_globs(&at, name, steps) {
                return Some(Place { through: at, ..place });
            } else if rest.len() == path.len() {
                // A crate, a type parameter or a local name.
                return None;
            } else {
                // A macro defines it.
                return Some(Place { through: at.clone(), module: at, item: Some(name.clone()) });
            }
        }
        Some(Place { through: at.clone(), module: at, item: None })
    }

    fn in_globs(&self, at: &[String], name: &str, steps: usize) -> Option<Place> {
        let modules = self.0[at].globs.iter().filter_map(|glob| self.follow(at, glob, steps));
        let mut modules = modules.filter(|place| place.item.is_none() && place.module != at);
        modules.find_map(|place| {
            let here = &self.0[&place.module];
            let known = here.defined.contains(name) || here.imports.contains_key(name);
            known.then(|| self.follow(&place.module, &["self".to_owned(), name.to_owned()], steps))?
        })
    }
}

/// The module that a path starts in, and the path from there.
fn start<'p>(from: &[String], path: &'p [String]) -> Option<(Segments, &'p [String])> {
    let mut at = from.to_vec();
    let mut rest = path;
    while let [first, more @ ..] = rest {
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()?),
            _ => break,
        }
        rest = more;
    }
    Some((at, rest))
}

/// Reads the modules of a file, and the files below it.
struct Reader<'r> {
    house: &'r mut House,
    load: &'r dyn Fn(&str) -> Option<String>,
    file: String,
    /// Where the files of its modules are.
    folder: String,
    module: Segments,
}

impl Reader<'_> {
    fn read_file(&mut self, file: &str) {
        let text = (self.load)(file).unwrap_or_else(|| panic!("{file} is missing"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.file = file.to_owned();
        self.read_items(&parsed.items);
    }

    fn read_items(&mut self, items: &[Item]) {
        let defined = items.iter().filter_map(name).collect();
        let module = Module { file: self.file.clone(), defined, ..Module::default() };
        self.house.0.insert(self.module.clone(), module);
        items.iter().for_each(|item| self.visit_item(item));
    }

    fn here(&mut self) -> &mut Module {
        self.house.0.entry(self.module.clone()).or_default()
    }

    fn name(&mut self, path: Segments, how: How) {
        if path.len() > 1 {
            self.here().named.push((path, how));
        }
    }
}

/// Leaves out the nodes of the syntax tree that are for tests.
macro_rules! outside_tests {
    ($($visit:ident($Node:ident),)*) => {
        $(fn $visit(&mut self, node: &'s syn::$Node) {
            if !for_tests(&node.attrs) {
                visit::$visit(self, node);
            }
        })*
    };
}

impl<'s> Visit<'s> for Reader<'_> {
    outside_tests! {
        visit_item_const(ItemConst),
        visit_item_enum(ItemEnum),
        visit_item_fn(ItemFn),
        visit_item_impl(ItemImpl),
        visit_item_macro(ItemMacro),
        visit_item_static(ItemStatic),
        visit_item_struct(ItemStruct),
        visit_item_trait(ItemTrait),
        visit_item_type(ItemType),
        visit_field(Field),
        visit_impl_item_const(ImplItemConst),
        visit_impl_item_fn(ImplItemFn),
        visit_local(Local),
        visit_trait_item_fn(TraitItemFn),
        visit_variant(Variant),
    }

    fn visit_item_mod(&mut self, node: &'s syn::ItemMod) {
        if for_tests(&node.attrs) {
            return;
        }
        let name = node.ident.to_string();
        let folder = format!("{}/{name}", self.folder);
        let module = self.module.iter().cloned().chain([name]).collect();
        let files = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
        let mut reader =
            Reader { house: self.house, load: self.load, file: self.file.clone(), folder, module };
        match &node.content {
            Some((_, items)) => reader.read_items(items),
            None => {
                let found = files.iter().find(|file| (self.load)(file).is_some());
                reader.read_file(found.unwrap_or_else(|| panic!("{}: no file for {files:?}", self.file)));
            }
        }
    }

    fn visit_item_use(&mut self, node: &'s syn::ItemUse) {
        if for_tests(&node.attrs) {
            return;
        }
        let how = if matches!(node.vis, Visibility::Inherited) { How::Use } else { How::HandOn };
        let mut leaves = vec![];
        flatten(&node.tree, &[], &mut leaves);
        for (path, name) in leaves {
            match name {
                Some(name) => drop(self.here().imports.insert(name, path.clone())),
                None => self.here().globs.push(path.clone()),
            }
            self.name(path, how);
        }
    }

    fn visit_path(&mut self, path: &'s syn::Path) {
        self.name(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), How::Inline);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, node: &'s syn::Macro) {
        let tokens = TokenBuffer::new2(node.tokens.clone());
        let mut paths = vec![];
        paths_in(tokens.begin(), &mut paths);
        paths.into_iter().for_each(|path| self.name(path, How::Inline));
        visit::visit_macro(self, node);
    }

    // The path of `pub(in path)` says who may name the item, not what the item names.
    fn visit_visibility(&mut self, _: &'s Visibility) {}

    fn visit_attribute(&mut self, _: &'s Attribute) {}
}

/// Whether attributes say that code is for tests alone.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |tokens: &str| tokens == "test" || tokens.starts_with("all(test,");
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| is_test(&list.tokens.to_string().replace(' ', "")))
    })
}

/// The name of an item that is not a module, nor for tests.
fn name(item: &Item) -> Option<String> {
    let (ident, attributes) = match item {
        Item::Const(it) => (&it.ident, &it.attrs),
        Item::Enum(it) => (&it.ident, &it.attrs),
        Item::Fn(it) => (&it.sig.ident, &it.attrs),
        Item::Macro(it) => (it.ident.as_ref()?, &it.attrs),
        Item::Static(it) => (&it.ident, &it.attrs),
        Item::Struct(it) => (&it.ident, &it.attrs),
        Item::Trait(it) => (&it.ident, &it.attrs),
        Item::Type(it) => (&it.ident, &it.attrs),
        Item::Union(it) => (&it.ident, &it.attrs),
        _ => return None,
    };
    (!for_tests(attributes)).then(|| ident.to_string())
}

/// The paths of a `use`, each with the name that it gets; a glob has none.
fn flatten(tree: &UseTree, before: &[String], leaves: &mut Vec<(Segments, Option<String>)>) {
    let with = |ident: &syn::Ident| before.iter().cloned().chain([ident.to_string()]).collect::<Segments>();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), leaves),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, leaves)),
        UseTree::Glob(_) => leaves.push((before.to_vec(), None)),
        UseTree::Name(name) if name.ident == "self" => leaves.push((before.to_vec(), before.last().cloned())),
        UseTree::Name(name) => leaves.push((with(&name.ident), Some(name.ident.to_string()))),
        UseTree::Rename(name) if name.ident == "self" => {
            leaves.push((before.to_vec(), Some(name.rename.to_string())));
        }
        UseTree::Rename(name) => leaves.push((with(&name.ident), Some(name.rename.to_string()))),
    }
}

/// The paths amid the tokens of a macro, whose grammar nobody knows.
fn paths_in(mut at: Cursor<'_>, paths: &mut Vec<Segments>) {
    let mut path = vec![];
    while !at.eof() {
        if let Some((ident, next)) = at.ident() {
            path.push(ident.to_string());
            if let Some(next) = colons(next) {
                at = next;
                continue;
            }
            at = next;
        } else if let Some((inside, _, _, next)) = at.any_group() {
            paths_in(inside, paths);
            at = next;
        } else if let Some((_, next)) = at.token_tree() {
            at = next;
        }
        paths.push(std::mem::take(&mut path));
    }
}

/// What follows `::`, if that comes next.
fn colons(at: Cursor<'_>) -> Option<Cursor<'_>> {
    fn colon(at: Cursor<'_>) -> Option<Cursor<'_>> {
        at.punct().filter(|(punct, _)| punct.as_char() == ':').map(|(_, next)| next)
    }
    colon(at).and_then(colon)
}
