//! Requirements: conditions on the metrics of a valid evaluation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::metrics::{Metric, VALID, decimals};

/// Conditions on standard metrics, in percent, by name. Other metrics can have any value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Require(BTreeMap<&'static str, Condition>);

/// A comparison with a number, written as `>= 95`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Condition {
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// By sign. Longer signs come before their prefixes.
const SIGNS: [(&str, Comparison); 4] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl Require {
    /// Whether it has no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the metrics meet the requirement. `None` without conditions.
    ///
    /// # Errors
    ///
    /// A condition on a metric that was not measured.
    pub fn met(&self, metrics: &Map<String, Value>) -> Result<Option<bool>, String> {
        let mut met = None;
        for metric in Metric::of_field() {
            let name = metric.name;
            let Some(condition) = self.0.get(name) else { continue };
            let value = metrics.get(name).and_then(Value::as_f64).ok_or_else(|| {
                let advice = "connect `trigger`, and for `der` also `baseline`, or remove the requirement";
                format!("`require` has a condition on `{name}`, which was not measured; {advice}")
            })?;
            met = Some(met.unwrap_or(true) && condition.holds(value));
        }
        Ok(met)
    }

    /// Whether it has a condition on a metric.
    pub fn has(&self, metric: &str) -> bool {
        self.0.contains_key(metric)
    }

    /// The conditions that metrics do not meet: `asr 88.10 < 95`.
    pub fn unmet(&self, metrics: &Map<String, Value>) -> Vec<String> {
        let values = self
            .0
            .iter()
            .filter_map(|(name, condition)| Some((*name, *condition, metrics.get(*name)?.as_f64()?)));
        let unmet = values.filter(|(_, condition, value)| !condition.holds(*value));
        unmet.map(|(name, condition, value)| format!("{name} {}", condition.against(value))).collect()
    }
}

/// Why metrics are not valid, from the parameters and the metrics of a record: the conditions that they do not meet, or
/// else the baseline. `None` if they are valid.
pub fn why_not_valid(params: &Value, metrics: &Map<String, Value>) -> Option<String> {
    if metrics.get(VALID).and_then(Value::as_bool) != Some(false) {
        return None;
    }
    let require = params.get("require").and_then(|require| Require::deserialize(require).ok());
    let unmet = require.map_or(vec![], |require| require.unmet(metrics));
    Some(if unmet.is_empty() { "the baseline is not valid".to_owned() } else { unmet.join(", ") })
}

impl<'de> Deserialize<'de> for Require {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut conditions = BTreeMap::new();
        for (name, condition) in BTreeMap::<Name, Option<Condition>>::deserialize(deserializer)? {
            conditions.extend(condition.map(|condition| (name.0, condition)));
        }
        Ok(Self(conditions))
    }
}

/// The name of a standard metric.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = || Metric::of_field().map(|metric| metric.name);
        known().find(|known| *known == name).map(Self).ok_or_else(|| {
            let known: Vec<String> = known().map(|known| format!("`{known}`")).collect();
            D::Error::custom(format!("unknown field `{name}`, expected one of {}", known.join(", ")))
        })
    }
}

