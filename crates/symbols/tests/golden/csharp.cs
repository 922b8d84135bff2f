// Told by hand in csharp.txt.
using System;
using static System.Math;
using Alias = System.Collections.Generic.List<int>;

[assembly: CLSCompliant(true)]

// A function of the program.
static int Twice(int x)
{
    return 2 * x;
}

Console.WriteLine(Twice(2));

namespace Golden.Shop
{
    /// <summary>
    /// An invoice.
    /// </summary>
    [Serializable]
    [Obsolete("soon")]
    public partial class Invoice<T> : Base<T>, IDisposable
        where T : class, new()
    {
        private const int Limit = 8;
        private readonly List<T> rows = new(); // not about what follows
        public static Func<int, int> Square = x => x * x;

        static Invoice() { }

        /// <summary>Makes one.</summary>
        public Invoice(int size) : base(size)
        {
            this.size = size;
        }

        ~Invoice() => Dispose();

        public int Count => rows.Count;

        // The name.
        [Required]
        public string Name { get; set; } = "none";

        public decimal Total
        {
            get
            {
                decimal Sum(IEnumerable<T> all)
                {
                    return all.Count();
                }
                return Sum(rows);
            }
            private set { total = value; }
        }

        public T this[int index]
        {
            get => rows[index];
        }

        public event EventHandler Changed, Removed;

        public event EventHandler Custom
        {
            add { custom += value; }
            remove { custom -= value; }
        }

        public delegate TResult Mapper<TResult>(T row);

        public static Invoice<T> operator +(Invoice<T> a, Invoice<T> b) => a;
        public static bool operator true(Invoice<T> a) => true;
        public static bool operator false(Invoice<T> a) => false;
        public static implicit operator int(Invoice<T> a) => a.Count;

        #region Methods

        public async Task<int> PayAsync<U>(U amount, [CallerMemberName] string by = "")
            where U : struct
        {
            Action log = () => Console.WriteLine(by);
            static int Round(int x) => x;
            var shape = new { X = 1 };
            log();
            return await Task.FromResult(Round(1));
        }

        public int Pay(int amount) { return amount; }

        public int Pay(string amount) => 1;

        void IDisposable.Dispose() { }

        protected abstract void Hook();

        #endregion

#if DEBUG
        void Dump() { }
#else
        // Says nothing.
        void Dump() { }
#endif

        private enum Mode
        {
            Fast,
            Slow = 2
        }

        public struct Row
        {
            public int X, Y;
            public readonly double Length() => Math.Sqrt(X * X);
            public Row(int x) { X = x; Y = 0; }
        }

        public interface IListener
        {
            int Priority { get; }
            void OnPaid(Invoice<T> invoice);
            bool IsEager() => false;
        }

        public record Customer(string Name, int Age);

        public record struct Money(decimal Amount)
        {
            public Money Half() => this with { Amount = Amount / 2 };
        }
    }

    public partial class Invoice<T>
    {
        partial void OnLoaded();
    }

    namespace Deep
    {
        internal static class Extensions
        {
            public static int Words(this string text) => text.Split(' ').Length;
        }
    }

    public delegate void Handler(object sender);

    /* Of the enum. */
    [Flags]
    public enum Days : byte { None = 0, Monday = 1 }
}

public class Point(int x, int y) : IPoint
{
    public int X { get; } = x;
    public unsafe fixed int data[4];
}

public abstract record Shape
{
    public sealed record Circle(double Radius) : Shape
    {
        public Circle() : this(1) { }
    }
}

class Many { int One() { return 1; } int Two() { return 2; } }
ref struct Größe { public int größe() => 1; }
