// Told by hand in cpp.txt.

#pragma once
#include <vector>

#define GOLDEN_CHECK(x) do { if (!(x)) throw 1; } while (false)

using std::vector;
namespace fs = std::filesystem;

/// Shapes.
namespace golden::shapes {

class Forward;
constexpr int limit = 8;
static std::vector<int> seen{1, 2};

/**
 * A shape.
 */
template <typename T, int N = 3>
class Shape : public Base<T>, private detail::Hidden {
public:
    using value_type = T;
    typedef T *pointer;

    Shape() = default;
    /// From a name.
    explicit Shape(const std::string &name)
        : name_(name), size_{N} {
        check();
    }
    Shape(const Shape &) = delete;
    virtual ~Shape();

    Shape &operator=(const Shape &other);
    bool operator==(const Shape &) const { return true; }
    T operator()(int x) const;
    T &operator[](std::size_t at) { return data_[at]; }
    explicit operator bool() const { return size_ > 0; }

    // Its area.
    [[nodiscard]] virtual double area() const = 0;
    static Shape make(int size);
    auto twice() -> decltype(size_) { return 2 * size_; }

    template <class U>
    U as() const {
        struct Caster {
            U to;
        };
        return Caster{}.to;
    }

    enum class Mode { Fast, Slow };

    struct Part {
        int x = 0, y = 0;
        void move(int by);
        union Raw {
            int i;
            float f;
        };
    };

    friend bool operator<(const Shape &a, const Shape &b);
    friend void swap(Shape &a, Shape &b) {
        std::swap(a.size_, b.size_);
    }

protected:
    int size_, other_;
    T data_[N];
    std::function<void()> callback_ = [this] { check(); };

private:
    std::string name_;
    static int count;
    void check();
};

} // namespace golden::shapes

namespace golden {
inline namespace v1 {
struct Point { double x, y; };
} // namespace v1

namespace {
int hidden = 1;
void in_nameless() {}
} // namespace

template <>
struct hash<Point> {
    size_t operator()(const Point &p) const noexcept { return 0; }
};

template <typename T>
concept Small = sizeof(T) < 4;

template <typename T>
using Pair = std::pair<T, T>;

enum Color : unsigned char { Red, Green };
enum struct Level;

} // namespace golden

template <typename T, int N>
int golden::shapes::Shape<T, N>::count = 0;

// Out of its class.
template <typename T, int N>
golden::shapes::Shape<T, N>::~Shape() {}

template <typename T, int N>
template <class U>
void golden::shapes::Shape<T, N>::check() {
    auto in_place = [](int x) { return x; };
    const auto half = [](double x) -> double {
        class Local {
        public:
            Local() {}
        };
        return x / 2;
    };
}

Other::Other(int x) : x_(x) {}
Other::operator int() const { return x_; }
void Other::run() const & try { } catch (...) { }
Other &Other::operator+=(const Other &) { return *this; }

extern "C" int c_function(int a);
extern "C" {
/* Of the library. */
void c_other(void);
}

const auto square = [](int x) { return x * x; };
int *pointer_to = nullptr, values[2] = {1, 2};
auto [left, right] = std::make_pair(1, 2);

int main(int argc, char **argv) {
    Other other(argc);
    if (argc > 1) {
        using Inner = int;
    }
    return other.run();
}

long double operator""_km(long double value) { return value * 1000; }
union Bits { int whole; char bytes[4]; }; struct Last final : Bits2 {};
