//! Text of a page in which nothing that comes from a log can be markup.

use std::fmt::{self, Write};

use super::page::Section;

/// The longest text of a log that is shown in one place, in characters.
const LONGEST: usize = 300;

/// A piece of a page. Markup is `&'static str`, hence from this program; all else goes through [`text`](Self::text).
#[derive(Clone, Debug, Default)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, or the value of an attribute in double quotes.
    pub(super) fn text(&mut self, text: impl fmt::Display) -> &mut Self {
        let mut escape = Escape {
            into: &mut self.0,
            left: LONGEST,
        };
        // An error says that the rest is cut off.
        if write!(escape, "{text}").is_err() {
            self.0.push('…');
        }
        self
    }

    /// A piece that is markup already.
    pub(super) fn append(&mut self, piece: &Html) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// A part of the page that was made before.
    pub(super) fn section(&mut self, section: &Section) -> &mut Self {
        self.0.push_str(&section.html);
        self
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escape<'a> {
    into: &'a mut String,
    /// So many characters still fit.
    left: usize,
}

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match char {
                '&' => self.into.push_str("&amp;"),
                '<' => self.into.push_str("&lt;"),
                '>' => self.into.push_str("&gt;"),
                '"' => self.into.push_str("&quot;"),
                '\'' => self.into.push_str("&#39;"),
                // No control, and nothing that turns the direction of the text around it.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.into.push('\u{fffd}'),
                char if char.is_control() => self.into.push(' '),
                char => self.into.push(char),
            }
        }
        Ok(())
    }
}

/// Adds to an [`Html`]: literals are markup, what stands in parentheses is text, what stands in brackets is a piece.
macro_rules! html {
    (@ $out:expr;) => {};
    (@ $out:expr; $markup:literal $($rest:tt)*) => {
        $out.raw($markup);
        html!(@ $out; $($rest)*)
    };
    (@ $out:expr; ($text:expr) $($rest:tt)*) => {
        $out.text($text);
        html!(@ $out; $($rest)*)
    };
    (@ $out:expr; [$piece:expr] $($rest:tt)*) => {
        $out.append(&$piece);
        html!(@ $out; $($rest)*)
    };
    ($out:expr; $($pieces:tt)*) => {{ html!(@ $out; $($pieces)*); }};
}
pub(super) use html;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut out = Html::new();
        html!(out; "<td title=\"" ("\" onclick='x'") "\">" ("<script>&\u{202e}\n") "</td>");
        let expected = "<td title=\"&quot; onclick=&#39;x&#39;\">&lt;script&gt;&amp;\u{fffd} </td>";
        assert_eq!(out.as_str(), expected);
    }

    #[test]
    fn text_is_cut_off_where_it_is_too_long() {
        let mut out = Html::new();
        out.text("ä".repeat(LONGEST));
        assert!(!out.as_str().ends_with('…'));
        out.text("ä".repeat(LONGEST + 1));
        assert!(out.as_str().ends_with("ä…"));
    }
}
