//! BadNets (Gu et al. 2017): a small patch of fixed pixels, and wrong labels.
//!
//! Places and cells are those of the ARGD and NAD repositories for 32x32 images; on images of another size, the patch
//! keeps its distance to the near edges, or its relative position.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attack, AttackError, Case, Operator, operators};
use crate::data::{DataError, InvalidParam};
use crate::shape::Shape;

/// The pattern of the patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// A white square.
    Square,
    /// 3x3 cells, alternately light and dark.
    #[default]
    Grid,
    /// The grid near all four corners, mirrored toward each corner.
    FourCorner,
}

/// The place of the patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At the bottom right. The grid's cells are the paper's and NAD's: `0 0 255 / 0 255 0 / 255 0 255`.
    Corner,
    /// It starts at 9/16 of height and width: rows and columns 18 to 20 of 32. The grid's cells are those of the ARGD
    /// repository: `255 128 255 / 128 255 128 / 255 128 128`.
    Centre,
}

/// BadNets: a patch of fixed pixels on a fraction of the images, which get another label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BadNets {
    /// The pattern of the patch: `square`, `grid` or `four-corner`.
    pub pattern: Pattern,
    /// The height and width of the patch in pixels. The cells of a grid grow with it.
    #[schemars(range(min = 1, max = 4096))]
    pub size: u32,
    /// The place of the patch: `corner` or `centre`. If not given, the place in the ARGD repository: a square in the
    /// corner, a grid in the center.
    pub place: Option<Place>,
    /// The distance of a patch in the corner from the bottom and right edges, in pixels. If not given, 3 for a square
    /// as in the ARGD repository (NAD uses 1), and 0 for a grid.
    pub margin: Option<u32>,
    /// The first row of the patch. `row` and `col` together replace `place`.
    pub row: Option<u32>,
    /// The first column of the patch. `row` and `col` together replace `place`.
    pub col: Option<u32>,
}

impl Default for BadNets {
    fn default() -> Self {
        Self { pattern: Pattern::Grid, size: 3, place: None, margin: None, row: None, col: None }
    }
}

/// The gray values of 3x3 cells.
type Cells = [[u8; 3]; 3];

const WHITE: Cells = [[255; 3]; 3];
const CORNER: Cells = [[0, 0, 255], [0, 255, 0], [255, 0, 255]];
const CENTRE: Cells = [[255, 128, 255], [128, 255, 128], [255, 128, 128]];

/// Cells, and the place of their first pixel.
struct Patch {
    cells: Cells,
    row: usize,
    col: usize,
}

impl Attack for BadNets {
    fn check(&self) -> Vec<InvalidParam> {
        let mut wrong = vec![];
        let four = self.pattern == Pattern::FourCorner;
        let placed = self.row.is_some() || self.col.is_some();
        let mut refuse = |bad: bool, field, message: &str, help: &str| {
            if bad {
                wrong.push(InvalidParam::new(field, message).with_help(help));
            }
        };
        let least = if self.pattern == Pattern::Square { 1 } else { 3 };
        let at_least = "must be at least 1, and at least 3 for a grid of 3x3 cells";
        refuse(self.size < least, "size", at_least, &format!("write `size: {least}` or more"));
        refuse(four && self.place.is_some(), "place", "`four-corner` has fixed places", "remove it");
        refuse(four && placed, "row", "`four-corner` has fixed places", "remove `row` and `col`");
        refuse(self.row.is_some() && self.col.is_none(), "row", "needs `col`", "give both, or none");
        refuse(self.col.is_some() && self.row.is_none(), "col", "needs `row`", "give both, or none");
        let in_corner = !four && !placed && self.place() == Place::Corner;
        let only = "has an effect for a patch in the corner only";
        refuse(self.margin.is_some() && !in_corner, "margin", only, "remove it");
        wrong
    }

    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let shape = case.shape();
        let (mut mask, mut pattern) = (vec![0.0; shape.len()], vec![0; shape.len()]);
        let size = self.size as usize;
        for patch in self.patches(shape)? {
            for (row, col) in (0..size).flat_map(|row| (0..size).map(move |col| (row, col))) {
                let start = ((patch.row + row) * shape.width + patch.col + col) * shape.channels;
                mask[start..start + shape.channels].fill(1.0);
                pattern[start..start + shape.channels].fill(patch.cells[row * 3 / size][col * 3 / size]);
            }
        }
        Ok(operators::Blend { mask, pattern }.into())
    }
}

