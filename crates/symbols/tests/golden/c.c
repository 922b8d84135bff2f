/*
 * Told by hand in c.txt.
 */

#ifndef GOLDEN_H
#define GOLDEN_H

#include <stddef.h>
#include "golden.h"

/* The most that fits. */
#define LIMIT 8
#define SQUARE(x) \
	((x) * (x))
#undef OLD

struct forward;
enum later;
typedef unsigned long word;
typedef int (*handler)(struct forward *, void *);

/**
 * A node of a list.
 */
typedef struct node {
	struct node *next;	/* NULL at the end */
	union value {
		int whole;
		double real;
	} value;
	struct { int x, y; };
	void (*free)(struct node *);
} node, *list;

typedef enum {
	LEFT,
	RIGHT = LIMIT
} side;

struct point {
	int x;
	int y;
};

union bits { unsigned char byte; unsigned high : 4; };

enum color
{
	RED,
	GREEN
} favourite = RED;

enum { NAMELESS = 1 };

#ifdef GOLDEN
#  define EMPTY
#endif

int first(void);
/* Two at once. */
extern char *second(const char *), *third;
void (*signal_like(int number, void (*f)(int)))(int);
__attribute__((noreturn)) void fail(const char *format, ...);

static int counter; /* not about what follows */
static const char *names[] = {
	"one",
	"two",
};
const double pi = 3.14, tau = 6.28;
int (*callback)(int) = NULL, matrix[2][2];
static struct point origin = { .x = 0, .y = 0 };

// Of the function.
static inline int
twice(int x)
{
	static int calls = 0;
	int nested(int);
	struct local {
		int a;
	} l = { x };
#define INSIDE 1
	calls++;
	return 2 * l.a;
}

char **
pointers(void) { return NULL; }

int old_style(a, b)
	int a;
	char *b;
{
	return a;
}

int main(argc, argv) char **argv; { return 0; }

#if LIMIT > 4
int chosen(void) { return 1; }
#elif LIMIT > 2
int chosen(void) { return 2; }
#else
/* The least. */
int chosen(void)
{
	return 3;
}
#endif

struct point *make(void), *spare;
int one(void) { return 1; } int two(void) { return 2; }

static void (*const table[])(void) = { NULL };

extern int (first)(void);

typedef struct { int z; } anonymous, pair[2];
typedef struct tagged other;
unsigned long long big = 1ULL;
struct config { int level; } config;

inline void walk(node *n, int depth) {
	for (int i = 0; i < depth; i++) {
		typedef int local_type;
		if (n->free) n->free(n);
	}
}

void last(void);

#endif /* GOLDEN_H */
