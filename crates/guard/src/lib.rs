//! What an edit claims: from the bytes of a file before and after it to the addresses that a guard asks about.
//!
//! Bytes in, values out: no file, no process and no store is touched here. Who guards (a Git hook, a harness's hook,
//! `muse coord check`) reads the bytes, builds a [`Footprint`] and asks the coordinator.
//!
//! ```
//! use muse_guard::{Footprint, limits};
//!
//! let before = b"import os\n\ndef total():\n    return 1\n";
//! let after = b"import os\nimport sys\n\ndef total():\n    return 2\n";
//! let mut footprint = Footprint::default();
//! footprint.add("src/billing.py", Some(before), Some(after), &limits())?;
//! let exclusive: Vec<&str> = footprint.exclusive().map(|address| address.as_str()).collect();
//! let shared: Vec<&str> = footprint.shared().map(|address| address.as_str()).collect();
//! assert_eq!((exclusive, shared), (vec!["src/billing.py::total"], vec!["src/billing.py::@top"]));
//! # Ok::<(), muse_coord::AddressError>(())
//! ```

pub mod edit;
mod footprint;
pub mod harness;
pub mod patch;
pub mod unified;

pub use self::edit::{Change, Edit, Unclear};
pub use self::footprint::{Footprint, Reason, Whole, limits};
pub use self::harness::Harness;
