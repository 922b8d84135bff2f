package org.example.golden;

import java.util.List;
import java.util.Map;

/**
 * Told by hand in java.txt.
 */
@Deprecated
@SuppressWarnings({"unused",
    "unchecked"})
public class Account<T extends Comparable<T>> extends Base implements Runnable {
    private static final int LIMIT = 8;
    private final Map<String, T> byName; // not about what follows
    static {
        System.loadLibrary("golden");
    }

    {
        byName = null;
    }

    /** Makes one. */
    public Account() {
        this(null);
    }

    @Inject
    Account(List<T> items) throws IllegalStateException {
        super(items);
    }

    // Of the run.
    @Override
    public void run() {
        Runnable task = new Runnable() {
            @Override
            public void run() {
                class Hidden {
                    void deep() {}
                }
            }
        };
        class Local {
            int twice(int x) { return 2 * x; }
        }
        new Thread(() -> task.run()).start();
    }

    public <R> R map(java.util.function.Function<? super T, R> f) {
        return f.apply(null);
    }

    int map(int x) { return x; }

    int map(int x, int y) {
        record Sum(int of, int with) {}
        return new Sum(x, y).of();
    }

    private Comparable<T> field = new Comparable<>() {
        public int compareTo(T other) { return 0; }
    };

    protected abstract static class Nested {
        abstract void todo();

        class Inner {
            Inner() {}
            native long address();
        }
    }

    /*
     * Of the interface.
     */
    interface Listener {
        int PRIORITY = 1;

        void changed(Account<?> account);

        default boolean isEager() {
            return false;
        }

        static Listener none() { return account -> {}; }

        enum Mode { ON, OFF }
    }
}

/** Operations. */
enum Operation implements Listener2 {
    PLUS("+") {
        @Override
        int apply(int a, int b) { return a + b; }
    },
    MINUS("-") {
        int apply(int a, int b) { return a - b; }
    };

    private final String sign;

    Operation(String sign) {
        this.sign = sign;
    }

    abstract int apply(int a, int b);

    @Override public String toString() { return sign; }
}

// Far above.

@FunctionalInterface
interface Listener2 {}

sealed interface Shape permits Shape.Circle, Shape.Square {
    record Circle(double radius) implements Shape {
        static int made = 0;

        Circle {
            if (radius < 0) {
                throw new IllegalArgumentException();
            }
        }

        Circle(int radius) {
            this((double) radius);
        }

        double area() { return Math.PI * radius * radius; }
    }

    record Square(double side)
        implements Shape {
    }
}

@interface Marked {
    /** Why. */
    String why() default "none";
    int[] levels();

    class Helper {}
}

final class Übung { int größe() { return 1; } }
abstract class Base { Base(Object o) {} Base self() { return this; } }
class Many {
    int one() { return 1; }   int two() { return 2; }
    /** Of three. */

    int three()[] { return null; }
    synchronized void four(int... all) {
        switch (all.length) {
            case 0 -> { class Zero {} }
            default -> {}
        }
    }
}
