//! The outlines of the classes, as signed distances: negative inside, positive outside.

/// Distance from the point (u, v) to an outline of radius about 1 around the origin, u to the right, v down.
pub(super) type Distance = fn(f32, f32) -> f32;

/// Names and outlines, in the order of classes.
pub(super) const OUTLINES: [(&str, Distance); 12] = [
    ("disc", |u, v| length(u, v) - 0.9),
    ("ring", |u, v| (length(u, v) - 0.7).abs() - 0.21),
    ("square", |u, v| rectangle(u, v, 0.78, 0.78)),
    ("frame", |u, v| (u.abs().max(v.abs()) - 0.66).abs() - 0.18),
    ("triangle", |u, v| (u.abs() * 0.866 - v * 0.5).max(v) - 0.5),
    ("plus", |u, v| rectangle(u, v, 0.27, 0.95).min(rectangle(u, v, 0.95, 0.27))),
    ("bars", |u, v| rectangle(u, v.abs().min((v.abs() - 0.68).abs()), 0.85, 0.19)),
    ("crescent", |u, v| (length(u, v) - 0.95).max(0.75 - length(u - 0.45, v))),
    ("checker", |u, v| {
        rectangle(u - 0.44, v - 0.44, 0.42, 0.42).min(rectangle(u + 0.44, v + 0.44, 0.42, 0.42))
    }),
    ("dots", |u, v| length(u.abs() - 0.55, v.abs() - 0.55) - 0.34),
    ("hourglass", |u, v| ((u.abs() - v.abs()) * 0.707).max(v.abs() - 0.85)),
    ("ell", |u, v| rectangle(u + 0.5, v, 0.28, 0.9).min(rectangle(u, v - 0.62, 0.78, 0.28))),
];

fn length(u: f32, v: f32) -> f32 {
    (u * u + v * v).sqrt()
}

fn rectangle(u: f32, v: f32, half_width: f32, half_height: f32) -> f32 {
    (u.abs() - half_width).max(v.abs() - half_height)
}
