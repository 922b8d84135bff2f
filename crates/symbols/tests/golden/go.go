// Package golden is told by hand in go.txt.
package golden

import (
	"fmt"
	"io"
)

// Limit is the most.
const Limit = 8

// The colours, of nothing below alone.
const (
	// Red comes first.
	Red = iota
	Green
	_
	Blue, Cyan = iota, "c" // not about what follows
)

var counter int

// Of both.
var low, high = 1, struct {
	n int
}{2}

var (
	// ErrGone is an error.
	ErrGone = fmt.Errorf("gone")

	handler = func() {
		var local = 1
		const inner = 2
		_ = local + inner
	}
)

var _ io.Reader = (*Stack[int])(nil)

// Celsius is a temperature.
type Celsius float64

type Alias = map[string]int

// Point is on a plane.
//
// It has two sides.
type Point struct {
	X, Y int
	next interface {
		Unseen()
	}
}

type Empty struct{}

// Shape can be measured.
type Shape interface {
	fmt.Stringer
	// Area is how much.
	Area() float64
	Perimeter(scale int) (
		float64,
		error,
	)
}

type Number interface {
	~int | ~float64
}

type (
	// Stack is last in, first out.
	Stack[T any] struct {
		items []T
	}

	Visitor func(Shape) bool
	Pair[K comparable, V any] struct{ Key K; Value V }
)

// Push puts one on it.
func (s *Stack[T]) Push(item T) {
	s.items = append(s.items, item)
}

func (s *Stack[_]) Read(p []byte) (int, error) { return 0, nil }

func (Point) Area() float64 { return 0 }

func (p Point) String() string {
	return fmt.Sprint(p.X)
}

/* A block
   above. */
func (p *Point) Move(dx, dy int) {
	go func() {
		p.X += dx
	}()
}

func (e (Empty)) Paren() {}

func (r *missing) Elsewhere() {}

func (c Celsius) Fahrenheit() float64 { return float64(c)*9/5 + 32 }

func init() {
	counter = 1
}

//go:noinline
func init() {
	type scratch struct {
		n int
	}
	type closer interface{ Close() error }
}

// Map applies f.
func Map[T, U any](items []T, f func(T) U) []U {
	out := make([]U, 0, len(items))
	for _, item := range items {
		out = append(out, f(item))
	}
	return out
}

func main() {} // one line

// Apart.

func last(a int) int {
	if a > 0 {
		return last(a - 1)
	}
	return Map[int, int](nil, nil)[0]
}

func _() {}

func external(x int) int

func über() {}
func first() {}; func second() {}
