//! TrojanNN (Liu et al. 2018): a patch that excites neurons of a given network.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gradient::gradient;
use super::operators::Blend;
use super::{Attack, AttackError, Case, Operator};
use crate::data::DataError;
use crate::nn::graph::Op;
use crate::rng::stream;
use crate::shape::Shape;
use crate::train::{Frozen, Progress, TrainError, Unit};

/// TrojanNN: chooses the neurons before the last layer with the largest weights, and optimizes a patch at the bottom
/// right of a black image until their activation is `value`.
///
/// It minimizes the mean over the neurons of (activation - value)^2 with Adam. The paper then continues the training
/// of the given network. Here, as in BackdoorBench, a network is trained on images with the patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrojanNn {
    /// The height and width of the patch in pixels.
    #[schemars(range(min = 1, max = 4096))]
    pub size: u32,
    /// The number of neurons to excite, at most the number of classes. The neurons with the largest sum of absolute
    /// weights to the classes are chosen.
    #[schemars(range(min = 1, max = 4096))]
    pub neurons: u32,
    /// The activation to reach. With a value out of reach, the activation becomes as large as possible.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0.0))]
    pub value: f64,
    /// The number of steps of Adam.
    #[schemars(range(max = 1_000_000))]
    pub steps: usize,
    /// The learning rate of Adam, for pixel values in 0..=1.
    #[schemars(range(max = 10.0), extend("exclusiveMinimum" = 0.0))]
    pub lr: f64,
}

impl Default for TrojanNn {
    fn default() -> Self {
        Self { size: 8, neurons: 2, value: 100.0, steps: 1000, lr: 0.1 }
    }
}

impl Attack for TrojanNn {
    fn needs_model(&self) -> bool {
        true
    }

    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let (shape, size) = (case.shape(), self.size as usize);
        if size > shape.height || size > shape.width {
            let problem = format!("a {size}x{size} patch does not fit into images of {shape}");
            return Err(DataError::unfit(problem, "lower `size`").into());
        }
        let listener = listener(case.model()?, self.neurons as usize)?;
        let mask = mask(shape, size);
        let mut stream = stream(case.seed, "trigger", 0, 0);
        let start = mask.iter().map(|share| share * stream.uniform()).collect();
        let patch = self.optimize(&listener, &mask, start, case)?;
        let pattern = patch.iter().map(|value| (255.0 * value).round() as u8).collect();
        Ok(Blend { mask, pattern }.into())
    }
}

impl TrojanNn {
    /// Minimizes over the values under the mask, which stay in 0..=1.
    fn optimize(
        &self,
        listener: &Frozen,
        mask: &[f32],
        start: Vec<f32>,
        case: &Case<'_>,
    ) -> Result<Vec<f32>, AttackError> {
        let Shape { height, width, channels } = case.shape();
        let (dims, device) = ((1, height, width, channels), listener.network.device());
        let picture = |values: &[f32]| Tensor::from_slice(values, dims, device);
        let mean =
            |values: &[f32]| self.activations(listener, &picture(values)?)?.mean_all()?.to_scalar::<f32>();

        let before = mean(&start)?;
        let (mut values, mut adam) = (start, Adam::new(self.lr, mask.len()));
        for step in 1..=self.steps {
            if case.observer.stopped() {
                return Err(TrainError::Stopped.into());
            }
            let slope = gradient(&picture(&values)?, |images| self.loss(listener, images))?;
            let slope = slope.flatten_all()?.to_vec1::<f32>()?;
            adam.step(&mut values, &slope);
            values.iter_mut().zip(mask).for_each(|(value, share)| *value = share * value.clamp(0.0, 1.0));
            case.observer.progress(&Progress::of_steps(Unit::Step, step, self.steps));
        }
        case.observer
            .note(&format!("mean activation of the neurons: {before} before, {} after", mean(&values)?));
        Ok(values)
    }

    /// The activations of the neurons, (B, neurons).
    fn activations(&self, listener: &Frozen, images: &Tensor) -> candle_core::Result<Tensor> {
        listener.forward(images)?.logits.narrow(1, 0, self.neurons as usize)
    }

    /// The distance of the neurons from the wanted activation.
    fn loss(&self, listener: &Frozen, images: &Tensor) -> candle_core::Result<Tensor> {
        (self.activations(listener, images)? - self.value)?.sqr()?.mean_all()
    }
}

/// Adam (Kingma and Ba 2015, algorithm 1) with its usual constants.
struct Adam {
    lr: f64,
    /// The remaining weight of the initial zero in both running means.
    of_start: (f64, f64),
    /// Running means of gradients and of their squares.
    means: Vec<(f64, f64)>,
}

