//! The table of metrics: the name, title, unit and role of each.
//!
//! All code that names, writes or requires a metric uses this table. A metric that is not in the table is still kept
//! and written by its name.

use serde_json::Value;

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in records and CSV files.
    pub name: &'static str,
    /// Its title in printed tables. They omit a metric without a title.
    pub title: Option<&'static str>,
    /// The unit of its values.
    pub unit: Unit,
    /// Its role.
    pub role: Role,
    /// One line for the documentation.
    pub about: &'static str,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Percent.
    Percent,
    /// Any other number that is not a count.
    Number,
    /// A count, which is a whole number.
    Count,
    /// A short text.
    Text,
    /// True or false.
    Truth,
}

/// The role of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A metric of particular stage kinds.
    Other,
    /// A standard metric. A CSV file with one of them has a column for each. Summaries have its differences from
    /// fine-tuning, and `require` can name it.
    Field,
    /// A standard metric that a training also measures after each epoch.
    EachEpoch,
}

/// Decimals of every number that is not a count.
pub const DIGITS: usize = 2;

/// Accuracy.
pub const ACC: &str = "acc";
/// Attack success rate.
pub const ASR: &str = "asr";
/// Robust accuracy.
pub const RA: &str = "ra";
/// The classes that a detector flags, by number, or `none`.
pub const FLAGGED: &str = "flagged";
/// Whether a task's metrics meet its requirement. Only tasks with a requirement have it.
pub const VALID: &str = "valid";

/// Training images that a stage used or chose.
pub const IMAGES: &str = "images";
/// Training images of a data set.
pub const TRAIN_IMAGES: &str = "train_images";

/// The prefix of the names of counts beside a rate (`n_clean`).
pub const COUNT: &str = "n_";

/// Every metric of the stage kinds, in the order of the field's tables.
pub static METRICS: &[Metric] = &[
    field(ACC, Some("ACC"), Role::EachEpoch, "Accuracy."),
    field("acc_excl_target", None, Role::Field, "Accuracy outside the target class."),
    field(ASR, Some("ASR"), Role::EachEpoch, "Attack success rate."),
    field(RA, Some("RA"), Role::EachEpoch, "Robust accuracy."),
    field("der", Some("DER"), Role::Field, "Defense effectiveness rating."),
    titled("anomaly_index", "anomaly", Unit::Number, "Anomaly index of the smallest reversed trigger."),
    titled(FLAGGED, "flagged", Unit::Text, "Classes that look like a backdoor's target, or `none`."),
    titled("frr", "FRR", Unit::Percent, "Clean images that are rejected."),
    titled("far", "FAR", Unit::Percent, "Triggered images that are not rejected."),
    titled(
        "auroc",
        "AUROC",
        Unit::Percent,
        "Area under the curve of rejected triggered against rejected clean images.",
    ),
    titled(VALID, "valid", Unit::Truth, "Whether the metrics meet the requirement."),
    other(
        "asr_elsewhere",
        Unit::Percent,
        "Attack success rate on images that the trigger should not affect.",
    ),
    other("ra_elsewhere", Unit::Percent, "Robust accuracy on images that the trigger should not affect."),
    other("n_clean", Unit::Count, "Clean images that were measured."),
    other("n_excl_target", Unit::Count, "Images outside the target class."),
    other("n_triggered", Unit::Count, "Triggered images."),
    other("n_elsewhere", Unit::Count, "Triggered images whose label the rule keeps."),
    other("flags", Unit::Count, "Classes that are flagged."),
    other("target_flagged", Unit::Count, "1 if the attack's target is flagged, else 0."),
    other("norm_smallest", Unit::Number, "Size of the smallest reversed trigger."),
    other("norm_median", Unit::Number, "Median size of the reversed triggers."),
    other("entropy_clean", Unit::Number, "Mean entropy of clean images."),
    other("entropy_triggered", Unit::Number, "Mean entropy of triggered images."),
    other("pruned", Unit::Count, "Channels that were pruned."),
    other("channels", Unit::Count, "Channels that could be pruned."),
    other("threshold", Unit::Number, "Threshold that the pruning used."),
    other("t", Unit::Number, "Place on the curve of the repaired model."),
    other(TRAIN_IMAGES, Unit::Count, "Training images of the data set."),
    other("test_images", Unit::Count, "Test images of the data set."),
    other("classes", Unit::Count, "Classes of the data set."),
    other(IMAGES, Unit::Count, "Training images that were used."),
    other("parameters", Unit::Count, "Trainable values of the network."),
    other("poisoned", Unit::Count, "Images that were poisoned."),
    other("covers", Unit::Count, "Images that were changed and keep their labels."),
    other("rate_actual", Unit::Number, "Poisoned images per training image."),
];

