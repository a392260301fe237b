//! Draws errors with miette: what is wrong, where in the manifest, and what to do.
//!
//! Messages and manifests can have names of others in them, so they are drawn without control characters.

use std::collections::HashMap;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use thiserror::Error;

use crate::manifest::{Diagnostic as InManifest, Errors, Place, Related, Source};
use crate::plain::{same_length, visible, visible_lines};

/// How many errors of a manifest are drawn: nobody reads a thousand, and drawing them takes seconds.
const SHOWN: usize = 100;

/// Draws errors.
pub(super) struct Reporter(GraphicalReportHandler);

impl Reporter {
    pub(super) fn new(colored: bool) -> Self {
        let theme = if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        // Long paths and values must stay on one line, so that readers can copy them. Terminals wrap by themselves.
        Self(GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_links(false))
    }

    /// Draws the errors of a manifest, and counts them.
    pub(super) fn manifest(&self, errors: &Errors) -> String {
        let mut sources = Sources::default();
        let shown = errors.0.iter().take(SHOWN).map(|error| sources.visible(error));
        let mut drawn: Vec<String> = shown.map(|error| self.draw(&error)).collect();
        let more = errors.0.len().saturating_sub(SHOWN);
        drawn
            .extend((more > 0).then(|| format!("the first {SHOWN} errors are shown, {more} more are not\n")));
        let drawn = drawn.join("\n");
        let count = match errors.0.len() {
            1 => "1 error".to_owned(),
            n => format!("{n} errors"),
        };
        format!("{drawn}\n{count} in the manifest; nothing was run")
    }

    /// Draws an error that has no place in a manifest.
    pub(super) fn error(&self, error: &dyn Diagnostic) -> String {
        self.message(&error.to_string(), error.help().map(|hint| hint.to_string()))
    }

    /// Draws a message, and below it what to do.
    pub(super) fn message(&self, what: &str, hint: Option<String>) -> String {
        let hint = hint.map(|hint| visible_lines(&hint).into_owned());
        self.draw(&Message { what: visible(what).into_owned(), hint }).trim_end().to_owned()
    }

    fn draw(&self, error: &dyn Diagnostic) -> String {
        let mut text = String::new();
        // This fails only if the error's own Display does; then its plain text must do.
        self.0.render_report(&mut text, error).map_or_else(|_| error.to_string(), |()| text)
    }
}

/// The texts of manifests without control characters, by their address: several errors are in one text.
#[derive(Default)]
struct Sources(HashMap<*const Source, Arc<Source>>);

impl Sources {
    /// An error in a manifest, without control characters.
    fn visible(&mut self, error: &InManifest) -> InManifest {
        let related = error.related.iter().map(|other| Related {
            place: self.place(&other.place),
            message: visible(&other.message).into_owned(),
        });
        InManifest {
            related: related.collect(),
            place: self.place(&error.place),
            message: visible(&error.message).into_owned(),
            path: visible(&error.path).into_owned(),
            label: visible(&error.label).into_owned(),
            help: error.help.as_deref().map(|help| visible_lines(help).into_owned()),
        }
    }

    /// The same place in the visible text.
    fn place(&mut self, place: &Place) -> Place {
        let source = self.0.entry(Arc::as_ptr(&place.source)).or_insert_with(|| {
            let Source { name, text } = &*place.source;
            Arc::new(Source { name: visible(name).into_owned(), text: same_length(text).into_owned() })
        });
        Place::new(source, place.span)
    }
}

/// A message without a place in a manifest.
#[derive(Debug, Diagnostic, Error)]
#[error("{what}")]
struct Message {
    what: String,
    #[help]
    hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn a_message_is_drawn_with_its_hint() {
        let reporter = Reporter::new(false);
        let drawn = reporter.message("the disk is full", Some("free some space".to_owned()));
        assert_eq!(drawn, "  × the disk is full\n  help: free some space");
        assert_eq!(reporter.message("the disk is full", None), "  × the disk is full");
    }

    #[test]
    fn an_error_is_drawn_without_the_controls_of_its_manifest() {
        let text =
            "name: m\nstages: {\"a\u{9b}\x7f\": {kind: k}, b: {kind: \"x\\n done\\e[2J\", needs: 1}}\n";
        let errors = Manifest::parse("m\n.yaml", text, &[]).unwrap_err();
        let drawn = Reporter::new(false).manifest(&errors);
        assert!(drawn.contains(r"m\n.yaml:2:"), "{drawn}");
        assert!(drawn.contains(r#"stages: {"a·?": {kind: k}"#), "{drawn}");
        assert!(!drawn.contains(|c: char| c.is_control() && c != '\n'), "{drawn}");
    }

    #[test]
    fn of_thousands_of_errors_the_first_are_drawn() {
        let stages: String = (0..5000).map(|n| format!("  s{n}: {{kind: k, needs: 1}}\n")).collect();
        let errors = Manifest::parse("m.yaml", format!("name: m\nstages:\n{stages}"), &[]).unwrap_err();
        let drawn = Reporter::new(false).manifest(&errors);
        assert_eq!(drawn.matches('×').count(), SHOWN);
        assert!(drawn.contains("the first 100 errors are shown, 4900 more are not"), "{drawn}");
        assert!(drawn.ends_with("5000 errors in the manifest; nothing was run"), "{drawn}");
    }
}