impl BadNets {
    /// The place of the patch unless `row` and `col` are given; it always chooses the cells of the grid.
    fn place(&self) -> Place {
        let usual = if self.pattern == Pattern::Grid { Place::Centre } else { Place::Corner };
        self.place.unwrap_or(usual)
    }

    fn patches(&self, shape: Shape) -> Result<Vec<Patch>, DataError> {
        let size = self.size as usize;
        let needed = if self.pattern == Pattern::FourCorner { 2 * size + 1 } else { size };
        if needed > shape.height || needed > shape.width {
            return Err(self.does_not_fit(shape));
        }
        if self.pattern == Pattern::FourCorner {
            return Ok(four_corners(shape, size));
        }
        let cells = match (self.pattern, self.place()) {
            (Pattern::Square, _) => WHITE,
            (_, Place::Corner) => CORNER,
            (_, Place::Centre) => CENTRE,
        };
        let first = |side: usize, given: Option<u32>| {
            let first = match (given, self.place()) {
                (Some(given), _) => Some(given as usize),
                (None, Place::Centre) => Some(side * 9 / 16),
                (None, Place::Corner) => (side - size).checked_sub(self.margin()),
            };
            first.filter(|&first| first <= side - size).ok_or_else(|| self.does_not_fit(shape))
        };
        Ok(vec![Patch { cells, row: first(shape.height, self.row)?, col: first(shape.width, self.col)? }])
    }

    fn margin(&self) -> usize {
        self.margin.unwrap_or(if self.pattern == Pattern::Square { 3 } else { 0 }) as usize
    }

    fn does_not_fit(&self, shape: Shape) -> DataError {
        let size = self.size;
        let place = match (self.pattern, self.row, self.col) {
            (Pattern::FourCorner, ..) => "near four corners".to_owned(),
            (_, Some(row), Some(col)) => format!("at row {row}, column {col}"),
            _ if self.place() == Place::Corner => {
                format!("{} pixels from the bottom right corner", self.margin())
            }
            _ => "at 9/16 of height and width".to_owned(),
        };
        let problem = format!(
            "a {size}x{size} patch {place} does not fit into images of {}x{}",
            shape.height, shape.width
        );
        DataError::unfit(problem, "lower `size`, or move the patch")
    }
}

