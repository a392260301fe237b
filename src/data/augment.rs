//! Augmentation: random crop, horizontal flip and cutout, in the order of the ARGD and NAD loaders.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rng::{Stream, stream};
use crate::shape::Shape;

/// How training images are augmented. The defaults are those of the reference implementation for training on clean
/// images (teacher, NAD, ARGD).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Pad the image by this many black pixels, and crop it to its own size at a random place; 0 is off.
    #[schemars(range(max = 4096))]
    pub crop_padding: u32,
    /// Mirror left and right with probability 0.5.
    pub flip: bool,
    /// Black out a square of this side at a random place; 0 is off.
    #[schemars(range(max = 4096))]
    pub cutout: u32,
    /// Black out the same pixels as the cutout of the reference, which is not a true square: rows and columns from
    /// `center - cutout/2` to before `center + cutout/2`, so that side 3 gives 2x2.
    pub cutout_quirk: bool,
}

impl Default for Augment {
    fn default() -> Self {
        Self { crop_padding: 4, flip: true, cutout: 3, cutout_quirk: true }
    }
}

impl Augment {
    /// Crops and flips without a cutout, as in most implementations of defenses.
    pub const CROP_AND_FLIP: Self = Self { crop_padding: 4, flip: true, cutout: 0, cutout_quirk: true };

    /// No augmentation, as when the reference trains the backdoored model.
    pub const NONE: Self = Self { crop_padding: 0, flip: false, cutout: 0, cutout_quirk: false };

    /// Writes `image`, augmented and scaled to [0, 1], to `out`, both `[height, width, channels]`.
    ///
    /// The random numbers depend only on (`seed`, `epoch`, `index`), not on the order of work.
    pub fn write(&self, image: &[u8], shape: Shape, name: (u64, u64, u64), out: &mut [f32]) {
        if *self == Self::NONE {
            return scale(image, out);
        }
        let (seed, epoch, index) = name;
        let mut stream = stream(seed, "augment", epoch, index);
        let crop = Crop::draw(self.crop_padding as usize, &mut stream);
        let flip = self.flip && stream.chance(0.5);
        crop.write(image, shape, flip, out);
        if self.cutout > 0 {
            let rows = self.hole(shape.height, &mut stream);
            let columns = self.hole(shape.width, &mut stream);
            for row in rows {
                let row = row * shape.width;
                out[(row + columns.start) * shape.channels..(row + columns.end) * shape.channels].fill(0.0);
            }
        }
    }

    /// Draws the rows or columns, of `size`, that the cutout blacks out; the edge clips them.
    fn hole(&self, size: usize, stream: &mut Stream) -> std::ops::Range<usize> {
        let (centre, side) = (stream.below(size as u32) as usize, self.cutout as usize);
        let end =
            if self.cutout_quirk { centre + side / 2 } else { (centre + side).saturating_sub(side / 2) };
        centre.saturating_sub(side / 2)..end.min(size)
    }
}

/// The place of a crop in the padded image.
struct Crop {
    padding: usize,
    top: usize,
    left: usize,
}

impl Crop {
    fn draw(padding: usize, stream: &mut Stream) -> Self {
        let mut offset = || stream.below(2 * padding as u32 + 1) as usize;
        Self { padding, top: offset(), left: offset() }
    }

    /// Copies row by row: the padding on the left, the pixels of the image, and the padding on the right.
    fn write(&self, image: &[u8], shape: Shape, flip: bool, out: &mut [f32]) {
        let Shape { height, width, channels } = shape;
        let (row_len, padding) = (width * channels, self.padding);
        let pad_left = padding.saturating_sub(self.left).min(width);
        let first = self.left.saturating_sub(padding).min(width);
        let shared = width.saturating_sub(pad_left.max(first));
        for (row, out) in out.chunks_exact_mut(row_len).enumerate() {
            let source = (row + self.top).checked_sub(padding).filter(|&source| source < height);
            let Some(source) = source else {
                out.fill(0.0);
                continue;
            };
            let pixels = &image[source * row_len..][first * channels..(first + shared) * channels];
            let start = if flip { width - pad_left - shared } else { pad_left } * channels;
            let end = start + shared * channels;
            out[..start].fill(0.0);
            out[end..].fill(0.0);
            if flip {
                mirror(pixels, channels, &mut out[start..end])
            } else {
                scale(pixels, &mut out[start..end])
            }
        }
    }
}

