use crate::grammar::{Grammar, python};

/// A language whose symbols are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Language {
    /// Python, `.py` and `.pyi`.
    Python,
}

impl Language {
    /// All that this build knows.
    pub const ALL: &'static [Language] = &[Language::Python];

    /// The language of a file, by the ending of its name. `None` where there is no grammar for it.
    pub fn of_path(path: &str) -> Option<Language> {
        let name = path.rsplit('/').next()?;
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            "py" | "pyi" | "pyw" => Some(Language::Python),
            _ => None,
        }
    }

    /// The language's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Python => "Python",
        }
    }

    pub(crate) const fn grammar(self) -> &'static Grammar {
        match self {
            Language::Python => &python::GRAMMAR,
        }
    }
}
