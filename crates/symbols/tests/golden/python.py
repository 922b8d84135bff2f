#!/usr/bin/env python3
"""Everything that Python can nest, name or decorate."""
from __future__ import annotations

import functools as ft  # not about what follows
from typing import overload

VERSION = "1"
square = lambda x: x * x


# About Plain.
class Plain:
    pass


class Base(Plain, metaclass=type):
    """A class with a bit of everything."""

    limit: int = 3

    # About the initialiser,
    # in two lines.
    def __init__(self, a, b=lambda: 0, *args, **kwargs) -> None:
        self.a = a

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    # Between decorator and method.
    def size(self, value):
        self._size = value
        # After the last statement.

    @staticmethod
    @ft.lru_cache(
        maxsize=None,
    )
    def cached(): return 1

    @classmethod
    async def make(
        cls,
        *,
        name: str,
    ) -> Base:
        # Above the first statement.
        async def inner():
            def innermost():
                yield 1

            return innermost

        return await inner()

    class Inner:
        class Deeper:
            def m(self): ...

            # About Deeper.

        def m(self): ...

    # About Base.


if VERSION:
    def conditional():
        return 1
elif square(2):
    def conditional():
        return 2
else:
    class Conditional:
        def m(self):
            pass


try:
    import json

    def loads(text):
        return json.loads(text)
except ImportError:
    def loads(text):
        raise
finally:
    def after(): pass


with open(__file__) as file:
    def in_with(): pass

for i in range(3):
    def in_for(i=i):
        return i
    else_ = 1
else:
    def in_for_else(): pass

while True:
    def in_while(): pass
    break

match VERSION:
    case "1":
        def in_match():
            return 1
    case [1, *_] | {"a": 2}:
        class InMatch: x = 1

match = 1
case = type = match
type.x = 1


@overload
def f(a: int) -> int: ...
@overload
def f(a: str) -> str: ...
def f(a):
    return a


def generic[T: int, *Ts, **P](a: T) -> T:
    return a


class Generic[T](Base):
    type Alias = list[T]

    def m[U](self, other: U) -> Alias: return [other]


@ft.wraps(lambda: {
    "a": 1,
})
class Decorated: x = 1; y = 2


def outer():
    '''Strings hide nothing:
def hidden(): pass
    '''
    text = f"""
def hidden_too(): {VERSION!r:>{10}}
"""
    if text:
        try:
            def in_try(): return text
        except* ValueError:
            pass
        class Local(Exception): pass

    return [x for x in (lambda: 0,) if (y := x)]

async def coroutine():
    async with a as b, c as d:
        async for e in f():
            def in_async_for():
                nonlocal_ = 1
                return nonlocal_

def größe(ñ): return ñ
class _π_: pass
def one_liner(a,
              b): return (a,
                          b)
class Tail:
  def m(self):
	  return 1

  def n(self): return \
      2
  # About Tail.
# About nothing.
