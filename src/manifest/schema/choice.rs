//! `oneOf` and `anyOf`: chooses the branch that a value most likely means, so that errors are about that branch.

use serde_json::Value;

use super::{Checker, words};
use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::node::{Node, NodeKind};

impl<'s> Checker<'s> {
    /// Returns the branch that `node` matches, or the nearest one.
    ///
    /// # Errors
    /// If no branch is near: no branch has this tag or word, or this type.
    pub(super) fn choose(
        &self,
        node: &Node,
        branches: &'s [Value],
        schema: &Value,
        path: &str,
    ) -> Result<&'s Value, Box<Diagnostic>> {
        if let NodeKind::Map(_) = node.kind
            && let Some(tag) = self.tag(branches)
        {
            return self.choose_by_tag(node, tag, branches, path);
        }
        let words = self.words(branches);
        let fitting: Vec<&Value> = branches.iter().filter(|branch| self.may_be(node, branch)).collect();
        match fitting.as_slice() {
            [] if matches!(node.kind, NodeKind::Str(_)) && !words.is_empty() => {
                Err(Box::new(words::unknown_value(node, &words, schema, path)))
            }
            [] => Err(Box::new(words::fits_no_branch(node, &self.types_of(branches), &words, schema, path))),
            [only] => Ok(only),
            several => Ok(self.nearest(node, several, path)),
        }
    }

    /// Returns the field that distinguishes the branches of an internally tagged enum.
    fn tag(&self, branches: &'s [Value]) -> Option<&'s str> {
        let mut objects = branches.iter().filter(|branch| self.takes(branch, "object"));
        let first = self.properties(objects.next()?);
        let is_tag = |name: &&str| {
            let mut objects = branches.iter().filter(|branch| self.takes(branch, "object"));
            objects.all(|branch| self.tag_value(branch, name).is_some())
        };
        first.into_iter().map(|(name, _)| name).find(is_tag)
    }

    /// Returns the value of the tag of a branch.
    fn tag_value(&self, branch: &'s Value, tag: &str) -> Option<&'s Value> {
        let (_, schema) = self.properties(branch).into_iter().find(|&(name, _)| name == tag)?;
        match words::literals(schema)?.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn choose_by_tag(
        &self,
        node: &Node,
        tag: &str,
        branches: &'s [Value],
        path: &str,
    ) -> Result<&'s Value, Box<Diagnostic>> {
        let values: Vec<&Value> = branches.iter().filter_map(|branch| self.tag_value(branch, tag)).collect();
        let path = join(path, tag);
        let Some(entry) = node.entry(tag) else {
            let error = Diagnostic::new(path, &node.place.start(), format!("the field `{tag}` is missing"))
                .with_label("missing in this mapping");
            let help = format!("`{tag}` is one of {}", words::quoted(&values));
            return Err(Box::new(error.with_use(node.used_at.as_ref()).with_help(help)));
        };
        let wanted = entry.value.to_json();
        let chosen = branches.iter().find(|branch| self.tag_value(branch, tag) == Some(&wanted));
        chosen.ok_or_else(|| Box::new(words::unknown_value(&entry.value, &values, &Value::Null, &path)))
    }

    /// Returns the branch with the fewest errors.
    fn nearest(&self, node: &Node, branches: &[&'s Value], path: &str) -> &'s Value {
        let mistakes = |branch: &&&'s Value| {
            let mut errors = vec![];
            self.check(node, branch, path, &mut errors);
            errors.len()
        };
        branches.iter().min_by_key(mistakes).copied().unwrap_or(self.root)
    }

    /// Returns whether a branch allows the type of the node and, if it lists words, this word.
    fn may_be(&self, node: &Node, branch: &'s Value) -> bool {
        self.parts(branch).iter().all(|part| {
            let is_word = words::literals(part).is_none_or(|allowed| allowed.contains(&&node.to_json()));
            words::fits_type(node, part) && is_word
        })
    }

    fn takes(&self, branch: &'s Value, wanted: &str) -> bool {
        self.parts(branch).iter().any(|part| words::types(part).contains(&wanted))
    }

    fn types_of(&self, branches: &'s [Value]) -> Vec<&'s str> {
        let parts = branches.iter().flat_map(|branch| self.parts(branch));
        parts.filter(|part| words::literals(part).is_none()).flat_map(words::types).collect()
    }

    /// Returns the words that the branches list.
    fn words(&self, branches: &'s [Value]) -> Vec<&'s Value> {
        branches.iter().flat_map(|branch| self.parts(branch)).filter_map(words::literals).flatten().collect()
    }

    pub(super) fn properties(&self, schema: &'s Value) -> Vec<(&'s str, &'s Value)> {
        let objects = self.parts(schema).into_iter().filter_map(|part| part.get("properties")?.as_object());
        objects.flatten().map(|(name, schema)| (name.as_str(), schema)).collect()
    }

    /// Returns a branch and all schemas that it refers to.
    fn parts(&self, schema: &'s Value) -> Vec<&'s Value> {
        let mut parts = vec![];
        self.flatten(schema, &mut parts, 0);
        parts
    }
}