impl Adam {
    const BETAS: (f64, f64) = (0.9, 0.999);
    const EPSILON: f64 = 1e-8;

    fn new(lr: f64, count: usize) -> Self {
        Self { lr, of_start: (1.0, 1.0), means: vec![(0.0, 0.0); count] }
    }

    fn step(&mut self, values: &mut [f32], gradient: &[f32]) {
        let (first, second) = Self::BETAS;
        self.of_start = (first * self.of_start.0, second * self.of_start.1);
        let unbiased = (1.0 - self.of_start.0, 1.0 - self.of_start.1);
        for ((value, &gradient), (mean, square)) in values.iter_mut().zip(gradient).zip(&mut self.means) {
            let gradient = f64::from(gradient);
            *mean = first * *mean + (1.0 - first) * gradient;
            *square = second * *square + (1.0 - second) * gradient * gradient;
            let scale = (*square / unbiased.1).sqrt() + Self::EPSILON;
            *value -= (self.lr * (*mean / unbiased.0) / scale) as f32;
        }
    }
}

/// The model with another last layer: its first class scores are the neurons with the largest weights.
fn listener(model: &Frozen, neurons: usize) -> Result<Frozen, AttackError> {
    let graph = model.network.graph();
    let Op::Linear { weight, bias, .. } = graph.nodes[graph.logits.0].op else {
        return Err(TrainError::Mismatch("the model's last layer is not linear".to_owned()).into());
    };
    let (weight, bias) = (&graph.theta[weight], &graph.theta[bias]);
    let (inputs, classes) = (weight.shape[0], weight.shape[1]);
    if neurons > inputs.min(classes) {
        let problem = format!("{neurons} neurons, but the model has {inputs} and {classes} classes");
        return Err(DataError::unfit(problem, "lower `neurons`").into());
    }
    let mut theta = model.theta.to_vec1::<f32>()?;
    let largest = largest(&theta[weight.range()], classes);
    theta[weight.range()].fill(0.0);
    theta[bias.range()].fill(0.0);
    for (score, &neuron) in largest[..neurons].iter().enumerate() {
        theta[weight.offset + neuron * classes + score] = 1.0;
    }
    Ok(Frozen { theta: Tensor::new(theta, model.network.device())?, ..model.clone() })
}

/// Inputs of a weight, (inputs, classes), from the largest sum of absolute values down.
fn largest(weight: &[f32], classes: usize) -> Vec<usize> {
    let sums: Vec<f32> = weight.chunks(classes).map(|row| row.iter().map(|w| w.abs()).sum()).collect();
    let mut order: Vec<usize> = (0..sums.len()).collect();
    order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
    order
}

