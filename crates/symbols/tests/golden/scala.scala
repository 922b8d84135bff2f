// What this file is about.
package org.example
package golden

import scala.collection.mutable.{Map => MutableMap}

/** Told by hand in scala.txt. */
@deprecated("since 1")
sealed trait Shape { self: Serializable =>
  type Unit
  def area: Double
  val name: String

  // About describe.
  def describe(): String =
    val shown = name
    // About shown.
    shown
    // The last of describe.

  // Of the trait.

  /** About scaled. */
  @inline
  def scaled(by: Double): Shape
  // The last of the trait.
}

/** Made by apply. */
final case class Circle private (radius: Double)(implicit val context: Context)
    extends Shape
    with Product {
  def this() = this(1.0)

  private[golden] val cached = radius * 2
  lazy val area: Double = {
    def square(x: Double) = x * x
    square(radius)
  }

  override def toString(): String = s"$radius ${math.abs(radius)}"

  def +(other: Circle): Circle = this
  def unary_! : Boolean = false
  def ::(other: Circle): Circle = other
  def `quoted`: Int = 1
  def `has spaces`: Int = 2

  protected class Helper {
    class Deeper { def down() = () }
  }

  val listener = new Listener {
    override def changed(): Unit = {
      object Local { def deep = 1 }
    }
  }
}

// About the companion.
object Circle extends App {
  val Default = new Circle
  // About both.
  val first, second = Circle(1)
  val (left, right) = (1, 2)
  var counter: Int = 0

  type Id = Long

  def apply(radius: Double): Circle =
    new Circle(radius)(Context.none)

  implicit class Rich(val circle: Circle) extends AnyVal {
    def doubled = circle
  }

  case object Unknown

  object Nested {
    val deep = 1
    def f[T](x: T)(implicit e: Evidence[T]): T = x match {
      case y => y
    }
  }
}

package object tools {
  def helper = 1
  val setting = 2
}

package inner {
  class Inside
}

package deeper.still:
  object There

enum Color(val rgb: Int) extends java.lang.Enum[Color]:
  // The first.
  case Red extends Color(0xff0000)
  case Green, Blue

  def mix(other: Color): Color = this
end Color

// About the given.
given intOrdering: Ordering[Int] with
  def compare(a: Int, b: Int): Int = a - b

given Ordering[String] with
  def unnamed(a: String): Int = 0

given listOrdering[T](using one: Ordering[T]): Ordering[List[T]] = ???

/** About the extension. */
extension (circle: Circle)
  def shown: String = "circle"

  // About twice.
  def twice: Circle =
    circle
    // The last of twice.

extension [T](using Context)(list: List[T])
  def second: T = list.tail.head

opaque type Meters = Double

class Indented(x: Int):
  private val hidden = 1

  def one(y: Int): Int =
    if y > 0 then
      one(y - 1)
    else
      def inside = 2
      inside

  // About two.
  def two =
    x match
      case 1 => "one"
      case _ =>
        "other"
  def three = 3

class Braced {
  def one =
    1
  def two = 2
}

val topLevel = 1
@main def run(args: String*): Unit =
  println(topLevel)
  // In run.
// Apart from run.

inline def größe: Int = 1
def one = 1; def two = 2
class Empty
