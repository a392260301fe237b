//! One picture: its content, drawn from a random stream, and its pixels.
//!
//! Lengths are fractions of the side of the picture, so a scene has no size until it is rendered. Colors are RGB in 0..=255.

use super::outline::Distance;
use crate::rng::Stream;

type Colour = [f32; 3];

/// The range of pixels: no picture has the pure black and white of triggers.
const DARKEST: f32 = 8.0;
const LIGHTEST: f32 = 247.0;
/// Color nodes along each side of the background.
const NODES: usize = 4;

/// How hard pictures are to classify.
pub(super) struct Style {
    /// Least difference of every channel between object and background; the largest is twice that.
    contrast: f32,
    /// How much the color of the background varies around its mean.
    wander: f32,
    /// Largest rotation of the object, in radians.
    rotation: f32,
    /// Strokes and blobs behind the object.
    clutter: u32,
    /// How likely a stroke covers a part of the object.
    cover: f32,
    /// Largest change of a pixel by noise.
    grain: f32,
}

impl Style {
    /// The style of a difficulty between 0 and 1.
    pub(super) fn of(difficulty: f32) -> Self {
        Self {
            contrast: 60.0 - 36.0 * difficulty,
            wander: 20.0 + 40.0 * difficulty,
            rotation: 0.2 + 0.8 * difficulty,
            clutter: 2 + (8.0 * difficulty) as u32,
            cover: difficulty,
            grain: 10.0 + 40.0 * difficulty,
        }
    }
}

/// A picture before it has pixels.
pub(super) struct Scene {
    background: [[Colour; NODES]; NODES],
    clutter: Vec<Stroke>,
    object: Object,
    cover: Option<Stroke>,
    grain: f32,
}

struct Object {
    distance: Distance,
    colour: Colour,
    /// A second color on one side of the object; it fades into the first.
    shade: Colour,
    centre: [f32; 2],
    /// Half the object's width and height.
    radius: [f32; 2],
    cos: f32,
    sin: f32,
}

/// A line with round ends, or a blob if its length is 0.
struct Stroke {
    colour: Colour,
    centre: [f32; 2],
    direction: [f32; 2],
    half_length: f32,
    half_width: f32,
}

/// The pixels of an unfinished picture.
struct Canvas {
    side: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    fn new(side: usize, colour: impl Fn(f32, f32) -> Colour) -> Self {
        let at = |index: usize| (index as f32 + 0.5) / side as f32;
        let pixels = (0..side * side).map(|i| colour(at(i % side), at(i / side))).collect();
        Self { side, pixels }
    }

    /// Draws an object on the pixels within `reach` of `centre`: its color where its distance is negative. The edge fades over
    /// one pixel.
    fn paint(&mut self, centre: [f32; 2], reach: f32, look: impl Fn(f32, f32) -> (Colour, f32)) {
        let scale = self.side as f32;
        let span = |middle: f32| {
            let (from, to) = ((middle - reach) * scale - 1.0, (middle + reach) * scale + 2.0);
            from.max(0.0) as usize..(to.max(0.0) as usize).min(self.side)
        };
        for row in span(centre[1]) {
            for column in span(centre[0]) {
                let (colour, distance) = look((column as f32 + 0.5) / scale, (row as f32 + 0.5) / scale);
                let below = &mut self.pixels[row * self.side + column];
                *below = mix(*below, colour, (0.5 - distance * scale).clamp(0.0, 1.0));
            }
        }
    }
}

impl Scene {
    /// Draws the content of a picture whose object has the outline `distance`.
    pub(super) fn draw(style: &Style, distance: Distance, stream: &mut Stream) -> Self {
        let mean: Colour = std::array::from_fn(|_| stream.between(70.0, 185.0));
        let background = std::array::from_fn(|_| {
            std::array::from_fn(|_| mean.map(|value| value + stream.between(-style.wander, style.wander)))
        });
        let clutter = (0..style.clutter).map(|_| Stroke::clutter(mean, style.contrast, stream)).collect();
        let object = Object::draw(style, distance, mean, stream);
        let cover = stream.chance(style.cover).then(|| Stroke::cover(mean, object.centre, stream));
        Self { background, clutter, object, cover, grain: style.grain }
    }

