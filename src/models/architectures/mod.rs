//! The table of architectures. A new one is one file here and one row of [`FAMILIES`].
//!
//! A file builds a [`Graph`], and its [`Family`] has the names of its networks. Names, parsing, the JSON schema,
//! messages, the table in docs/checkpoints.md and the tests below follow from the row.

mod block;
mod preact_resnet;
mod resnet;
mod wide_resnet;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::nn::graph::Graph;
use crate::shape::Shape;

/// Every family of architectures.
pub const FAMILIES: &[Family] = &[
    wide_resnet::FAMILY, //
    resnet::FAMILY,
    preact_resnet::FAMILY,
];

/// The numbers in a name, in its order, followed by zeros.
type Sizes = [usize; 2];

/// A row of the table: the networks that one function builds.
pub struct Family {
    /// The form of its names, in lower case: `<...>` between hyphens is a whole number.
    pub form: &'static str,
    /// The allowed numbers, as words after the form in a sentence; empty if names have no numbers.
    pub sizes: &'static str,
    /// Other names that are read as the form, each with a description of the network. They cause a warning.
    pub misnomers: &'static [(&'static str, &'static str)],
    /// The networks of it that the literature on defenses uses.
    pub known: &'static [Known],
    /// The programs whose `state_dict` has the same names of tensors.
    pub names_of: &'static str,
    /// The activations that distillation defenses compare: the graph's taps.
    pub taps: &'static str,
    /// Checks the numbers, and returns the problem.
    check: fn(Sizes) -> Result<(), String>,
    /// Builds the network for images of a shape and a number of classes.
    graph: fn(Shape, usize, Sizes) -> Graph,
}

/// A network of the literature, with the sizes of its reference implementation for images of 32x32x3 in 10 classes.
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Trainable values.
    pub parameters: usize,
    /// Running statistics.
    pub statistics: usize,
}

impl Family {
    /// The numbers in a lower-case name, if it has the family's form.
    fn read(&self, name: &str) -> Option<Sizes> {
        let (form, mut parts) = (self.form.split('-'), name.split('-'));
        let (mut sizes, mut next) = (Sizes::default(), 0);
        for expected in form {
            let part = parts.next()?;
            if expected.starts_with('<') {
                *sizes.get_mut(next)? = part.parse().ok()?;
                next += 1;
            } else if part != expected {
                return None;
            }
        }
        parts.next().is_none().then_some(sizes)
    }

    /// Whether its names have numbers.
    fn is_sized(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// A regular expression for its names, in upper and lower case.
    fn pattern(&self) -> String {
        let part = |part: &str| if part.starts_with('<') { "[0-9]+".to_owned() } else { any_case(part) };
        self.form.split('-').map(part).collect::<Vec<_>>().join("-")
    }
}

/// A network architecture; in text, its name (`wrn-16-1`, `resnet32-cifar`).
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Architecture {
    family: &'static Family,
    sizes: Sizes,
}

/// The name of an unknown architecture.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown model `{name}`; {hint}")]
pub struct UnknownArchitecture {
    name: String,
    hint: String,
}

/// The names of the architectures that the literature on defenses uses.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.known).map(|known| known.name)
}

impl Architecture {
    /// Builds the network for images of shape `image` and a number of classes.
    pub fn graph(self, image: Shape, classes: usize) -> Graph {
        (self.family.graph)(image, classes, self.sizes)
    }

    /// Finds the name among those of `family`; a misnomer is read with a warning in the log.
    fn find(family: &'static Family, name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        if let Some(sizes) = family.read(&lower) {
            return Some(Self { family, sizes });
        }
        let (_, truth) = family.misnomers.iter().find(|(misnomer, _)| *misnomer == lower)?;
        tracing::warn!("model `{name}` is {truth}; write `{}`", family.form);
        Some(Self { family, sizes: Sizes::default() })
    }
}

impl Default for Architecture {
    /// `wrn-16-1`, which the reference implementations of the defenses use.
    fn default() -> Self {
        wide_resnet::WRN_16_1
    }
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        (self.family.form, self.sizes) == (other.family.form, other.sizes)
    }
}

impl Eq for Architecture {}

