use crate::grammar::{Grammar, go, java, python, rust};

/// A language whose symbols are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Language {
    /// Go, `.go`.
    Go,
    /// Java, `.java`.
    Java,
    /// Python, `.py` and `.pyi`.
    Python,
    /// Rust, `.rs`.
    Rust,
}

impl Language {
    /// All that this build knows.
    pub const ALL: &'static [Language] = &[Language::Go, Language::Java, Language::Python, Language::Rust];

    /// The language of a file, by the ending of its name. `None` where there is no grammar for it.
    pub fn of_path(path: &str) -> Option<Language> {
        let name = path.rsplit('/').next()?;
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            "go" => Some(Language::Go),
            "java" => Some(Language::Java),
            "py" | "pyi" | "pyw" => Some(Language::Python),
            "rs" => Some(Language::Rust),
            _ => None,
        }
    }

    /// The language's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Go => "Go",
            Language::Java => "Java",
            Language::Python => "Python",
            Language::Rust => "Rust",
        }
    }

    pub(crate) const fn grammar(self) -> &'static Grammar {
        match self {
            Language::Go => &go::GRAMMAR,
            Language::Java => &java::GRAMMAR,
            Language::Python => &python::GRAMMAR,
            Language::Rust => &rust::GRAMMAR,
        }
    }
}
