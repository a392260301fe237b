//! The normalization of images, for networks that need it: (x - mean) / std, channel by channel.

use candle_core::{Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// (x - mean) / std for images of values in [0, 1], before the first layer.
///
/// It is a part of the network, so triggers and augmentation see the original images. The padding of the first
/// convolution comes after it, as in PyTorch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalise {
    /// The problem with it for images of `channels` channels, if any.
    pub fn fault(&self, channels: usize) -> Option<String> {
        let Self { mean, std } = self;
        if [mean.len(), std.len()] != [channels; 2] {
            let (means, stds) = (mean.len(), std.len());
            return Some(format!("{means} means and {stds} standard deviations for {channels} channels"));
        }
        let good =
            mean.iter().all(|mean| mean.is_finite()) && std.iter().all(|std| std.is_normal() && *std > 0.0);
        (!good).then(|| "means must be finite, and standard deviations above 0".to_owned())
    }

    /// Normalizes images, (B, height, width, channels).
    pub(super) fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let per_channel = |values: &[f32]| {
            Tensor::from_slice(values, values.len(), images.device())?.to_dtype(images.dtype())
        };
        images.broadcast_sub(&per_channel(&self.mean)?)?.broadcast_div(&per_channel(&self.std)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::graph::Graph;
    use super::super::{Backend, Mode, Network};
    use super::*;
    use crate::shape::Shape;

    fn normalise(mean: [f32; 2], std: [f32; 2]) -> Normalise {
        Normalise { mean: mean.to_vec(), std: std.to_vec() }
    }

    #[test]
    fn a_network_normalises_what_it_reads() {
        let (mut graph, x) = Graph::new(Shape { height: 4, width: 4, channels: 2 });
        let y = graph.conv("conv", x, 8, 3, 1);
        let y = graph.global_avg_pool(y);
        graph.logits = graph.linear("fc", y, 3);
        let plain = Network::new(graph.clone(), &Backend::default()).unwrap();
        graph.normalise = Some(normalise([0.25, 0.5], [0.5, 0.25]));
        let network = Network::new(graph, &Backend::default()).unwrap();

        let (theta, _) = network.graph().init(1);
        let theta = Tensor::new(theta, &Device::Cpu).unwrap();
        let state = Tensor::new(&[0f32; 0], &Device::Cpu).unwrap();
        let values = (0..32u8).map(|i| f32::from(i) / 32.0);
        let by_hand: Vec<f32> = values
            .clone()
            .enumerate()
            .map(|(i, x)| if i % 2 == 0 { (x - 0.25) / 0.5 } else { (x - 0.5) / 0.25 })
            .collect();
        let images = |values: Vec<f32>| Tensor::from_vec(values, (1, 4, 4, 2), &Device::Cpu).unwrap();
        let logits = |network: &Network, images: &Tensor| {
            network.forward(&theta, &state, images, Mode::Eval).unwrap().logits
        };
        let raw = Var::from_tensor(&images(values.collect())).unwrap();
        let found = logits(&network, &raw);
        assert_eq!(
            found.to_vec2::<f32>().unwrap(),
            logits(&plain, &images(by_hand)).to_vec2::<f32>().unwrap()
        );
        assert!(
            found.sum_all().unwrap().backward().unwrap().get(&raw).is_some(),
            "images keep their gradient"
        );
    }

    #[test]
    fn faults_are_told() {
        assert_eq!(normalise([0.5; 2], [0.2; 2]).fault(2), None);
        let problem = normalise([0.5; 2], [0.2; 2]).fault(3).unwrap();
        assert_eq!(problem, "2 means and 2 standard deviations for 3 channels");
        assert!(normalise([f32::NAN; 2], [0.2; 2]).fault(2).is_some());
        assert!(normalise([0.5; 2], [0.2, 0.0]).fault(2).is_some());
    }
}
