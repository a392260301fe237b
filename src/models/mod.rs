//! Network architectures by name, the model artifact, and models from and for other programs.
//!
//! A model file builds a [`Graph`] and nothing else; how it is computed is `nn`'s business. Adding an architecture
//! is one file and one variant of [`Architecture`].

mod block;
mod entry;
mod export;
mod import;
mod layout;
mod model;
mod preact_resnet;
mod pytorch;
mod resnet;
mod wide_resnet;

pub use export::{ExportError, Format, export};
pub use import::{Expected, ImportError, import};
pub use model::{Model, ModelError};
pub(crate) use model::{from_bytes, to_bytes};

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::nn::graph::Graph;
use crate::shape::Shape;

/// A network architecture; in text, its name (`wrn-16-1`, `resnet32-cifar`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Architecture {
    /// `wrn-<depth>-<width>`: a wide residual network; depth = 6n + 4.
    WideResNet {
        /// Layers with weights, 10, 16, 22, ...
        depth: usize,
        /// Factor on the channels of the three groups.
        width: usize,
    },
    /// `resnet32-cifar`: the residual network of depth 32 for small images.
    ResNet32,
    /// `preactresnet18`: the pre-activation residual network of depth 18, BackdoorBench's default. It starts as all
    /// networks here do, from He's normal distribution and zero biases; BackdoorBench leaves that to PyTorch's defaults.
    PreActResNet18,
}

/// A name that is no architecture's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown model `{name}`; {hint}")]
pub struct UnknownArchitecture {
    name: String,
    hint: String,
}

/// The names of the architectures that the literature on defenses uses.
pub const NAMES: [&str; 8] = [
    "wrn-10-1",
    "wrn-10-2",
    "wrn-16-1",
    "wrn-16-2",
    "wrn-40-1",
    "wrn-40-2",
    "resnet32-cifar",
    "preactresnet18",
];

const MAX_DEPTH: usize = 202;
const MAX_WIDTH: usize = 32;

impl Architecture {
    /// Builds the network for images of shape `image` and a number of classes.
    pub fn graph(self, image: Shape, classes: usize) -> Graph {
        match self {
            Self::WideResNet { depth, width } => wide_resnet::graph(image, classes, depth, width),
            Self::ResNet32 => resnet::graph(image, classes, 32),
            Self::PreActResNet18 => preact_resnet::graph(image, classes),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WideResNet { depth, width } => write!(f, "wrn-{depth}-{width}"),
            Self::ResNet32 => f.write_str("resnet32-cifar"),
            Self::PreActResNet18 => f.write_str("preactresnet18"),
        }
    }
}

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    /// Reads a name, in any case. `ResNet34`, the reference implementation's misnomer for the network of depth 32,
    /// is accepted with a warning in the log.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = |hint: String| UnknownArchitecture { name: name.to_owned(), hint };
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "resnet32-cifar" => return Ok(Self::ResNet32),
            "preactresnet18" => return Ok(Self::PreActResNet18),
            "resnet34" => {
                tracing::warn!("model `{name}` is the residual network of depth 32; write `resnet32-cifar`");
                return Ok(Self::ResNet32);
            }
            _ => {}
        }
        let numbers = lower.strip_prefix("wrn-").and_then(|rest| rest.split_once('-'));
        let parse = |(depth, width): (&str, &str)| Some((depth.parse().ok()?, width.parse().ok()?));
        let (depth, width): (usize, usize) = numbers.and_then(parse).ok_or_else(|| {
            unknown(format!("it is one of {}, or wrn-<depth>-<width> of another size", NAMES.join(", ")))
        })?;
        if !(10..=MAX_DEPTH).contains(&depth) || !(depth - 4).is_multiple_of(6) {
            return Err(unknown(format!("the depth is 10, 16, 22, ... (6n + 4) up to {MAX_DEPTH}")));
        }
        if !(1..=MAX_WIDTH).contains(&width) {
            return Err(unknown(format!("the width is 1 to {MAX_WIDTH}")));
        }
        Ok(Self::WideResNet { depth, width })
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
        let [wrn, others @ ..] = ["wrn-", "resnet32-cifar", "resnet34", "preactresnet18"].map(any_case);
        json_schema!({
            "type": "string",
            "description": "wrn-<depth>-<width> with depth 10, 16, 22, ... (6n + 4), resnet32-cifar, or preactresnet18.",
            "pattern": format!("^({wrn}[0-9]+-[0-9]+|{})$", others.join("|")),
            "examples": NAMES,
        })
    }
}

/// A regular expression for a name in capitals, small letters or both.
fn any_case(name: &str) -> String {
    let either = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    name.chars().map(either).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR: Shape = Shape { height: 32, width: 32, channels: 3 };

    #[test]
    fn parameter_counts_are_those_of_the_reference() {
        let expected = [
            ("wrn-10-1", 77_850, 480),
            ("wrn-10-2", 303_706, 928),
            ("wrn-16-1", 175_066, 928),
            ("wrn-16-2", 691_674, 1_824),
            ("wrn-40-1", 563_930, 2_720),
            ("wrn-40-2", 2_243_546, 5_408),
            ("resnet32-cifar", 466_906, 2_464),
            ("preactresnet18", 11_171_146, 6_784),
        ];
        assert_eq!(expected.map(|(name, ..)| name), NAMES);
        for (name, theta, state) in expected {
            let graph = name.parse::<Architecture>().unwrap().graph(CIFAR, 10);
            assert_eq!((graph.theta_len(), graph.state_len()), (theta, state), "{name}");
            assert_eq!(graph.classes(), 10);
        }
    }

    #[test]
    fn names_round_trip_in_any_case() {
        for name in NAMES {
            let architecture: Architecture = name.to_uppercase().parse().unwrap();
            assert_eq!(architecture.to_string(), name);
            let json = serde_json::to_string(&architecture).unwrap();
            assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        }
    }

    /// What the log says when a name is read, and what it is the name of.
    fn logged(name: &str) -> (String, Architecture) {
        // Another thread that reads the name first, where nobody listens, could turn the message off for all.
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
        assert_eq!(logged("ResNet32-CIFAR"), (String::new(), Architecture::ResNet32));
    }

    #[test]
    fn the_schema_takes_every_name_that_the_program_takes() {
        let schema = schemars::schema_for!(Architecture).to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for name in NAMES.into_iter().chain(["ResNet34", "wrn-22-8", "PreActResNet18", "ResNet32-cifar"]) {
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
        assert!(message("wrn-16-0").contains("1 to 32"));
        assert!(message("wrn-16").contains("unknown model `wrn-16`"));
    }
}