const fn field(name: &'static str, title: Option<&'static str>, role: Role, about: &'static str) -> Metric {
    Metric { name, title, unit: Unit::Percent, role, about }
}

const fn titled(name: &'static str, title: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, title: Some(title), unit, role: Role::Other, about }
}

const fn other(name: &'static str, unit: Unit, about: &'static str) -> Metric {
    Metric { name, title: None, unit, role: Role::Other, about }
}

impl Metric {
    /// The standard metrics.
    pub fn of_field() -> impl Iterator<Item = &'static Self> {
        METRICS.iter().filter(|metric| metric.role >= Role::Field)
    }

    /// The metrics that a training measures after each epoch.
    pub fn of_epoch() -> impl Iterator<Item = &'static Self> {
        METRICS.iter().filter(|metric| metric.role == Role::EachEpoch)
    }

    /// The metrics of printed tables, with their titles.
    pub fn titled() -> impl Iterator<Item = (&'static Self, &'static str)> {
        METRICS.iter().filter_map(|metric| Some((metric, metric.title?)))
    }

    /// The metric with a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.name == name)
    }
}

/// Writes a number that is not a count, without a negative zero.
pub fn decimals(number: f64) -> String {
    let text = format!("{number:.DIGITS$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|digit| matches!(digit, '0' | '.')) => zero.to_owned(),
        _ => text,
    }
}

/// Writes the value of a metric. Texts and truth values are unchanged, counts are integers, and other numbers have 2
/// decimals. Any other value gives an empty text.
pub fn write(name: &str, value: &Value) -> String {
    let is_measured =
        Metric::named(name).is_some_and(|metric| matches!(metric.unit, Unit::Percent | Unit::Number));
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) if !is_measured && !number.is_f64() => number.to_string(),
        other => other.as_f64().map_or_else(String::new, decimals),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_standard_metrics_come_first_and_names_are_unique() {
        let names: Vec<_> = Metric::of_field().map(|metric| metric.name).collect();
        assert_eq!(names, ["acc", "acc_excl_target", "asr", "ra", "der"]);
        let names: Vec<_> = Metric::of_epoch().map(|metric| metric.name).collect();
        assert_eq!(names, ["acc", "asr", "ra"]);
        for (at, metric) in METRICS.iter().enumerate() {
            assert!(METRICS[..at].iter().all(|other| other.name != metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn a_value_is_written_by_its_unit() {
        let cases = [
            ("acc", json!(50), "50.00"),
            ("ra", json!(-0.001), "0.00"),
            ("n_clean", json!(12), "12"),
            ("not in the table", json!(0.5), "0.50"),
            ("not in the table", json!(3), "3"),
            ("flagged", json!("0 3"), "0 3"),
            ("valid", json!(false), "false"),
            ("acc", json!(null), ""),
        ];
        for (name, value, text) in cases {
            assert_eq!(write(name, &value), text, "{name} {value}");
        }
        assert_eq!([-1.005, -12.0, 99.996].map(decimals), ["-1.00", "-12.00", "100.00"]);
    }
}
