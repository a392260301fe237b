//! The spec of a model: everything except its weights.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Architecture;
use crate::nn::Normalise;
use crate::nn::graph::Graph;
use crate::shape::Shape;

/// Larger than any useful size, and far from overflow.
pub(super) const MAX_SIZE: usize = 1 << 16;

/// The spec of a model: everything except its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct Spec {
    /// The architecture.
    pub architecture: Architecture,
    /// The shape of its input images.
    pub image: Shape,
    /// The number of classes.
    pub classes: usize,
    /// The normalization of its input images, for checkpoints of other programs that were trained with one.
    pub normalise: Option<Normalise>,
}

impl Spec {
    /// Builds the network's graph.
    pub fn graph(&self) -> Graph {
        let normalise = self.normalise.clone();
        Graph { normalise, ..self.architecture.graph(self.image, self.classes) }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture, image, classes, .. } = self;
        write!(f, "{architecture} for images of {image} in {classes} classes")
    }
}

/// A spec in artifacts: neither the names nor their order may change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    architecture: Architecture,
    image: [usize; 3],
    classes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    normalise: Option<Normalise>,
}

impl From<Spec> for Fields {
    fn from(Spec { architecture, image, classes, normalise }: Spec) -> Self {
        Self { architecture, image: image.into(), classes, normalise }
    }
}

impl TryFrom<Fields> for Spec {
    type Error = String;

    fn try_from(Fields { architecture, image, classes, normalise }: Fields) -> Result<Self, String> {
        if image.iter().chain([&classes]).any(|size| !(1..=MAX_SIZE).contains(size)) {
            return Err(format!("sizes must be between 1 and {MAX_SIZE}"));
        }
        let image = Shape::try_from(image).map_err(|error| error.to_string())?;
        match normalise.as_ref().and_then(|normalise| normalise.fault(image.channels)) {
            Some(fault) => Err(fault),
            None => Ok(Self { architecture, image, classes, normalise }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_spec_is_fixed() {
        let plain = r#"{"architecture":"wrn-10-1","image":[4,3,2],"classes":5}"#;
        let spec: Spec = serde_json::from_str(plain).unwrap();
        assert_eq!(spec.image, Shape { height: 4, width: 3, channels: 2 });
        assert_eq!(serde_json::to_string(&spec).unwrap(), plain);
        let normalise = Some(Normalise { mean: vec![0.5; 2], std: vec![0.25; 2] });
        let text = serde_json::to_string(&Spec { normalise, ..spec }).unwrap();
        assert!(text.ends_with(r#","normalise":{"mean":[0.5,0.5],"std":[0.25,0.25]}}"#), "{text}");
    }

    #[test]
    fn what_no_network_has_is_refused() {
        let fault = |text: &str| serde_json::from_str::<Spec>(text).unwrap_err().to_string();
        for sizes in [r#"[0,3,2],"classes":5"#, r#"[4,3,65537],"classes":5"#, r#"[4,3,2],"classes":0"#] {
            let message = fault(&format!(r#"{{"architecture":"wrn-10-1","image":{sizes}}}"#));
            assert!(message.contains("sizes must be between 1 and 65536"), "{message}");
        }
        let more = r#"{"architecture":"wrn-10-1","image":[4,3,2],"classes":5,"more":1}"#;
        assert!(fault(more).contains("unknown field `more`"));
    }
}
