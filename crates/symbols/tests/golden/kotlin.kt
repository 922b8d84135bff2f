@file:JvmName("Golden")

package org.example.golden

import kotlin.math.max
import java.util.List as JavaList

// About the version.
const val VERSION = "1.0"

/** What is owed at least. */
@JvmField
val minimum: Int = 8 // not about what follows
var counter = 0
    private set

val lazily by lazy { 1 }
val computed: Int
    get() = counter + 1

// About the extension.
val Invoice.rate: Double
    get() {
        return 0.19
    }

val <T> List<T>.second: T get() = this[1]

/**
 * Told by hand in kotlin.txt.
 */
@Serializable
data class Invoice(
    val rows: List<Row>,
    @Transient val note: String = "none",
) : Base(rows), Printable by NOTHING {
    private val cache = mutableMapOf<String, Int>()

    init {
        require(rows.isNotEmpty())
        fun checked() = true
    }

    // About total.
    val total: Int
        get() = rows.sumOf { it.amount }

    var discount: Int = 0
        set(value) {
            field = max(0, value)
        }

    val handler = { row: Row -> row.amount }

    /** With one row. */
    @Deprecated("use the other one")
    constructor(row: Row) : this(listOf(row)) {
        class Scratch
        counter++
    }

    constructor() : this(emptyList())

    override fun toString(): String = "Invoice"

    fun pay(amount: Int, by: String = "card"): Boolean {
        fun log(text: String) {
            println(text)
        }
        val listener = object : Listener {
            override fun changed() {
                class Deep { fun down() {} }
            }
        }
        listener.changed()
        return amount >= total
    }

    fun pay() = pay(total)

    // A member that extends.
    fun Row.shown(): String = "$amount"

    /** Makes them. */
    companion object : Factory<Invoice> {
        const val LIMIT = 100

        @JvmStatic
        override fun make(): Invoice = Invoice()
    }

    data class Row(val amount: Int) {
        inner class Cell {
            fun content() = amount
        }

        operator fun plus(other: Row) = Row(amount + other.amount)
    }

    companion object Named {
        fun of(): Invoice = make()
    }

    object Registry {
        val all = mutableListOf<Invoice>()
        fun register(invoice: Invoice) = all.add(invoice)
    }
}

sealed class Result<out T> {
    data class Ok<T>(val value: T) : Result<T>()
    data object Nothing : Result<Unit>()
    class Failed(val error: Throwable) : Result<kotlin.Nothing>() {
        override fun equals(other: Any?) = other is Failed
    }
}

sealed interface Shape {
    val area: Double

    fun scaled(by: Double): Shape

    fun describe() {
        println(area)
    }
}

fun interface Visitor<T> {
    fun visit(shape: Shape): T
}

/* The days. */
enum class Day(val number: Int) : Printable {
    // The first one.
    MONDAY(1) {
        override fun next() = TUESDAY
    },
    TUESDAY(2) {
        override fun next(): Day {
            return MONDAY
        }
    };

    abstract fun next(): Day

    fun isLast() = this == TUESDAY
}

enum class Plain { A, B }

annotation class Marked(val why: String)

@JvmInline
value class Cents(val amount: Long)

object Globals : Base(), Printable {
    var state = 1
    val shown: String get() = "$state"
    fun reset() {
        state = 0
    }
}

typealias Rows = List<Invoice.Row>

// About the extension function.
fun Invoice.Row.doubled(): Invoice.Row = Invoice.Row(amount * 2)

suspend inline fun <reified T : Any, R> Map<String, T>?.orEmpty(block: (T) -> R): R where R : Comparable<R> {
    return block(this!!.values.first())
}

fun (() -> Unit).twice() {
    this()
    this()
}

fun `has spaces`() = 1

fun `plain`() = 2

private tailrec fun countdown(from: Int): Int =
    if (from == 0) 0 else countdown(from - 1)

abstract class Base(rows: Any? = null) {
    protected abstract val name: String
    protected abstract fun todo()

    open class Nested

    interface Contract {
        fun signed(): Boolean
    }
}

val listener = object : Listener {
    override fun changed() {}
}

fun größe(): Int { return 1 }; fun last() {}

class Empty
