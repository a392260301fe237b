//! Plans the steps of a graph: which activations are stored, and how each step reads them.
//!
//! Only convolutions and sums store their outputs. Batch norm and ReLU need no separate pass over memory: they are
//! *views* that the next reader applies while it loads. A convolution computes a sum itself if the sum is its only
//! reader.

use std::sync::Arc;

use candle_core::Error;

use super::super::graph::{Graph, Id, Op};
use crate::kernels::conv::{ConvShape, Convolution, convolution};
use crate::kernels::image::pitch;
use crate::shape::Shape;

/// The planner's result for an operation. The error is the reason why the kernels do not support it.
type Covered<T> = Result<T, &'static str>;

/// A stored activation.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pub shape: Shape,
    /// Stored channels.
    pub pitch: usize,
    /// The batch norm that normalizes it.
    pub norm: Option<usize>,
    /// Its one view that is not the activation itself.
    pub view: Option<usize>,
    /// Its attention map, if it is a tap: (position among the taps, whether of max(x, 0)).
    pub tap: Option<(usize, bool)>,
}

impl Buffer {
    pub fn pixels(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// Values of one image.
    pub fn len(&self) -> usize {
        self.pixels() * self.pitch
    }
}

/// How a step reads a stored activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub buffer: usize,
    pub norm: Option<usize>,
    pub relu: bool,
}

impl View {
    pub fn is_plain(&self) -> bool {
        self.norm.is_none() && !self.relu
    }
}

/// Slots of a batch norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub buffer: usize,
    pub weight: usize,
    pub bias: usize,
    pub mean: usize,
    pub variance: usize,
}

/// The step that computes a stored activation. `input`, `a` and `b` are views.
#[derive(Clone, Debug)]
pub(super) enum Make {
    Conv {
        input: usize,
        weight: usize,
        conv: Arc<dyn Convolution>,
        /// A stored activation that is added to the result.
        addend: Option<usize>,
    },
    Add {
        a: usize,
        b: usize,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub make: Make,
    pub output: usize,
}

/// Average pool of a view, then a linear layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub input: usize,
    pub weight: usize,
    pub bias: usize,
}

/// The steps of a network. Buffer 0 is the images; the head comes after the last step.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub buffers: Vec<Buffer>,
    pub views: Vec<View>,
    pub norms: Vec<Norm>,
    pub steps: Vec<Step>,
    pub head: Head,
    /// Buffer of each tap.
    pub taps: Vec<usize>,
    /// For each view, the first step that reads it, where its gradient is complete (`steps.len()`: the head).
    pub first_reader: Vec<usize>,
    /// For each buffer, the last step that reads it (`steps.len()`: the head or an attention map).
    pub last_reader: Vec<usize>,
}

impl Plan {
    /// Plans a graph.
    ///
    /// # Errors
    ///
    /// An operation that the kernels do not support at its place. candle's own operations support it.
    pub fn new(graph: &Graph) -> candle_core::Result<Self> {
        let uncovered = |id| {
            let name = graph.name(id);
            move |why| {
                Error::Msg(format!("the kernels do not support {name}: {why}; use candle's operations"))
            }
        };
        let mut planner = Planner::new(graph);
        for id in (0..graph.nodes.len()).map(Id) {
            planner.place(id).map_err(uncovered(id))?;
        }
        for (position, &tap) in graph.taps.iter().enumerate() {
            planner.tap(position, tap).map_err(uncovered(tap))?;
        }
        planner.finish().map_err(uncovered(graph.logits))
    }

    /// The number of images with which every step is as fast as with more.
    pub fn images_at_a_time(&self) -> usize {
        let of = |step: &Step| match &step.make {
            Make::Conv { conv, .. } => conv.images_at_a_time(),
            Make::Add { .. } => 1,
        };
        self.steps.iter().map(of).max().unwrap_or(1)
    }

    fn last_readers(&self) -> Vec<usize> {
        let mut last = vec![0; self.buffers.len()];
        for (index, step) in self.steps.iter().enumerate() {
            let read = match step.make {
                Make::Conv { input, addend, .. } => [Some(self.views[input].buffer), addend],
                Make::Add { a, b } => [a, b].map(|view| Some(self.views[view].buffer)),
            };
            read.into_iter().flatten().for_each(|buffer| last[buffer] = index);
        }
        let at_the_end = self.taps.iter().copied().chain([self.views[self.head.input].buffer]);
        at_the_end.for_each(|buffer| last[buffer] = self.steps.len());
        last
    }

    /// Values of one image in the flat result: logits, then attention maps.
    pub fn result_len(&self, graph: &Graph) -> usize {
        graph.classes() + self.taps.iter().map(|&tap| self.buffers[tap].pixels()).sum::<usize>()
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    plan: Plan,
    /// The view of each placed node.
    seen_as: Vec<Option<View>>,
    readers: Vec<usize>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut readers = vec![0; graph.nodes.len()];
        for node in &graph.nodes {
            match node.op {
                Op::Input => {}
                Op::Add { a, b } => [a, b].iter().for_each(|id| readers[id.0] += 1),
                Op::Conv { x, .. }
                | Op::BatchNorm { x, .. }
                | Op::Relu { x }
                | Op::GlobalAvgPool { x }
                | Op::Linear { x, .. } => readers[x.0] += 1,
            }
        }
        graph.taps.iter().for_each(|tap| readers[tap.0] += 1);
        let plan = Plan {
            buffers: vec![],
            views: vec![],
            norms: vec![],
            steps: vec![],
            head: Head { input: 0, weight: 0, bias: 0 },
            taps: vec![],
            first_reader: vec![],
            last_reader: vec![],
        };
        Self { graph, plan, seen_as: vec![None; graph.nodes.len()], readers }
    }