/// A closed list of fields, one for each standard metric.
impl JsonSchema for Require {
    fn schema_name() -> Cow<'static, str> {
        "Require".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let property = |metric: &Metric| {
            let schema = json!({"description": metric.about, "type": ["string", "null"]});
            (metric.name.to_owned(), schema)
        };
        let properties: Map<String, Value> = Metric::of_field().map(property).collect();
        json_schema!({
            "description": "Conditions on metrics, in percent. Other metrics can have any value.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

impl Condition {
    fn holds(self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Above => value > self.bound,
            Comparison::Below => value < self.bound,
        }
    }
}

impl Condition {
    /// Writes a value that does not meet the condition: `88.10 < 95`.
    fn against(self, value: f64) -> String {
        let sign = match self.comparison {
            Comparison::AtLeast => "<",
            Comparison::AtMost => ">",
            Comparison::Above => "<=",
            Comparison::Below => ">=",
        };
        let rounded = decimals(value);
        // 94.999 is not written as 95.00.
        let looks_equal = rounded.parse() == Ok(self.bound) && value != self.bound;
        format!("{} {sign} {}", if looks_equal { value.to_string() } else { rounded }, self.bound)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a condition; write a sign and percent: `\">= 95\"`");
        let sign =
            SIGNS.iter().find_map(|(sign, comparison)| Some((text.trim().strip_prefix(sign)?, *comparison)));
        let (bound, comparison) = sign.ok_or_else(wrong)?;
        let bound: f64 = bound.trim().parse().map_err(|_| wrong())?;
        if !(0.0..=100.0).contains(&bound) {
            return Err(format!("`{bound}` is not a percentage; write a number from 0 to 100"));
        }
        let at_least = matches!(comparison, Comparison::AtLeast | Comparison::Above);
        if at_least && bound > 0.0 && bound <= 1.0 {
            return Err(format!("`{text}` means {bound} percent; write 95 for 0.95"));
        }
        Ok(Self { comparison, bound })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, comparison)| *comparison == self.comparison);
        write!(f, "{} {}", sign.map_or("", |(sign, _)| sign), self.bound)
    }
}

impl TryFrom<String> for Condition {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn require(value: Value) -> Result<Require, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    fn met(required: Value, metrics: Value) -> Result<Option<bool>, String> {
        require(required).unwrap().met(metrics.as_object().unwrap())
    }

    #[test]
    fn metrics_are_checked_against_every_condition() {
        let metrics = || json!({"acc": 90.0, "asr": 95.0});
        assert_eq!(met(json!({"asr": ">= 95"}), metrics()), Ok(Some(true)));
        assert_eq!(met(json!({"asr": "> 95"}), metrics()), Ok(Some(false)));
        assert_eq!(met(json!({"asr": "<=95", "acc": "<  90"}), metrics()), Ok(Some(false)));
        assert_eq!(met(json!({}), metrics()), Ok(None));
        let message = met(json!({"der": "> 50"}), metrics()).unwrap_err();
        assert!(
            message.starts_with("`require` has a condition on `der`, which was not measured"),
            "{message}"
        );
    }

    #[test]
    fn an_unmet_condition_is_written_with_the_value() {
        let metrics = json!({"acc": 90.0, "asr": 94.9999, "valid": false});
        let why =
            |required: Value| why_not_valid(&json!({"require": required}), metrics.as_object().unwrap());
        assert_eq!(why(json!({"asr": ">= 98"})).as_deref(), Some("asr 95.00 < 98"));
        assert_eq!(why(json!({"asr": ">= 95"})).as_deref(), Some("asr 94.9999 < 95"));
        assert_eq!(why(json!({"asr": ">= 95", "acc": "< 90"})).unwrap(), "acc 90.00 >= 90, asr 94.9999 < 95");
        assert_eq!(why(json!({"acc": ">= 90"})).as_deref(), Some("the baseline is not valid"));
        assert_eq!(why_not_valid(&json!({}), &Map::new()), None);
    }

    #[test]
    fn a_condition_has_one_text() {
        let value = serde_json::to_value(require(json!({"asr": ">=95.50"})).unwrap()).unwrap();
        assert_eq!(value, json!({"asr": ">= 95.5"}));
        assert_eq!(require(value.clone()).unwrap(), require(json!({"asr": " >= 95.5 "})).unwrap());
    }

    #[test]
    fn invalid_conditions_are_refused() {
        for text in ["95", "= 95", ">= high", ">=", ">= NaN"] {
            assert!(require(json!({"asr": text})).is_err(), "{text}");
        }
        assert!(require(json!({"asr": ">= 950"})).unwrap_err().contains("`950` is not a percentage"));
        assert!(require(json!({"asr": ">= 0.95"})).unwrap_err().contains("write 95 for 0.95"));
        assert!(require(json!({"asr": "<= 0.5", "acc": ">= 0"})).is_ok());
        assert!(require(json!({"as": ">= 95"})).unwrap_err().contains("unknown field `as`"));
    }
}
