//! Of this text only what is in it is told, by hand, in `rust.txt`.
#![allow(dead_code)]

use std::fmt;

/// The most there is.
///
/// And more.
pub const LIMIT: usize = 8;

// About the counter.
static mut COUNTER: u32 = {
    const fn start() -> u32 {
        0
    }
    start()
};

const _: () = assert!(LIMIT > 1); // not about `Name`
pub type Name<'a> = &'a str;

// Apart from what follows.

/// A point.
#[derive(Clone, Debug)]
// between
#[repr(C)]
pub struct Point<T> {
    /// Across.
    pub x: T,
    y: T,
}

struct Unit;

pub(crate) struct Pair(u8, u8);

#[derive(Debug)]
enum Shape {
    Dot,
    Circle { radius: f64 },
}

union Bits {
    int: u32,
    float: f32,
}

/** A block
 * of documentation. */
pub trait Area: fmt::Debug {
    const SIDES: usize = 4;
    type Unit: Default;

    fn area(&self) -> f64;

    /// Twice.
    fn double(&self) -> f64 {
        2.0 * self.area()
    }
}

impl<T> Point<T> {
    pub const DIMENSIONS: u8 = 2;

    #[must_use]
    pub fn new(x: T, y: T) -> Self {
        Self { x, y }
    }

    pub async unsafe fn r#move(&mut self) { // not about `helper`
        fn helper() {}
        helper();
    }
}

impl Area for Shape {
    type Unit = u8;

    fn area(&self) -> f64 {
        1.0
    }
}

impl<T: fmt::Debug> fmt::Display for self::Point<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.x)
    }
}

impl<'a> From<&'a Unit> for &'a [Pair] {
    fn from(_: &'a Unit) -> Self {
        &[]
    }
}

impl PartialEq for dyn Area<Unit = u8> + Send + 'static {
    fn eq(&self, _: &Self) -> bool { true }
}

impl Marker for (u8, Unit) {
    fn mark(&self) {}
}

unsafe impl Send for Unit {}

#[cfg(test)]
mod tests {
    //! What is inside.
    use super::*;

    #[test] fn one() {}

    mod deeper {
        pub fn two() {}
        impl super::Unit { fn three(&self) {} }
    }
}

mod elsewhere;

#[macro_export]
macro_rules! square {
    ($x:expr) => {
        $x * $x
    };
}

unsafe extern "C" {
    /// Of C.
    fn abs(x: i32) -> i32;
    static errno: i32;
}

#[cfg(unix)]
fn twin() {}
#[cfg(not(unix))]
fn twin() {
    struct Local;
    impl Local {
        fn inner(&self) {}
    }
}

fn generic<F>(f: F) -> impl Fn() -> u8
where
    F: Fn() -> u8,
{
    let closure = move || f();
    closure
}

thread_local! {
    static UNSEEN: u8 = 1;
}

fn outer() { fn left() {} fn right() {} }
impl !Marker for Bits {}
enum Empty {}
trait Marker { fn mark(&self) {} }