    fn place(&mut self, id: Id) -> Covered<()> {
        let shape = self.graph.shape(id);
        let view = match self.graph.nodes[id.0].op {
            Op::Input => Some(self.store(shape, true)),
            Op::Conv { x, weight, kernel, stride } => {
                let input = self.read(x)?;
                let source = &self.plan.buffers[self.plan.views[input].buffer];
                let conv = convolution(ConvShape {
                    height: source.shape.height,
                    width: source.shape.width,
                    cin: source.shape.channels,
                    pitch: source.pitch,
                    cout: shape.channels,
                    kernel,
                    stride,
                });
                let make = Make::Conv { input, weight, conv, addend: None };
                Some(self.make(make, shape, input))
            }
            Op::BatchNorm { x, weight, bias, mean, variance } => {
                let view = self.view_of(x)?;
                if !view.is_plain() || view.buffer == 0 || self.plan.buffers[view.buffer].norm.is_some() {
                    return Err("they normalize only the output of a convolution or a sum, and only once");
                }
                self.plan.norms.push(Norm { buffer: view.buffer, weight, bias, mean, variance });
                let norm = self.plan.norms.len() - 1;
                self.plan.buffers[view.buffer].norm = Some(norm);
                Some(View { norm: Some(norm), ..view })
            }
            Op::Relu { x } => Some(View { relu: true, ..self.view_of(x)? }),
            Op::Add { a, b } => Some(self.add(a, b, shape)?),
            Op::GlobalAvgPool { x } => {
                self.plan.head.input = self.read(x)?;
                None
            }
            Op::Linear { x, weight, bias } => {
                if !matches!(self.graph.nodes[x.0].op, Op::GlobalAvgPool { .. }) || id != self.graph.logits {
                    return Err("they compute only one linear layer, after the average pool");
                }
                let input = self.plan.head.input;
                self.plan.first_reader[input] = self.plan.first_reader[input].min(self.plan.steps.len());
                self.plan.head = Head { input, weight, bias };
                None
            }
        };
        self.seen_as[id.0] = view;
        Ok(())
    }

    fn store(&mut self, shape: Shape, is_input: bool) -> View {
        let pitch = pitch(shape.channels, is_input);
        self.plan.buffers.push(Buffer { shape, pitch, norm: None, view: None, tap: None });
        View { buffer: self.plan.buffers.len() - 1, norm: None, relu: false }
    }

    fn view_of(&self, id: Id) -> Covered<View> {
        match self.seen_as[id.0] {
            Some(view) => Ok(view),
            None => Err("they do not read the average pool or the logits again"),
        }
    }

    /// The index of the view through which `id` is read.
    fn read(&mut self, id: Id) -> Covered<usize> {
        let view = self.view_of(id)?;
        if let Some(known) = self.plan.views.iter().position(|known| *known == view) {
            return Ok(known);
        }
        let index = self.plan.views.len();
        if !view.is_plain() {
            let buffer = &mut self.plan.buffers[view.buffer];
            if view.buffer == 0 || buffer.view.is_some() {
                return Err("they read an activation unchanged and in at most one other way");
            }
            buffer.view = Some(index);
        }
        self.plan.views.push(view);
        self.plan.first_reader.push(usize::MAX);
        Ok(index)
    }

    fn make(&mut self, make: Make, shape: Shape, input: usize) -> View {
        let first = &mut self.plan.first_reader[input];
        *first = (*first).min(self.plan.steps.len());
        let view = self.store(shape, false);
        self.plan.steps.push(Step { make, output: view.buffer });
        view
    }

    fn add(&mut self, a: Id, b: Id, shape: Shape) -> Covered<View> {
        for (conv, other) in [(b, a), (a, b)] {
            let other = self.view_of(other)?;
            let is_latest = self.view_of(conv)?.buffer + 1 == self.plan.buffers.len();
            let is_conv = matches!(self.graph.nodes[conv.0].op, Op::Conv { .. });
            let fits =
                is_conv && is_latest && self.readers[conv.0] == 1 && other.is_plain() && other.buffer != 0;
            if fits && let Some(Step { make: Make::Conv { addend, .. }, output }) = self.plan.steps.last_mut()
            {
                *addend = Some(other.buffer);
                return Ok(View { buffer: *output, norm: None, relu: false });
            }
        }
        let (a, b) = (self.read(a)?, self.read(b)?);
        let step = self.plan.steps.len();
        self.plan.first_reader[b] = self.plan.first_reader[b].min(step);
        Ok(self.make(Make::Add { a, b }, shape, a))
    }

    /// Requests the attention map of an activation.
    fn tap(&mut self, position: usize, tap: Id) -> Covered<()> {
        let view = self.view_of(tap)?;
        if view.norm.is_some() || view.buffer == 0 {
            return Err("they have attention maps only of convolutions and sums, before batch norm");
        }
        self.plan.buffers[view.buffer].tap = Some((position, view.relu));
        self.plan.taps.push(view.buffer);
        Ok(())
    }

    fn finish(mut self) -> Covered<Plan> {
        self.plan.last_reader = self.plan.last_readers();
        match self.view_of(self.graph.logits) {
            Ok(_) => Err("they compute only networks that end in a linear layer"),
            Err(_) => Ok(self.plan),
        }
    }
}
