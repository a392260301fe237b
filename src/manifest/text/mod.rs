//! YAML text to a tree of [`Node`](node::Node)s that know where they are written.
//!
//! Here live the source, the parser, the types of scalars, merge keys, and the syntax of `${...}`. The meaning of keys
//! does not: `read` knows the fields of a manifest.

pub(in crate::manifest) mod budget;
pub(in crate::manifest) mod merge;
pub(in crate::manifest) mod node;
pub(in crate::manifest) mod parse;
pub(in crate::manifest) mod scalar;
pub(in crate::manifest) mod source;
mod syntax;
pub(in crate::manifest) mod template;
