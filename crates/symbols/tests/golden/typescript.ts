/// <reference types="node" />
import type { Shape } from "./shape";
import fs = require("fs");

export const limit = 3, other = "x";
let plain: Shape;

/** About point. */
export interface Point<T = number> extends Shape, Other.Base {
  x: T;
  readonly y?: T;
  // About move.
  move(by: number): Point<T>;
  move(by: string): Point<T>;
  get size(): number;
  set size(value: number);
  <U>(call: U): void;
  new (x: T): Point<T>;
  [key: string]: unknown;
  handler: (event: { nested(): void }) => void;
  "quoted-name"(): void;
  [Symbol.iterator](): Iterator<T>;
}

export type Pair<A, B> = [A, B] | { method(): A };

type Handler =
  | ((event: Event) => void)
  | null;

export const enum Color {
  Red = "r", // not Green
  Green = "g",
}

declare enum Ambient { A, B = 2 }

/**
 * About Animal.
 */
@sealed
@component({
  selector: "animal",
})
export abstract class Animal<T> extends Base<T> implements Point, Other.Shape {
  static count = 0;
  #secret = 1;
  declare name: string;

  constructor(name: string);
  constructor(
    private readonly name: string,
    public age = 1,
  ) {
    super();
  }

  // About speak.
  abstract speak(loud: boolean): string;
  protected abstract get legs(): number;

  @log
  // Between decorator and method.
  @bound() public async run(): Promise<void> {
    const inner = async () => {
      function innermost() {}
    };
  }

  get secret(): number { return this.#secret; }
  set secret(value: number) { this.#secret = value; }

  static *walk(): Generator<number> { yield 1; }

  #hidden(): void {}

  "in quotes"() {}
  'quoted'() {}
  42() {}
  [Symbol.iterator]() { function inIterator() {} }

  onClick = (event: Event): void => {
    this.#hidden();
  };
  private static readonly make = function <T>(this: void) { return 1; };
  @input() later = async <U,>(u: U) => u;
  Nested = class Hidden { method() {} };
  data = { notThis() {} };

  overload(a: string): void;
  overload(a: number): void;
  overload(a: any) {}

  static {
    function inStatic() {}
  }
}

namespace Outer {
  export namespace Inner.Deep {
    export function f(): void {}
  }
  const hidden = 1;
  export class C {}
}

// About A.B.
namespace A.B.C { export type T = 1; }

module Legacy { let x = 1; }

declare module "express-session" {
  interface Session { touch(): this }
}
declare module "./file.css" {
  const content: string;
  export function load(): string;
}

declare module "shorthand";

declare global {
  interface Window { open(url: string): void }
  function globalFunction(): void;
}

declare function ambient(a: number): void;
declare class AmbientClass { method(): void; field: string }
export declare namespace N { function inN(): void; }
declare const notThis: () => void;
declare let fnTyped: typeof import("fs");

function over(a: string): string;
function over(a: number): number;
function over(a: any) {
  return a;
}

export async function* stream<T>(this: Window, ...rest: T[]) {
  label: for (const x of rest) {
    if (x) {
      function inIf() {}
    }
  }
}

const first = () => 1, second = function () {}, third = 3;
export const curried = (a: number) => (b: number) => a + b;
const cast = (async () => {}) as Handler;
const checked = ((a) => {
  return a;
}) satisfies Handler;
export const Mixin = <T extends Ctor>(Base: T) => class extends Base {
  mixed() {}
};
var Bound = class Named<T> {
  method<U>(): U;
  method() {}
};
let called = wrap(() => {}), { destructured } = { destructured: () => 1 };
const object = {
  method() {},
  arrow: () => {},
  get getter() { return 1; },
};

/** About the default export. */
export default class {
  method() {}
}

export { limit as renamed };
export * from "./all";
export import Alias = Outer.Inner;
type $dollar_ = `a${string}`; interface _ {} // two on a line
abstract class Last { abstract a(): void; abstract b: string; c?(): void }
