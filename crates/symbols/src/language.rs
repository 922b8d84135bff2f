use crate::grammar::{Grammar, ecmascript, go, java, python, rust};

/// A language whose symbols are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Language {
    /// Go, `.go`.
    Go,
    /// Java, `.java`.
    Java,
    /// JavaScript with JSX, `.js`, `.mjs`, `.cjs` and `.jsx`.
    JavaScript,
    /// Python, `.py`, `.pyi` and `.pyw`.
    Python,
    /// Rust, `.rs`.
    Rust,
    /// TypeScript with JSX, `.tsx`.
    Tsx,
    /// TypeScript, `.ts`, `.mts` and `.cts`.
    TypeScript,
}

impl Language {
    /// All that this build knows.
    pub const ALL: &'static [Language] = &[
        Language::Go,
        Language::Java,
        Language::JavaScript,
        Language::Python,
        Language::Rust,
        Language::Tsx,
        Language::TypeScript,
    ];

    /// The language of a file, by the ending of its name. `None` where there is no grammar for it.
    pub fn of_path(path: &str) -> Option<Language> {
        let name = path.rsplit('/').next()?;
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            "go" => Some(Language::Go),
            "java" => Some(Language::Java),
            "js" | "mjs" | "cjs" | "jsx" => Some(Language::JavaScript),
            "py" | "pyi" | "pyw" => Some(Language::Python),
            "rs" => Some(Language::Rust),
            "tsx" => Some(Language::Tsx),
            "ts" | "mts" | "cts" => Some(Language::TypeScript),
            _ => None,
        }
    }

    /// The language's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Go => "Go",
            Language::Java => "Java",
            Language::JavaScript => "JavaScript",
            Language::Python => "Python",
            Language::Rust => "Rust",
            Language::Tsx => "TSX",
            Language::TypeScript => "TypeScript",
        }
    }

    /// Whether a comment's indentation tells which block it is in.
    pub(crate) const fn ends_blocks_by_indentation(self) -> bool {
        matches!(self, Language::Python)
    }

    pub(crate) const fn grammar(self) -> &'static Grammar {
        match self {
            Language::Go => &go::GRAMMAR,
            Language::Java => &java::GRAMMAR,
            Language::JavaScript => &ecmascript::JAVASCRIPT,
            Language::Python => &python::GRAMMAR,
            Language::Rust => &rust::GRAMMAR,
            Language::Tsx => &ecmascript::TSX,
            Language::TypeScript => &ecmascript::TYPESCRIPT,
        }
    }
}
