<!DOCTYPE html>
<?php
// Told by hand in php.txt.
declare(strict_types=1);

namespace Golden\Shop;

use Golden\Base\{Document, Row as Line};
use function Golden\round_up;

const VERSION = '1.0';
/* Two at once. */
const LEAST = 1, MOST = 8;
define('OLD_STYLE', 1);

/**
 * An invoice.
 */
#[Entity(table: 'invoices')]
abstract class Invoice extends Document implements \Countable, Payable
{
    use Dated, Noted { Noted::note insteadof Dated; }

    public const LIMIT = 8; // not about what follows
    private const A = 1, B = self::A;

    private array $rows = [];
    public static int $made = 0;
    public string $title {
        get => ucfirst($this->title);
        set(string $value) { $this->title = $value; }
    }

    // Makes one.
    public function __construct(
        private readonly string $name = 'none',
        protected ?Line $first = null,
    ) {
        parent::__construct();
    }

    public static function empty(): static { return new static(); }

    #[Pure]
    #[Cached(60)]
    public function total(int ...$rates): int|float
    {
        $sum = fn (int $carry, Line $row): int => $carry + $row->amount;
        $later = function () use ($rates) {
            function in_closure() {}
            return $rates;
        };
        usort($this->rows, function ($a, $b) { return $a <=> $b; });
        return array_reduce($this->rows, $sum, 0);
    }

    abstract protected function hook(): void;

    final public function &reference() { return $this->rows; }

    function __toString(): string { return $this->name; }

    public function count(): int
    {
        $counter = new class($this) implements \Countable {
            const HIDDEN = 1;
            public function count(): int { return 1; }
        };
        return $counter->count();
    }
}

/** What is paid. */
interface Payable extends Owed
{
    const CURRENCY = 'EUR';

    public function pay(int $amount): bool;
    public static function make(): self;
}

trait Noted
{
    protected string $note = '';

    public function note(): string { return $this->note; }
    abstract public function author(): string;
    public static function blank() {}
}

#[Stable]
enum Suit: string implements Labelled
{
    case Hearts = 'H';
    case Spades = 'S';

    const Wild = self::Spades;

    public static function pick(): self { return self::Hearts; }

    public function label(): string
    {
        return match ($this) {
            self::Hearts => 'hearts',
            self::Spades => 'spades',
        };
    }
}

enum Status { case Open; }
final readonly class Pair { public function __construct(public int $left, public int $right) {} }

// Adds.
function add(int $a, int $b = 1): int
{
    static $calls = 0;
    function nested() { return 1; }
    if ($a) {
        class Inner { public function m() {} }
    }
    return $a + $b;
}

function &by_reference(array &$all) { return $all; }

if (!function_exists('polyfill')) {
    /** Where it is missing. */
    function polyfill() {}
} else {
    function polyfill() { }
}

// Handles.
$handler = function (string $event) use (&$handlers): void {
    $handlers[] = $event;
};

$double = static fn ($x) => $x * 2;
$object->property = function () {};
$plain = 1;
?>
<table>
<?php foreach ($rows as $row): ?>
  <tr><td><?= $row ?></td></tr>
<?php endforeach; ?>
</table>
function not_in_php() {}
<?php
function größe() { ?>
  <b>12</b>
<?php }

function one() {} function two() {}

$text = <<<TEXT
function not_a_function() {}
TEXT;
abstract class Last { abstract function todo(); }
