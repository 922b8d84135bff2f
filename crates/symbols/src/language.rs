use crate::grammar::{Grammar, ecmascript, python};

/// A language whose symbols are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Language {
    /// JavaScript with JSX, `.js`, `.mjs`, `.cjs` and `.jsx`.
    JavaScript,
    /// Python, `.py`, `.pyi` and `.pyw`.
    Python,
    /// TypeScript with JSX, `.tsx`.
    Tsx,
    /// TypeScript, `.ts`, `.mts` and `.cts`.
    TypeScript,
}

impl Language {
    /// All that this build knows.
    pub const ALL: &'static [Language] =
        &[Language::JavaScript, Language::Python, Language::Tsx, Language::TypeScript];

    /// The language of a file, by the ending of its name. `None` where there is no grammar for it.
    pub fn of_path(path: &str) -> Option<Language> {
        let name = path.rsplit('/').next()?;
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            "js" | "mjs" | "cjs" | "jsx" => Some(Language::JavaScript),
            "py" | "pyi" | "pyw" => Some(Language::Python),
            "tsx" => Some(Language::Tsx),
            "ts" | "mts" | "cts" => Some(Language::TypeScript),
            _ => None,
        }
    }

    /// The language's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Language::JavaScript => "JavaScript",
            Language::Python => "Python",
            Language::Tsx => "TSX",
            Language::TypeScript => "TypeScript",
        }
    }

    pub(crate) const fn grammar(self) -> &'static Grammar {
        match self {
            Language::JavaScript => &ecmascript::JAVASCRIPT,
            Language::Python => &python::GRAMMAR,
            Language::Tsx => &ecmascript::TSX,
            Language::TypeScript => &ecmascript::TYPESCRIPT,
        }
    }
}