/// 1 for the values of a square at the bottom right, 0 elsewhere.
fn mask(shape: Shape, size: usize) -> Vec<f32> {
    let inside = |i: usize| {
        let (row, col) = (i / shape.channels / shape.width, i / shape.channels % shape.width);
        row + size >= shape.height && col + size >= shape.width
    };
    (0..shape.len()).map(|i| f32::from(u8::from(inside(i)))).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::Poisoning;
    use super::super::case::tests::{case, grey};
    use super::super::gradient::tests::tiny;
    use super::*;
    use crate::data::Batch;
    use crate::nn::finite_differences::assert_gradient;
    use crate::nn::{Backend, Network};

    const SHAPE: Shape = Shape { height: 16, width: 16, channels: 3 };

    #[test]
    fn neurons_are_ordered_by_their_weights() {
        assert_eq!(largest(&[0.1, -0.2, 3.0, 0.0, -1.5, -2.0], 2), [2, 1, 0]);
    }

    #[test]
    fn the_listener_scores_the_activations_that_the_model_sees() {
        let model = tiny();
        let slot = &model.network.graph().theta[3];
        assert_eq!((slot.name.as_str(), slot.shape.as_slice()), ("fc.weight", &[16, 10][..]));
        // Only the two largest neurons of this model count, so its scores depend on the listener's neurons only.
        let mut theta = model.theta.to_vec1::<f32>().unwrap();
        let two = largest(&theta[slot.range()], 10)[..2].to_vec();
        let is_one_of_two = |i: usize| two.contains(&(i / 10));
        theta[slot.range()]
            .iter_mut()
            .enumerate()
            .for_each(|(i, w)| *w *= f32::from(u8::from(is_one_of_two(i))));
        let weights = theta[slot.range()].to_vec();
        let model = Frozen { theta: Tensor::new(theta, &Device::Cpu).unwrap(), ..model };

        let mut stream = stream(1, "test", 0, 0);
        let picture: Vec<f32> = (0..SHAPE.len()).map(|_| stream.uniform()).collect();
        let picture = Tensor::from_vec(picture, (1, 16, 16, 3), &Device::Cpu).unwrap();
        let scores =
            |model: &Frozen| model.forward(&picture).unwrap().logits.to_vec2::<f32>().unwrap().remove(0);
        let heard = scores(&listener(&model, 2).unwrap());
        assert!(heard[..2].iter().all(|&activation| activation > 0.0) && heard[2..] == [0.0; 8]);
        for (class, score) in scores(&model).into_iter().enumerate() {
            let sum: f32 = two
                .iter()
                .zip(&heard)
                .map(|(neuron, activation)| activation * weights[neuron * 10 + class])
                .sum();
            assert!((score - sum).abs() < 1e-5, "{score} instead of {sum}");
        }
    }

    #[test]
    fn the_losses_gradient_agrees_with_finite_differences() {
        let Frozen { network, theta, state } = listener(&tiny(), 3).unwrap();
        let wide = |values: Tensor| values.to_dtype(DType::F64).unwrap();
        let network = Network::new(network.graph().clone(), &Backend::candle()).unwrap();
        let listener = Frozen { network, theta: wide(theta), state: wide(state) };
        let mut stream = stream(1, "test", 0, 0);
        let picture: Vec<f32> = (0..SHAPE.len()).map(|_| stream.uniform()).collect();
        let picture = wide(Tensor::from_vec(picture, (1, 16, 16, 3), &Device::Cpu).unwrap());
        // One value out of reach, and one in reach.
        for value in [100.0, 0.3] {
            let attack = TrojanNn { neurons: 3, value, ..TrojanNn::default() };
            assert_gradient(&picture, 13, |images| attack.loss(&listener, images).unwrap());
        }
    }

    /// By hand: the first step is lr times the sign, the second takes both means into account.
    #[test]
    fn adam_steps_as_published() {
        let (mut adam, mut values) = (Adam::new(0.1, 2), [0.0, 1.0]);
        adam.step(&mut values, &[4.0, -0.5]);
        assert!((values[0] + 0.1).abs() < 1e-6 && (values[1] - 1.1).abs() < 1e-6, "{values:?}");
        adam.step(&mut values, &[0.0, -0.5]);
        let expected = -0.1 - 0.1 * (0.36 / 0.19) / (0.015984f64 / 0.001999).sqrt();
        assert!(
            (f64::from(values[0]) - expected).abs() < 1e-6 && (values[1] - 1.2).abs() < 1e-6,
            "{values:?}"
        );
    }

    fn drawn(attack: &TrojanNn) -> Blend {
        let (dataset, poisoning, model) = (grey(SHAPE), Poisoning::default(), tiny());
        let case = Case { model: Some(&model), ..case(&dataset, &poisoning, 1) };
        let Operator::Blend(blend) = attack.operator(&case).unwrap() else { panic!("no patch") };
        blend
    }

    /// The mean activation of the chosen neurons on a black picture with the patch.
    fn activation(blend: &Blend) -> f32 {
        let picture = Batch::of_bytes(&blend.pattern, SHAPE, vec![]).tensor(&Device::Cpu).unwrap();
        let logits = listener(&tiny(), 2).unwrap().forward(&picture).unwrap().logits;
        logits.narrow(1, 0, 2).unwrap().mean_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_patch_excites_the_neurons() {
        let of = |steps| drawn(&TrojanNn { size: 4, steps, ..TrojanNn::default() });
        let (start, end) = (of(0), of(30));
        assert!(activation(&end) > 1.3 * activation(&start), "{} {}", activation(&start), activation(&end));
        assert_eq!(end.mask.iter().sum::<f32>(), 48.0);
        assert!(end.pattern.iter().zip(&end.mask).all(|(&value, &share)| share == 1.0 || value == 0));
        assert_eq!(end, of(30));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (dataset, poisoning, model) = (grey(SHAPE), Poisoning::default(), tiny());
        let message = |attack: TrojanNn| {
            let case = Case { model: Some(&model), ..case(&dataset, &poisoning, 1) };
            attack.operator(&case).unwrap_err().to_string()
        };
        assert!(
            message(TrojanNn { size: 17, ..TrojanNn::default() }).contains("does not fit into images of")
        );
        assert!(message(TrojanNn { neurons: 11, ..TrojanNn::default() }).contains("16 and 10 classes"));
    }
}
