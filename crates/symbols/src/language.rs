#[cfg(feature = "bash")]
use crate::grammar::bash;
#[cfg(any(feature = "c", feature = "cpp"))]
use crate::grammar::c_family;
#[cfg(feature = "csharp")]
use crate::grammar::csharp;
#[cfg(feature = "kotlin")]
use crate::grammar::kotlin;
#[cfg(feature = "php")]
use crate::grammar::php;
#[cfg(feature = "ruby")]
use crate::grammar::ruby;
#[cfg(feature = "scala")]
use crate::grammar::scala;
#[cfg(feature = "swift")]
use crate::grammar::swift;
use crate::grammar::{Grammar, ecmascript, go, java, python, rust};

/// A language whose symbols are known. Some are only in builds with their feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Language {
    /// Bash and other shells that read alike, `.sh` and `.bash`.
    #[cfg(feature = "bash")]
    Bash,
    /// C, `.c` and `.h`.
    #[cfg(feature = "c")]
    C,
    /// C++, `.cc`, `.cpp`, `.cxx`, `.c++`, `.cppm`, `.ixx`, `.hh`, `.hpp`, `.hxx`, `.h++`, `.ipp` and `.tpp`.
    #[cfg(feature = "cpp")]
    Cpp,
    /// C#, `.cs` and `.csx`.
    #[cfg(feature = "csharp")]
    CSharp,
    /// Go, `.go`.
    Go,
    /// Java, `.java`.
    Java,
    /// JavaScript with JSX, `.js`, `.mjs`, `.cjs` and `.jsx`.
    JavaScript,
    /// Kotlin, `.kt` and `.kts`.
    #[cfg(feature = "kotlin")]
    Kotlin,
    /// PHP, `.php` and `.phtml`.
    #[cfg(feature = "php")]
    Php,
    /// Python, `.py`, `.pyi` and `.pyw`.
    Python,
    /// Ruby, `.rb`, `.rake`, `.gemspec` and `.ru`.
    #[cfg(feature = "ruby")]
    Ruby,
    /// Rust, `.rs`.
    Rust,
    /// Scala 2 and 3, `.scala`, `.sc` and `.sbt`.
    #[cfg(feature = "scala")]
    Scala,
    /// Swift, `.swift`.
    #[cfg(feature = "swift")]
    Swift,
    /// TypeScript with JSX, `.tsx`.
    Tsx,
    /// TypeScript, `.ts`, `.mts` and `.cts`.
    TypeScript,
}

impl Language {
    /// All that this build knows.
    pub const ALL: &'static [Language] = &[
        #[cfg(feature = "bash")]
        Language::Bash,
        #[cfg(feature = "c")]
        Language::C,
        #[cfg(feature = "cpp")]
        Language::Cpp,
        #[cfg(feature = "csharp")]
        Language::CSharp,
        Language::Go,
        Language::Java,
        Language::JavaScript,
        #[cfg(feature = "kotlin")]
        Language::Kotlin,
        #[cfg(feature = "php")]
        Language::Php,
        Language::Python,
        #[cfg(feature = "ruby")]
        Language::Ruby,
        Language::Rust,
        #[cfg(feature = "scala")]
        Language::Scala,
        #[cfg(feature = "swift")]
        Language::Swift,
        Language::Tsx,
        Language::TypeScript,
    ];

    /// The language of a file, by the ending of its name. `None` where there is no grammar for it.
    pub fn of_path(path: &str) -> Option<Language> {
        let name = path.rsplit('/').next()?;
        let (_, ending) = name.rsplit_once('.')?;
        match ending {
            #[cfg(feature = "bash")]
            "bash" | "sh" => Some(Language::Bash),
            #[cfg(feature = "c")]
            "c" | "h" => Some(Language::C),
            #[cfg(feature = "cpp")]
            "cc" | "cpp" | "cxx" | "c++" | "cppm" | "ixx" | "hh" | "hpp" | "hxx" | "h++" | "ipp" | "tpp" => {
                Some(Language::Cpp)
            }
            #[cfg(feature = "csharp")]
            "cs" | "csx" => Some(Language::CSharp),
            "go" => Some(Language::Go),
            "java" => Some(Language::Java),
            "js" | "mjs" | "cjs" | "jsx" => Some(Language::JavaScript),
            #[cfg(feature = "kotlin")]
            "kt" | "kts" => Some(Language::Kotlin),
            #[cfg(feature = "php")]
            "php" | "phtml" => Some(Language::Php),
            "py" | "pyi" | "pyw" => Some(Language::Python),
            #[cfg(feature = "ruby")]
            "rb" | "rake" | "gemspec" | "ru" => Some(Language::Ruby),
            "rs" => Some(Language::Rust),
            #[cfg(feature = "scala")]
            "scala" | "sc" | "sbt" => Some(Language::Scala),
            #[cfg(feature = "swift")]
            "swift" => Some(Language::Swift),
            "tsx" => Some(Language::Tsx),
            "ts" | "mts" | "cts" => Some(Language::TypeScript),
            _ => None,
        }
    }

    /// The language's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "bash")]
            Language::Bash => "Bash",
            #[cfg(feature = "c")]
            Language::C => "C",
            #[cfg(feature = "cpp")]
            Language::Cpp => "C++",
            #[cfg(feature = "csharp")]
            Language::CSharp => "C#",
            Language::Go => "Go",
            Language::Java => "Java",
            Language::JavaScript => "JavaScript",
            #[cfg(feature = "kotlin")]
            Language::Kotlin => "Kotlin",
            #[cfg(feature = "php")]
            Language::Php => "PHP",
            Language::Python => "Python",
            #[cfg(feature = "ruby")]
            Language::Ruby => "Ruby",
            Language::Rust => "Rust",
            #[cfg(feature = "scala")]
            Language::Scala => "Scala",
            #[cfg(feature = "swift")]
            Language::Swift => "Swift",
            Language::Tsx => "TSX",
            Language::TypeScript => "TypeScript",
        }
    }

    pub(crate) const fn grammar(self) -> &'static Grammar {
        match self {
            #[cfg(feature = "bash")]
            Language::Bash => &bash::GRAMMAR,
            #[cfg(feature = "c")]
            Language::C => &c_family::C,
            #[cfg(feature = "cpp")]
            Language::Cpp => &c_family::CPP,
            #[cfg(feature = "csharp")]
            Language::CSharp => &csharp::GRAMMAR,
            Language::Go => &go::GRAMMAR,
            Language::Java => &java::GRAMMAR,
            Language::JavaScript => &ecmascript::JAVASCRIPT,
            #[cfg(feature = "kotlin")]
            Language::Kotlin => &kotlin::GRAMMAR,
            #[cfg(feature = "php")]
            Language::Php => &php::GRAMMAR,
            Language::Python => &python::GRAMMAR,
            #[cfg(feature = "ruby")]
            Language::Ruby => &ruby::GRAMMAR,
            Language::Rust => &rust::GRAMMAR,
            #[cfg(feature = "scala")]
            Language::Scala => &scala::GRAMMAR,
            #[cfg(feature = "swift")]
            Language::Swift => &swift::GRAMMAR,
            Language::Tsx => &ecmascript::TSX,
            Language::TypeScript => &ecmascript::TYPESCRIPT,
        }
    }
}
