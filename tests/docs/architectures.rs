//! The table of architectures in Markdown, between two marks of a page.

use std::fmt::Write;

use argd_pipe::models::{FAMILIES, Family};

const BEGIN: &str =
    "<!-- written from the table of architectures: UPDATE_DOCS=1 cargo test --test docs -->\n";
const END: &str = "<!-- end -->\n";

/// The page with the table between its marks.
pub fn with_table(page: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    format!("{before}{BEGIN}{}{END}{after}", table())
}

/// The networks by name, for the page of stage kinds.
pub fn models() -> String {
    let mut text = String::from(
        "\n## Models\n\nThe values of `model` in `train` and `checkpoint`. [checkpoints.md](checkpoints.md) has the \
         names of their tensors.\n\n| `model` | sizes | parameters (32x32x3, 10 classes) |\n|---|---|---|\n",
    );
    for family in FAMILIES {
        let sizes = family.sizes.strip_prefix("with ").unwrap_or(family.sizes);
        writeln!(text, "| `{}` | {sizes} | {} |", family.form, parameters(family)).unwrap();
    }
    text
}

/// The sizes of the networks of the literature.
fn parameters(family: &Family) -> String {
    match family.known {
        [only] => thousands(only.parameters),
        many => {
            let each = many.iter().map(|known| format!("`{}`: {}", known.name, thousands(known.parameters)));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

fn table() -> String {
    let mut text = String::from(
        "| `model` | parameters (32x32x3, 10 classes) | names as in | distillation compares |\n|---|---|---|---|\n",
    );
    for family @ Family { form, sizes, misnomers, names_of, taps, .. } in FAMILIES {
        let also: String = misnomers
            .iter()
            .map(|(name, truth)| format!("; `{name}` works too, with a warning: it is {truth}"))
            .collect();
        let sizes = if sizes.is_empty() { String::new() } else { format!(" {sizes}") };
        let parameters = parameters(family);
        writeln!(text, "| `{form}`{sizes}{also} | {parameters} | {names_of} | {taps} |").unwrap();
    }
    text
}

/// 1234567 as `1,234,567`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
