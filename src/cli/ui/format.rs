//! How numbers are written for people.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::stages::Progress;
use crate::stages::metrics::{FLAGGED, Metric, write};

/// Writes a time span: `0.3s`, `12s`, `3m 05s`, `2h 03m`.
pub(in crate::cli) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1}s"),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Writes a size: `512 B`, `1.2 KB`, `45.0 MB`.
pub(in crate::cli) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if size < 999.95 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

/// Writes a count with its noun: `1 record`, `9 records`.
pub(in crate::cli) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Writes how long ago something was, in the largest whole unit. The future is `now`.
pub(in crate::cli) fn ago(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => "now".to_owned(),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// Writes the value of a metric, given as in the CSV. The number of a flagged class would read as a count.
pub(super) fn metric(name: &str, written: &str) -> String {
    match written {
        "" | "none" => written.to_owned(),
        one if name == FLAGGED && !one.contains(' ') => format!("class {one}"),
        many if name == FLAGGED => format!("classes {}", many.replace(' ', ", ")),
        other => other.to_owned(),
    }
}

/// Writes the metrics: `ACC 84.12  ASR 3.20`.
pub(super) fn metrics(metrics: &Map<String, Value>) -> Option<String> {
    let shown = Metric::titled().filter_map(|(metric, title)| {
        let value = self::metric(metric.name, &write(metric.name, metrics.get(metric.name)?));
        (!value.is_empty()).then(|| format!("{title} {value}"))
    });
    let text = shown.collect::<Vec<_>>().join("  ");
    (!text.is_empty()).then_some(text)
}

/// Writes the progress of a stage: `epoch 3/10, 1m 05s left, 512 images/s, loss 0.412, attention 0.031`. The most
/// important part comes first, because a narrow terminal cuts off the rest.
pub(super) fn progress(progress: &Progress, seconds_left: Option<f64>) -> String {
    let Progress { unit, images_per_second, terms, tests, .. } = progress;
    let mut parts = vec![];
    parts.extend(progress.count().map(|(at, of)| format!("{} {at}/{of}", unit.name())));
    parts.extend(seconds_left.map(|seconds| format!("{} left", duration(seconds))));
    if *images_per_second > 0.0 {
        parts.push(format!("{images_per_second:.0} images/s"));
    }
    parts.extend(terms.iter().map(|(name, value)| format!("{name} {value:.3}")));
    parts.extend(tests.iter().map(|(name, percent)| format!("{name} {percent:.2}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stages::Unit;

    #[test]
    fn durations_are_as_long_as_needed() {
        let written = [0.04, 9.9, 9.96, 59.4, 59.6, 125.0, 3599.6, 7380.0].map(duration);
        assert_eq!(written, ["0.0s", "9.9s", "10s", "59s", "1m 00s", "2m 05s", "1h 00m", "2h 03m"]);
    }

    #[test]
    fn sizes_are_as_exact_as_needed() {
        let written = [0, 999, 1_000, 702_123, 999_960, 45_000_000, 2_500_000_000_000].map(bytes);
        assert_eq!(written, ["0 B", "999 B", "1.0 KB", "702.1 KB", "1.0 MB", "45.0 MB", "2.5 TB"]);
    }

    #[test]
    fn ages_have_one_unit() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let written = [1000, 999, 940, 1001].map(|then| ago(at(then), at(1000)));
        assert_eq!(written, ["now", "now", "1m ago", "now"]);
        assert_eq!(ago(at(0), at(86_400 * 3 + 5)), "3d ago");
        assert_eq!((count(1, "record"), count(2, "record")), ("1 record".to_owned(), "2 records".to_owned()));
    }

    #[test]
    fn metrics_are_those_of_the_field() {
        let of = |value: Value| metrics(value.as_object().unwrap());
        assert_eq!(
            of(json!({"asr": 3.2, "acc": 84.123, "other": 1})).as_deref(),
            Some("ACC 84.12  ASR 3.20")
        );
        assert_eq!(
            of(json!({"flagged": "0 3", "anomaly_index": 3.456, "valid": false})).as_deref(),
            Some("anomaly 3.46  flagged classes 0, 3  valid false")
        );
        assert_eq!(of(json!({"flagged": "5"})).as_deref(), Some("flagged class 5"));
        assert_eq!(of(json!({"flagged": "none"})).as_deref(), Some("flagged none"));
        assert_eq!(of(json!({"images": 10})), None);
    }

    #[test]
    fn progress_shows_the_known_numbers() {
        let terms = vec![("loss".into(), 0.4123), ("attention".into(), 0.031)];
        let (at, speed) =
            (Progress { epoch: 2, epochs: 10, step: 5, steps: 10, ..Progress::default() }, 511.7);
        let full = Progress { images_per_second: speed, terms, ..at.clone() };
        assert_eq!(
            progress(&full, Some(65.0)),
            "epoch 3/10, 1m 05s left, 512 images/s, loss 0.412, attention 0.031"
        );
        assert!((full.fraction() - 0.25).abs() < 1e-12);
        assert_eq!(
            progress(&Progress { epoch: 10, ..full }, None),
            "epoch 10/10, 512 images/s, loss 0.412, attention 0.031"
        );
        let tested = Progress { tests: vec![("acc".into(), 81.0), ("asr".into(), 3.256)], ..at };
        assert_eq!(progress(&tested, None), "epoch 3/10, acc 81.00, asr 3.26");
        assert_eq!(progress(&Progress::default(), None), "");
        assert_eq!(Progress::default().fraction(), 0.0);
    }

    #[test]
    fn progress_names_what_it_counts() {
        let search =
            Progress { unit: Unit::Class, epoch: 2, epochs: 10, step: 9, steps: 80, ..Progress::default() };
        assert_eq!(progress(&search, None), "class 3/10");
        assert_eq!(search.to_string(), "class 3 of 10, step 9 of 80");
        let batches = Progress::of_steps(Unit::Batch, 3, 4);
        assert_eq!((progress(&batches, None), batches.fraction()), ("batch 3/4".to_owned(), 0.75));
        assert_eq!(batches.to_string(), "batch 3 of 4");
    }
}