    /// Writes the picture's `side` x `side` RGB pixels to `image`; `stream` gives the grain.
    pub(super) fn render(&self, side: usize, stream: &mut Stream, image: &mut [u8]) {
        let mut canvas = Canvas::new(side, |x, y| self.background_at(x, y));
        self.clutter.iter().for_each(|stroke| stroke.paint(&mut canvas));
        self.object.paint(&mut canvas);
        self.cover.iter().for_each(|stroke| stroke.paint(&mut canvas));
        for (pixel, colour) in image.chunks_exact_mut(3).zip(canvas.pixels) {
            let noise = stream.bits().to_le_bytes();
            for channel in 0..3 {
                let pair = f32::from(noise[2 * channel]) + f32::from(noise[2 * channel + 1]);
                let value = colour[channel] + self.grain * (pair / 255.0 - 1.0);
                pixel[channel] = value.clamp(DARKEST, LIGHTEST) as u8;
            }
        }
    }

    /// Blends the four nearest color nodes.
    fn background_at(&self, x: f32, y: f32) -> Colour {
        let (column, across) = cell(x);
        let (row, down) = cell(y);
        let line = |row: usize| mix(self.background[row][column], self.background[row][column + 1], across);
        mix(line(row), line(row + 1), down)
    }
}

impl Object {
    fn draw(style: &Style, distance: Distance, background: Colour, stream: &mut Stream) -> Self {
        let colour = contrasting(background, style.contrast, stream);
        let shade = colour.map(|value| value + stream.between(-0.4, 0.4) * style.contrast);
        let radius = stream.between(0.24, 0.36);
        let radius = [radius * stream.between(0.85, 1.0), radius * stream.between(0.85, 1.0)];
        let centre = std::array::from_fn(|_| stream.between(0.36, 0.64));
        let angle = stream.between(-style.rotation, style.rotation);
        let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
        Self { distance, colour, shade, centre, radius, cos, sin }
    }

    fn paint(&self, canvas: &mut Canvas) {
        // No outline reaches beyond 1.25 radii.
        let reach = 1.25 * self.radius[0].max(self.radius[1]);
        canvas.paint(self.centre, reach, |x, y| self.at(x, y));
    }

    /// The color of the object at (x, y), and the distance to its outline.
    fn at(&self, x: f32, y: f32) -> (Colour, f32) {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        let u = (x * self.cos + y * self.sin) / self.radius[0];
        let v = (y * self.cos - x * self.sin) / self.radius[1];
        let colour = mix(self.colour, self.shade, (0.5 + 0.5 * u).clamp(0.0, 1.0));
        (colour, (self.distance)(u, v) * self.radius[0].min(self.radius[1]))
    }
}

impl Stroke {
    fn clutter(background: Colour, contrast: f32, stream: &mut Stream) -> Self {
        let blob = stream.chance(0.5);
        Self {
            colour: contrasting(background, contrast, stream),
            centre: std::array::from_fn(|_| stream.uniform()),
            direction: direction(stream),
            half_length: if blob { 0.0 } else { stream.between(0.08, 0.3) },
            half_width: if blob { stream.between(0.03, 0.07) } else { stream.between(0.015, 0.035) },
        }
    }

    /// A stroke of the mean color of the background across or near the object.
    fn cover(background: Colour, object: [f32; 2], stream: &mut Stream) -> Self {
        Self {
            colour: background,
            centre: object.map(|at| at + stream.between(-0.2, 0.2)),
            direction: direction(stream),
            half_length: 0.5,
            half_width: stream.between(0.03, 0.07),
        }
    }

    fn paint(&self, canvas: &mut Canvas) {
        let reach = self.half_length + self.half_width;
        canvas.paint(self.centre, reach, |x, y| (self.colour, self.distance(x, y)));
    }

    fn distance(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        let along =
            (x * self.direction[0] + y * self.direction[1]).clamp(-self.half_length, self.half_length);
        let (x, y) = (x - along * self.direction[0], y - along * self.direction[1]);
        (x * x + y * y).sqrt() - self.half_width
    }
}

/// Draws a unit vector.
fn direction(stream: &mut Stream) -> [f32; 2] {
    let angle = stream.between(0.0, std::f32::consts::TAU);
    [libm::cosf(angle), libm::sinf(angle)]
}

/// Draws a color that differs from `from` by `contrast` to twice that in every channel. All channels differ in the same
/// direction in two of three draws.
fn contrasting(from: Colour, contrast: f32, stream: &mut Stream) -> Colour {
    let lighter = stream.chance(0.5);
    let mixed = stream.chance(1.0 / 3.0);
    from.map(|value| {
        let lighter = if mixed { stream.chance(0.5) } else { lighter };
        let difference = stream.between(contrast, 2.0 * contrast);
        (if lighter { value + difference } else { value - difference }).clamp(DARKEST, LIGHTEST)
    })
}

/// The background cell of a coordinate in 0..1, and the position in it.
fn cell(at: f32) -> (usize, f32) {
    let at = at * (NODES - 1) as f32;
    let index = (at as usize).min(NODES - 2);
    (index, at - index as f32)
}

fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}