/// Bytes to [0, 1].
pub(super) fn scale(bytes: &[u8], out: &mut [f32]) {
    for (out, &byte) in out.iter_mut().zip(bytes) {
        *out = to_unit(f32::from(byte));
    }
}

/// Like [`scale`], last pixel first.
fn mirror(bytes: &[u8], channels: usize, out: &mut [f32]) {
    for (out, pixel) in out.chunks_exact_mut(channels).zip(bytes.rchunks_exact(channels)) {
        scale(pixel, out);
    }
}

/// From the scale of bytes to the one on which 1 is white. A division, as PyTorch's `ToTensor` does: a product with
/// 1/255 rounds differently.
pub fn to_unit(value: f32) -> f32 {
    value / 255.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };

    fn written(augment: Augment, image: &[u8], epoch: u64, index: u64) -> Vec<f32> {
        let mut out = vec![f32::NAN; SHAPE.len()];
        augment.write(image, SHAPE, (1, epoch, index), &mut out);
        out
    }

    fn ramp() -> Vec<u8> {
        (0..SHAPE.len()).map(|i| 1 + (i * 7 % 255) as u8).collect()
    }

    /// The definition, pixel by pixel.
    fn cropped(image: &[u8], crop: &Crop, flip: bool) -> Vec<f32> {
        let at = |row: usize, column: usize, channel: usize| {
            let column = if flip { SHAPE.width - 1 - column } else { column };
            let row = (row + crop.top).checked_sub(crop.padding).filter(|&row| row < SHAPE.height)?;
            let column =
                (column + crop.left).checked_sub(crop.padding).filter(|&column| column < SHAPE.width)?;
            Some(f32::from(image[(row * SHAPE.width + column) * SHAPE.channels + channel]) / 255.0)
        };
        let mut out = vec![];
        for row in 0..SHAPE.height {
            for column in 0..SHAPE.width {
                out.extend((0..SHAPE.channels).map(|channel| at(row, column, channel).unwrap_or(0.0)));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn crop_and_flip_do_what_they_are_defined_to(
            padding in 0usize..40,
            flip: bool,
            top in 0usize..80,
            left in 0usize..80,
        ) {
            let crop = Crop { padding, top: top.min(2 * padding), left: left.min(2 * padding) };
            let mut out = vec![f32::NAN; SHAPE.len()];
            crop.write(&ramp(), SHAPE, flip, &mut out);
            prop_assert_eq!(out, cropped(&ramp(), &crop, flip));
        }
    }

    #[test]
    fn no_augmentation_only_scales() {
        let expected: Vec<f32> = ramp().iter().map(|&byte| f32::from(byte) / 255.0).collect();
        assert_eq!(written(Augment::NONE, &ramp(), 3, 4), expected);
    }

    #[test]
    fn an_image_of_an_epoch_has_its_own_variation() {
        let draw = |epoch, index| written(Augment::default(), &ramp(), epoch, index);
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
    }

    /// The blacked-out rectangles (rows, columns) of many draws of a white image.
    fn holes(cutout_quirk: bool) -> std::collections::BTreeSet<(usize, usize)> {
        let augment = Augment { cutout: 3, cutout_quirk, ..Augment::NONE };
        let hole = |index| {
            let out = written(augment, &vec![255; SHAPE.len()], 0, index);
            let black = |row: usize, column: usize| out[(row * SHAPE.width + column) * SHAPE.channels] == 0.0;
            let rows = (0..32).filter(|&row| (0..32).any(|column| black(row, column))).count();
            let columns = (0..32).filter(|&column| (0..32).any(|row| black(row, column))).count();
            assert_eq!(out.iter().filter(|&&value| value == 0.0).count(), rows * columns * SHAPE.channels);
            (rows, columns)
        };
        (0..3000).map(hole).collect()
    }

    #[test]
    fn cutout_of_3_is_2_by_2_with_the_quirk_and_3_by_3_without() {
        let up_to =
            |side: usize, least: usize| (least..=side).flat_map(move |a| (least..=side).map(move |b| (a, b)));
        assert_eq!(holes(true), up_to(2, 1).collect());
        assert_eq!(holes(false), up_to(3, 2).collect());
    }
}
