//! A network on the project's CPU kernels, as one differentiable candle operation.
//!
//! candle sees a function of (parameters, images) to a flat vector of logits and attention maps: its autograd
//! differentiates it in one step. So no tensor of an activation's size passes through candle's single-threaded
//! gradient sums.

mod backward;
mod forward;
mod norm;
mod plan;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::graph::Graph;
use super::real::values;
use super::{Forward, Mode};
use crate::kernels::Level;
use crate::kernels::pool::Pool;
use backward::Wanted;
use forward::{Saved, Setting};
use plan::Plan;

/// A graph prepared for the kernels.
#[derive(Debug)]
pub(super) struct Engine {
    graph: Arc<Graph>,
    plan: Plan,
    pool: Arc<Pool>,
    level: Level,
}

impl Engine {
    /// Plans a graph.
    ///
    /// # Errors
    ///
    /// An operation that the kernels do not support, by name.
    pub fn new(graph: Arc<Graph>, level: Level) -> Result<Self> {
        Ok(Self { plan: Plan::new(&graph)?, graph, pool: Arc::default(), level })
    }

    fn setting(&self) -> Setting<'_> {
        Setting { graph: &self.graph, plan: &self.plan, pool: &self.pool, level: self.level }
    }

    /// Computes [`super::Network::forward`].
    pub fn forward(
        self: &Arc<Self>,
        theta: &Tensor,
        state: &Tensor,
        images: &Tensor,
        mode: Mode,
    ) -> Result<Forward> {
        let batch = self.check(theta, state, images)?;
        let (theta, images) = (theta.contiguous()?, images.contiguous()?);
        let state = state.flatten_all()?.to_vec1::<f32>()?;
        let needs_backward = theta.track_op() || images.track_op();
        let saved = Arc::new(OnceLock::new());
        let op = NetworkOp {
            engine: Arc::clone(self),
            state,
            mode,
            keep: needs_backward || mode == Mode::Train,
            wanted: Wanted { theta: theta.track_op(), images: images.track_op() },
            saved: Arc::clone(&saved),
        };
        let result = if needs_backward {
            theta.apply_op2(&images, op)?
        } else {
            theta.apply_op2_no_bwd(&images, &op)?
        };
        let state = match saved.get() {
            Some(Saved { state, .. }) if mode == Mode::Train => {
                Some(Tensor::from_slice(state, state.len(), theta.device())?)
            }
            _ => None,
        };
        self.split(&result, batch, state)
    }

    fn check(&self, theta: &Tensor, state: &Tensor, images: &Tensor) -> Result<usize> {
        let shape = self.plan.buffers[0].shape;
        let (batch, height, width, channels) = images.dims4()?;
        if (height, width, channels) != (shape.height, shape.width, shape.channels) {
            let wanted = (shape.height, shape.width, shape.channels);
            bail!("images are {:?}, the network expects {wanted:?}", (height, width, channels));
        }
        let lens = (theta.dims1()?, state.dims1()?);
        if lens != (self.graph.theta_len(), self.graph.state_len()) {
            let wanted = (self.graph.theta_len(), self.graph.state_len());
            bail!("parameters and running statistics have {lens:?} values, the network expects {wanted:?}");
        }
        for tensor in [theta, state, images] {
            if tensor.dtype() != DType::F32 || !tensor.device().is_cpu() {
                bail!("the kernels compute only f32 on the CPU; use candle's operations");
            }
        }
        Ok(batch)
    }

    /// Cuts the flat result into logits and maps.
    fn split(&self, result: &Tensor, batch: usize, state: Option<Tensor>) -> Result<Forward> {
        let classes = self.graph.classes();
        let logits = result.narrow(0, 0, batch * classes)?.reshape((batch, classes))?;
        let mut at = batch * classes;
        let mut attention = Vec::with_capacity(self.plan.taps.len());
        for &tap in &self.plan.taps {
            let buffer = &self.plan.buffers[tap];
            let map = result.narrow(0, at, batch * buffer.pixels())?;
            attention.push(map.reshape((batch, buffer.shape.height, buffer.shape.width))?);
            at += batch * buffer.pixels();
        }
        Ok(Forward { logits, attention, state })
    }
}

/// One forward pass, and the inputs of its backward pass.
struct NetworkOp {
    engine: Arc<Engine>,
    state: Vec<f32>,
    mode: Mode,
    keep: bool,
    wanted: Wanted,
    saved: Arc<OnceLock<Saved>>,
}

impl CustomOp2 for NetworkOp {
    fn name(&self) -> &'static str {
        "network"
    }

    fn cpu_fwd(
        &self,
        theta: &CpuStorage,
        theta_layout: &Layout,
        images: &CpuStorage,
        images_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (theta, images) = (values(theta, theta_layout)?, values(images, images_layout)?);
        let setting = self.engine.setting();
        let result = if self.keep {
            let mut saved = setting.forward(theta, &self.state, images, self.mode);
            let result = std::mem::take(&mut saved.result);
            if self.saved.set(saved).is_err() {
                bail!("a network operation ran forward twice");
            }
            result
        } else {
            setting.infer(theta, &self.state, images)
        };
        let len = result.len();
        Ok((CpuStorage::F32(result), Shape::from(len)))
    }

    fn bwd(
        &self,
        theta: &Tensor,
        images: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(saved) = self.saved.get() else {
            bail!("a network operation kept no activations to differentiate")
        };
        let gradient = gradient.contiguous()?;
        let gradients = with_values(theta, |theta| {
            with_values(images, |images| {
                with_values(&gradient, |gradient| {
                    Ok(self.engine.setting().backward(saved, theta, images, gradient, self.wanted))
                })
            })
        })?;
        let of_images = match gradients.images {
            Some(values) => Some(Tensor::from_vec(values, images.shape(), images.device())?),
            None => None,
        };
        let of_theta = match self.wanted.theta {
            true => Some(Tensor::from_vec(gradients.theta, theta.shape(), theta.device())?),
            false => None,
        };
        Ok((of_theta, of_images))
    }
}

/// Runs `work` on the values of a contiguous tensor.
fn with_values<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => work(values(storage, layout)?),
        _ => bail!("kernels compute on the CPU"),
    }
}