impl Hash for Architecture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.family.form, self.sizes).hash(state);
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sizes = self.sizes.iter();
        for (at, part) in self.family.form.split('-').enumerate() {
            f.write_str(if at == 0 { "" } else { "-" })?;
            match sizes.as_slice() {
                [size, ..] if part.starts_with('<') => {
                    sizes.next();
                    write!(f, "{size}")?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    /// Reads a name, in upper or lower case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = |hint: String| UnknownArchitecture { name: name.to_owned(), hint };
        let found = FAMILIES.iter().find_map(|family| Self::find(family, name));
        let Some(Self { family, sizes }) = found else {
            let known = names().collect::<Vec<_>>().join(", ");
            let sized = FAMILIES.iter().filter(|family| family.is_sized());
            let forms: String = sized.map(|family| format!(", or {} of another size", family.form)).collect();
            return Err(unknown(format!("valid values: {known}{forms}")));
        };
        (family.check)(sizes).map_err(unknown)?;
        Ok(Self { family, sizes })
    }
}

impl From<Architecture> for String {
    fn from(architecture: Architecture) -> Self {
        architecture.to_string()
    }
}

impl TryFrom<String> for Architecture {
    type Error = UnknownArchitecture;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl JsonSchema for Architecture {
    fn schema_name() -> Cow<'static, str> {
        "Architecture".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let patterns = FAMILIES.iter().flat_map(|family| {
            let misnomers = family.misnomers.iter().map(|(name, _)| any_case(name));
            std::iter::once(family.pattern()).chain(misnomers)
        });
        json_schema!({
            "type": "string",
            "description": format!("{}.", listed(FAMILIES)),
            "pattern": format!("^({})$", patterns.collect::<Vec<_>>().join("|")),
            "examples": names().collect::<Vec<_>>(),
        })
    }
}

/// The families' forms with their allowed sizes: `a, b, or c`.
fn listed(families: &[Family]) -> String {
    let forms = families.iter().map(|family| match family.is_sized() {
        true => format!("{} {}", family.form, family.sizes),
        false => family.form.to_owned(),
    });
    let mut forms: Vec<_> = forms.collect();
    if let [_, .., last] = forms.as_mut_slice() {
        last.insert_str(0, "or ");
    }
    forms.join(", ")
}

/// A regular expression for a name in upper and lower case.
fn any_case(name: &str) -> String {
    let either = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    name.chars().map(either).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::nn::{Backend, Network};

    const CIFAR: Shape = Shape { height: 32, width: 32, channels: 3 };

    fn graph(name: &str) -> Graph {
        name.parse::<Architecture>().unwrap().graph(CIFAR, 10)
    }

    #[test]
    fn parameter_counts_are_those_of_the_reference() {
        for &Known { name, parameters, statistics } in FAMILIES.iter().flat_map(|family| family.known) {
            let graph = graph(name);
            assert_eq!((graph.theta_len(), graph.state_len()), (parameters, statistics), "{name}");
            assert_eq!(graph.classes(), 10, "{name}");
        }
    }

    /// NAD and ARGD compare three maps.
    #[test]
    fn every_network_has_three_taps() {
        for name in names() {
            assert_eq!(graph(name).taps.len(), 3, "{name}");
        }
    }

    #[test]
    fn tensors_have_names_of_their_own() {
        for name in names() {
            let graph = graph(name);
            let slots = || graph.theta.iter().chain(&graph.state).map(|slot| slot.name.as_str());
            assert_eq!(slots().collect::<BTreeSet<_>>().len(), slots().count(), "{name}");
        }
    }

    #[test]
    fn the_kernels_compute_every_network() {
        for name in names() {
            assert!(Network::new(graph(name), &Backend::default()).is_ok(), "{name}");
        }
    }

    #[test]
    fn every_row_says_what_it_is() {
        for Family { form, sizes, misnomers, known, names_of, taps, .. } in FAMILIES {
            assert!(!known.is_empty() && !names_of.is_empty() && !taps.is_empty(), "{form}");
            assert_eq!(form.contains('<'), !sizes.is_empty(), "{form}");
            assert!(misnomers.is_empty() || sizes.is_empty(), "{form}: a misnomer has no numbers");
            assert!(form.split('-').filter(|part| part.starts_with('<')).count() <= Sizes::default().len());
            assert_eq!(*form, form.to_ascii_lowercase());
        }
    }

    #[test]
    fn the_default_is_the_references() {
        assert_eq!(Architecture::default(), "wrn-16-1".parse().unwrap());
    }

    #[test]
    fn names_round_trip_in_any_case() {
        for name in names() {
            let architecture: Architecture = name.to_uppercase().parse().unwrap();
            assert_eq!(architecture.to_string(), name);
            let json = serde_json::to_string(&architecture).unwrap();
            assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        }
    }

    /// The log while a name is read, and the architecture of the name.
    fn logged(name: &str) -> (String, Architecture) {
        // If another thread without a subscriber reads the name first, it could disable the message for all threads.
        let architecture = name.parse::<Architecture>().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(file.reopen().unwrap()).finish();
        let again = tracing::subscriber::with_default(log, || name.parse());
        assert_eq!(again, Ok(architecture));
        (std::fs::read_to_string(file.path()).unwrap(), architecture)
    }

    #[test]
    fn the_reference_implementations_misnomer_is_read_with_a_warning() {
        for name in ["ResNet34", "resnet34", "RESNET34", "rEsNeT34"] {
            let (log, architecture) = logged(name);
            assert_eq!(architecture.to_string(), "resnet32-cifar");
            let warning =
                format!("model `{name}` is the residual network of depth 32; write `resnet32-cifar`");
            assert!(log.contains("WARN") && log.contains(&warning), "{log}");
        }
        let (log, architecture) = logged("ResNet32-CIFAR");
        assert_eq!((log.as_str(), architecture.to_string().as_str()), ("", "resnet32-cifar"));
    }

    #[test]
    fn the_schema_takes_every_name_that_the_program_takes() {
        let schema = schemars::schema_for!(Architecture).to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for name in names().chain(["ResNet34", "wrn-22-8", "PreActResNet18", "ResNet32-cifar"]) {
            for name in [name.to_owned(), name.to_uppercase(), name.to_lowercase()] {
                assert!(
                    name.parse::<Architecture>().is_ok() && validator.is_valid(&name.clone().into()),
                    "{name}"
                );
            }
        }
        for name in ["resnet18", "wrn-16", "wrn-16-1x", "x resnet34"] {
            assert!(name.parse::<Architecture>().is_err() && !validator.is_valid(&name.into()), "{name}");
        }
    }

    #[test]
    fn wrong_names_say_what_is_right() {
        let message = |name: &str| name.parse::<Architecture>().unwrap_err().to_string();
        assert!(message("vgg").contains("wrn-16-1"));
        assert!(message("wrn-17-1").contains("6n + 4"));
        assert!(message("wrn-4-1").contains("10, 16"));
        assert!(message("wrn-16-0").contains("between 1 and 32"));
        assert!(message("wrn-16").contains("unknown model `wrn-16`"));
        assert!(message("wrn-16").ends_with("preactresnet18, or wrn-<depth>-<width> of another size"));
    }
}