/// The paper's grid at the bottom right and its mirror images near the other corners. At the top and left, one row or
/// column stays free, as in the repositories.
fn four_corners(shape: Shape, size: usize) -> Vec<Patch> {
    let (bottom, right) = (shape.height - size, shape.width - size);
    let upside_down = |mut cells: Cells| {
        cells.reverse();
        cells
    };
    let mirrored = |cells: Cells| cells.map(|[a, b, c]| [c, b, a]);
    vec![
        Patch { cells: CORNER, row: bottom, col: right },
        Patch { cells: mirrored(CORNER), row: bottom, col: 1 },
        Patch { cells: upside_down(CORNER), row: 1, col: right },
        Patch { cells: upside_down(mirrored(CORNER)), row: 1, col: 1 },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{operator, stamped_grey};
    use super::*;

    const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };

    /// The values of 3x3 pixels from (row, col), of a gray image stamped by `attack`.
    fn cells(attack: &BadNets, row: usize, col: usize) -> Cells {
        assert_eq!(attack.check(), []);
        let image = stamped_grey(attack, SHAPE);
        std::array::from_fn(|r| std::array::from_fn(|c| image[((row + r) * 32 + col + c) * 3]))
    }

    /// The number of pixels that differ from the gray image.
    fn changed(attack: &BadNets) -> usize {
        stamped_grey(attack, SHAPE).chunks(3).filter(|pixel| *pixel != [100; 3]).count()
    }

    fn badnets(pattern: Pattern, place: Option<Place>) -> BadNets {
        BadNets { pattern, place, ..BadNets::default() }
    }

    #[test]
    fn the_reference_places_are_the_defaults() {
        assert_eq!(cells(&badnets(Pattern::Square, None), 26, 26), WHITE);
        assert_eq!(cells(&badnets(Pattern::Grid, None), 18, 18), CENTRE);
        assert_eq!(changed(&badnets(Pattern::Grid, None)), 9);
    }

    #[test]
    fn corner_and_explicit_places() {
        assert_eq!(cells(&badnets(Pattern::Grid, Some(Place::Corner)), 29, 29), CORNER);
        let nad = BadNets { margin: Some(1), ..badnets(Pattern::Square, None) };
        assert_eq!(cells(&nad, 28, 28), WHITE);
        let at = BadNets { row: Some(0), col: Some(5), ..badnets(Pattern::Grid, Some(Place::Corner)) };
        assert_eq!(cells(&at, 0, 5), CORNER);
    }

    #[test]
    fn four_corners_leave_the_first_row_and_column_free() {
        let attack = badnets(Pattern::FourCorner, None);
        assert_eq!(cells(&attack, 29, 29), [[0, 0, 255], [0, 255, 0], [255, 0, 255]]);
        assert_eq!(cells(&attack, 1, 1), [[255, 0, 255], [0, 255, 0], [255, 0, 0]]);
        assert_eq!(cells(&attack, 29, 1), [[255, 0, 0], [0, 255, 0], [255, 0, 255]]);
        assert_eq!(cells(&attack, 1, 29), [[255, 0, 255], [0, 255, 0], [0, 0, 255]]);
        assert_eq!(changed(&attack), 36);
    }

    #[test]
    fn cells_grow_with_the_size() {
        let attack = BadNets { size: 6, ..badnets(Pattern::Grid, Some(Place::Corner)) };
        assert_eq!(cells(&attack, 26, 29), [[0, 255, 255], [0, 255, 255], [255, 0, 0]]);
        assert_eq!(changed(&attack), 36);
    }

    #[test]
    fn a_patch_that_does_not_fit_is_refused_with_sizes() {
        let message = |attack: BadNets| operator(&attack, SHAPE, 0).unwrap_err().to_string();
        let at = BadNets { row: Some(30), col: Some(0), ..BadNets::default() };
        assert_eq!(message(at), "a 3x3 patch at row 30, column 0 does not fit into images of 32x32");
        assert!(message(BadNets { size: 33, ..BadNets::default() }).contains("a 33x33 patch"));
        assert!(
            message(BadNets { size: 16, ..badnets(Pattern::FourCorner, None) }).contains("near four corners")
        );
        let far = BadNets { margin: Some(30), ..badnets(Pattern::Square, None) };
        assert!(message(far).contains("30 pixels from the bottom right corner"));
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused_by_name() {
        let fields = |attack: BadNets| attack.check().iter().map(|wrong| wrong.field).collect::<Vec<_>>();
        assert_eq!(fields(BadNets { size: 2, ..BadNets::default() }), ["size"]);
        assert_eq!(fields(BadNets { row: Some(1), ..BadNets::default() }), ["row"]);
        assert_eq!(fields(BadNets { margin: Some(1), ..BadNets::default() }), ["margin"]);
        assert_eq!(fields(badnets(Pattern::FourCorner, Some(Place::Corner))), ["place"]);
    }
}
